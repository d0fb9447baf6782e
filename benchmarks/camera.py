"""What the noise of cameras does to photographs: 12 of the training corpus, every 24th of it, whole; no test set is looked at.

PSNR of the noisy picture, clipped and in 8 bits as a camera's; how alike the noise of two pixels beside each other, and of two colours, is.
The sigma that the published range of cameras comes to. And what it costs in training: the processor's time for a batch of 8 crops of 48 x 48, after other work has emptied its caches.
"""

from __future__ import annotations

import statistics
import time
from statistics import fmean
from typing import Any

import keptout
import numpy as np
import record

from unnoise import Camera, Gaussian, camera, image
from unnoise.keyed import keyed_rng, keyed_rngs
from unnoise.metrics import psnr
from unnoise.noise import Noise, spoilt

SEED, SIGMAS, QUALITIES = 24, (2, 5, 10, 20), (95, 85)
SHOTS = (0.0001, 0.012)  # the range of Brooks et al. 2019
BATCH, SIDE, ROUNDS, BODIES = 8, 48, 100, 200


def on_photos(noise: Noise, photos: list[np.ndarray]) -> dict[str, float]:
    """Means over the pictures, each from a camera of its own."""
    scores, beside, between = [], [], []
    for index, clean in enumerate(photos):
        noisy = spoilt(clean, noise, SEED, index)
        added = noisy - clean
        scores.append(psnr(np.clip(noisy, 0, 1), clean))
        beside.append(fmean(alike(added[:, 1:, at], added[:, :-1, at]) for at in range(3)))
        between.append(fmean(alike(added[..., one], added[..., other]) for one, other in ((0, 1), (1, 2), (0, 2))))
    return {"psnr": fmean(scores), "beside": fmean(beside), "between": fmean(between)}


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def sigma_of(shot: float) -> float:
    """In 255ths, at mid-gray: the median over cameras whose sensors have this shot noise."""
    sigmas = np.linspace(0.2, 80, 400) / 255
    found = []
    for index in range(BODIES):
        shots = [camera._colour_body(sigma, keyed_rng(SEED, index=index)).shot for sigma in sigmas]
        found.append(float(np.interp(shot, shots, sigmas)))
    return 255 * statistics.median(found)


def milliseconds(noise: Noise, photos: list[np.ndarray]) -> float:
    """Of the processor, for a batch of the photos' corners; the median."""
    crops, other = [np.ascontiguousarray(photo[:SIDE, :SIDE]) for photo in photos[:BATCH]], np.ones(1 << 23, np.float32)
    taken = []
    for step in range(ROUNDS):
        other *= 1
        began = time.thread_time()
        for crop, rng in zip(crops, keyed_rngs(SEED, step, range(BATCH)), strict=True):
            noise(crop, rng)
        taken.append(time.thread_time() - began)
    return 1e3 * statistics.median(taken)


def main() -> None:
    photos = [image.read(file).pixels for file in keptout.split()[1]]
    noises: list[Noise] = [Camera(sigma / 255, jpeg) for sigma in SIGMAS for jpeg in (0, *QUALITIES)]
    noises += [Gaussian(sigma / 255) for sigma in SIGMAS]
    figures: dict[str, Any] = {str(noise): on_photos(noise, photos) for noise in noises}
    for found in figures.values():
        found.update({name: round(value, 3) for name, value in found.items()})
    costs = {
        str(noise): round(milliseconds(noise, photos), 2)
        for noise in (Gaussian(10 / 255), Camera(10 / 255), Camera(10 / 255, 85))
    }
    span = {str(shot): round(sigma_of(shot), 1) for shot in SHOTS}
    about = {"pictures": len(photos), "seed": SEED, "batch": BATCH, "side": SIDE}
    record.save("camera", {**about, "noises": figures, "sigma_of_shot": span, "batch_cpu_ms": costs})


if __name__ == "__main__":
    main()
