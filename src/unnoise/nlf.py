"""The noise-level function of a sensor: the variance of its noise over brightness, variance = gain * brightness + read^2.

Light is counted, which gives the part that grows with it, and reading the counter errs. Source: Foi et al. 2008,
doi:10.1109/TIP.2008.2001399. Everything is in image units: brightness and the standard deviation `read` from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import BadSetting, ImageError
from .level import QUARTILE, Array, Estimate

BINS = 16  # of brightness, in which the fit begins
REACH = 4.685  # standard deviations from which on a variance counts for nothing (Tukey's biweight, 95 % efficient)
DIM = 1e-3  # share of the largest variance below which none is trusted more
ROUNDS = 50


def variance(value: Array | float, gain: float, read: float) -> Array:
    """The variance of the noise at each brightness, in its type; below 0 it is as at 0."""
    return np.asarray(gain * np.maximum(value, 0) + read * read)


@dataclass(frozen=True)
class LevelFunction:
    """Gain, the variance that a brightness of 1 adds, and read, the standard deviation in the dark, with their standard errors."""

    gain: Estimate
    read: Estimate

    def sigma(self, value: Array | float) -> Array:
        """The standard deviation of the noise at each brightness; below 0 it is as at 0."""
        return np.sqrt(variance(value, self.gain.value, self.read.value))

    def as_json(self) -> dict[str, Any]:
        """{"gain": {"value", "error"}, "read": {"value", "error"}}: what `from_json` takes."""
        return {name: figure._asdict() for name, figure in vars(self).items()}

    @classmethod
    def from_json(cls, found: Any) -> LevelFunction:
        """The inverse of `as_json`. Raises BadSetting for anything else."""
        try:
            figures = [Estimate(float(found[name]["value"]), float(found[name]["error"])) for name in ("gain", "read")]
        except (KeyError, TypeError, ValueError):
            figures = []
        if not figures or not all(0 <= number < math.inf for figure in figures for number in figure):
            raise BadSetting(f'{found!r}: expected gain and read, each {{"value": ..., "error": ...}} from 0.')
        return cls(*figures)


def fit(means: Array, variances: Array, weights: Array | float) -> LevelFunction:
    """The level function of noise whose variance was measured in places of several brightnesses.

    means, variances: (N,), of each place; weights: how many independent values its variance is of (degrees of freedom), at least 1.
    Outliers, such as texture, may lie above, for up to about half of the places at any brightness. What clipping cut is to be left out.
    Where brightness hardly varies, gain and read cannot be told apart, and their errors say so; `sigma` there is sound all the same.
    Raises ImageError if there is nothing.
    """
    means, variances = (np.asarray(part, np.float64).ravel() for part in (means, variances))
    freedom = np.broadcast_to(np.asarray(weights, np.float64), means.shape)
    if not len(means):
        raise ImageError(
            "no variance was measured, so there is no noise to tell; give pictures with even parts that are not clipped."
        )
    found, covariance, scale = _start(means, variances, freedom), np.zeros((2, 2)), 1.0
    for _ in range(ROUNDS):
        expected = _expected(found, means)
        off = _off(expected, variances, freedom)
        scale = max(scatter(off), 0.1)
        kept = np.square(np.maximum(1 - np.square(off / (REACH * scale)), 0))
        spread = expected * np.sqrt(2 / freedom)
        before, (found, covariance) = found, _line(means, expected + off * spread, kept / np.square(spread))
        if np.allclose(found, before, rtol=1e-6, atol=1e-30):
            break
    return _with_errors(found, covariance * max(scale, 1) ** 2, means)


def deviations(level: LevelFunction, means: Array, variances: Array, weights: Array | float) -> Array:
    """(N,): by how many standard deviations of chance each variance lies above the function; the arguments are those of `fit`."""
    expected = _expected(np.array([level.gain.value, level.read.value**2]), means)
    return _off(expected, variances, np.broadcast_to(np.asarray(weights, np.float64), means.shape))


def scatter(off: Array) -> float:
    """The standard deviation of deviations, by those below 0, where there are no outliers; 0 if there are none."""
    below = off[off < 0]
    return math.sqrt(float(np.square(below).mean())) if len(below) else 0.0


def _expected(found: Array, means: Array) -> Array:
    expected = found[0] * means + found[1]
    return np.asarray(np.maximum(expected, max(DIM * float(expected.max()), 1e-30)))


def _off(expected: Array, variances: Array, freedom: Array) -> Array:
    """The cube root of a variance is normal (Wilson & Hilferty 1931, doi:10.1073/pnas.17.12.684)."""
    return np.asarray((np.cbrt(variances / expected) - 1 + 2 / (9 * freedom)) / np.sqrt(2 / (9 * freedom)))


def _start(means: Array, variances: Array, freedom: Array) -> Array:
    """(gain, read^2) by the lower quartile of the variances at each brightness, which outliers above hardly reach."""
    quartile = np.power(np.maximum(1 - 2 / (9 * freedom) - QUARTILE * np.sqrt(2 / (9 * freedom)), 0.1), 3)
    places = np.array_split(np.argsort(means, kind="stable"), min(BINS, max(len(means) // 8, 1)))
    low = np.array([np.quantile(variances[at] / quartile[at], 0.25) for at in places])
    middles = np.array([means[at].mean() for at in places])
    return _line(middles, low, 1 / np.square(np.maximum(low, max(DIM * low.max(), 1e-30))))[0]


def _line(means: Array, variances: Array, weights: Array) -> tuple[Array, Array]:
    """(gain, read^2), neither negative, by weighted least squares, and their covariance, as if they might be."""
    middle = max(float(np.average(means, weights=weights)) if weights.any() else 1.0, 1e-12)
    columns = np.stack([means / middle, np.ones(len(means))])
    normal, right = columns * weights @ columns.T, columns * weights @ variances
    inverse = np.linalg.pinv(normal, 1e-9, hermitian=True)  # one brightness: as much of each
    found = inverse @ right
    if found.min() < 0:
        other = int(found[0] < 0)
        found = np.zeros(2)
        found[other] = max(right[other] / normal[other, other], 0.0)
    units = np.array([1 / middle, 1])
    lost = np.eye(2) - inverse @ normal  # what these brightnesses do not tell
    unknown = np.square(found.sum()) * lost
    return found * units, (inverse + unknown) * np.outer(units, units)


def _with_errors(found: Array, covariance: Array, means: Array) -> LevelFunction:
    """Errors are no larger than what is possible: neither part has more than all the variance there is."""
    gain, squared = map(float, found)
    by_gain, by_squared = (math.sqrt(max(float(part), 0.0)) for part in np.diag(covariance))
    read, brightest, darkest = math.sqrt(squared), max(float(means.max()), 1e-12), max(float(means.min()), 0.0)
    most_read = math.sqrt(squared + gain * darkest)
    return LevelFunction(
        Estimate(gain, min(by_gain, max(gain, squared / brightest))),
        Estimate(read, min(math.sqrt(squared + by_squared) - read, max(read, most_read - read))),
    )
