"""How near an answer must be to its input for the input to stay: PSNR of an impulse model's answers under several ramps.

`python benchmarks/mending.py RUN`: a run that has learned salt and pepper. On crops of 256 pixels of four photographs of scikit-image, which no
model here has learned from; export.CLOSE is the ramp that was chosen. A single value decides for itself, or the farthest channel for its pixel.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np
import record
import skimage

from unnoise import image, load_autoencoder
from unnoise.export import CLOSE
from unnoise.metrics import psnr
from unnoise.model import as_function
from unnoise.noise import parse, spoilt

PHOTOS = Path(skimage.__file__).parent / "data"
NAMES, SIDE, SEED = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"), 256, 1
RAMPS = ((0.0, 1e-6), CLOSE, (0.02, 0.06), (0.03, 0.09), (0.04, 0.12), (0.06, 0.12), (0.1, 0.2))  # the first leaves nothing
NOISES = (
    *(f"salt-and-pepper:fraction={share}" for share in (0.01, 0.1, 0.3, 0.5)),
    *(f"salt-and-pepper:fraction={share},values=uniform" for share in (0.1, 0.3)),
    "salt-and-pepper:fraction=0.3,per=channel",
    "gaussian:15/255+salt-and-pepper:fraction=0.2",
)
Array = np.ndarray


def left(noisy: Array, restored: Array, ramp: tuple[float, float], whole: bool) -> Array:
    """(H, W, C): the answer where it is far from the input, in a value or, `whole`, in any channel."""
    change, (low, high) = restored - noisy, ramp
    far = np.abs(change).max(2, keepdims=True) if whole else np.abs(change)
    return np.clip(noisy + change * np.clip((far - low) / (high - low), 0, 1), 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    network = as_function(load_autoencoder(parser.parse_args().run))
    cleans = [image.read(PHOTOS / name).pixels[:SIDE, :SIDE] for name in NAMES]
    found = {}
    for text in NOISES:
        noisy = [spoilt(clean, parse(text), SEED, index) for index, clean in enumerate(cleans)]
        answers = [network(one) for one in noisy]
        for way, whole in (("by value", False), ("by pixel", True)):
            for ramp in RAMPS:
                scores = [psnr(left(n, a, ramp, whole), c) for n, a, c in zip(noisy, answers, cleans, strict=True)]
                found.setdefault(text, {}).setdefault(way, {})[f"{ramp[0]:g} to {ramp[1]:g}"] = round(fmean(scores), 2)
    record.save("mending", {"pictures": NAMES, "psnr": found}, command="python benchmarks/mending.py RUN")


if __name__ == "__main__":
    main()
