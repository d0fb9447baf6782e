"""Compare models with what else a user would pick, on pictures whose clean side is known.

A denoiser is any function from a picture to a picture. `evaluate` takes models and classical methods over pictures and noises,
the same noisy pixels for every method, and leaves a folder: report.json, report.csv, report.html and the crops in it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy.typing as npt

from . import __version__, atomic, testset, tuned, verdict
from .collection import LeftOut
from .errors import BadSetting, ImageError, did_you_mean
from .image import MAX_PIXELS
from .judging import NOISY, Method, Metric, Results, Work, of_classical, of_models
from .noise import Noise
from .report import evaluation_page
from .testset import Case

Array = npt.NDArray[Any]
Denoise = Callable[[Array], Array]
Progress = Callable[[Sequence[Any]], Iterable[Any]]
REPORTS = ("report.json", "report.csv", "report.html")
PACKAGES = ("numpy", "onnxruntime", "scikit-image", "scipy", "PyWavelets", "opencv-python-headless", "opencv-python", "bm3d")
METRICS = ("psnr", "ssim", "ms_ssim")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be compared, and on what; `methods`: the classical ones, None for all that fit a noise."""

    models: Sequence[Path]
    out: Path
    clean: Path | None = None
    noises: Sequence[Noise] = ()
    pairs: tuple[Path, Path] | None = None  # folders: noisy, clean
    methods: Sequence[str] | None = None
    seed: int = 0
    better_than: str = ""  # what every model must be better than, in every case
    max_pixels: int = MAX_PIXELS
    tile: int | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise BadSetting(f"seed={self.seed}: expected a whole number from 0.")
        for name in self.methods or ():
            if name not in tuned.NAMES:
                raise BadSetting(f"methods={name}: there is no such classical method; {did_you_mean(name, tuned.NAMES)}")
        if self.out.exists() and not self.out.is_dir():
            raise BadSetting(f"{self.out} is a file; give a folder for the report.")


def evaluate(request: Request, further: Mapping[str, Metric] | None = None, progress: Progress = iter) -> dict[str, Any]:
    """Compare, and write the report; what is returned is report.json, see docs/evaluate.md.

    further: metrics besides METRICS, by name: functions of (restored, clean). progress: may watch the way through the pictures.
    Results that are in the folder already are not computed again. Raises BadSetting, ModelError; a picture that cannot be
    compared on is named in `left_out`, with the reason, and is left out for every method.
    """
    left_out: list[LeftOut] = []
    models = of_models(request.models, request.tile)
    cases = testset.cases(request.clean, list(request.noises), request.pairs, request.out, left_out)
    classical = [of_classical(case.noise, request.methods) for case in cases]
    absent = dict(gone for _, missing in classical for gone in missing)
    plans = [(case, [NOISY, *(m for m, _ in models), *there]) for case, (there, _) in zip(cases, classical, strict=True)]
    _check(request, plans, absent)
    request.out.mkdir(parents=True, exist_ok=True)
    refusal = f"another unnoise is writing to {request.out}; wait until it has finished, or choose another -o."
    with atomic.held(request.out, refusal):
        _check_ours(request.out)
        for folder in (request.out, request.out / "crops"):
            atomic.sweep(folder)
        began = time.perf_counter()
        work = Work(request.out, request.seed, request.max_pixels, further or {}, Results(request.out))
        found = _compared(work, plans, left_out, progress)
        if not any(pictures for pictures in found):
            file, reason = left_out[0]
            raise BadSetting(f"no picture could be compared on, the first of them {file} ({reason.rstrip('.')}); give others.")
        document = _document(request, plans, found, (*METRICS, *work.further), absent, left_out)
        document["notes"] += _notes_on_models(models, document) + _notes_on_time(work)
        document["time"] = {"all_s": round(time.perf_counter() - began, 3), "in_methods_s": round(work.seconds, 3)}
        _write(request.out, document)
    return document


def _compared(work: Work, plans: Sequence[tuple[Case, list[Method]]], left_out: list[LeftOut], progress: Progress) -> list[Any]:
    """The pictures of each case, with their scores; a picture that cannot be compared on goes into `left_out`."""
    found: list[list[dict[str, Any]]] = [[] for _ in plans]
    for index, sample in progress([(index, sample) for index, (case, _) in enumerate(plans) for sample in case.samples]):
        try:
            case, methods = plans[index]
            found[index].append(work.picture(case, sample, methods))
        except ImageError as error:
            if (sample.clean, str(error)) not in left_out:
                left_out.append((sample.clean, str(error)))
    return found


# --- the report ------------------------------------------------------------------------------------------------------------------


