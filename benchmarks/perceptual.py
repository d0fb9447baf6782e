"""Does the perceptual loss help? The same model, data, seeds and steps with lambda1 = 0, with the bundled features, and with
SqueezeNet's, at sigma 50/255 and with half the pixels masked.

Scored on every second picture of Kodak24: PSNR, SSIM, and three perceptual distances. The judge's network was trained by
`benchmarks/features.py --judge` with another seed on the half of the corpus that neither the bundled encoder nor these
models saw; the other two distances are those that one arm was trained with. Three seeds. Two trainings run at a time, on a
thread each. First, alone: what a training step costs, and the memory of it.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import features
import numpy as np
import record

from unnoise import perceptual

STEPS, SEEDS, TIMED = 1500, (0, 1, 2), 150
NOISES = ("gaussian:50/255", "masking:0.5")
SQUEEZENET = f"squeezenet1_0-caffe:{record.SHARED / 'weights' / 'squeezenet1_0.npz'}"
ARMS: dict[str, dict[str, Any]] = {
    "pixels alone": {},
    "with bundled features": {"perceptual": "auto"},
    "with SqueezeNet features": {"perceptual": "auto", "features": SQUEEZENET},
}
SHOWN, SIDE = "kodim19.png", 160  # the crop in the docs


def settings(arm: str, **more: Any) -> dict[str, Any]:
    return {"precision": "bfloat16", **ARMS[arm], **more}


def judges() -> dict[str, Any]:
    """The distances: of the judge, of the bundled encoder and of SqueezeNet."""
    from unnoise.losses import PerceptualLoss

    return {
        "judge": PerceptualLoss(*perceptual.load_encoder(features.JUDGE)),
        "bundled": PerceptualLoss(*perceptual.load()),
        "SqueezeNet": PerceptualLoss(*perceptual.load(SQUEEZENET)),
    }


def kodak() -> dict[str, np.ndarray]:
    from unnoise import image

    return {file.name: image.read(file).pixels for file in sorted((record.SHARED / "eval" / "Kodak24").glob("*.png"))[::2]}


def folder(arm: str, noise: str, seed: int) -> Path:
    return features.JUDGE.parent / f"perceptual-{arm}-{noise.partition(':')[0]}-{seed}".replace(" ", "-")


def fingerprint() -> str:
    """Changes when the networks or the settings do: figures kept from an earlier call are then no longer true."""
    files = (features.JUDGE, perceptual.BUNDLED, Path(__file__))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def kept(path: Path) -> dict[str, Any] | None:
    """The figures of an earlier call, if they are still true."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return found["figures"] if found.get("fingerprint") == fingerprint() else None


def keep(path: Path, figures: dict[str, Any]) -> dict[str, Any]:
    path.write_text(json.dumps({"fingerprint": fingerprint(), "figures": figures}))
    print(figures, flush=True)
    return figures


def trained(job: tuple[str, str, int]) -> dict[str, Any]:
    """Train one arm on one noise from one seed, and score it; kept in its run folder, so that it is done once."""
    import torch

    from unnoise import load, parse, train
    from unnoise.metrics import score
    from unnoise.model import as_tensor
    from unnoise.noise import spoilt

    arm, noise, seed = job
    run = folder(*job)
    if before := kept(run / "scores.json"):
        return before
    shutil.rmtree(run, ignore_errors=True)
    train(features.pictures(0), run, noise=noise, steps=STEPS, seed=seed, **settings(arm, threads=1))
    model, distances, scores = load(run, threads=1), judges(), []
    for index, (name, clean) in enumerate(kodak().items()):
        restored = np.clip(model.denoise(spoilt(clean, parse(noise), 1, index)), 0, 1)
        batch = [as_tensor(np.moveaxis(picture, 2, 0)[None].copy()) for picture in (restored, clean)]
        with torch.inference_mode():
            apart = {who: distance(*batch).item() for who, distance in distances.items()}
        scores.append({"picture": name, **score(restored, clean), **apart})
    keys = [key for key in scores[0] if key != "picture"]
    config = json.loads((run / "config.json").read_text())["config"]
    found = {
        "arm": arm, "noise": noise, "seed": seed, "lambda1": config["perceptual"],
        **{key: float(f"{statistics.fmean(one[key] for one in scores):.5g}") for key in keys},
    }  # fmt: skip
    return keep(run / "scores.json", found)


