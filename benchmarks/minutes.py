"""The minutes of two cores from nothing to pass BM3D on BSD68, gray, sigma 25/255; and the curve, beside DnCNN in the same loop.

Each point is a training run of its own that ends after so many minutes, start and calibration included: a schedule that ends
there is worth more than a long one cut short. All learn from the free corpus alone, with the default settings, which were chosen
on other pictures; DnCNN (17 layers, batch normalisation, as published) with its published rate, in the same loop and for the same
time. BM3D is measured here, on the same noise. Training runs are kept, so that it can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from typing import Any

import bm3d
import record
import torch
from bsd68 import PUBLISHED, RUNS, SIGMA, Denoise, measured
from networks import dncnn_layers
from torch import nn

import unnoise
from unnoise import collection, data, image
from unnoise.checkpoint import Trainee
from unnoise.config import TrainConfig
from unnoise.model import as_function, as_tensor
from unnoise.train import fit, trainee_of

SETTINGS: dict[str, Any] = {"channels": "gray", "noise": "gaussian:25/255", "precision": "bfloat16"}
DNCNN = {**SETTINGS, "rate": 1e-3}
TRIAL = 20  # steps by which DnCNN's time is measured


class Residual(nn.Module):
    """A network that predicts the noise, as one that gives the picture."""

    def __init__(self, noise: nn.Module) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        return noisy - self.noise(noisy)


def ours(minutes: float) -> tuple[Denoise, dict[str, Any]]:
    """unnoise after so many minutes."""
    run = RUNS / f"minutes-unnoise-{minutes:g}"
    if not (run / "wall.json").exists():
        shutil.rmtree(run, ignore_errors=True)  # what a stopped benchmark has left
        began = time.perf_counter()
        result = unnoise.train(record.SHARED / "train", run, minutes=minutes, **SETTINGS)
        told = {"wall_s": round(time.perf_counter() - began, 1), "steps": result.steps}
        (run / "wall.json").write_text(json.dumps(told))
    return unnoise.load(run).denoise, json.loads((run / "wall.json").read_text())


def dncnn(minutes: float) -> tuple[Denoise, dict[str, Any]]:
    """DnCNN-17 after so many minutes in the loop of `train.fit`."""
    run = RUNS / f"minutes-dncnn-{minutes:g}"
    run.mkdir(parents=True, exist_ok=True)
    model = Residual(dncnn_layers(17))
    if not (run / "wall.json").exists():
        began = time.perf_counter()
        pictures, _ = collection.gather({"photos": [str(record.SHARED / "train")], "validation": []}, TrainConfig(**DNCNN))
        per_step = seconds_of(TRIAL, pictures) / TRIAL
        steps = int((60 * minutes - (time.perf_counter() - began)) / per_step)
        config = TrainConfig(**DNCNN, steps=steps)
        torch.manual_seed(config.seed)
        trainee = trainee_of(Residual(dncnn_layers(17)), config)
        fit(trainee, pictures, config)
        told = {"wall_s": round(time.perf_counter() - began, 1), "steps": steps}
        torch.save(with_statistics(trainee, pictures, config).state_dict(), run / "weights.pth")
        (run / "wall.json").write_text(json.dumps(told))
    model.load_state_dict(torch.load(run / "weights.pth", weights_only=True))
    denoise = as_function(model.eval())
    return lambda noisy: denoise(noisy[..., None])[..., 0], json.loads((run / "wall.json").read_text())


def seconds_of(steps: int, pictures: data.Pictures) -> float:
    """How long so many steps of DnCNN take, the first ones, which set up memory, left out."""
    times: list[float] = []
    config = TrainConfig(**DNCNN, steps=steps + 4)
    fit(trainee_of(Residual(dncnn_layers(17)), config), pictures, config, lambda costs: times.append(time.perf_counter()))
    return times[-1] - times[-1 - steps]


def with_statistics(trainee: Trainee, pictures: data.Pictures, config: TrainConfig) -> nn.Module:
    """The averaged weights, with the statistics of batch normalisation that belong to them: the mean over fifty batches."""
    for module in trainee.average.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for step in range(50):
            trainee.average(as_tensor(data.batch(pictures, data.noises_of(config), config, step)[1]))
    return trainee.average


def passed(curve: dict[str, dict[str, Any]], mark: float) -> float | None:
    """The wall minutes of the shortest run that is above the mark."""
    above = [one["wall_s"] / 60 for one in curve.values() if one["psnr"] > mark]
    return round(min(above), 2) if above else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--train-only", action="store_true", help="leave the scores for later")
    given = parser.parse_args()
    collection.gather({"photos": [str(record.SHARED / "train")], "validation": []}, TrainConfig(**SETTINGS))  # into the cache
    arms = {name: {f"{m:g}": train(m) for m in given.minutes} for name, train in (("unnoise", ours), ("DnCNN-17", dncnn))}
    if given.train_only:
        return
    files = sorted((record.SHARED / "eval" / "BSD68").glob("*.png"))
    pictures = {file.name: image.read(file).pixels for file in files}
    means = ("psnr", "ssim", "psnr_every_4th")

    def scored(name: str, denoise: Denoise) -> dict[str, Any]:
        found = measured(name, denoise, pictures)
        return {mean: found[mean] for mean in means}

    by_bm3d = scored("BM3D", lambda noisy: bm3d.bm3d(noisy, SIGMA))
    curves = {
        name: {m: {**told, **scored(f"{name}, {m} min", denoise)} for m, (denoise, told) in each.items()}
        for name, each in arms.items()
    }
    marks = {"BM3D, measured": by_bm3d["psnr"], "BM3D, published": PUBLISHED["BM3D"]}
    minutes = {mark: {name: passed(curve, value) for name, curve in curves.items()} for mark, value in marks.items()}
    record.save("minutes", {"sigma": "25/255", "goal_minutes": 3, "marks": marks, "minutes_to_pass": minutes, "curves": curves})


if __name__ == "__main__":
    main()
