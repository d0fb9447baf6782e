"""Values that were replaced, in blocks of a picture: salt and pepper, impulses of any value, missing pixels and missing blocks.

They are counted where they would show: where the surroundings are far from 0, from 1, or flat. What was drawn is told from photographs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .image.picture import as_floats
from .level import QUARTILE, SIDE, Array, Estimate, Mask

STEP = SIDE // 2  # pixels between the places where missing blocks are looked for
CELLS = 4  # rows and columns of cells of the picture; a share is the median over them
FLAT = 1 / 8  # of the squares of 3 x 3 pixels in a block, that are of one colour, from which on it is flat in part
DRAWN = (
    0.75  # of the blocks, that are flat in part, from which on a picture was drawn: text on a page has 79 % and more of them
)
BARE = 0.9  # of the blocks, a quarter of whose values are 0 or 1 and no impulses, from which on next to nothing is known


class Centres(NamedTuple):
    """Of each block and channel, (N, C): the median and the spread of its values, and how many there are, 0 and 1 left out."""

    median: Array
    spread: Array
    number: Array

    def far_from(self, value: int) -> Mask:
        """Where noise and texture do not come near a value."""
        away: Mask = np.abs(self.median - value) - 4 * self.spread > 0.1
        return away


def centres_of(blocks: Array) -> Centres:
    extreme = (blocks == 0) | (blocks == 1)
    count = SIDE * SIDE - extreme.sum(2)
    ordered = np.sort(np.where(extreme, np.float32(np.nan), blocks), 2)  # NaN comes last
    ranks = np.rint(np.maximum(count - 1, 0)[..., None] * np.array([0.25, 0.5, 0.75])).astype(int)
    low, median, high = np.moveaxis(np.take_along_axis(ordered, ranks, 2), 2, 0)
    known = count > 1
    spread = (high - low) / np.float32(2 * QUARTILE)
    least = np.quantile(spread[known], 0.25) if known.any() else 0  # lower is chance, or a part where noise was clipped
    spread = np.where(known, np.maximum(spread, least), np.float32(1))
    return Centres(np.where(known, median, np.float32(0.5)), spread, count)


def extremes(blocks: Array, centres: Centres, cells: Array) -> tuple[Estimate, Estimate]:
    """The shares of salt and pepper, and of missing pixels: those that are 0 in all channels, beyond as many as are 1 in all."""
    whole, single = [], []
    for value in (0, 1):
        hits, far = np.equal(blocks, value), centres.far_from(value)
        every = np.asarray(hits.all(1, keepdims=True))
        whole.append(_share(every, np.asarray(far.any(1, keepdims=True)), cells))
        if blocks.shape[1] > 1:
            single.append(_share(hits & ~every, far, cells))
    black, white = whole
    gone = black.value - white.value
    missing = Estimate(gone if gone > 0.1 * (black.value + white.value) else 0.0, math.hypot(black.error, white.error))
    share = sum(part.value for part in whole + single) - missing.value
    return Estimate(share, math.hypot(*(part.error for part in whole + single))), missing


def others(blocks: Array, centres: Centres, cells: Array) -> Estimate:
    """The share of values that were replaced, but not by 0 or 1; counted in flat blocks, where most of them stick out."""
    usable = centres.number >= SIDE * SIDE // 4
    flat = usable & (centres.spread <= np.quantile(centres.spread[usable], 0.25)) if usable.any() else usable
    reach = max(6 * float(centres.spread[flat].max(initial=0)), 0.05)
    visible = np.maximum(1 - centres.median - reach, 0) + np.maximum(centres.median - reach, 0)  # of values from all of [0, 1]
    flat &= visible > 0.3
    above = blocks - centres.median[..., None]
    other = (blocks != 0) & (blocks != 1)
    shown = visible * centres.number / (SIDE * SIDE)
    brighter, darker = (_share(hits & other, flat, cells, shown) for hits in (above > reach, above < -reach))
    return Estimate(brighter.value + darker.value, math.hypot(brighter.error, darker.error))


def drawn(blocks: Array, replaced: float) -> bool:
    """Whether blocks (N, C, 64) hold flat colours, text or lines, and no photograph: noise would have left no flat colours.

    replaced: the share of impulses and missing pixels, which make squares of one colour by chance, where they are most of the values.
    JPEG's rings leave fewer of these squares around text, but on a page of white or black most blocks have values of 0 or 1.
    """
    squares = blocks.reshape(*blocks.shape[:2], SIDE, SIDE)
    across = (squares[..., 1:] == squares[..., :-1]).all(1)
    down = (squares[..., 1:, 1:-1] == squares[..., :-1, 1:-1]).all(1)
    three = across[..., 1:] & across[..., :-1]
    flat = (three[:, :-2] & three[:, 1:-1] & three[:, 2:] & down[:, :-1] & down[:, 1:]).mean((1, 2))
    extreme = ((blocks == 0) | (blocks == 1)).all(1).mean(1)
    bare = (
        float((extreme > replaced + 0.25).mean()) > BARE and float(flat.mean()) > 0.05
    )  # by chance, noise that was clipped has 0.002
    return replaced < 0.5 and (float((flat >= FLAT).mean()) > DRAWN or bare)


def _share(hits: Mask, where: Mask, cells: Array, shown: Array | float = 1.0) -> Estimate:
    """The share of pixels that impulses hit: (N, C, 64) hits, in the blocks (N, C) `where` they show, `shown` of them.

    Impulses fall anywhere, each by itself, and details do not: so it is the median over the cells of the picture, less where hits
    stand alone more rarely than chance has it, and none where far fewer blocks than by chance have a single hit.
    """
    looked = np.broadcast_to(where * shown, where.shape).ravel()
    some = np.flatnonzero(where.ravel() & hits.any(2).ravel())
    chosen = hits.reshape(-1, SIDE, SIDE)[some]
    beside = chosen[:, :-2, 1:-1] | chosen[:, 2:, 1:-1] | chosen[:, 1:-1, :-2] | chosen[:, 1:-1, 2:]
    cell, number = np.repeat(cells, where.shape[1]), CELLS * CELLS
    blocks = np.bincount(cell, looked, number)
    full = np.bincount(cell[some], chosen.mean((1, 2)), number)
    alone = np.bincount(cell[some], (chosen[:, 1:-1, 1:-1] & ~beside).mean((1, 2)), number)
    enough = blocks >= 20
    if enough.sum() < CELLS:
        blocks, full, alone = (part.sum(keepdims=True) for part in (blocks, full, alone))
        enough = blocks > 0
    least = 1 / (1 + SIDE * SIDE * float(blocks.sum()))
    if not full[enough].any():
        return Estimate(0.0, least)
    blocks, full, alone = blocks[enough], full[enough], alone[enough]
    share = np.minimum(full / blocks, 1)
    if _crowded(chosen.sum((1, 2)), float(where.sum()), float(np.median(share)) * float(looked.sum()) / float(where.sum())):
        return Estimate(0.0, least)
    by_chance = max(float((full * (1 - share) ** 4).sum()), 1e-9)
    share = share * min(float(alone.sum()) / (0.9 * by_chance), 1)  # 0.9: what chance may lack
    if len(share) == 1:
        return Estimate(float(share[0]), math.sqrt(share[0] * (1 - share[0]) / (SIDE * SIDE * float(blocks[0]))))
    return Estimate(float(np.median(share)), max(1.25 * float(share.std(ddof=1)) / math.sqrt(len(share)), least))


def _crowded(hits: Array, blocks: float, share: float) -> bool:
    """Whether those of so many blocks that have hits, (N,) of them each, have more than one too often, if a share of all pixels was hit.

    By chance, share * 64 times as many blocks have one hit as have none. Strokes of text hit few blocks, and these many times.
    """
    expected = (blocks - len(hits)) * SIDE * SIDE * share
    return len(hits) < 0.9 * blocks and expected > 20 and float((hits == 1).sum()) < expected / 3


def mended(blocks: Array, flanks: Array, centres: Centres) -> tuple[Array, Array, Array]:
    """Blocks and flanks with the block's median in place of what sticks out, and the share of each block (N, C) that this was.

    Where a 0 or 1 may be noise that was clipped, all of the block counts as lost.
    """
    middle, reach = centres.median[..., None], np.maximum(4 * centres.spread, 0.05)[..., None]
    extreme = (blocks == 0) | (blocks == 1)
    hit = extreme | (np.abs(blocks - middle) > reach)
    apart = np.abs(flanks - middle[..., None]) > reach[..., None]
    room = np.minimum(centres.median, 1 - centres.median)
    unclear = extreme.any(2) & (room < min(3 * float(centres.spread.min()), float(np.quantile(room, 0.95))))
    return np.where(hit, middle, blocks), np.where(apart, middle[..., None], flanks), np.where(unclear, 1, hit.mean(2))


def missing_blocks(planes: Array) -> Estimate:
    """The share of pixels in rectangles of 0, of 7 pixels a side at least, if their upper left corners are seen.

    Shadows are black too, but have no corners of a right angle before something bright; dark bars at the picture's edges have none
    inside it. It is counted on every fourth pixel of every fourth row, in 20,000 places at most.
    """
    black = (planes[::STEP, ::STEP] == 0).all(2)
    black[0], black[:, 0] = False, False
    black[(planes.shape[0] - STEP - 1) // STEP + 1 :], black[:, (planes.shape[1] - STEP - 1) // STEP + 1 :] = False, False
    if not black.any():
        return Estimate(0.0, 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(planes, (2 * STEP + 1, 2 * STEP + 1), (0, 1))

    def around(places: Mask) -> tuple[Array, Array]:
        at = np.argwhere(places)
        at = at[:: len(at) // 20_000 + 1] * STEP
        brightest: Array = windows[at[:, 0] - STEP, at[:, 1] - STEP].max(1)
        return at, as_floats(brightest)

    next_to_corner = black.copy()  # if it is one
    next_to_corner[1:, 1:] &= ~black[:-1, 1:] & ~black[1:, :-1]
    at, values = around(next_to_corner)
    corners, places = _corners(values)
    if not len(corners):
        return Estimate(0.0, 0.0)
    _, values = around(black)
    halves = slice(1, STEP + 1), slice(STEP, 2 * STEP)
    solid = np.any([(values[:, rows, columns] == 0).all((1, 2)) for rows in halves for columns in halves], 0)
    share, seen = float(black.mean() * solid.mean()), _in_rectangles(planes, at[corners] - STEP + places)
    share = share if seen > share / 2 else seen  # most of it is a shadow
    return Estimate(share, math.sqrt(share * (1 - share) / black.size))


def _corners(values: Array) -> tuple[Array, Array]:
    """Which of (N, 9, 9) have their centre in a black rectangle with a corner up to 3 pixels up and left of it; and where that is.

    Beyond the corner nothing is dark.
    """
    zeros, dark, along = values == 0, values < 0.04, np.arange(STEP)
    up, left = np.cumprod(zeros[:, STEP::-1, STEP], 1).sum(1), np.cumprod(zeros[:, STEP, STEP::-1], 1).sum(1)
    near = np.flatnonzero((up <= STEP) & (left <= STEP))
    rows, columns = (STEP + 1 - far[near, None] + along for far in (up, left))
    each = near[:, None]
    black = zeros[each[..., None], rows[..., None], columns[:, None]].all((1, 2))
    beyond = dark[each, rows[:, :1] - 1, columns].any(1) | dark[each, rows, columns[:, :1] - 1].any(1)
    sharp = np.flatnonzero(black & ~beyond)
    return near[sharp], np.stack([rows[sharp, 0], columns[sharp, 0]], 1)


def _in_rectangles(planes: Array, corners: Array) -> float:
    """The share of pixels in the rectangles of 0 that begin at these upper left corners."""
    inside = np.zeros(planes[::STEP, ::STEP].shape[:2], bool)
    for top, left in corners:
        across, down = (np.asarray(line.any(1)) for line in (planes[top, left:], planes[top:, left]))
        right = left + (int(across.argmax()) if across.any() else len(across))
        bottom = top + (int(down.argmax()) if down.any() else len(down))
        inside[-(-top // STEP) : -(-bottom // STEP), -(-left // STEP) : -(-right // STEP)] = True
    return float((inside & (planes[::STEP, ::STEP] == 0).all(2)).mean())
