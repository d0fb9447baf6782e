"""Run methods on pictures and score what comes of them: the same noisy pixels for each, its time, and results that are kept.

Results lie in `OUT/results.jsonl`, a line of JSON for each, under a key of all that decides it: the bytes of the picture, its
noise, the model or the parameters of a method, the versions of what computes. What is there is not computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import __version__, atomic, bundled, testset, tuned, verdict
from .auto import AUTO, Models
from .denoiser import Denoiser
from .errors import BadSetting, ImageError
from .figures import busiest
from .image import encoded
from .metrics import SMALLEST, WINDOW, Meaning, psnr, similarities, ssim
from .noise import Noise
from .testset import Case, Sample
from .tiling import check_side

Array = npt.NDArray[Any]
Denoise = Callable[[Array], Array]  # (H, W) or (H, W, 3) floats, not clipped, to the same
CROP = 256  # side of the crops, in pixels
CLEAN = "clean"  # the name of the crop that is no method's
TRIAL = 128  # side of what a method is tried on before its time is taken
RESULTS = "results.jsonl"
HEAD = {"unnoise": "evaluate"}  # its first line
FORMAT = 3  # of a result; goes up when a method or a score gives another one, so that it is computed anew
PROCESS = f"{os.getpid()} {time.time():.0f}"  # told with each time that is measured


@dataclass(frozen=True)
class Metric:
    """A figure that is handed in. `score(restored, clean)`: (H, W) or (H, W, 3) floats in [0, 1]; `identity` decides its results.

    `meaning`: what the report says of it; None leaves its name alone, and no method is called the best by it.
    """

    score: Callable[[Array, Array], float]
    identity: str
    meaning: Meaning | None = None


def scores(restored: Array, clean: Array, further: Mapping[str, Metric]) -> dict[str, float | None]:
    """Every metric of the clipped, unrounded result; None where the picture is too small for one, or a further one not finite."""
    restored, side = np.clip(restored, 0, 1), min(clean.shape[:2])
    alike: tuple[float | None, float | None] = (None, None)
    if side >= SMALLEST:
        alike = similarities(restored, clean)
    elif side >= WINDOW:
        alike = ssim(restored, clean), None
    found: dict[str, float | None] = {"psnr": psnr(restored, clean), "ssim": alike[0], "ms_ssim": alike[1]}
    for name, metric in further.items():
        try:
            value = float(metric.score(restored, clean))
            found[name] = value if math.isfinite(value) else None
        except ImageError:  # too small for this one too
            found[name] = None
    return found


# --- the methods ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """What is compared. `restore(noisy, sigma)`: a picture of any size to the same; `identity` decides its results."""

    name: str
    kind: Literal["model", "bundled", "classical", "none"]  # the verdict is on models, beside the classical ones
    restore: Callable[[Array, float], Array]
    identity: str
    parameters: dict[str, Any] = field(default_factory=dict)
    tuned_on: str = ""


Judged = Path | tuple[str, Denoise] | Method  # what may be given as a model
NOISY = Method("noisy", "none", lambda noisy, sigma: noisy, "noisy")


def of_models(models: Sequence[Judged], tile: int | None = None) -> list[tuple[Method, Denoiser | None]]:
    """Each model as a method, named as `bundled.name_of` does it; of (name, function), the function; a method as it is.

    Raises ModelError, and BadSetting for a tile that is too small for a model, or a model that is given twice.
    """
    found: list[tuple[Method, Denoiser | None]] = []
    files: set[tuple[Path, ...]] = set()
    for given in models:
        if isinstance(given, Path):
            real = tuple(file.resolve() for file in bundled.files(given))
            if real in files:
                raise BadSetting(f"{given} is given twice; leave one out.")
            files.add(real)
            plain = bundled.name_of(given)
        else:
            plain = given[0] if isinstance(given, tuple) else given.name
        name, number = plain, 2
        while name in {*tuned.NAMES, NOISY.name, CLEAN, *(method.name for method, _ in found)}:
            name, number = f"{plain}-{number}", number + 1
        if isinstance(given, Path):
            found.append(_of_model(name, Denoiser(given), tile))
        else:
            found.append((replace(given, name=name), None) if isinstance(given, Method) else _of_function(name, given[1]))
    return found


def _of_function(name: str, function: Denoise) -> tuple[Method, None]:
    """What a function is cannot be known: its results are not those of another process."""
    return Method(name, "model", lambda noisy, sigma: function(noisy), f"{name} {PROCESS}"), None


def _of_model(name: str, denoiser: Denoiser, tile: int | None) -> tuple[Method, Denoiser]:
    side = denoiser.tile if tile is None else tile
    check_side(side, denoiser.grid, denoiser.overlap)
    architecture = {"architecture": denoiser.card["architecture"]} if "architecture" in denoiser.card else {}
    facts = {**architecture, "sha256": denoiser.sha256, "tile": side}
    restore = lambda noisy, sigma: denoiser.denoise(noisy, tile=side)  # noqa: E731
    return Method(name, "model", restore, f"{denoiser.sha256} {side} {tuned.version('onnxruntime')}", facts), denoiser


def of_auto(tile: int | None = None, kind: Literal["model", "bundled"] = "model") -> Method:
    """The bundled models, each picture through the one that its noise calls for, as by `unnoise denoise`. Raises as `auto.Models`."""
    models = Models(tile=tile)
    restore = lambda noisy, sigma: models.denoise(noisy)  # noqa: E731
    identity = json.dumps([models.identity, tile, tuned.version("onnxruntime")], sort_keys=True)
    return Method(AUTO, kind, restore, identity, {"chosen from": ", ".join(bundled.names())})


def of_classical(noise: Noise | None, wanted: Sequence[str] | None) -> tuple[list[Method], list[tuple[str, str]]]:
    """(the classical methods for a noise, of those wanted; those that cannot be used here, with the reason)."""
    there, absent = tuned.for_noise(noise, wanted)
    methods = []
    for peer in there:
        modules = {module.partition(".")[0] for module in (*tuned.NEEDS[peer.name], "scipy")}
        identity = json.dumps([peer.name, peer.parameters, tuned.versions(modules)], sort_keys=True)
        methods.append(Method(peer.name, "classical", peer.denoise, identity, peer.parameters, peer.tuned_on))
    return methods, absent


# --- results that are kept -----------------------------------------------------------------------------------------------------


class Results:
    """The finished results of a folder, by their keys; each is written before the next is begun, and no kill undoes it.

    The disk is waited for once a picture; lines and crops that a power cut takes are missed by the next evaluation, which computes
    them anew. `reports`: the SHA-256 of what was written beside them. Raises BadSetting if the file is somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.found, self.reports = folder / RESULTS, dict[str, dict[str, Any]](), set[str]()
        lines = []
        if os.path.lexists(self.file):
            whose = f"{self.file} is not of an evaluation, and results would be written into it; move it, or choose another -o."
            if self.file.is_symlink() or not self.file.is_file():
                raise BadSetting(whose)
            lines = self.file.read_bytes().splitlines()
            if lines[:1] != [json.dumps(HEAD).encode()]:
                raise BadSetting(whose)
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut, and is done again
                result = json.loads(line)
                if "report" in result:
                    self.reports.add(result["report"])
                else:
                    self.found[result["key"]] = result["value"]

    def keep(self, key: str, value: dict[str, Any]) -> dict[str, Any]:
        self._append({"key": key, "value": verdict.plain(value)})
        self.found[key] = value
        return value

    def write(self, file: Path, data: bytes) -> None:
        """Write a report, noted before it gets its name: so the next evaluation knows it for one."""
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self.reports:
            self._append({"report": digest})
            self.settle()
            self.reports.add(digest)
        atomic.write_bytes(file, data)

    def _append(self, line: dict[str, Any]) -> None:
        if not self.file.exists():
            atomic.write_bytes(self.file, f"{json.dumps(HEAD)}\n".encode())
        with open(self.file, "ab") as file:
            file.write(f"\n{json.dumps(line)}\n".encode())  # on a line of its own, also after one that was cut

    def settle(self) -> None:
        """Wait until what was kept is on the disk."""
        with open(self.file, "ab") as file:
            os.fsync(file.fileno())