def step_time(arm: str) -> dict[str, float]:
    """Median milliseconds of a step of the photo model in colour on all cores, and the process's peak memory."""
    import importlib

    from unnoise import data
    from unnoise.config import TrainConfig

    training = importlib.import_module("unnoise.train")
    given = settings(arm) | ({"perceptual": 1.0} if arm != "pixels alone" else {})
    config = TrainConfig(steps=TIMED, **given)
    pictures, times = data.load(features.pictures(0)[:40], config), [time.perf_counter()]
    training.fit(training.new_trainee(config), pictures, config, lambda loss: times.append(time.perf_counter()))
    steps = np.diff(times)[20:]
    return {"ms": 1e3 * float(np.median(steps)), "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def step_times() -> dict[str, Any]:
    """Each arm three times, in turn, each in a process of its own."""
    rounds: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for _, arm in itertools.product(range(3), ARMS):
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
            rounds[arm].append(one.submit(step_time, arm).result())
    medians = {
        arm: {key: statistics.median(r[key] for r in found) for key in ("ms", "peak_gb")} for arm, found in rounds.items()
    }
    plain = medians["pixels alone"]["ms"]
    return {
        arm: {
            "step_ms": round(m["ms"], 2),
            "times_the_plain_step": round(m["ms"] / plain, 2),
            "peak_gb": round(m["peak_gb"], 2),
        }
        for arm, m in medians.items()
    }


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread (largest minus smallest) over the seeds, for each noise and arm."""
    rows = []
    for noise, arm in itertools.product(NOISES, ARMS):
        found = [run for run in runs if (run["noise"], run["arm"]) == (noise, arm)]
        row: dict[str, Any] = {"noise": noise, "arm": arm}
        for key in ("psnr", "ssim", "judge", "bundled", "SqueezeNet"):
            values = [run[key] for run in found]
            row[key] = {"mean": float(f"{statistics.fmean(values):.5g}"), "spread": float(f"{max(values) - min(values):.3g}")}
        rows.append(row)
    return rows


def picture() -> None:
    """docs/perceptual.png: for each noise a row of crops at 1:1, clean, noisy and each arm of the first seed."""
    from unnoise import figures, image, load, parse
    from unnoise.noise import spoilt

    clean, rows = kodak()[SHOWN], []
    top, left = figures.busiest(clean, SIDE)
    for noise in NOISES:
        noisy = spoilt(clean, parse(noise), 1, list(kodak()).index(SHOWN))
        shown = [clean, noisy, *(load(folder(arm, noise, SEEDS[0])).denoise(noisy) for arm in ARMS)]
        rows.append(figures.side_by_side([np.clip(p[top : top + SIDE, left : left + SIDE], 0, 1) for p in shown]))
    gap = np.ones((6, rows[0].shape[1], 3), np.float32)
    path = Path(__file__).parents[1] / "docs" / "perceptual.png"
    path.write_bytes(image.encoded(np.concatenate([rows[0], gap, rows[1]]), "PNG"))


def main() -> None:
    path = features.JUDGE.parent / "perceptual-step-times.json"
    times = kept(path) or keep(path, step_times())  # first, while nothing else runs
    jobs = [(arm, noise, seed) for seed, noise, arm in itertools.product(SEEDS, NOISES, ARMS)]
    with concurrent.futures.ProcessPoolExecutor(min(2, os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        runs = list(pool.map(trained, jobs))
    picture()
    about = {"steps": STEPS, "pictures": "Kodak24, every second", "trained_with": {"bundled": "with bundled features", "SqueezeNet": "with SqueezeNet features"}}  # fmt: skip
    record.save(
        "perceptual", {**about, "goal_times_the_plain_step": 1.6, "step": times, "summary": summary(runs), "runs": runs}
    )


if __name__ == "__main__":
    main()
