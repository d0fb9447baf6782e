"""Noise with impulses or gaps in it: what mends these alone, `photo` alone, or both one after another, as `doctor.advice` has it.

On crops of 256 pixels of four photographs of scikit-image, which no model here has learned from.
"""

from __future__ import annotations

from statistics import fmean

import numpy as np
import record
from mending import NAMES, PHOTOS, SEED, SIDE

from unnoise import image, load
from unnoise.metrics import psnr
from unnoise.noise import parse, spoilt

FIRST = {
    "salt-and-pepper:fraction=0.1": "impulse",
    "salt-and-pepper:fraction=0.3": "impulse",
    "masking:fraction=0.3": "missing",
}
SIGMAS = (5, 10, 15, 20, 25, 30, 40, 50)


def main() -> None:
    cleans = [image.read(PHOTOS / name).pixels[:SIDE, :SIDE] for name in NAMES]
    models = {name: load(name, threads=1) for name in ("impulse", "missing", "photo")}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for lost, first in FIRST.items():
        for sigma in SIGMAS:
            noise = parse(f"gaussian:{sigma}/255+{lost}")
            scores: dict[str, list[float]] = {first: [], "photo": [], f"{first}, then photo": []}
            for index, clean in enumerate(cleans):
                noisy = np.clip(spoilt(clean, noise, SEED, index), 0, 1)
                mended = models[first].denoise(noisy)
                for name, answer in zip(
                    scores, (mended, models["photo"].denoise(noisy), models["photo"].denoise(mended)), strict=True
                ):
                    scores[name].append(psnr(np.clip(answer, 0, 1), clean))
            found.setdefault(lost, {})[f"{sigma}/255"] = {name: round(fmean(each), 2) for name, each in scores.items()}
            print(lost, sigma, found[lost][f"{sigma}/255"], flush=True)
    record.save("passes", {"pictures": NAMES, "side": SIDE, "psnr": found})


if __name__ == "__main__":
    main()
