"""How the doctor tells noise from texture: the weights of `floors.WEIGHTS`, learned from the training corpus alone.

Of every third photograph seven versions: four of them hold no noise worth removing, three the noise of a camera. Also: how many of either are
told, by weights that were fitted without the photographs they are tried on.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import record
from doctor import file, read
from PIL import Image

from unnoise import Camera, camera, doctor, floors
from unnoise.diagnosis import LIKELY
from unnoise.keyed import keyed_rng

Array = np.ndarray[Any, Any]
EVERY, SEED, SIGMAS, QUALITIES, FOLDS, RIDGE = 3, 1, (2.5, 16), (0, 70, 80, 90, 95), 4, 0.1
CAUTION = {1: 3, 3: 1}  # how many times a clean picture counts: in gray, texture is harder to tell from noise


def features(picture: Array) -> Array:
    """As `doctor.examine` has them."""
    windows, _ = doctor._sample(picture)
    found = floors.measure(np.ascontiguousarray(windows[..., 4:-4]).reshape(*windows.shape[:2], -1)[:: doctor.SOME])
    return found.features() if found else np.zeros(0)


def packed(picture: Array, rng: np.random.Generator) -> Array:
    written = io.BytesIO()
    sampling = int(rng.integers(3))
    Image.fromarray(file(picture)).save(written, "JPEG", quality=int(rng.integers(60, 97)), subsampling=sampling)
    return np.asarray(Image.open(written)) / np.float32(255)


def mosaicked(picture: Array, rng: np.random.Generator) -> Array:
    """Of each pixel one colour is kept, and the others are made up again."""
    sites = camera._sites(*rng.integers(0, 2, 2).tolist())
    mosaic = np.empty(picture.shape[:2], np.float32)
    for colour, at in sites:
        mosaic[at] = picture[..., colour][at]
    return np.moveaxis(camera.demosaiced(mosaic, sites), 0, 2)


def clean_ones(clean: Array, rng: np.random.Generator) -> list[Array]:
    """What a photograph without noise worth removing comes as: itself, from JPEG, from a mosaic, with noise too weak to count."""
    weak = Camera(rng.uniform(0.3, 1.2) / 255)(clean, rng)[0]
    mosaic = mosaicked(clean, rng)
    return [
        clean,
        packed(clean, rng),
        packed(mosaic, rng) if rng.random() < 0.5 else mosaic,
        packed(weak, rng) if rng.random() < 0.5 else weak,
    ]


def noisy_ones(clean: Array, rng: np.random.Generator) -> list[Array]:
    """The same with the noise of a camera, three times."""
    sigmas = np.exp(rng.uniform(*np.log(SIGMAS), 3)) / 255
    return [Camera(float(sigma), jpeg=int(rng.choice(QUALITIES)))(clean, rng)[0] for sigma in sigmas]


def fit(rows: Array, noisy: Array, caution: float) -> Array:
    """Weights and bias of a logistic regression, by Newton's steps, with a penalty on the weights of rows of variance 1."""
    mean, spread = rows.mean(0), rows.std(0)
    columns = np.c_[(rows - mean) / spread, np.ones(len(rows))]
    penalty, found = np.diag([RIDGE] * rows.shape[1] + [0]), np.zeros(columns.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-columns @ found))
        curve = columns.T * (chance * (1 - chance)) @ columns + penalty
        found -= np.linalg.solve(curve, columns.T @ (chance - noisy) + penalty @ found)
    weights = found[:-1] / spread
    return np.append(weights, found[-1] - weights @ mean - np.log(caution))


def corpus() -> tuple[Array, Array, Array]:
    """Of all versions of every third photograph: the features (N, 12), whether it is noisy, and the number of the photograph."""
    rows, noisy, numbers = [], [], []
    for index, clean in enumerate(list(read("train").values())[::EVERY]):
        pixels = file(clean[..., :3] if clean.dtype != np.uint8 else clean[..., :3] / np.float32(255)) / np.float32(255)
        rng = keyed_rng(SEED, index=index)
        for kind, versions in enumerate((clean_ones(pixels, rng), noisy_ones(pixels, rng))):
            found = [one for one in map(features, map(file, versions)) if len(one) == 12]
            rows += found
            noisy += [kind] * len(found)
            numbers += [index] * len(found)
    return np.array(rows), np.array(noisy), np.array(numbers)


def judged(table: Array, noisy: Array, numbers: Array, caution: float) -> dict[str, Any]:
    """The weights; and by those fitted without a fold, the share of noisy pictures told where so many of the clean ones are left."""
    fold, chances = numbers % FOLDS, np.zeros(len(table))
    for one in range(FOLDS):
        weights = fit(table[fold != one], noisy[fold != one], caution)
        chances[fold == one] = 1 / (1 + np.exp(-table[fold == one] @ weights[:-1] - weights[-1]))
    clean, told = np.sort(chances[noisy == 0]), {}
    for share in (0.9, 0.95, 0.97, 0.98, 0.99):
        least = float(clean[int(share * len(clean))])
        told[f"{share:.0%}"] = {"likelihood": round(least, 3), "found": round(float((chances[noisy == 1] > least).mean()), 3)}
    above = {kind: round(float((chances[noisy == at] > LIKELY).mean()), 3) for at, kind in enumerate(("clean", "noisy"))}
    return {"weights": fit(table, noisy, caution).round(2).tolist(), "clean left": told, "above the limit": above}


def main() -> None:
    table, noisy, numbers = corpus()
    figures = {
        str(channels): judged(table[:, :columns], noisy, numbers, CAUTION[channels]) for channels, columns in ((1, 6), (3, 12))
    }
    record.save("doctor_rule", {"pictures": int(numbers.max()) + 1, "channels": figures})


if __name__ == "__main__":
    main()
