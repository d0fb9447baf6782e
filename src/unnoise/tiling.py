"""Pictures of any size in tiles that give what the whole picture would: one axis at a time, in pixels.

A network sees no further than its receptive field, so an output pixel that is computed from a tile which holds that field is
the pixel that the whole picture gives. Three rules make this exact. Tiles start on multiples of the model's grid, so that its
strides fall as they do in the whole. Each pixel is computed in one tile, at least `overlap` away from every border of the tile
that is not the picture's own: the zeros with which convolutions pad are out of its sight. At the picture's own edge the tile
ends where the padded whole does: reflection, and the same zeros, come in there and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import BadSetting

WORK = 1.25  # what a model's own tiles may cost on a large picture: pixels computed for each pixel of the picture
LEAST, MOST = 512, 2048  # a model's own tile side is between these, unless it is all overlap: very small tiles take time
# Values that the finest feature maps of a tile hold at most, for memory: 128 MiB, of which a few are held at a time.
MAPS = 2**25


def reflected(length: int, total: int) -> npt.NDArray[np.int64]:
    """Indices 0..length-1 continued to `total` by reflection at the last one (not repeated); a single one is repeated."""
    period = max(2 * (length - 1), 1)
    place = np.arange(total) % period
    return np.minimum(place, period - place) if length > 1 else np.zeros(total, np.int64)


def padded(length: int, grid: int) -> int:
    """The next multiple of `grid` from `length` up."""
    return -(-length // grid) * grid


@dataclass(frozen=True)
class Span:
    """A tile along one axis: the pixels [start, stop) of the picture are computed from [first, last) of the padded one."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, side: int, grid: int, overlap: int) -> list[Span]:
    """The tiles along an axis of `length` pixels, each at most `side` long with its overlap; side 0: one for the whole axis.

    `grid`: the model's alignment; `overlap`: a multiple of it, at least the reach of the receptive field beyond a grid cell.
    The tiles are as few as there can be, and all but the last equally long: one shape, one plan of memory. Raises BadSetting
    for a side that no pixel fits into beside the overlap.
    """
    check_side(side, grid, overlap)
    total, margin = padded(length, grid), 2 * overlap // grid
    if side == 0 or side >= total:
        return [Span(0, length, 0, total)]
    cells = total // grid - margin  # that tiles advance over, in all
    count = -(-cells // (side // grid - margin))
    step = -(-cells // count)
    tiles = []
    for at in range(0, cells, step):
        first, last = at * grid, min((at + step + margin) * grid, total)
        tiles.append(Span(first + overlap if first else 0, last - overlap if last < total else length, first, last))
    return tiles


def smallest_side(grid: int, overlap: int) -> int:
    """The least side of a tile: one cell of the grid, and the overlap on both sides of it."""
    return grid + 2 * overlap


def check_side(side: int, grid: int, overlap: int) -> None:
    """Raise BadSetting for a tile side that is neither 0 nor large enough for this model."""
    least = smallest_side(grid, overlap)
    if isinstance(side, bool) or not isinstance(side, int | np.integer) or (side != 0 and side < least):
        raise BadSetting(
            f"tile={side!r}: expected a side in pixels, at least {least} (this model looks {overlap} pixels to every side), or 0 for one piece."
        )


def default_side(grid: int, overlap: int, maps: float) -> int:
    """The side that is written into a model file: with it the overlap adds at most a quarter to the work on a large picture.

    A tile of side s gives (s - 2 overlap)^2 new pixels for s^2 computed. Beyond 2048 pixels, or where the finest feature maps, with
    `maps` values for each pixel, take more than 128 MiB, memory comes first: a deeper model pays more for its overlap, but
    at least half of a tile's side is new. Below 512 there is nothing to gain.
    """
    side = padded(round(2 * overlap / (1 - WORK**-0.5)), 256)
    most = min(MOST, int((MAPS / maps) ** 0.5))
    return padded(max(min(side, most), LEAST, 2 * smallest_side(grid, overlap)), grid)
