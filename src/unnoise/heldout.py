"""How good a method is where nobody knows the truth: pixels are hidden, and what it gives there is compared with what they had.

The noise of a hidden pixel is not in the input, so no method can know it, if it is independent of that beside it: there the squared error is
that against the truth plus the variance of the noise, the same for all (Batson & Royer 2019, arXiv:1901.11365). But a method sees the
pixel when it is used, and one that leaves all noise in is not as good as what it gives where it does not. So what the pixel's own
noise does to the answer is counted too.
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
APART = 6  # pixels between the pairs that are hidden for `own_share`
CELLS = 4  # rows and columns of parts of a picture, whose errors are compared one by one


def blind(denoise: Callable[[Array], Array], noisy: Array) -> Array:
    """What a method gives for pixels that are hidden from it, PHASES in turn: of the shape of `noisy`, NaN where none is."""
    told = np.full(noisy.shape, np.nan)
    for top, left in PHASES:
        at = slice(top, None, GRID), slice(left, None, GRID)
        given = noisy.copy()
        given[at] = _beside(noisy)[at]
        told[at] = denoise(given)[at]
    return told


def errors(denoise: Callable[[Array], Array], noisy: Array, told: Array, known: Array) -> Array:
    """The squared error against the truth, plus the noise's variance, in each of CELLS x CELLS parts of a picture: (16,), image units squared.

    With the answer g, and b for hidden pixels, `told`: (g - y)^2 + 2 (y - f)(g - b), f being `known`, what a good method, this one or
    another, gives `blind`: since y - f is the noise and an error that is small beside it, the mean of the second term is what g has of the pixel's own
    noise n, 2 E[n g], as in Stein's estimate of risk, without sigma. noisy: (H, W) or (H, W, C) floats, 16 pixels a side or more.
    """
    height, width = noisy.shape[:2]
    answer, value = denoise(noisy).astype(np.float64), noisy.astype(np.float64)
    squares = np.square(answer - value) + 2 * (value - known) * (answer - told)
    squares = squares.mean(2) if squares.ndim == 3 else squares
    cells = np.arange(height)[:, None] * CELLS // height * CELLS + np.arange(width) * CELLS // width
    looked = ~np.isnan(squares)
    sums = np.bincount(cells[looked], squares[looked], CELLS * CELLS)
    return np.asarray(sums / np.maximum(np.bincount(cells[looked], minlength=CELLS * CELLS), 1))


def own_share(denoise: Callable[[Array], Array], pictures: Sequence[Array]) -> float:
    """Which share of a pixel's own value belongs into the answer of a model that learned to do without it, from 0 to 1.

    If the answer f for a hidden pixel has the squared error v, and the pixel's value y the noise s^2, (s^2 f + v y) / (s^2 + v) is nearest to the
    truth (Laine et al. 2019, arXiv:1901.10277, for normal f and y). The residual y - f has the variance s^2 + v. Noise of two pixels is
    independent, so their residuals have in common what their errors have: c(1) of those side by side, c(2) of those on a diagonal; for
    no distance that is v, and as a Gaussian of the distance it is c(1)^2 / c(2), here at most 2 c(1). pictures: noisy, (H, W, C)
    floats, 16 pixels a side or more. No sigma is asked for, so the noise may grow with the light.
    """
    squares: list[float] = []
    beside: list[float] = []
    diagonal: list[float] = []
    for noisy in pictures:
        for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
            one, other = _residuals(denoise, noisy, down, across)
            (diagonal if down and across else beside).append(float(np.mean(one * other)))
            squares.append(float(np.mean(one * one) + np.mean(other * other)) / 2)
    whole, near, far = (max(float(np.mean(found)), 0.0) for found in (squares, beside, diagonal))
    return min(near * near / max(far, near / 2, 1e-30), whole) / max(whole, 1e-30)


def _residuals(denoise: Callable[[Array], Array], noisy: Array, down: int, across: int) -> tuple[Array, Array]:
    """f - y of hidden pixels, and of those so much further down and right, hidden too: each by the value of one on its far side."""
    rows, columns = np.mgrid[2 : noisy.shape[0] - 3 : APART, 2 : noisy.shape[1] - 3 : APART].reshape(2, -1)
    given = noisy.copy()
    given[rows, columns] = noisy[rows - down, columns - across]
    given[rows + down, columns + across] = noisy[rows + 2 * down, columns + 2 * across]
    residual = denoise(given).astype(np.float64) - noisy
    return residual[rows, columns], residual[rows + down, columns + across]


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
