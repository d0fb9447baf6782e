"""What clipping costs `photo` and `photo-fast`: Kodak24 in gray and colour with Gaussian noise, as unclipped floats, and clipped to [0, 1] as files are.

PSNR in dB, mean of the middles of the 24 pictures, 256 pixels a side. `--before` takes other models beside them: those that had learned from unclipped
noise alone, `photo-gray=RUN`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import record

from unnoise import image, load
from unnoise.denoiser import Denoiser
from unnoise.image.picture import LUMA, as_floats
from unnoise.keyed import keyed_rng
from unnoise.metrics import psnr
from unnoise.noise import Clip, Gaussian

SIGMAS = {"10/255": 10 / 255, "25/255": 25 / 255, "50/255": 50 / 255}
SIDE = 256
MODELS = ("photo-gray", "photo-fast-gray", "photo-colour", "photo-fast-colour")


def middles() -> list[np.ndarray[Any, Any]]:
    files = sorted((record.SHARED / "eval" / "Kodak24").glob("*.png"))
    return [record.middle(as_floats(image.read(file).pixels).astype(np.float32), SIDE) for file in files]


def scores(model: Denoiser, clean: list[np.ndarray[Any, Any]]) -> dict[str, dict[str, float]]:
    """PSNR by sigma: of floats, and of the same clipped."""
    told = {}
    for name, sigma in SIGMAS.items():
        found = []
        for index, picture in enumerate(clean):
            noisy = Gaussian(sigma)(picture, keyed_rng(0, index=index))[0]
            both = noisy, Clip()(noisy, keyed_rng(0))[0]
            found.append([psnr(np.clip(model.denoise(one), 0, 1), picture) for one in both])
        floats, clipped = (round(fmean(column), 3) for column in zip(*found, strict=True))
        told[name] = {"floats": floats, "clipped": clipped}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", nargs="*", default=[], metavar="NAME=RUN")
    given = parser.parse_args()
    before = dict(one.split("=", 1) for one in given.before)
    if unknown := before.keys() - set(MODELS):
        parser.error(f"{', '.join(unknown)}: expected {', '.join(MODELS)}")
    colour = middles()
    gray = [(picture @ LUMA).astype(np.float32) for picture in colour]
    found: dict[str, Any] = {}
    for name in MODELS:
        clean = gray if name.endswith("gray") else colour
        found[name] = {"now": scores(load(name), clean)}
        if name in before:
            found[name]["before"] = scores(load(Path(before[name])), clean)
        print(name, found[name], flush=True)
    command = " ".join(["python benchmarks/clipped.py", *(["--before", *(f"{name}=RUN" for name in before)] if before else [])])
    record.save("clipped", {"pictures": len(colour), "side": SIDE, "models": found}, command)


if __name__ == "__main__":
    main()
