"""From the trained network to the files that run anywhere; refused unless the copy agrees with the original."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import artefact, atomic
from .config import parse_model
from .errors import BadSetting, ModelError, needed_by
from .model import Autoencoder

PARITY = 1e-4  # largest difference between torch and onnxruntime, in image units


class _Contract(nn.Module):
    """Contract v1: input `noisy`, output `restored`, (N, C, H, W) float32, sides multiples of the alignment."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, noisy: Tensor) -> Tensor:
        maps: tuple[Tensor, ...] = self.model.encoder(noisy)
        restored: Tensor = self.model.decoder(maps)
        return restored


def export(model: Autoencoder, card: artefact.Card, folder: Path, probe: np.ndarray) -> None:
    """Write `model.safetensors` and `model.onnx` into `folder`, the second only if it agrees with the first on `probe`.

    probe: a photo, (H, W, C) float32, at any size. Raises ModelError when onnxruntime gives another picture than torch.
    """
    model = model.eval()
    card = {**card, "contract": 1, "alignment": model.grid, "channels": model.channels}
    artefact.write(folder / "model.safetensors", {k: v.numpy() for k, v in model.state_dict().items()}, card)
    onnx = artefact.stamped(to_onnx(model), card)
    check_parity(model, onnx, probe)
    atomic.write_bytes(folder / "model.onnx", onnx)


def to_onnx(model: Autoencoder) -> bytes:
    """The model as ONNX bytes, with free batch, height and width. Raises MissingExtra."""
    grid = model.grid
    example = torch.zeros(2, model.channels, 8 * grid, 8 * grid)
    shapes = {"noisy": {0: torch.export.Dim("n"), 2: grid * torch.export.Dim("h"), 3: grid * torch.export.Dim("w")}}
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # it misses torchvision
    with needed_by("exporting", "train"), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Contract(model).eval(), (example,), dynamo=True, dynamic_shapes=shapes, input_names=["noisy"],
            output_names=["restored"], verbose=False,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        node.ClearField("metadata_props")
    return bytes(proto.SerializeToString())


def check_parity(model: Autoencoder, onnx: bytes, probe: np.ndarray) -> float:
    """The largest difference between torch and onnxruntime on `probe`. Raises ModelError above 1e-4."""
    from .denoiser import Network

    batch = np.ascontiguousarray(np.moveaxis(probe, 2, 0)[None])
    with torch.inference_mode():
        expected = model(torch.from_numpy(batch)).numpy()
    difference = float(np.abs(Network(onnx, model.grid)(batch) - expected).max())
    if not difference <= PARITY:
        raise ModelError(
            f"the exported model differs from the trained one by {difference:.2g}, more than {PARITY:g}; it was not written."
        )
    return difference


def load_autoencoder(path: Path | str) -> Autoencoder:
    """The torch module of a run folder or a model.safetensors, in eval mode. Raises ModelError."""
    path = Path(path)
    tensors, card = artefact.read(path / "model.safetensors" if path.is_dir() else path)
    if "architecture" not in card or card.get("channels") not in (1, 3):
        raise ModelError(f"{path} holds no model; expected a run folder or its model.safetensors.")
    try:
        model = Autoencoder(parse_model(card["architecture"]), card["channels"])
        model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    except (RuntimeError, BadSetting):
        raise ModelError(
            f"{path}: its tensors do not fit its architecture {card['architecture']}; train or export it again."
        ) from None
    return model.eval()
