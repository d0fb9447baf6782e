"""What noise is in a picture, told from the picture alone, and what to do about it: behind `unnoise inspect` and `--model auto`.

Blocks of 8 x 8 pixels from all over the picture say it, 16,000 at most, so that a large picture takes no longer. Impulses are
counted where they would show: where the surroundings are far from 0, from 1, or flat. They are taken out before the level of
noise is measured, in `level`. Everything is in image units: values from 0 to 1, shares from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .image.picture import WHOLE, Bands, as_floats
from .level import FLANK, QUARTILE, SIDE, WORTH, Array, Estimate, Mask, measure
from .noise import check_image, check_shape

FILLS = "missing"
MODELS = ("photo", "photo-fast", "impulse", FILLS, "real")  # those that the advice can be
RARE = 0.001  # share of pixels that counts: of extremes and missing ones
RARE_ANY = 0.005  # of impulses of other values, which details of clean photographs look like
ALIKE = 0.15  # correlation of neighbours from which on noise is not white

RULE = 2  # raised with each change of what is advised, so that what `auto` did by another rule is done again
LARGEST = 2**24  # pixels that are held; of a larger picture, as many in strips
STRIP = 128  # rows
BLOCKS = 16_000
STEP = SIDE // 2  # pixels between the places where missing blocks are looked for
CELLS = 4  # rows and columns of cells of the picture; a share is the median over them


@dataclass(frozen=True)
class Diagnosis:
    """The noise found in a picture, each figure with its standard error; sigma in image units, shares from 0 to 1."""

    sigma: Estimate
    """Standard deviation of the noise, impulses left out: the root mean square over the channels."""
    channels: tuple[Estimate, ...]
    """The same of each channel."""
    fine: Estimate
    """Of the part that is finer than about 3 pixels, which can be told from texture; for white noise, sigma again."""
    correlation: Estimate
    """Of noise in neighbouring pixels: 0 is white noise, 1 is smooth."""
    extremes: Estimate
    """Share of values that are salt or pepper: 0 or 1, unlike what is around them."""
    impulses: Estimate
    """Share of values that were replaced by others than 0 or 1."""
    missing: Estimate
    """Share of pixels that are 0 in all channels, one by one."""
    blocks: Estimate
    """Share of pixels in whole rectangles of 0."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is there beyond doubt, and worth removing; what is to be mended first comes first."""
        noisy, white = self.fine.beyond(WORTH), self.correlation.value <= ALIKE
        there = {
            "missing blocks": self.blocks.value > 0,
            "missing pixels": self.missing.beyond(RARE),
            "salt and pepper": self.extremes.beyond(RARE),
            "impulses": self.impulses.beyond(RARE_ANY),
            "correlated noise": noisy and not white,
            "Gaussian noise": noisy and white,
        }
        return tuple(kind for kind, found in there.items() if found)

    def __str__(self) -> str:
        shares = {
            "missing blocks": self.blocks, "missing pixels": self.missing,
            "salt and pepper": self.extremes, "impulses": self.impulses,
        }  # fmt: skip
        words = [f"{kind} {100 * shares[kind].value:.2g} %" for kind in self.kinds if kind in shares]
        words.append(f"sigma {255 * self.sigma.value:.1f}/255 ± {255 * self.sigma.error:.1f}")
        if "correlated noise" in self.kinds:
            words.append(f"correlated by {self.correlation.value:.2f} between neighbours")
        return ", ".join(words)

    def as_json(self) -> dict[str, Any]:
        """Each figure as {"value", "error"}, and the kinds."""
        figures = {name: figure._asdict() for name, figure in vars(self).items() if name != "channels"}
        return {**figures, "channels": [figure._asdict() for figure in self.channels], "kinds": list(self.kinds)}


FITS = {  # the models that fit a kind of noise, best first; those for one sort of it are better than none for the other
    "missing blocks": (FILLS,),
    "missing pixels": (FILLS,),
    "salt and pepper": ("impulse",),
    "impulses": ("impulse",),
    "correlated noise": ("real", "photo", "photo-fast"),
    "Gaussian noise": ("photo", "photo-fast", "real"),
}


NOISE = ("correlated noise", "Gaussian noise")  # what is everywhere, not in some pixels


def advice(found: Diagnosis, names: Sequence[str] = MODELS) -> tuple[tuple[str, ...], str]:
    """(the models among `names` to go through, one after another, or none: leave the picture as it is; and why, as the end of a sentence).

    What is missing goes before impulses, and noise comes last: the next model can only work on what the first has mended
    (benchmarks/passes.py). Of missing pixels and impulses only the first are mended, since black pixels may be either, and noise stays then,
    for impulses that it smears cannot be mended any more. What no model here is for is passed over.
    """
    if not found.kinds:
        return (), f"as no noise worth removing was found ({found} in its flattest parts)"
    fitting = {kind: next((name for name in FITS[kind] if name in names), None) for kind in found.kinds}
    treated = [kind for kind in found.kinds if fitting[kind]]
    without = [kind for kind in found.kinds if not fitting[kind]]
    if not treated:
        return (), f"as no model here is for {' and '.join(without)} ({found})"
    mended = [kind for kind in treated if kind not in NOISE and fitting[kind] == fitting[treated[0]]]
    others = [kind for kind in treated if kind not in mended]
    alone = not mended or all(kind in NOISE for kind in others + without)  # the noise that is left
    noise = [kind for kind in others if kind in NOISE and alone]
    later = [kind for kind in others if kind not in noise]
    left = [f"{' and '.join(later)} for another pass"] if later else []
    left += [f"{' and '.join(without)}, which no model here is for"] if without else []
    leaving = f", leaving {' and '.join(left)}" if left else ""
    kinds = " and then ".join(" and ".join(part) for part in (mended, noise) if part)
    return tuple(dict.fromkeys(str(fitting[kind]) for kind in mended + noise)), f"for {kinds}{leaving} ({found})"


