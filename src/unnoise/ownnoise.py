"""`denoise --learn`: a model of the noise in the very pictures that are to be cleaned, judged without truth, or the bundled ones instead."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import advice, atomic, auto, collection, doctor, heldout, image
from .config import OWN, TrainConfig
from .errors import BadSetting, Diverged, ImageError, Interrupted, ModelError
from .image.picture import as_floats, without_alpha
from .referee import Looked, Outcome, choose

if TYPE_CHECKING:
    from .keeper import Watch

Array = npt.NDArray[Any]
FOLDER = ".learned"  # in the output folder: the run, hidden, so that no batch takes it for pictures
BEFORE = ".learned-before"
TARGET = "neighbours"
JUDGED, SIDE = 8, 256  # pictures that the model is judged on, and the side in pixels of their middle
SETTINGS: dict[str, Any] = {}  # of the run, beside what follows from the pictures


def learn(
    files: Sequence[Path], out: Path, minutes: float, fallback: bool, limit: int, threads: int, watch: Watch | None
) -> Outcome:
    """Learn from the files for so many minutes, in OUT/.learned, and choose between that model and the bundled ones.

    What is there from the same request is gone on with, or used. fallback: where there is nothing to learn, or an estimate tells
    that the bundled models do better, these are chosen. Without it, raises BadSetting where nothing can be learned. Raises Interrupted.
    """
    if not minutes > 0:
        raise BadSetting(f"--learn {minutes:g}: expected minutes above 0, such as 10.")
    pictures = [file for file in files if _is_picture(file)]
    if not pictures:
        raise BadSetting("--learn: there is no picture to learn from; give some, or leave it out.")
    some = [pictures[at] for at in sorted({round(at) for at in np.linspace(0, len(pictures) - 1, min(JUDGED, len(pictures)))})]
    looked = [one for file in some if (one := looked_at(file, limit)) is not None]
    if fallback and (why := _not_worth(looked)):
        return Outcome(
            auto.AUTO,
            f"Nothing was learned: {why}; the bundled models are used, and --no-fallback learns all the same.",
        )
    try:
        run = _run(pictures, out / FOLDER, _settings(pictures, minutes, limit, threads), watch)
    except (BadSetting, ModelError, Diverged) as error:
        if not fallback:
            raise
        return Outcome(auto.AUTO, f"Nothing was learned, and the bundled models are used: {error}")
    except Interrupted as error:
        raise Interrupted(f"{str(error).partition(';')[0]}; the same command goes on") from None
    return choose(str(run), looked, fallback, threads)


def _not_worth(looked: Sequence[Looked]) -> str:
    """Why there is nothing to learn, or not by this; empty where there is."""
    clean = [one for one in looked if not one.found.kinds]
    if 2 * len(clean) > len(looked):
        return f"in {len(clean)} of {len(looked)} pictures looked at no noise worth removing was found"
    lost = [one for one in looked if set(one.found.kinds) - set(advice.NOISE)]
    if 2 * len(lost) > len(looked):
        return f"in {len(lost)} of {len(looked)} pictures looked at pixels are lost or replaced, and the mean of that is not the picture"
    return ""


def _run(pictures: Sequence[Path], folder: Path, settings: dict[str, Any], watch: Watch | None) -> Path:
    """The finished run of these pictures and settings: as it is there, gone on with, or begun anew.

    A run of other pictures or settings is kept beside it, as `BEFORE`; one that is there already goes.
    """
    from .run import resume, settings_of, train

    if (folder / "config.json").exists():
        config, record = settings_of(folder)
        asked = {"photos": [str(file.absolute()) for file in pictures], "config": json.loads(json.dumps(_asked(settings)))}
        same = asked == {name: record.get("asked", {}).get(name) for name in asked}
        if same and not collection.changes(folder, *collection.gather(record, config)):
            return folder if (folder / "model.onnx").exists() else resume(folder, watch).folder
        with atomic.held(folder, f"another unnoise is training in {folder}; wait until it has finished, or give another -o."):
            before = folder.with_name(BEFORE)
            shutil.rmtree(before, ignore_errors=True)
            folder.rename(before)
    return train(list(pictures), folder, watch=watch, **settings).folder


def _asked(settings: dict[str, Any]) -> dict[str, Any]:
    return dataclasses.asdict(TrainConfig(**settings, noise=(OWN,)))


def _settings(pictures: Sequence[Path], minutes: float, limit: int, threads: int) -> dict[str, Any]:
    """Gray where all are; a smaller patch where the pictures are small, in steps of the default model's grid."""
    shapes = [shape for file in pictures if (shape := _shape(file, limit))]
    least = int(np.quantile([min(shape[:2]) for shape in shapes] or [TrainConfig.patch], 0.1))  # smaller ones are left out
    channels = "colour" if any(len(shape) == 3 and shape[2] > 2 for shape in shapes) else "gray"
    patch = max(min(TrainConfig.patch, least // 2 // 8 * 8), 8)
    return {"target": TARGET, "channels": channels, "patch": patch, "minutes": minutes, "threads": threads, **SETTINGS}


def _is_picture(file: Path) -> bool:
    try:
        return image.kind_of(file) is not None
    except ImageError:
        return False


def _shape(file: Path, limit: int) -> tuple[int, ...]:
    try:
        with closing(image.pages(file, limit)) as pages:
            return next(pages).pixels.shape
    except ImageError:
        return ()


def looked_at(file: Path, limit: int) -> Looked | None:
    """A file's first page; None of one that cannot be read, or is too small to judge on."""
    try:
        with closing(image.pages(file, limit)) as pages:
            pixels = without_alpha(next(pages).pixels.whole())
    except ImageError:
        return None
    height, width = (min(length, SIDE) for length in pixels.shape[:2])
    if min(height, width) < heldout.GRID * heldout.CELLS:
        return None
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    middle = as_floats(pixels[top : top + height, left : left + width]).astype(np.float32)
    return Looked(file.name, middle, doctor.examine(pixels))
