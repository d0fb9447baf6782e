"""Draw what the bundled models do wrong: docs/failures.jpg, photographs of scikit-image, crops of 192 pixels at 1:1.

A row for each example: clean, noisy, what comes out, and the difference, three times as strong around middle gray.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import skimage

from unnoise import image
from unnoise.denoiser import load
from unnoise.figures import rows
from unnoise.noise import parse, spoilt

PHOTOS = Path(skimage.__file__).parent / "data"
PICTURE = Path(__file__).parent.parent / "docs" / "failures.jpg"
SIDE, SEED, STRONGER = 192, 8, 3
EXAMPLES = (  # model, photo, upper left corner, noise
    ("photo", "grass.png", (100, 100), "gaussian:50/255"),
    ("photo", "brick.png", (150, 150), "gaussian:50/255"),
    ("photo", "coffee.png", (60, 200), "camera:20/255"),
    ("impulse", "astronaut.png", (20, 150), "salt-and-pepper:fraction=0.8"),
    ("missing", "page.png", (0, 60), "masking:0.7"),
    ("missing", "motorcycle_left.png", (200, 250), "blocks:count=40,size=48"),
    ("real", "chelsea.png", (60, 120), "gaussian:30/255"),
)
Array = npt.NDArray[np.float32]


def example(model: str, photo: str, corner: tuple[int, int], noise: str) -> list[Array]:
    clean = image.read(PHOTOS / photo).pixels
    noisy = spoilt(clean, parse(noise), SEED, 0)
    restored = load(model).denoise(noisy)
    place = tuple(slice(at, at + SIDE) for at in corner)
    return [crop[place] for crop in (clean, noisy, restored, 0.5 + STRONGER * (restored - clean))]


if __name__ == "__main__":
    image.write(PICTURE, rows([example(*one) for one in EXAMPLES]), overwrite=True)
