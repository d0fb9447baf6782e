"""How good a method is where nobody knows the truth: by Stein's estimate of its error, and by what it gives for hidden pixels.

Stein: the squared error against the truth is that against the noisy picture, less the noise's variance s^2, plus twice what the answer has of the
pixel's own noise, 2 s^2 dg/dy for normal noise (Stein 1981, doi:10.1214/aos/1176345632); the derivatives are told by a second answer, to a
picture changed by a little at random (Ramani et al. 2008, doi:10.1109/TIP.2008.2001404). s^2 is the same for all methods, so an error in it
changes their order only by as much as their derivatives differ.

Hidden pixels: their noise is not in the input, so what a method gives there errs by its error and s^2 (Batson & Royer 2019, arXiv:1901.11365).
That needs no s^2, but judges a method that is kept from the pixel itself.

Both ask that the noise of a pixel says nothing of that beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import nlf, verdict
from .keyed import keyed_rng
from .level import Estimate, clipped_normal

Array = npt.NDArray[Any]
Method = Callable[[Array], Array]  # a picture (H, W) or (H, W, C) to the same
GRID = 4  # of 4 x 4 pixels one is hidden at a time
PHASES = ((0, 1), (1, 3), (2, 0), (3, 2))  # which, in turn: a quarter of all pixels
APART = 6  # pixels between the pairs that are hidden for `own_share`
PROBE = 0.3  # sigma by which pixels are changed to tell what an answer has of its own pixel's noise
CELLS = 4  # rows and columns of parts of a picture, whose errors are compared one by one


def risks(
    methods: Mapping[str, Method], noisy: Array, read: float, gain: float = 0.0
) -> tuple[dict[str, Array], dict[str, Array]]:
    """(Stein's estimate of each method's mean squared error in CELLS x CELLS parts of a picture, (16,), image units squared; its answers).

    noisy: (H, W) or (H, W, C) floats, 16 pixels a side or more. The variance of its noise is read^2 + gain * the light, read above 0. Where the picture is clipped to [0, 1], noise has a
    smaller variance and a mean that is not 0 near the ends: both are put in by their formula, for the light that most methods find.
    """
    answers = {name: method(noisy).astype(np.float64) for name, method in methods.items()}
    known = np.median([*answers.values()], 0)  # E[y]
    sigma = np.sqrt(nlf.variance(known, gain, read))
    light, left = _unclipped(known, sigma) if noisy.min() >= 0 and noisy.max() <= 1 else (known, 1.0)
    variance, excess = left * sigma**2, known - light
    change = PROBE * sigma * keyed_rng(0).choice((-1.0, 1.0), noisy.shape)
    probed = (noisy + change).astype(noisy.dtype)
    found = {}
    for name, answer in answers.items():
        slope = (methods[name](probed) - answer) / change
        of_mean = excess * (2 * answer - known - light)  # (g - x)^2 - (g - E[y])^2
        found[name] = _by_parts(np.square(answer - noisy) + variance * (2 * slope - 1) + of_mean)
    return found, answers


def blind_error(method: Method, noisy: Array) -> float:
    """The root mean square of what a method gives for hidden pixels less what they had: PHASES in turn, each by the mean of those beside it."""
    squares = []
    for top, left in PHASES:
        at = slice(top, None, GRID), slice(left, None, GRID)
        given = noisy.copy()
        given[at] = _beside(noisy)[at]
        squares.append(float(np.square(method(given)[at].astype(np.float64) - noisy[at]).mean()))
    return math.sqrt(sum(squares) / len(squares))


def whiteness(removed: Array) -> Estimate:
    """How far what was taken away correlates between neighbours, down and across: 0 for white noise, above for a picture's structure.

    removed: (H, W) or (H, W, C), noisy less restored, 16 pixels a side or more. The error is told by its parts.
    """
    planes = (removed - removed.mean((0, 1))).reshape(*removed.shape[:2], -1)
    parts = [part for band in np.array_split(planes, CELLS) for part in np.array_split(band, CELLS, 1)]

    def of(part: Array) -> float:
        return neighbours_product(part) / max(float(np.square(part).mean()), 1e-30)

    return Estimate(of(planes), float(np.std([of(part) for part in parts], ddof=1)) / len(parts) ** 0.5)


def neighbours_product(picture: Array) -> float:
    """The mean product of values and those beside them, down and across: (H, W) or (H, W, C), about a mean of 0."""
    return float((picture[1:] * picture[:-1]).mean() + (picture[:, 1:] * picture[:, :-1]).mean()) / 2


def own_share(denoise: Method, pictures: Sequence[Array]) -> float:
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


def _residuals(denoise: Method, noisy: Array, down: int, across: int) -> tuple[Array, Array]:
    """f - y of hidden pixels, and of those so much further down and right, hidden too: each by the value of one on its far side."""
    rows, columns = np.mgrid[2 : noisy.shape[0] - 3 : APART, 2 : noisy.shape[1] - 3 : APART].reshape(2, -1)
    given = noisy.copy()
    given[rows, columns] = noisy[rows - down, columns - across]
    given[rows + down, columns + across] = noisy[rows + 2 * down, columns + 2 * across]
    residual = denoise(given).astype(np.float64) - noisy
    return residual[rows, columns], residual[rows + down, columns + across]


def better_by(one: Sequence[Array], other: Sequence[Array], variances: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): by how much the error of `one` is lower, as a share of the noise's power, and the 95 % interval over all parts.

    one, other: `risks` of the same pictures, whose noise has these variances.
    """
    differences = [(theirs - mine) / variance for mine, theirs, variance in zip(one, other, variances, strict=True)]
    return verdict.mean_and_interval(np.concatenate(differences).tolist())


def _unclipped(mean: Array, sigma: Array) -> tuple[Array, Array]:
    """(the light, the share of the noise's variance that is left) where noise of sigma was clipped to [0, 1] and has that mean now."""
    at, means, variances = clipped_normal()
    below, above = ((end / sigma).clip(means[0], means[-1]) for end in (mean, 1 - mean))
    up, down = (np.where(end < means[-1], np.interp(end, means, at).clip(0) - end, 0) for end in (below, above))
    left = np.interp(below, means, variances) * np.interp(above, means, variances)
    return mean + sigma * (up - down), left


def _by_parts(values: Array) -> Array:
    """The means of (H, W) or (H, W, C) in CELLS x CELLS parts: (16,)."""
    parts = (part for band in np.array_split(values, CELLS) for part in np.array_split(band, CELLS, 1))
    return np.array([part.mean() for part in parts])


def _beside(picture: Array) -> Array:
    """The mean of the four pixels beside each."""
    around = np.pad(picture, [(1, 1), (1, 1)] + [(0, 0)] * (picture.ndim - 2), "reflect")
    return np.asarray((around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4)
