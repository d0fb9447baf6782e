"""A table of training runs: the settings in which they are unlike most, how far they are, what they scored, how long they took."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BadSetting


@dataclass(frozen=True)
class Run:
    """What a run folder says of itself; `psnr` (dB) and `seconds` are those of its newest line of metrics."""

    folder: Path
    settings: dict[str, Any]
    step: int
    psnr: float | None
    seconds: float | None
    finished: bool


def find(folder: Path) -> list[Run]:
    """The runs at or below a folder, by name. Raises BadSetting if there is none."""
    if not folder.is_dir():
        raise BadSetting(f"{folder} is no folder; give one that holds training runs.")
    found = [run for file in sorted(folder.rglob("config.json")) if (run := _read(file.parent)) is not None]
    if not found:
        raise BadSetting(f"{folder} holds no training run; expected folders that unnoise train has written.")
    return found


def unlike_most(runs: list[Run]) -> list[dict[str, Any]]:
    """For each run, its settings that are not those of most; steps apart, of which the table tells anyhow."""
    names = {name: None for run in runs for name in run.settings if name != "steps"}
    usual = {name: Counter(json.dumps(run.settings.get(name)) for run in runs).most_common(1)[0][0] for name in names}
    return [
        {name: run.settings.get(name) for name in names if json.dumps(run.settings.get(name)) != usual[name]} for run in runs
    ]


def table(runs: list[Run], folder: Path) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) in words; runs by their place below `folder`. Settings only where some are unlike most."""
    rows = []
    for run, settings in zip(runs, unlike_most(runs), strict=True):
        steps = f"{run.step}" if run.finished else f"{run.step} of {run.settings.get('steps')}"
        psnr = "" if run.psnr is None else f"{run.psnr:.2f}"
        time = "" if run.seconds is None else clock(run.seconds)
        words = "  ".join(f"{name}={_words(value)}" for name, value in settings.items())
        rows.append([str(run.folder.relative_to(folder)), words, steps, psnr, time])
    columns = ["run", "settings unlike most", "steps", "PSNR, dB", "time"]
    if not any(row[1] for row in rows):
        columns, rows = [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
    return columns, rows


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; one that was cut off, by a power cut say, is passed over."""
    found = []
    lines = (folder / "metrics.jsonl").read_text().splitlines() if (folder / "metrics.jsonl").exists() else []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(dict(json.loads(line)))
    return found


def clock(seconds: float) -> str:
    """1:02, or 26:01:02 from an hour on."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes}:{left:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{left:02}"


def _read(folder: Path) -> Run | None:
    """The run of a folder; None if its config.json is not one of ours."""
    try:
        settings = json.loads((folder / "config.json").read_text())["config"]
        last: dict[str, Any] = next(reversed(metrics(folder)), {})
        step = last.get("step", 0)
        finished = (folder / "model.onnx").exists() and step >= settings["steps"]  # one that is made longer has a model already
        return Run(folder, dict(settings), step, last.get("psnr"), last.get("seconds"), finished)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
