"""Noise at every brightness, also where it is coarse: how likely it is that what the flattest blocks hold is noise, not texture.

Noise is everywhere, texture is not: of all blocks of one brightness, those with the least power have all of the noise, and where a
picture is clean they are next to empty. The floor of a band of frequencies is the lower end of its power at one brightness, and the
median over the brightnesses, since noise may be hidden in the dark and clipped in the light. Cameras' noise has colour, which texture
seldom has, so floors are taken of brightness and of colour. What they come to was learned: by logistic regression, from photographs
without and with the noise of `noise.Camera` on them (benchmarks/doctor_rule.py).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from .level import ACROSS, DCT, DOWN, HIGH, MIDDLE, SIDE, Array, Estimate

COARSE = np.flatnonzero((DOWN + ACROSS >= 2) & (DOWN + ACROSS <= 4))  # periods of about 4 to 8 pixels
BANDS = (COARSE, MIDDLE, HIGH)
BRIGHTNESSES = 8
LOWER = 0.05  # the share of blocks whose power lies below the floor
FEWEST = 50  # blocks of one brightness
COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32) / np.sqrt([[3], [2], [6]]).astype(np.float32)
WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (0.67, 2.98, -2.0, -1.28, -0.1, -1.41, -0.48),
    3: (-0.89, 2.84, -1.39, -1.96, 0.61, -1.14, 4.76, -3.3, -1.13, 1.82, -1.98, 0.01, -2.06),
}


class Floors(NamedTuple):
    """Of each part (brightness; colour), band and one of BRIGHTNESSES: the lower end of the powers and their median, in squares of 255ths."""

    low: Array
    middle: Array

    def features(self) -> Array:
        """(6,) of a gray picture, (12,) of one in colour: the logs of the floors, then of how far the medians lie above them.

        That is little for noise, and much for texture, which is here and not there.
        """
        floors = np.log(np.median(np.sqrt(self.low), 2) + 0.1)
        spreads = np.median(np.log((self.middle + 0.01) / (self.low + 0.01)), 2)
        return np.asarray(np.stack([floors, spreads], 1).ravel())

    def likelihood(self) -> float:
        """That there is noise worth removing, from 0 to 1."""
        *weights, bias = WEIGHTS[2 * len(self.low) - 1]
        score = float(self.features() @ weights) + bias
        return 1 / (1 + math.exp(-min(max(score, -50), 50)))

    def colour(self) -> float:
        """How strong the noise of colour is beside that of brightness, in the middle band; 1 for a gray picture, which tells nothing."""
        floors = np.sqrt(np.median(self.low[:, 1], 1))
        return float(floors[1] / max(floors[0], 1e-9)) if len(floors) > 1 else 1.0

    def typical(self) -> Estimate:
        """The noise's standard deviation at the middle one of the brightnesses, if it is noise; coarser than COARSE, it is taken for as strong."""
        parts = np.arange(1, len(self.low) + 1)[:, None]  # of one plane, and of two
        of = 2 / (9 * parts * [len(band) for band in BANDS])  # Wilson & Hilferty, see `level`
        powers = self.low / np.power(1 - of + NormalDist().inv_cdf(LOWER) * np.sqrt(of), 3)[..., None]
        shares = np.array([SIDE * SIDE - len(MIDDLE) - len(HIGH), len(MIDDLE), len(HIGH)]) / (SIDE * SIDE)
        sigmas = np.sqrt((parts[..., None] * powers * shares[:, None]).sum((0, 1)) / parts.sum()) / 255
        return Estimate(float(np.median(sigmas)), 1.25 * float(sigmas.std(ddof=1)) / math.sqrt(BRIGHTNESSES))


def measure(blocks: Array) -> Floors | None:
    """Those of blocks (N, C, 64) of a picture; None of too few."""
    inside = (blocks.min((1, 2)) > 0) & (blocks.max((1, 2)) < 1)
    blocks = blocks[inside] if inside.sum() >= BRIGHTNESSES * FEWEST else blocks
    blocks = blocks[np.ptp(blocks, (1, 2)) > 0]
    if len(blocks) < BRIGHTNESSES * FEWEST:
        return None
    gray = blocks.shape[1] != 3 or not np.any(blocks[:, 0] != blocks[:, 1])
    planes = blocks[:, :1] if gray else COLOURS @ blocks
    squares = np.square(255 * planes @ DCT.T)
    parts = [squares] if gray else [squares[:, :1], squares[:, 1:]]
    powers = np.stack([[part[..., band].mean((1, 2)) for band in BANDS] for part in parts])
    order = np.argsort(blocks.mean((1, 2)), kind="stable")
    found = [np.quantile(powers[..., at], (LOWER, 0.5), 2) for at in np.array_split(order, BRIGHTNESSES)]
    return Floors(*np.stack(found, 3))