def key_of(*parts: Any) -> str:
    made_by = [FORMAT, __version__, np.__version__]
    return hashlib.sha256(json.dumps([*made_by, *parts], sort_keys=True).encode()).hexdigest()


def machine() -> str:
    """What the times are of."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, "") or platform.processor()  # which may start a program
    return f"{platform.system()} {platform.machine()}, {name}, {os.cpu_count()} cores"


# --- the work ------------------------------------------------------------------------------------------------------------------


@dataclass
class Work:
    """One evaluation under way: where its results are, what decides them, and `seconds`, the time of all calls of methods."""

    out: Path
    seed: int
    max_pixels: int
    further: Mapping[str, Metric]
    results: Results
    warm: set[tuple[str, int]] = field(default_factory=set)
    processes: set[str] = field(default_factory=set)
    machines: set[str] = field(default_factory=set)
    machine: str = field(default_factory=machine)
    seconds: float = 0.0

    def picture(self, case: Case, sample: Sample, methods: Sequence[Method]) -> dict[str, Any]:
        """What report.json says of one picture; computed, but for what is there already. Raises ImageError."""
        key = key_of(sample.content(), case.title, self.seed, [] if sample.noisy else sample.name)
        further = sorted((name, metric.identity) for name, metric in self.further.items())
        keys = {method.name: key_of(key, method.identity, further) for method in methods}
        missing = [method for method in methods if not self._is_there(keys[method.name])]
        facts = self.results.found.get(key)
        if missing or facts is None or not self._is_there(key):
            clean, noisy, measured = testset.read(sample, case.noise, self.seed, self.max_pixels)
            known = tuned.known_sigma(case.noise)
            sigma = measured if known is None else known  # what classical methods are told
            side = min(CROP, *clean.shape[:2])
            crop = [*busiest(clean, side), side, side]
            facts = {**testset.about(clean, noisy), "sigma": sigma, "crop": crop}
            self._keep(key, facts, clean, crop)
            for method in missing:
                self._judge(keys[method.name], method, clean, noisy, sigma, crop)
            self.results.settle()
        found = {name: self.results.found[each] for name, each in keys.items()}
        self.processes |= {one["process"] for one in found.values()}
        self.machines |= {one["machine"] for one in found.values()}
        shown = {CLEAN: f"crops/{key[:32]}.png", **{name: f"crops/{each[:32]}.png" for name, each in keys.items()}}
        about = {name: value for name, value in facts.items() if name != "crop_sha256"}
        return {"name": sample.name, **about, "crops": shown, "scores": {name: _scores_of(one) for name, one in found.items()}}

    def _judge(self, key: str, method: Method, clean: Array, noisy: Array, sigma: float, crop: list[int]) -> None:
        """Run one method, score it, keep the result. Raises ImageError, whatever the method raises."""
        try:
            self._try(method, noisy, sigma, crop)
            restored, seconds = self._timed(method, noisy, sigma)
        except Exception as error:  # whatever somebody else's code raises, the other pictures go on
            raise ImageError(f"does not go through {method.name} ({_short(error)}).") from None
        if restored.shape != clean.shape or not np.isfinite(restored).all():
            raise ImageError(f"comes out of {method.name} with another shape, NaN or infinity.")
        found = scores(restored, clean, self.further)
        about = {"seconds": seconds, "process": PROCESS, "machine": self.machine}
        self._keep(key, {"method": method.name, **found, **about}, restored, crop)

    def _try(self, method: Method, noisy: Array, sigma: float, crop: list[int]) -> None:
        """Call a method once on a busy part, in gray and in colour: imports, and what a library sets up when it is first called."""
        if (method.identity, noisy.ndim) not in self.warm:
            top, left = crop[:2]
            self._timed(method, noisy[top : top + TRIAL, left : left + TRIAL], sigma)
            self.warm.add((method.identity, noisy.ndim))

    def _timed(self, method: Method, noisy: Array, sigma: float) -> tuple[Array, float]:
        """(what a method gives for a copy, the seconds it took)."""
        given = noisy.copy()
        began = time.perf_counter()
        restored = method.restore(given, sigma)
        seconds = time.perf_counter() - began
        self.seconds += seconds
        return restored, seconds

    def _keep(self, key: str, value: dict[str, Any], pixels: Array, crop: list[int]) -> None:
        """Write the crop, then the line that says it is there, and by which a crop that was cut is found out."""
        top, left, tall, wide = crop
        data = encoded(pixels[top : top + tall, left : left + wide], "PNG")
        (self.out / testset.CROPS).mkdir(exist_ok=True)
        (self.out / testset.CROPS / f"{key[:32]}.png").write_bytes(data)
        self.results.keep(key, {**value, "crop_sha256": hashlib.sha256(data).hexdigest()})

    def _is_there(self, key: str) -> bool:
        """Whether a result is kept, and its crop as it was written."""
        try:
            data = (self.out / testset.CROPS / f"{key[:32]}.png").read_bytes()
            return bool(self.results.found[key]["crop_sha256"] == hashlib.sha256(data).hexdigest())
        except (OSError, KeyError):
            return False


def _scores_of(result: dict[str, Any]) -> dict[str, Any]:
    hidden = ("crop_sha256", "method", "process", "machine")
    return {name: math.inf if value == "inf" else value for name, value in result.items() if name not in hidden}


def _short(error: Exception) -> str:
    words = " ".join(str(error).split()).rstrip(".")
    return words if 0 < len(words) < 160 and ". " not in words else type(error).__name__
