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
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from . import __version__, artefact, atomic, bundled, learned, testset, tuned, verdict
from .auto import AUTO
from .collection import LeftOut
from .config import OWN, PAIRS
from .errors import BadSetting, ImageError, did_you_mean
from .image import MAX_PIXELS
from .judging import NOISY, Judged, Method, Metric, Results, Work, machine, of_auto, of_classical, of_models
from .ledger import sha256
from .metrics import MEANINGS, Meaning
from .noise import Noise, brief
from .report import evaluation_page
from .testset import Case, PartnerError

Progress = Callable[[Sequence[Any]], Iterable[Any]]
Failures = dict[LeftOut, list[str]]  # what was left out, and of which cases
REPORTS = ("report.json", "report.csv", "report.html")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be compared, and on what.

    `models`: run folders, files model.onnx, bundled models' names, `auto`, or (name, function) of a picture, float32 (H, W) or (H, W, 3),
    to the same, whose results are not kept for another process; or a Method, whose results are kept under its `identity`.
    `methods`: the classical ones; None for all that fit a noise, and for what `denoise` does by itself, `auto`. `features`, `heads`: the command line's options for the
    distance that it hands in; only told in the report.
    """

    models: Sequence[Judged | str]
    out: Path
    clean: Path | None = None
    noises: Sequence[Noise] = ()
    pairs: tuple[Path, Path] | None = None  # folders: noisy, clean
    methods: Sequence[str] | None = None
    seed: int = 0
    better_than: str = ""  # what every model must be better than, in every case
    max_pixels: int = MAX_PIXELS
    tile: int | None = None
    features: str | None = None
    heads: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise BadSetting(f"seed={self.seed}: expected a whole number from 0.")
        for name in self.methods or ():
            if name not in tuned.NAMES:
                raise BadSetting(f"methods={name}: there is no such classical method; {did_you_mean(name, tuned.NAMES)}")
        if self.out.exists() and not self.out.is_dir():
            raise BadSetting(f"{self.out} is a file; give a folder for the report.")

    @cached_property  # of `auto`, the cards of all bundled models are read
    def judged(self) -> list[Judged]:
        """The models; what is given as text is a path, or `auto` where no such path is."""

        def one(model: Judged | str) -> Judged:
            if model == AUTO and not Path(AUTO).exists():
                return of_auto(self.tile)
            return Path(model) if isinstance(model, str) else model

        return [one(model) for model in self.models]

    @cached_property
    def beside(self) -> list[Method]:
        """What `denoise` does by itself, to compare with: where no methods are asked for by name, and no model is that already."""
        there = {_named(model) for model in self.judged}
        return [of_auto(kind="bundled")] if self.methods is None and bundled.names() and AUTO not in there else []

    @property
    def settings(self) -> dict[str, Any]:
        """All of it, for report.json."""
        return {
            "models": [_named(model) for model in self.judged],
            "clean": None if self.clean is None else str(self.clean),
            "noise": [str(noise) for noise in self.noises],
            "pairs": None if self.pairs is None else [str(folder) for folder in self.pairs],
            "methods": None if self.methods is None else list(self.methods),
            "seed": self.seed,
            "require_better_than": self.better_than,
            "max_megapixels": self.max_pixels / 1e6,
            "tile": self.tile,
            "features": self.features,
            "heads": None if self.heads is None else str(self.heads),
            "out": str(self.out),
        }

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        settings = self.settings
        words = ["unnoise", "evaluate", *settings.pop("models")]
        settings["methods"] = self.methods and ",".join(self.methods)
        for name, value in settings.items():
            each = value if name == "noise" else [value]
            for one in each:
                if one not in (None, "", []) and not (name == "max_megapixels" and self.max_pixels == MAX_PIXELS):
                    words += [f"--{name.replace('_', '-')}", *map(str, one if isinstance(one, list) else [one])]
        return shlex.join(words)


def evaluate(
    request: Request,
    further: Mapping[str, Metric] | None = None,
    progress: Progress = iter,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare, and write the report; what is returned is report.json, see docs/evaluate.md.

    further: metrics besides those of `metrics.MEANINGS`, by name. progress: may watch the way through the pictures. notes: what
    else the report is to say, a sentence each. Results that are in the folder already are not computed again. Raises BadSetting,
    ModelError; a picture that cannot be compared on is named in `left_out`, with the reason, and is left out for every method.
    """
    began = time.perf_counter()
    passed: list[LeftOut] = []
    models = of_models([*request.judged, *request.beside], request.tile)
    cases = testset.cases(request.clean, list(request.noises), request.pairs, request.out, passed)
    classical = [of_classical(case.noise, request.methods) for case in cases]
    absent = dict(gone for _, missing in classical for gone in missing)
    plans = [(case, [NOISY, *(m for m, _ in models), *there]) for case, (there, _) in zip(cases, classical, strict=True)]
    _check(request, plans, absent)
    request.out.mkdir(parents=True, exist_ok=True)
    refusal = f"another unnoise is writing to {request.out}; wait until it has finished, or choose another -o."
    with atomic.held(request.out, refusal):
        results = Results(request.out)
        _check_ours(request.out, results)
        atomic.sweep(request.out)
        work = Work(request.out, request.seed, request.max_pixels, further or {}, results)
        failures: Failures = {one: [] for one in passed}
        found = _compared(work, plans, failures, progress)
        if not any(pictures for pictures in found):
            file, reason = next(iter(failures))
            raise BadSetting(f"no picture could be compared on, the first of them {file} ({reason.rstrip('.')}); give others.")
        document = _document(request, plans, found, _meanings(work.further), absent, failures)
        document["notes"] += _notes_on_models(models, document) + learned.notes(request.judged, plans, work)
        document["notes"] += [*_notes_on_time(work), *notes]
        _write(request.out, document, work, began)
    return document


