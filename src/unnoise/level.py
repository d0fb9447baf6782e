"""The level of noise, without impulses, and its correlation, in blocks of a picture.

It is measured in the flattest blocks, by their fine frequencies, where a picture has least: those are chosen by low frequencies,
which for white noise say nothing of the high ones, so the choice does not bend the result (Ponomarenko et al. 2007,
doi:10.1117/12.699793; Colom & Buades 2013, doi:10.5201/ipol.2013.45). What clipping took away is added by its formula.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

WORTH = 2.5 / 255  # sigma of fine noise from which on it is worth removing; texture of clean photographs seldom looks like more
SIDE = 8  # of a block, in pixels
FLANK = 4  # pixels that are looked at beside a block, on either hand
FLATTEST = 0.025  # the share of the blocks that noise is measured in
FEWEST = 64  # blocks to measure it in, if there are so many
BRIGHTNESSES = 16  # at which noise is measured for its level function
FLAT = 0.05  # the share of the blocks of one brightness that this is done in
CUT = 0.01  # share of values that were clipped, from which on a brightness tells nothing
KEPT = 0.25  # of the values of a block, that must be others than 0 and 1: the rest may be noise that was clipped, or black on white
PARTS = 8  # of these blocks, whose results are compared to tell the error
KNOWN = 0.02  # of sigma: no closer, whatever the blocks agree on
QUARTILE = NormalDist().inv_cdf(0.75)
NUMBERS = np.arange(SIDE)
COSINES = np.sqrt((1 + (NUMBERS > 0)) / SIDE)[:, None] * np.cos(math.pi / SIDE * NUMBERS[:, None] * (NUMBERS + 0.5))
DCT = np.kron(COSINES, COSINES).astype(np.float32)  # a row for each frequency of a block, orthonormal
DOWN, ACROSS = np.divmod(np.arange(SIDE * SIDE), SIDE)
BY_FINENESS = np.argsort(DOWN + ACROSS, stable=True)  # the first is the mean
LOW, MIDDLE, HIGH = np.split(BY_FINENESS[1:], [14, 35])  # sums of 1 to 4, of 5 to 7, of 8 to 14


class Estimate(NamedTuple):
    """A figure and its standard error, in the same units."""

    value: float
    error: float

    def beyond(self, least: float) -> bool:
        """Whether it is more than `least` by its standard error."""
        return self.value - self.error > least


class Level(NamedTuple):
    """Of the noise: sigma, that of each channel, of its fine part, and the correlation of neighbouring pixels."""

    sigma: Estimate
    channels: tuple[Estimate, ...]
    fine: Estimate
    correlation: Estimate


class _Energies(NamedTuple):
    """Of a channel: the squared coefficients, (N, 64), of blocks that are flat themselves, and of blocks that are flat beside."""

    own: Array
    other: Array

    def spectrum(self, coarse: bool) -> Array:
        """The power of noise at each frequency, (64,). Blocks that are chosen by low frequencies have too little there.

        Not `coarse`: below the middle frequencies all else is texture, and noise is as it is in the middle.
        """
        powers: Array = np.median(self.own, 0) / QUARTILE**2  # of chi-squared with one degree of freedom
        powers[LOW] = np.median(self.other[:, LOW], 0) / QUARTILE**2 if coarse else powers[MIDDLE].mean()
        powers[0] = (powers[1] + powers[SIDE]) / 2
        return powers


def measure(blocks: Array, flanks: Array, lost: Array, clipped: bool) -> Level:
    """The noise in blocks (N, C, 64) of a picture, by what is 4 pixels beside them, (N, C, 8, 8).

    lost: (N, C), the share of a block that holds no noise, as it was filled in. clipped: the picture was clipped to [0, 1].
    """
    rough = np.square(blocks @ DCT[LOW].T).mean(2)
    halves = flanks.reshape(*flanks.shape[:2], SIDE // 2, 2, 2, FLANK // 2, 2).mean((3, 6))  # of 2 x 2 pixels
    beside = halves.var((2, 4)).sum((1, 2))
    found = [_energies(blocks[:, c], lost[:, c], rough[:, c], rough.mean(1), beside, clipped) for c in range(blocks.shape[1])]
    high, middle = ([_level(energies.own[:, band]) for energies in found] for band in (HIGH, MIDDLE))
    fine = max(_together(high), _together(middle))
    coarse = fine.beyond(WORTH) and _together(middle).value > 1.15 * _together(high).value
    channels = [
        Estimate(math.sqrt(energies.spectrum(coarse).mean()), mid.error) if coarse else top
        for energies, top, mid in zip(found, high, middle, strict=True)
    ]
    return Level(_together(channels), tuple(channels), fine, _correlation(found, coarse))


class Points(NamedTuple):
    """Variances of the noise in flat blocks of every brightness: (N,) each, of block `at` and a channel, of `freedom` independent values."""

    means: Array
    variances: Array
    at: Array
    channels: Array
    freedom: float


def points(blocks: Array, lost: Array, clipped: bool, coarse: float = 1.0) -> Points:
    """Where the level function of noise runs: means and variances of the flattest blocks (N, C, 64) of each brightness, see `measure`.

    Variances are those of the fine and middle frequencies; `coarse`: by how much the noise, all of it, is stronger than these tell.
    """
    band = np.concatenate([MIDDLE, HIGH])
    rough = np.square(blocks @ DCT[LOW].T).mean(2) / np.maximum(1 - lost, 0.1)
    means = blocks @ np.full(SIDE * SIDE, 1 / (SIDE * SIDE), np.float32)
    found = []
    for c in range(blocks.shape[1]):
        alive = np.flatnonzero((rough[:, c] > 1e-12) & (lost[:, c] < 0.5))
        for of in np.array_split(np.argsort(means[alive, c], kind="stable"), BRIGHTNESSES):
            these, number = alive[of], max(int(FLAT * len(of)), FEWEST // 2)
            some = blocks[these[::4], c]
            if clipped and len(of) and ((some == 0) | (some == 1)).mean() > CUT:
                continue
            flat = these[np.argsort(rough[these, c], kind="stable")[:number]]
            powers = np.square(blocks[flat, c] @ DCT[band].T).mean(1) / (1 - lost[flat, c])
            found.append((means[flat, c], coarse**2 * powers, flat, np.full(len(flat), c)))
    if not found:
        return Points(np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0, int), len(band))
    middles, variances, at, channels = (np.concatenate(part) for part in zip(*found, strict=True))
    return Points(middles, variances, at, channels, len(band))


def autocorrelation(blocks: Array, found: Points) -> Array:
    """(8, 8): how alike noise is so many pixels further down and across, 1 at 0; of blocks (N, C, 64), in the `points` found.

    By the spectrum (Wiener & Khinchin). Blocks were chosen by low frequencies: where these have less than the middle ones, the middle counts.
    """
    if not len(found.at):
        return np.zeros((SIDE, SIDE))
    squares = np.square(blocks[found.at] @ DCT.T).mean(1)
    powers: Array = np.median(squares / np.maximum(squares[:, 1:].mean(1, keepdims=True), 1e-30), 0)
    powers[LOW] = np.maximum(powers[LOW], powers[MIDDLE].mean())
    powers[0] = (powers[1] + powers[SIDE]) / 2
    ends = np.pad(
        powers.reshape(SIDE, SIDE), (0, 1), "edge"
    )  # from frequency 0 to the highest there is, both by half: white noise has 0
    waves = np.cos(math.pi / SIDE * np.outer(NUMBERS, np.arange(SIDE + 1))) * np.where(np.arange(SIDE + 1) % SIDE, 1, 0.5)
    alike: Array = waves @ ends @ waves.T
    alike /= alike[0, 0]
    return alike


def _together(channels: Sequence[Estimate]) -> Estimate:
    """The root mean square over the channels that have any; their errors have texture in common, so they do not shrink."""
    there = [one for one in channels if one.value > 0] or channels[:1]
    value, error = (math.sqrt(sum(part**2 for part in parts) / len(there)) for parts in zip(*there, strict=True))
    return Estimate(value, error)


def _energies(block: Array, lost: Array, alive: Array, rough: Array, beside: Array, clipped: bool) -> _Energies:
    """Those of one channel's blocks (N, 64), freed of what clipping and filling in did. `alive` is 0 for a constant block."""
    usable, kept = (alive > 1e-12) & (lost < 0.9), np.maximum(1 - lost, 0.1)  # a constant block was clipped, or painted
    if clipped:
        usable &= ((block > 0) & (block < 1)).mean(1) >= KEPT
        usable, kept = _unclipped(block, usable, kept, rough)
    own, other = (np.flatnonzero(usable)[_flattest(by[usable])] for by in (rough / kept, beside))
    return _Energies(*(np.square(block[chosen] @ DCT.T) / kept[chosen, None] for chosen in (own, other)))


