"""Run methods on pictures and score what comes of them: the same noisy pixels for each, its time, and results that are kept.

Results lie in `OUT/results.jsonl`, a line of JSON for each, under a key of all that decides it: the bytes of the picture, its
noise, the model or the parameters of a method. What is there is not computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import atomic, testset, tuned, verdict
from .denoiser import Denoiser
from .errors import ImageError
from .figures import busiest
from .image import encoded
from .metrics import SMALLEST, WINDOW, psnr, similarities, ssim
from .noise import Noise
from .testset import Case, Sample

Array = npt.NDArray[Any]
Metric = Callable[[Array, Array], float]  # restored, clean: (H, W) or (H, W, 3) floats in [0, 1]
CROP = 256  # side of the crops, in pixels
RESULTS = "results.jsonl"
FORMAT = 1  # of a result; one of another format is computed anew
PROCESS = f"{os.getpid()} {time.time():.0f}"  # told with each time that is measured


def scores(restored: Array, clean: Array, further: Mapping[str, Metric]) -> dict[str, float | None]:
    """Every metric of the clipped, unrounded result; None where the picture is too small for one."""
    restored, side = np.clip(restored, 0, 1), min(clean.shape[:2])
    alike: tuple[float | None, float | None] = (None, None)
    if side >= SMALLEST:
        alike = similarities(restored, clean)
    elif side >= WINDOW:
        alike = ssim(restored, clean), None
    found: dict[str, float | None] = {"psnr": psnr(restored, clean), "ssim": alike[0], "ms_ssim": alike[1]}
    for name, metric in further.items():
        try:
            found[name] = float(metric(restored, clean))
        except ImageError:  # too small for this one too
            found[name] = None
    return found


# --- the methods ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """What is compared. `restore(noisy, sigma)`: a picture of any size to the same; `identity` decides its results."""

    name: str
    kind: Literal["model", "classical", "none"]
    restore: Callable[[Array, float], Array]
    identity: str
    parameters: dict[str, Any] = field(default_factory=dict)
    tuned_on: str = ""


NOISY = Method("noisy", "none", lambda noisy, sigma: noisy, "noisy")


def of_models(paths: Sequence[Path], tile: int | None = None) -> list[tuple[Method, Denoiser]]:
    """Each model as a method, named after its run folder or file. Raises ModelError."""
    found: list[tuple[Method, Denoiser]] = []
    for path in paths:
        real = path.resolve()
        name = plain = real.parent.name if real.name == "model.onnx" else real.stem if real.is_file() else real.name
        number = 2
        while name in {*tuned.NAMES, NOISY.name, *(method.name for method, _ in found)}:
            name, number = f"{plain}-{number}", number + 1
        found.append(_of_model(name, Denoiser(path), tile))
    return found


def _of_model(name: str, denoiser: Denoiser, tile: int | None) -> tuple[Method, Denoiser]:
    side = denoiser.tile if tile is None else tile
    facts = {key: denoiser.card[key] for key in ("architecture", "sha256") if key in denoiser.card} | {"tile": side}
    restore = lambda noisy, sigma: denoiser.denoise(noisy, tile=side)  # noqa: E731
    return Method(name, "model", restore, f"{denoiser.card['sha256']} {side}", facts), denoiser


def of_classical(noise: Noise | None, wanted: Sequence[str] | None) -> tuple[list[Method], list[tuple[str, str]]]:
    """(the classical methods for a noise, of those wanted; those that are not installed)."""
    there, absent = tuned.for_noise(noise)
    methods = []
    for peer in there:
        versions = {package: _version(package) for package in tuned.NEEDS[peer.name]}
        identity = json.dumps([peer.name, peer.parameters, versions], sort_keys=True)
        methods.append(Method(peer.name, "classical", peer.denoise, identity, peer.parameters, tuned.TUNED_ON))
    chosen = [method for method in methods if wanted is None or method.name in wanted]
    return chosen, [(name, reason) for name, reason in absent if wanted is None or name in wanted]


# --- results that are kept -----------------------------------------------------------------------------------------------------


class Results:
    """The finished results of a folder, by their keys; each is on the disk before the next is begun."""

    def __init__(self, folder: Path) -> None:
        self.file, self.found = folder / RESULTS, dict[str, dict[str, Any]]()
        for line in self.file.read_bytes().splitlines() if self.file.exists() else []:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut, and is done again
                result = json.loads(line)
                self.found[result["key"]] = result["value"]

    def keep(self, key: str, value: dict[str, Any]) -> dict[str, Any]:
        with open(self.file, "ab") as file:
            file.write(
                f"\n{json.dumps({'key': key, 'value': verdict.plain(value)})}\n".encode()
            )  # also after a line that was cut
            file.flush()
            os.fsync(file.fileno())
        self.found[key] = value
        return value


def key_of(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([FORMAT, *parts], sort_keys=True).encode()).hexdigest()


# --- the work ------------------------------------------------------------------------------------------------------------------


@dataclass
class Work:
    """One evaluation under way: where its results are, what decides them, and the time that the methods took."""

    out: Path
    seed: int
    max_pixels: int
    further: Mapping[str, Metric]
    results: Results
    warm: set[str] = field(default_factory=set)
    processes: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def picture(self, case: Case, sample: Sample, methods: Sequence[Method]) -> dict[str, Any]:
        """What report.json says of one picture; computed, but for what is there already. Raises ImageError."""
        key = key_of(sample.content(), case.title, self.seed, [] if sample.noisy else sample.name)
        keys = {method.name: key_of(key, method.identity, sorted(self.further)) for method in methods}
        missing = [method for method in methods if not self._is_there(keys[method.name])]
        facts = self.results.found.get(key)
        if missing or facts is None or not self._is_there(key):
            clean, noisy = testset.read(sample, case.noise, self.seed, self.max_pixels)
            side = min(CROP, *clean.shape[:2])
            crop = [*busiest(clean, side), side, side]
            facts = {**testset.about(clean, noisy), "crop": crop}
            self._keep(key, facts, clean, crop)
            for method in missing:
                self._judge(keys[method.name], method, clean, noisy, _told(case.noise, clean, noisy), crop)
        found = {name: self.results.found[each] for name, each in keys.items()}
        self.processes |= {one["process"] for one in found.values()}
        shown = {"clean": f"crops/{key[:32]}.png", **{name: f"crops/{each[:32]}.png" for name, each in keys.items()}}
        about = {name: value for name, value in facts.items() if name != "crop_sha256"}
        return {"name": sample.name, **about, "crops": shown, "scores": {name: _scores_of(one) for name, one in found.items()}}

    def _judge(self, key: str, method: Method, clean: Array, noisy: Array, sigma: float, crop: list[int]) -> None:
        """Run one method, score it, keep the result. Raises ImageError, whatever the method raises."""
        try:
            if method.name not in self.warm:  # imports, and what a library sets up when it is first called
                method.restore(noisy[:64, :64].copy(), sigma)
                self.warm.add(method.name)
            given = noisy.copy()
            began = time.perf_counter()
            restored = method.restore(given, sigma)
            seconds = time.perf_counter() - began
        except Exception as error:  # whatever somebody else's code raises, the other pictures go on
            raise ImageError(f"does not go through {method.name} ({_short(error)}).") from None
        self.seconds += seconds
        if restored.shape != clean.shape or not np.isfinite(restored).all():
            raise ImageError(f"comes out of {method.name} with another shape, NaN or infinity.")
        found = scores(restored, clean, self.further)
        self._keep(key, {"method": method.name, **found, "seconds": seconds, "process": PROCESS}, restored, crop)

    def _keep(self, key: str, value: dict[str, Any], pixels: Array, crop: list[int]) -> None:
        """Write the crop, then the line that says it is there."""
        top, left, tall, wide = crop
        data = encoded(np.clip(pixels[top : top + tall, left : left + wide], 0, 1), "PNG")
        atomic.write_bytes(self.out / "crops" / f"{key[:32]}.png", data)
        self.results.keep(key, {**value, "crop_sha256": hashlib.sha256(data).hexdigest()})

    def _is_there(self, key: str) -> bool:
        """Whether a result is kept, and its crop as it was written."""
        try:
            data = (self.out / "crops" / f"{key[:32]}.png").read_bytes()
            return bool(self.results.found[key]["crop_sha256"] == hashlib.sha256(data).hexdigest())
        except (OSError, KeyError):
            return False


def _told(noise: Noise | None, clean: Array, noisy: Array) -> float:
    """The sigma that classical methods are told: the true one, though a user would have to estimate it.

    Of pairs it is the root mean square of noisy - clean; where each picture has another, the median of its absolute values,
    which lost pixels do not move.
    """
    known = tuned.known_sigma(noise)
    if known is not None:
        return known
    apart = noisy - clean
    if noise is None:
        return float(np.sqrt(np.mean(np.square(apart, dtype=np.float64))))
    return float(np.median(np.abs(apart)) / NormalDist().inv_cdf(0.75))


def _scores_of(result: dict[str, Any]) -> dict[str, Any]:
    hidden = ("crop_sha256", "method", "process")
    return {name: math.inf if value == "inf" else value for name, value in result.items() if name not in hidden}


def _short(error: Exception) -> str:
    words = " ".join(str(error).split()).rstrip(".")
    return words if 0 < len(words) < 160 and ". " not in words else type(error).__name__


def _version(package: str) -> str:
    names = {"skimage": ("scikit-image",), "cv2": ("opencv-python-headless", "opencv-python"), "pywt": ("PyWavelets",)}
    for name in names.get(package, (package,)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""