def _compared(work: Work, plans: Sequence[tuple[Case, list[Method]]], failures: Failures, progress: Progress) -> list[Any]:
    """The pictures of each case, with their scores; a picture that cannot be compared on goes into `failures`."""
    found: list[list[dict[str, Any]]] = [[] for _ in plans]
    for index, sample in progress([(index, sample) for index, (case, _) in enumerate(plans) for sample in case.samples]):
        case, methods = plans[index]
        try:
            found[index].append(work.picture(case, sample, methods))
        except (ImageError, MemoryError) as error:
            file = sample.noisy if isinstance(error, PartnerError) and sample.noisy else sample.clean
            reason = str(error) if isinstance(error, ImageError) else "needs more memory than there is; use a smaller picture."
            failures.setdefault((file, reason), []).append(case.title)
    return found


def _named(model: Judged) -> str:
    return str(model) if isinstance(model, Path) else model[0] if isinstance(model, tuple) else model.name


# --- the report ------------------------------------------------------------------------------------------------------------------


def _meanings(further: Mapping[str, Metric]) -> dict[str, Meaning]:
    """Every metric of the report, in its order, by name."""
    return {**MEANINGS, **{name: metric.meaning or Meaning(title=name) for name, metric in further.items()}}


def _document(
    request: Request,
    plans: Sequence[tuple[Case, list[Method]]],
    found: Sequence[list[dict[str, Any]]],
    metrics: Mapping[str, Meaning],
    absent: Mapping[str, str],
    failures: Failures,
) -> dict[str, Any]:
    """report.json, but for the notes of a run; see docs/evaluate.md."""
    cases = [
        _case(case, methods, pictures, list(metrics), absent, request.methods)
        for (case, methods), pictures in zip(plans, found, strict=True)
        if pictures
    ]
    empty = [case.title for (case, _), pictures in zip(plans, found, strict=True) if not pictures]
    unasked = dict.fromkeys(name for case, _ in plans for name in tuned.unasked(case.noise, request.methods))
    return {
        "unnoise": __version__,
        "command": request.command,
        "settings": request.settings,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **tuned.versions()},
        "seed": request.seed,
        "metrics": {name: asdict(meaning) for name, meaning in metrics.items()},
        "absent": [{"method": name, "reason": reason} for name, reason in absent.items()],
        "cases": cases,
        "verdict": verdict.over_all(cases, list(absent), list(unasked)),
        "required": _required(request.better_than, cases, empty) if request.better_than else None,
        "left_out": [{"source": str(file), "reason": reason, "cases": titles} for (file, reason), titles in failures.items()],
        "notes": list(dict.fromkeys(note for case in cases for note in testset.notes(case["pictures"]))),
    }