def _flattest(measure: Array) -> Array:
    count = max(int(FLATTEST * len(measure)), FEWEST)
    return np.argpartition(measure, count)[:count] if count < len(measure) else np.arange(len(measure))


def _unclipped(block: Array, usable: Mask, kept: Array, rough: Array) -> tuple[Mask, Array]:
    """The blocks that clipping to [0, 1] left most of their noise, and the share of its power that is left in each.

    That depends on sigma, which is not known: it is raised from what the flattest blocks of all seem to have.
    """
    sigma, left, inside, mean = 0.0, kept, usable, block.mean(1)
    room = np.minimum(mean, 1 - mean)
    for _ in range(8):
        before = sigma
        chosen = np.flatnonzero(inside)[_flattest(rough[inside])]
        sigma = math.sqrt(_power(np.square(block[chosen] @ DCT[HIGH].T) / left[chosen, None]))
        if abs(sigma - before) <= 1e-3 * sigma:
            break
        left = kept * np.maximum(_left_by_clipping(mean / sigma) * _left_by_clipping((1 - mean) / sigma), 0.05)
        further = usable & (room >= 0.4 * sigma)  # nearer, more than half of the values were clipped
        inside = further if further.sum() >= FEWEST else inside
    return inside, left


def _left_by_clipping(distance: Array) -> Array:
    """The share of the variance of normal noise that clipping leaves, where the mean afterwards is `distance` sigma from the bound."""
    _, mean, variance = clipped_normal()
    return np.interp(distance, mean, variance)


