"""How good a method is where nobody knows the truth: pixels are hidden, and what it gives there is compared with what they had.

The noise of a hidden pixel is not in the input, so no method can know it, if it is independent of that beside it: the squared error is
that against the truth plus the variance of the noise, which is the same for all. So the lower is the nearer to the truth. Source:
Batson & Royer 2019, arXiv:1901.11365.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import verdict

Array = npt.NDArray[Any]
GRID = 4  # of 4 x 4 pixels one is hidden at a time
PHASES = ((0, 1), (1, 3), (2, 0), (3, 2))  # which, in turn: a quarter of all pixels
CELLS = 4  # rows and columns of parts of a picture, whose errors are compared one by one


def errors(denoise: Callable[[Array], Array], noisy: Array) -> Array:
    """The mean squared error on hidden pixels in each of CELLS x CELLS parts of a picture: (16,), image units squared.

    noisy: (H, W) or (H, W, C) floats, 16 pixels a side or more. denoise: from such a picture to one of its shape.
    """
    height, width = noisy.shape[:2]
    sums, counts = np.zeros((2, CELLS * CELLS))
    cells = np.arange(height)[:, None] * CELLS // height * CELLS + np.arange(width) * CELLS // width
    for top, left in PHASES:
        at = slice(top, None, GRID), slice(left, None, GRID)
        given = noisy.copy()
        given[at] = _beside(noisy)[at]
        squares = np.square(np.clip(denoise(given), 0, 1)[at].astype(np.float64) - noisy[at])
        squares = squares.mean(2) if squares.ndim == 3 else squares
        sums += np.bincount(cells[at].ravel(), squares.ravel(), CELLS * CELLS)
        counts += np.bincount(cells[at].ravel(), minlength=CELLS * CELLS)
    return np.asarray(sums / np.maximum(counts, 1))


def gain(one: Sequence[Array], other: Sequence[Array]) -> tuple[float, float, float]:
    """(mean, low, high): by which share of it the error of `other` is larger than that of `one`, and the 95 % interval, over all parts.

    Each is a list of `errors`, of the same pictures.
    """
    mine, theirs = np.concatenate(one), np.concatenate(other)
    return verdict.gain((theirs - mine) / max(float(theirs.mean()), 1e-30))


def _beside(picture: Array) -> Array:
    """The mean of the four pixels beside each."""
    around = np.pad(picture, [(1, 1), (1, 1)] + [(0, 0)] * (picture.ndim - 2), "reflect")
    return np.asarray((around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4)