def _case(
    case: Case,
    methods: Sequence[Method],
    pictures: list[dict[str, Any]],
    metrics: Sequence[str],
    absent: Mapping[str, str],
    wanted: Sequence[str] | None,
) -> dict[str, Any]:
    told: dict[str, Any] = {"noise": case.title, "methods": [], "pictures": pictures}
    megapixels = sum(picture["height"] * picture["width"] for picture in pictures) / 1e6
    for method in methods:
        mean, interval = verdict.means(told, method.name, metrics)
        seconds = sum(picture["scores"][method.name]["seconds"] for picture in pictures)
        one = {"name": method.name, "kind": method.kind, "parameters": method.parameters, "tuned_on": method.tuned_on}
        told["methods"].append({**one, "seconds_per_megapixel": seconds / megapixels, "mean": mean, "interval": interval})
    told["best_classical"] = verdict.best(told, "classical")
    missing = [name for name in absent if name in tuned.names_for(case.noise)]
    return {**told, "verdict": verdict.of_case(told, missing, tuned.unasked(case.noise, wanted))}


def _required(name: str, cases: Sequence[dict[str, Any]], empty: Sequence[str]) -> dict[str, Any]:
    """Whether every model is better than the method of that name, in every case; nothing is better where there is no picture."""
    models = [(case, model) for case in cases for model in verdict.of_kind(case, "model") if model != name]
    short = [f"{model} on {brief(case['noise'])}" for case, model in models if not verdict.is_better(case, model, name)]
    short += [f"any model on {brief(title)}, where no picture could be compared on" for title in empty]
    return {"better_than": name, "met": not short, "not_better": short}


def _notes_on_models(models: Sequence[tuple[Method, Any]], document: dict[str, Any]) -> list[str]:
    seen = {picture["channels"] for case in document["cases"] for picture in case["pictures"]}
    told = []
    for method, denoiser in models:
        channels = denoiser.channels if denoiser else 0
        if channels == 1 and 3 in seen:
            told.append(f"{method.name} is a model for gray pictures; colour ones went through it channel by channel.")
        if denoiser and channels == 3 and 1 in seen and not denoiser.gray:
            told.append(f"{method.name} is a model for colour; gray pictures went through it as three equal channels.")
        if denoiser and (noises := artefact.noises(denoiser.card)):
            each = dict.fromkeys(
                "pictures with their own noise" if noise in (PAIRS, OWN) else brief(str(noise)) for noise in noises
            )
            told.append(f"{method.name} was trained on {', '.join(each)}.")
    return told


def _notes_on_time(work: Work) -> list[str]:
    runs, machines = len(work.processes), sorted(work.machines)
    if len(machines) > 1:
        return [f"The times were measured on {len(machines)} machines ({'; '.join(machines)}): do not compare them."]
    return [f"The results were computed by {runs} runs: compare their times with care."] if runs > 1 else []


def _write(out: Path, document: dict[str, Any], work: Work, began: float) -> None:
    """The three files; `time` is of all but the writing of report.json."""
    plain = verdict.plain(document)
    work.results.write(out / "report.csv", _csv(plain).encode("utf-8", "surrogateescape"))
    work.results.write(out / "report.html", evaluation_page(plain, out).encode("utf-8", "replace"))
    plain["time"] = document["time"] = {"all_s": round(time.perf_counter() - began, 3), "in_methods_s": round(work.seconds, 3)}
    work.results.write(out / "report.json", (json.dumps(plain, indent=1) + "\n").encode())


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
        if all(method.name == request.better_than for method in methods if method.kind == "model"):
            raise BadSetting(f"require-better-than={request.better_than}: there is no other model to be better; give one.")


def _check_ours(out: Path, results: Results) -> None:
    """Raise BadSetting if reports lie there that no evaluation wrote."""
    for file in (out / name for name in REPORTS):
        if os.path.lexists(file) and (file.is_symlink() or not file.is_file() or sha256(file) not in results.reports):
            raise BadSetting(f"{file} is not as an evaluation wrote it, and would be replaced; move it, or choose another -o.")
