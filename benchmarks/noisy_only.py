"""What can be learned from noisy pictures alone: BSD68, gray, sigma 25/255, after the same minutes with clean targets, with pairs
of noisy takes, with hidden pixels (blind-spot) and with neighbours.

The noisy pictures are made once, of the training corpus: one draw of noise for each take, never another. They are written in 16 bits
with room on both sides, x / 2 + 1/4, as a sensor has its black level: nothing is clipped, for the mean of clipped noise is
not 0. What is scored goes through the model in the same way. Nothing of BSD68 is learned from. Each arm is a run that is gone on with
where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import tifffile
from bsd68 import PUBLISHED, RUNS, SIGMA, measured

import unnoise
from unnoise import Gaussian, image
from unnoise.image.picture import LUMA, as_floats
from unnoise.noise import spoilt

TARGETS = ("clean", "pairs", "blind-spot", "neighbours")
FOLDER = RUNS / "noisy-only"
SEED = 2018  # of the noise in the takes: not that of the test set's
GOALS = {"pairs": "BM3D; within 0.15 dB of clean", "blind-spot": "27.7; goal 28.6"}
Array = np.ndarray


def with_room(picture: Array) -> Array:
    return picture / 2 + 0.25


def without_room(picture: Array) -> Array:
    return (picture - 0.25) * 2


def collection(count: int) -> Path:
    """A folder with `clean`, `one` and `two`, the corpus in gray and two noisy takes; count: so many pictures, 0 all."""
    folder = FOLDER / f"pictures-{count or 'all'}"
    if (folder / "done").exists():
        return folder
    for index, file in enumerate(sorted((record.SHARED / "train").glob("*.webp"))[: count or None]):
        pixels = as_floats(image.read(file).pixels)
        clean = (pixels[..., :3] @ LUMA if pixels.ndim == 3 else pixels).astype(np.float32)
        takes = {name: spoilt(clean, Gaussian(SIGMA), SEED + at, index) for at, name in enumerate(("one", "two"))}
        for name, picture in {"clean": clean, **takes}.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            whole = np.rint(with_room(picture).clip(0, 1) * 65535).astype(np.uint16)  # beyond 5 sigma on black or white
            tifffile.imwrite(folder / name / f"{file.stem}.tif", whole)
    (folder / "done").touch()
    return folder


def trained(target: str, pictures: Path, length: dict[str, float], name: str, **settings: Any) -> tuple[Path, dict[str, Any]]:
    """The run of an arm, and what it took; begun, gone on with, or there already."""
    run = FOLDER / name
    told = run / "told.json"
    if not told.exists():
        began = time.perf_counter()
        common = {"channels": "gray", "cache": str(FOLDER / "cache"), **settings}
        if (run / "config.json").exists():
            result = unnoise.resume(run)
        elif target == "clean":
            result = unnoise.train(pictures / "clean", run, noise=Gaussian(SIGMA / 2), **length, **common)
        else:
            other = {"noisy": pictures / "two"} if target == "pairs" else {}
            result = unnoise.train(pictures / "one", run, target=target, **other, **length, **common)
        minutes = round((time.perf_counter() - began) / 60, 2)
        told.write_text(
            json.dumps({"steps": result.steps, "minutes_of_last_sitting": minutes, "its_own_score": round(result.psnr, 3)})
        )
    return run, json.loads(told.read_text())


def restoring(run: Path) -> Callable[[Array], Array]:
    model = unnoise.load(run)
    return lambda noisy: without_room(model.denoise(with_room(noisy).astype(np.float32)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, help="so many steps instead, for a trial")
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--pictures", type=int, default=0, help="of the corpus; 0: all")
    parser.add_argument("--scored", type=int, default=1, help="every so many pictures of BSD68")
    parser.add_argument("--no-save", action="store_true", help="only print: for a trial")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the runs, as JSON: ema=0.99")
    given = parser.parse_args()
    length = {"steps": given.steps} if given.steps else {"minutes": given.minutes}
    of = f"{given.steps}steps" if given.steps else f"{given.minutes:g}min"
    settings = {key: json.loads(value) for key, _, value in (one.partition("=") for one in given.set)}
    marks = "".join(f"-{one}" for one in given.set).replace('"', "")
    folder = collection(given.pictures)
    runs = {t: trained(t, folder, length, f"{t}-{given.pictures or 'all'}-{of}{marks}", **settings) for t in given.targets}
    files = sorted((record.SHARED / "eval" / "BSD68").glob("*.png"))
    # every picture keeps its number, so its noise
    pictures = {file.name: image.read(file).pixels for file in files}
    if given.scored > 1:
        pictures = dict(list(pictures.items())[: len(pictures) // given.scored])
    arms = {target: {**told, **measured(target, restoring(run), pictures)} for target, (run, told) in runs.items()}
    if given.no_save:
        return
    import bm3d

    classical = {"BM3D, told sigma": measured("BM3D", lambda noisy: bm3d.bm3d(noisy, SIGMA), pictures)}
    figures = {"sigma": "25/255", "pictures": len(pictures), "learned_from": len(list((folder / "one").iterdir())), **length}
    record.save("noisy_only", {**figures, "published": PUBLISHED, "goals": GOALS, "arms": arms, "classical": classical})


if __name__ == "__main__":
    main()