def _document(
    request: Request,
    plans: Sequence[tuple[Case, list[Method]]],
    found: Sequence[list[dict[str, Any]]],
    metrics: Sequence[str],
    absent: Mapping[str, str],
    left_out: Sequence[LeftOut],
) -> dict[str, Any]:
    """report.json, but for the notes of a run; see docs/evaluate.md."""
    cases = [
        _case(case, methods, pictures, metrics, absent)
        for (case, methods), pictures in zip(plans, found, strict=True)
        if pictures
    ]
    return {
        "unnoise": __version__,
        "command": request.command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": _machine(),
        "versions": _versions(),
        "seed": request.seed,
        "absent": [{"method": name, "reason": reason} for name, reason in absent.items()],
        "cases": cases,
        "verdict": verdict.over_all(cases, list(absent)),
        "required": _required(request.better_than, cases) if request.better_than else None,
        "left_out": [{"source": str(file), "reason": reason} for file, reason in left_out],
        "notes": list(dict.fromkeys(note for case in cases for note in testset.notes(case["pictures"]))),
    }


def _case(
    case: Case, methods: Sequence[Method], pictures: list[dict[str, Any]], metrics: Sequence[str], absent: Mapping[str, str]
) -> dict[str, Any]:
    told: dict[str, Any] = {"noise": case.title, "methods": [], "pictures": pictures}
    megapixels = sum(picture["height"] * picture["width"] for picture in pictures) / 1e6
    for method in methods:
        mean, interval = verdict.means(told, method.name, metrics)
        seconds = sum(picture["scores"][method.name]["seconds"] for picture in pictures)
        one = {"name": method.name, "kind": method.kind, "parameters": method.parameters, "tuned_on": method.tuned_on}
        told["methods"].append({**one, "seconds_per_megapixel": seconds / megapixels, "mean": mean, "interval": interval})
    told["best_classical"] = verdict.best(told, "classical")
    missing = [name for name in absent if name in {gone for gone, _ in tuned.for_noise(case.noise)[1]}]
    return {**told, "verdict": verdict.of_case(told, missing)}


def _required(name: str, cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether every model is better than the method of that name, in every case."""
    models = [(case, method["name"]) for case in cases for method in case["methods"] if method["kind"] == "model"]
    short = [
        f"{model} on {case['noise']}" for case, model in models if model != name and not verdict.is_better(case, model, name)
    ]
    return {"better_than": name, "met": not short, "not_better": short}


def _notes_on_models(models: Sequence[tuple[Method, Any]], document: dict[str, Any]) -> list[str]:
    seen = {picture["channels"] for case in document["cases"] for picture in case["pictures"]}
    told = []
    for method, denoiser in models:
        if denoiser.channels == 1 and 3 in seen:
            told.append(f"{method.name} is a model for gray pictures; colour ones went through it channel by channel.")
        if denoiser.channels == 3 and 1 in seen:
            told.append(f"{method.name} is a model for colour; gray pictures went through it as three equal channels.")
    return told


def _notes_on_time(work: Work) -> list[str]:
    runs = len(work.processes)
    return [f"The results were computed by {runs} runs: compare their times with care."] if runs > 1 else []


def _write(out: Path, document: dict[str, Any]) -> None:
    plain = verdict.plain(document)
    atomic.write_bytes(out / "report.csv", _csv(plain).encode("utf-8", "surrogateescape"))
    atomic.write_bytes(out / "report.html", evaluation_page(plain, out).encode("utf-8", "replace"))
    atomic.write_bytes(out / "report.json", (json.dumps(plain, indent=1) + "\n").encode())


def _csv(document: dict[str, Any]) -> str:
    """A row for each case, picture and method."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    names = list(document["cases"][0]["methods"][0]["mean"])
    rows.writerow(["case", "picture", "method", *names, "seconds"])
    for case in document["cases"]:
        for picture in case["pictures"]:
            for method, found in picture["scores"].items():
                rows.writerow([case["noise"], picture["name"], method, *(found[name] for name in names), found["seconds"]])
    return text.getvalue()


# --- checks ----------------------------------------------------------------------------------------------------------------------


def _check(request: Request, plans: Sequence[tuple[Case, list[Method]]], absent: Mapping[str, str]) -> None:
    """Raise BadSetting if a method that was asked for has no part in any case, or the one to be better than not in each."""
    for name in request.methods or ():
        if name not in absent and all(name not in [method.name for method in methods] for _, methods in plans):
            noises = ", ".join(case.title for case, _ in plans)
            raise BadSetting(f"methods={name}: it is not for {noises}; leave it out.")
    for case, methods in plans if request.better_than else ():
        names = [method.name for method in methods]
        if request.better_than not in names:
            why = absent.get(request.better_than, f"it has no part in {case.title}")
            raise BadSetting(f"require-better-than={request.better_than}: {why}; expected one of {', '.join(names)}.")


def _check_ours(out: Path) -> None:
    """Raise BadSetting if reports lie there that no evaluation wrote."""
    there = [name for name in REPORTS if (out / name).exists()]
    if there and not (out / "results.jsonl").exists():
        raise BadSetting(f"{out / there[0]} is not of an evaluation, and would be replaced; choose another -o.")


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{platform.system()} {platform.machine()}, {next(names, platform.processor())}, {os.cpu_count()} cores"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