def in_turn(names: Sequence[str]) -> str:
    """The models of an `advice` in words; empty for none."""
    return ", then ".join(names)


def choose(picture: Array | Bands, names: Sequence[str] = MODELS) -> tuple[tuple[str, ...], str]:
    """`advice` on what `examine` finds: the rule of `--model auto`, a picture at a time."""
    return advice(examine(picture), names)


def examine(picture: Array | Bands) -> Diagnosis:
    """The noise in a picture: (H, W) or (H, W, C) floats in [0, 1], or uint8 or uint16 of the whole range; alpha is not looked at.

    Floats beyond [0, 1] are taken as noise that was not clipped. Noise coarser than about 3 pixels, and what a picture of fewer
    than about 64 pixels a side hides, is not found. Of more than 16 megapixels, strips of rows are looked at, so that of one
    that comes in bands no more is held. Raises ImageError for what is no picture.
    """
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
    centres = _centres(blocks)
    extremes, missing = _extremes(blocks, centres, cells)
    impulses = _impulses(blocks, centres, cells)
    lost = np.zeros(blocks.shape[:2])
    if extremes.value + missing.value > RARE / 2 or impulses.value > RARE_ANY:
        blocks, flanks, lost = _mended(blocks, flanks, centres)
    return Diagnosis(*measure(blocks, flanks, lost, clipped), extremes, impulses, missing, _missing_blocks(planes))


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
    turn = 1.3247179572447460  # the plastic number: its powers spread points evenly over a square (Roberts 2018)
    count = np.arange(1, min(BLOCKS, rows * columns) + 1)
    down, across = ((count / turn**power % 1 * length).astype(int) for power, length in ((1, rows), (2, columns)))
    windows = np.lib.stride_tricks.sliding_window_view(planes, (SIDE, wide), (0, 1))[down, across]
    cells = down * CELLS // rows * CELLS + across * CELLS // columns
    return as_floats(windows).astype(np.float32, copy=False), cells


# --- impulses -----------------------------------------------------------------------------------------------------------------


class _Centres(NamedTuple):
    """Of each block and channel, (N, C): the median and the spread of its values, and how many there are, 0 and 1 left out."""

    median: Array
    spread: Array
    number: Array

    def far_from(self, value: int) -> Mask:
        """Where noise and texture do not come near a value."""
        away: Mask = np.abs(self.median - value) - 4 * self.spread > 0.1
        return away


def _centres(blocks: Array) -> _Centres:
    extreme = (blocks == 0) | (blocks == 1)
    count = SIDE * SIDE - extreme.sum(2)
    ordered = np.sort(np.where(extreme, np.float32(np.nan), blocks), 2)  # NaN comes last
    ranks = np.rint(np.maximum(count - 1, 0)[..., None] * np.array([0.25, 0.5, 0.75])).astype(int)
    low, median, high = np.moveaxis(np.take_along_axis(ordered, ranks, 2), 2, 0)
    known = count > 1
    spread = (high - low) / np.float32(2 * QUARTILE)
    least = np.quantile(spread[known], 0.25) if known.any() else 0  # lower is chance, or a part where noise was clipped
    spread = np.where(known, np.maximum(spread, least), np.float32(1))
    return _Centres(np.where(known, median, np.float32(0.5)), spread, count)


def _extremes(blocks: Array, centres: _Centres, cells: Array) -> tuple[Estimate, Estimate]:
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
    extremes = sum(part.value for part in whole + single) - missing.value
    return Estimate(extremes, math.hypot(*(part.error for part in whole + single))), missing


def _impulses(blocks: Array, centres: _Centres, cells: Array) -> Estimate:
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


def _share(hits: Mask, where: Mask, cells: Array, shown: Array | float = 1.0) -> Estimate:
    """The share of pixels that impulses hit: (N, C, 64) hits, in the blocks (N, C) `where` they show, `shown` of them.

    Impulses fall anywhere, each by itself, and details do not: so it is the median over the cells of the picture, and less where hits
    stand alone more rarely than chance has it.
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
    by_chance = max(float((full * (1 - share) ** 4).sum()), 1e-9)
    share = share * min(float(alone.sum()) / (0.9 * by_chance), 1)  # 0.9: what chance may lack
    if len(share) == 1:
        return Estimate(float(share[0]), math.sqrt(share[0] * (1 - share[0]) / (SIDE * SIDE * float(blocks[0]))))
    return Estimate(float(np.median(share)), max(1.25 * float(share.std(ddof=1)) / math.sqrt(len(share)), least))


def _mended(blocks: Array, flanks: Array, centres: _Centres) -> tuple[Array, Array, Array]:
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


def _missing_blocks(planes: Array) -> Estimate:
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
