"""What noise is in a picture, told from the picture alone, and what to do about it: behind `unnoise inspect` and `--model auto`.

Blocks of 8 x 8 pixels from all over the picture say it, 16,000 at most, so that a large picture takes no longer. Impulses are
counted where they would show: where the surroundings are far from 0, from 1, or flat. They are taken out before the level of
noise is measured, in `level`. Everything is in image units: values from 0 to 1, shares from 0 to 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from . import floors, grid, impulses, nlf
from .advice import FILLS, MODELS, RULE, advice, expected, in_turn
from .diagnosis import ALIKE, RARE, RARE_ANY, UNKNOWN, Diagnosis
from .image.picture import WHOLE, Bands, as_floats
from .level import FLANK, SIDE, Array, Estimate, Level, Mask, Points, measure, points
from .noise import check_image, check_shape

__all__ = ["ALIKE", "FILLS", "MODELS", "RULE", "Diagnosis", "advice", "examine", "expected", "in_turn"]

LARGEST = 2**24  # pixels that are held; of a larger picture, as many in strips
STRIP = 128  # rows
BLOCKS = 16_000
SOME = 2  # of the blocks, every so many are enough for the floors of noise


class Sight(NamedTuple):
    """What is looked at in a picture: its planes (H, W, C), and N blocks of it.

    blocks: (N, C, 64) floats without impulses; flanks: what lies beside them, see `level`; lost: (N, C), the share of each that
    held an impulse; clipped: nothing is beyond [0, 1]; extremes, impulses, missing: their shares; drawn: it is no photograph.
    """

    planes: Array
    blocks: Array
    flanks: Array
    lost: Array
    clipped: bool
    extremes: Estimate
    impulses: Estimate
    missing: Estimate
    drawn: bool


def examine(picture: Array | Bands) -> Diagnosis:
    """The noise in a picture: (H, W) or (H, W, C) floats in [0, 1], or uint8 or uint16 of the whole range; alpha is not looked at.

    Floats beyond [0, 1] are taken as noise that was not clipped. Noise coarser than about 8 pixels, and what a picture of fewer
    than about 64 pixels a side hides, is not found. Of more than 16 megapixels, strips of rows are looked at, so that of one
    that comes in bands no more is held. Raises ImageError for what is no picture.
    """
    return diagnose(look(picture))


def look(picture: Array | Bands) -> Sight:
    """The blocks that a picture is judged by; `picture` as in `examine`, which raises the same."""
    if not isinstance(picture, Bands):
        check_shape(picture)
        picture = Bands.of(picture)
    picture = _strips(picture)
    (check_shape if picture.dtype in WHOLE else check_image)(picture)
    planes = picture[..., None] if picture.ndim == 2 else picture
    planes = planes[..., :-1] if planes.shape[2] in (2, 4) else planes
    windows, cells = _sample(planes)
    blocks = np.ascontiguousarray(windows[..., FLANK:-FLANK]).reshape(*windows.shape[:2], SIDE * SIDE)
    flanks = np.concatenate([windows[..., :FLANK], windows[..., -FLANK:]], 3)
    clipped = bool(windows.min() >= 0 and windows.max() <= 1)
    centres = impulses.centres_of(blocks)
    extremes, missing = impulses.extremes(blocks, centres, cells)
    others = impulses.others(blocks, centres, cells)
    lost, drawn = np.zeros(blocks.shape[:2]), impulses.drawn(blocks, extremes.value + missing.value)
    if extremes.value + missing.value > RARE / 2 or others.value > RARE_ANY:
        blocks, flanks, lost = impulses.mended(blocks, flanks, centres)
    return Sight(planes, blocks, flanks, lost, clipped, extremes, others, missing, drawn)


def diagnose(sight: Sight) -> Diagnosis:
    """What `examine` says of what was looked at."""
    shares = sight.extremes, sight.impulses, sight.missing, impulses.missing_blocks(sight.planes)
    if sight.drawn:
        unknown = UNKNOWN, (UNKNOWN,) * sight.blocks.shape[1], UNKNOWN, UNKNOWN
        return Diagnosis(*unknown, *shares, drawn=True)
    level = measure(sight.blocks, sight.flanks, sight.lost, sight.clipped)
    patches = points_of(sight, level)
    gain, read = level_function(patches)
    found = Diagnosis(*level, *shares, gain=gain, read=read, grid=_grid(sight, patches))
    noise = floors.measure(sight.blocks[::SOME])
    if noise is None:
        return found
    return replace(found, typical=noise.typical(), likelihood=noise.likelihood(), colour=noise.colour())


def _grid(sight: Sight, patches: Points) -> grid.Grid:
    """By the flat patches of green, or of gray."""
    channel = min(1, sight.blocks.shape[1] - 1)
    flat = np.unique(patches.at[patches.channels == channel])
    down, across = places(sight.planes.shape)
    return grid.measure(sight.planes, sight.blocks[flat, channel], (down[flat], across[flat] + FLANK))


def points_of(sight: Sight, level: Level | Diagnosis) -> Points:
    """Variances of the noise over brightness. Where it is coarse, they are as much larger than their fine part as `level` has it."""
    coarse = max(level.sigma.value / level.fine.value, 1.0) if level.fine.value else 1.0
    return points(sight.blocks, sight.lost, sight.clipped, coarse)


def level_function(found: Points) -> tuple[Estimate, Estimate]:
    """(gain, read) of the noise, see `nlf`; UNKNOWN without a single point."""
    if not len(found.means):
        return UNKNOWN, UNKNOWN
    fitted = nlf.fit(found.means, found.variances, found.freedom)
    return fitted.gain, fitted.read


def _strips(picture: Bands) -> Array:
    """All of a picture's rows, or of a large one every so many strips, one below the other."""
    height, width = picture.shape[:2]
    every = min(-(-height * width // LARGEST), height)
    rows = min(STRIP, height // every) if every > 1 else height
    strips = [strip for number, strip in enumerate(picture.of_rows(rows)) if number % every == every // 2]
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def _sample(planes: Array) -> tuple[Array, Mask]:
    """(N, C, 8, 16) float windows, a block and its flanks, evenly spread, and the cell that each lies in."""
    wide = SIDE + 2 * FLANK
    more = [(0, max(SIDE - planes.shape[0], 0)), (0, max(wide - planes.shape[1], 0)), (0, 0)]
    planes = np.pad(planes, more, "symmetric") if np.any(more) else planes
    rows, columns = planes.shape[0] - SIDE + 1, planes.shape[1] - wide + 1
    down, across = places(planes.shape)
    windows = np.lib.stride_tricks.sliding_window_view(planes, (SIDE, wide), (0, 1))[down, across]
    cells = down * impulses.CELLS // rows * impulses.CELLS + across * impulses.CELLS // columns
    return as_floats(windows).astype(np.float32, copy=False), cells


def places(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The upper left corners of the windows, (N,) each: rows and columns."""
    rows, columns = max(shape[0] - SIDE, 0) + 1, max(shape[1] - SIDE - 2 * FLANK, 0) + 1
    turn = 1.3247179572447460  # the plastic number: its powers spread points evenly over a square (Roberts 2018)
    count = np.arange(1, min(BLOCKS, rows * columns) + 1)
    down, across = ((count / turn**power % 1 * length).astype(int) for power, length in ((1, rows), (2, columns)))
    return down, across
