"""What can be learned from noisy pictures alone: BSD68, gray, sigma 25/255, after the same minutes with clean targets, with pairs
of noisy takes, with hidden pixels (blind-spot) and with neighbours.

The noisy pictures are made once, of the training corpus: one draw of noise for each take, never another. They are written in 16 bits
with room on both sides, x / 2 + 1/4, as a sensor has its black level: nothing is clipped, for the mean of clipped noise is
not 0. What is scored goes through the model in the same way. Nothing of BSD68 is learned from. BM3D, told sigma, is that of
`bsd68.py`, on the same noisy pixels. "VST and BM3D" is `denoise --model bm3d`, told what the doctor finds.

FMD12 and CC15 are learned from their own noisy sides, as `unnoise denoise --learn` does it, without their clean sides, which score alone. Each arm
is a run that is gone on with where it was stopped, so arms can be run one by one: those that are there are kept in the result.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import record
import tifffile
from bsd68 import PUBLISHED, RUNS, SIGMA, measured

import unnoise
from unnoise import Gaussian, image, ownnoise
from unnoise.auto import Models
from unnoise.image.picture import LUMA, as_floats
from unnoise.metrics import psnr
from unnoise.noise import spoilt

TARGETS = ("clean", "pairs", "blind-spot", "neighbours")
FOLDER = RUNS / "noisy-only"
STEPS = 60_000  # of each arm on one thread, less than the 60 minutes of two cores that there are for it; `neighbours` takes twice as long
SEED = 2018  # of the noise in the takes: not that of the test set's
SHAPE: dict[str, Any] = {
    "model": "unet:widths=32-64-96,blocks=3-2-1",
    "optimiser": "muon",
    "rate": 1e-3,
    "threads": 1,
}  # of all arms
GOALS = {"pairs": "BM3D; within 0.15 dB of clean", "blind-spot": "27.7 (published Noise2Void), better 28.6"}
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


def trained(target: str, pictures: Path, steps: int, name: str) -> tuple[Path, dict[str, Any]]:
    """The run of an arm, and what it took; begun, gone on with, or there already."""
    run = FOLDER / name
    told = run / "told.json"
    if not told.exists():
        began, busy = time.perf_counter(), time.process_time()
        common = {"channels": "gray", "cache": str(FOLDER / "cache"), **SHAPE}
        if (run / "config.json").exists():
            result = unnoise.resume(run)
        elif target == "clean":
            result = unnoise.train(pictures / "clean", run, noise=Gaussian(SIGMA / 2), steps=steps, **common)
        else:
            other = {"noisy": pictures / "two"} if target == "pairs" else {}
            result = unnoise.train(pictures / "one", run, target=target, **other, steps=steps, **common)
        minutes, core_minutes = (
            round((now - before) / 60, 2) for now, before in ((time.perf_counter(), began), (time.process_time(), busy))
        )
        took = {"minutes_of_last_sitting": minutes, "core_minutes_of_last_sitting": core_minutes}
        told.write_text(json.dumps({"steps": result.steps, **took, "its_own_score": round(result.psnr, 3)}))
    return run, json.loads(told.read_text())


def restoring(run: Path) -> Callable[[Array], Array]:
    model = unnoise.load(run)
    return lambda noisy: without_room(model.denoise(with_room(noisy).astype(np.float32)))


def of_own_noise(name: str, minutes: float) -> dict[str, Any]:
    """A real set, learned from its noisy side: mean PSNR of what was learned (without the fallback), and of what was chosen (with it)."""
    noisy, clean = (record.SHARED / "eval" / name / side for side in ("noisy", "clean"))
    files = sorted(noisy.iterdir())
    out = FOLDER / f"{name}-{minutes:g}min"
    outcome = ownnoise.learn(files, out, minutes, True, image.MAX_PIXELS, 0, None)
    run = out / ownnoise.FOLDER
    models = {"with the fallback": Models(outcome.model), "VST and BM3D": Models("bm3d")}
    if (run / "model.onnx").exists():
        models["learned, without the fallback"] = Models(run)
    beside = json.loads((record.RESULTS / f"testset_{name.lower()}.json").read_text())["cases"]["pairs"]
    every = {method: found["every_psnr"] for method, found in beside.items()}
    for method, model in models.items():
        every[method] = {file.name: _scored(model, file, clean / file.name) for file in files}
    means = {method: round(fmean(scores.values()), 3) for method, scores in every.items()}
    return {
        "minutes": minutes,
        **{key: value for key, value in outcome.as_json().items() if key != "removed"},
        "sentence": outcome.sentence.replace(str(run), "of its own noise"),
        "model": outcome.model.rpartition("/")[2],
        "psnr": means,
        "every_psnr": {m: every[m] for m in models},
    }


def _scored(model: Models, noisy: Path, clean: Path) -> float:
    restored = model.denoise(as_floats(image.read(noisy).pixels).astype(np.float32))
    return round(psnr(np.clip(restored, 0, 1), as_floats(image.read(clean).pixels)), 3)


def of_network_alone(run: Path) -> Callable[[Array], Array] | None:
    """A blind-spot model without the share of a pixel's own value that its file adds; None of others."""
    share = unnoise.load(run).card.get("keeps", 0.0)
    if not share:
        return None
    whole = restoring(run)
    return lambda noisy: (whole(noisy) - share * noisy) / (1 - share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="fewer for a trial, whose result is kept apart")
    parser.add_argument("--targets", nargs="*", default=TARGETS, choices=TARGETS)
    parser.add_argument("--sets", nargs="*", default=["FMD12", "CC15"], choices=["FMD12", "CC15"])
    parser.add_argument("--set-minutes", type=float, default=10)
    parser.add_argument("--pictures", type=int, default=0, help="of the corpus; 0: all")
    parser.add_argument("--scored", type=int, default=68, help="so many pictures of BSD68, the first ones")
    parser.add_argument("--no-save", action="store_true", help="only print: for a trial")
    given = parser.parse_args()
    of, name = f"{given.steps}steps", "noisy_only" if given.steps == STEPS else "noisy_only_trial"
    files = sorted((record.SHARED / "eval" / "BSD68").glob("*.png"))[: given.scored]
    pictures = {file.name: image.read(file).pixels for file in files}
    folder = collection(given.pictures)
    arms = {}
    for target in given.targets:
        run, told = trained(target, folder, given.steps, f"{target}-{given.pictures or 'all'}-{of}")
        arms[target] = {**told, **measured(target, restoring(run), pictures)}
        if alone := of_network_alone(run):
            arms[target]["network_alone"] = measured(f"{target}, network alone", alone, pictures)["psnr"]
    sets = {name: of_own_noise(name, given.set_minutes) for name in given.sets}
    print(json.dumps({name: {key: found[key] for key in ("sentence", "psnr")} for name, found in sets.items()}, indent=1))
    if given.no_save:
        return
    every = json.loads((record.RESULTS / "bsd68.json").read_text())["methods"]["BM3D"]["every_psnr"]
    about = {
        "sigma": "25/255",
        "steps": given.steps,
        "pictures": len(pictures),
        "learned_from": len(list((folder / "one").iterdir())),
    }
    about |= {"published": PUBLISHED, "goals": GOALS, "bm3d": round(fmean(every[name] for name in pictures), 4)}
    before = record.RESULTS / f"{name}.json"
    found = json.loads(before.read_text()) if before.exists() else {}
    same = all(found.get(key) == value for key, value in about.items())
    figures = {"arms": {**(found.get("arms", {}) if same else {}), **arms}, "sets": {**found.get("sets", {}), **sets}}
    command = "python benchmarks/noisy_only.py" + (f" --steps {given.steps}" if given.steps != STEPS else "")
    command += f" --pictures {given.pictures}" if given.pictures else ""
    command += f" --scored {given.scored}" if given.scored != 68 else ""
    command += f" --sets {' '.join(given.sets)}".rstrip() if given.sets != ["FMD12", "CC15"] else ""
    record.save(name, {**about, **figures}, command)


if __name__ == "__main__":
    main()
