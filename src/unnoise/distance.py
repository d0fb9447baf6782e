"""The perceptual distance of a restored picture from the clean one, as a metric for an evaluation, where torch is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .denoiser import physical_cores
from .errors import ModelError, memory_error, needed_by
from .judging import Metric
from .ledger import sha256
from .metrics import Meaning
from .tuned import trouble

if TYPE_CHECKING:
    from .losses import PerceptualLoss
    from .perceptual import LPIPS

Array = npt.NDArray[Any]
SIDE = 1024  # pixels: larger pictures are compared in pieces of at most this side, as memory follows the piece
CELL = 32  # pixels: pieces begin on multiples of this, so that the strides of a network fall as in the whole picture
RANGE = (
    "from 0, of equal pictures; values of one network alone can be compared, and it favours models that were trained with it"
)


def for_evaluation(features: str | None = None, heads: Path | None = None) -> tuple[dict[str, Metric], list[str]]:
    """(the distance that `unnoise evaluate` hands in, by its name; what the report must say where there is none).

    features: as in `metric`, or `none`; by default the bundled network where it and torch are there. Raises as `metric` does.
    """
    if features == "none" and heads is None:
        return {}, []
    if features is not None or heads is not None:
        return metric(features or "bundled", heads), []
    why = trouble("torch")
    if why:
        return {}, [f'There is no perceptual distance ({why}); pip install "unnoise[train]" brings what it needs.']
    try:
        return metric(), []
    except ModelError as error:
        return {}, [f"There is no perceptual distance: {error}"]


def metric(features: str = "bundled", heads: Path | None = None) -> dict[str, Metric]:
    """{"perceptual": L_per of a feature network, with its own layers and weights}; with heads, {"lpips": LPIPS}.

    features: as in `perceptual.load`. heads: the file of the linear layers of LPIPS, version 0.1, for these features. Pictures of
    more than 1024 pixels a side are compared in pieces of at most that, and the mean is taken, weighed by their size; one that is
    too small for the network has no value. torch gets no more threads than there are physical cores. Raises BadSetting,
    ModelError, MissingExtra.
    """
    with needed_by("the perceptual distance", "train"):
        import torch

        from . import losses, perceptual
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, physical_cores() or threads))  # as many as a model runs on
    network: PerceptualLoss | LPIPS
    if heads is None:
        loaded, weights = perceptual.load(features)
        network = losses.PerceptualLoss(loaded, weights)
        name, title, source = "perceptual", "Perceptual distance", "Johnson et al. 2016, doi:10.1007/978-3-319-46475-6_43"
        told = "squared distance of the feature maps, mean over the values of each, weighed sum over the layers "
        told += ", ".join(f"{layer} ({weight:g})" for layer, weight in weights.items())
    else:
        network, weights = perceptual.LPIPS(features, heads), {}
        name, title, source = "lpips", "LPIPS", "Zhang et al. 2018, doi:10.1109/CVPR.2018.00068"
        told = f"learned perceptual distance, version 0.1, heads {sha256(heads)[:12]}, over the layers {', '.join(network.features.layers)}"
    kind, digest = features.partition(":")[0], perceptual.fingerprint(features)
    meaning = Meaning(
        title=title,
        better="lower",
        definition=f"{told}; feature network {kind}, weights {digest[:12]} (SHA-256)",
        range=RANGE,
        source=source,
    )
    made_by = [kind, digest, weights, heads and sha256(heads), SIDE, metadata.version("torch")]
    return {name: Metric(_Distance(network), json.dumps(made_by, sort_keys=True), meaning)}


class _Distance:
    """Called on (restored, clean). What the network makes of a clean picture in one piece is kept for the next method."""

    def __init__(self, network: PerceptualLoss | LPIPS) -> None:
        self.network = network
        self.clean: Array | None = None
        self.wanted: Any = None

    def __call__(self, restored: Array, clean: Array) -> float:
        import torch

        found, pieces = 0.0, list(_pieces(*clean.shape[:2]))
        with torch.inference_mode(), memory_error():
            for piece in pieces:
                if clean is not self.clean or len(pieces) > 1:
                    self.clean, self.wanted = clean, self._features(clean[piece])
                apart = self.network.between(self._features(restored[piece]), self.wanted).item()
                found += apart * clean[piece].size / clean.size
        return found

    def _features(self, picture: Array) -> Any:
        from .model import as_tensor

        planes = picture[..., None] if picture.ndim == 2 else picture
        return self.network.features(as_tensor(np.moveaxis(planes, 2, 0)[None].astype(np.float32)))


def _pieces(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Where a picture is cut: pieces as few and as equal as SIDE and CELL allow."""

    def cuts(length: int) -> list[slice]:
        count = -(-length // SIDE)
        ends = [-(-length * index // (count * CELL)) * CELL for index in range(count)] + [length]
        return [slice(*pair) for pair in pairwise(ends)]

    return ((rows, columns) for rows in cuts(height) for columns in cuts(width))