@functools.cache
def clipped_normal() -> tuple[Array, Array, Array]:
    """(t, mean, variance) of max(0, x) for x of N(t, 1), t from -3 to 6: what clipping at 0 makes of a value t sigma above it."""
    t = np.linspace(-3, 6, 200)
    density, positive = np.exp(-t * t / 2) / math.sqrt(2 * math.pi), np.array([NormalDist().cdf(each) for each in t])
    mean = t * positive + density
    return t, mean, (t * t + 1) * positive + t * density - mean * mean


def _level(energies: Array) -> Estimate:
    """Sigma of noise by energies (N, F). Its error: what parts of the blocks differ by, and what texture may add."""
    if not len(energies):
        return Estimate(0.0, 1.0)  # it is unknown
    sigma = math.sqrt(_power(energies))
    if len(energies) < 2 * PARTS:
        return Estimate(sigma, sigma)
    chance = float(np.std([math.sqrt(_power(energies[part::PARTS])) for part in range(PARTS)], ddof=1)) / math.sqrt(PARTS)
    texture = math.sqrt(float(energies.mean())) - sigma
    return Estimate(sigma, math.hypot(chance, texture, KNOWN * sigma))


def _power(energies: Array) -> float:
    """The power of noise, from energies (N, F) of F frequencies of N blocks, by the lower quartile: texture lies above it.

    Sums of F squares of normal values are distributed as chi-squared (Wilson & Hilferty 1931, doi:10.1073/pnas.17.12.684).
    """
    if not len(energies):
        return 0.0
    of = 2 / (9 * energies.shape[1])
    return float(np.quantile(energies.mean(1), 0.25)) / math.pow(1 - of - QUARTILE * math.sqrt(of), 3)


def _correlation(found: Sequence[_Energies], coarse: bool) -> Estimate:
    """Of noise in neighbouring pixels, by its spectrum: 0 for a flat one."""
    there = [one for one in found if len(one.own) >= 2 * PARTS]
    if not there:
        return Estimate(0.0, 1.0)
    cosines = (np.cos(math.pi / SIDE * DOWN) + np.cos(math.pi / SIDE * ACROSS)) / 2
    white = float(cosines.mean())

    def of(blocks: slice) -> float:
        spectrum = np.sum([_Energies(one.own[blocks], one.other[blocks]).spectrum(coarse) for one in there], 0)
        return (float(cosines @ spectrum) / max(float(spectrum.sum()), 1e-30) - white) / (1 - white)

    parts = [of(slice(part, None, PARTS)) for part in range(PARTS)]
    return Estimate(of(slice(None)), float(np.std(parts, ddof=1)) / math.sqrt(PARTS))
