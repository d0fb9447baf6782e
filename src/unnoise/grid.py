"""What lies on a grid of pixels: JPEG's blocks, a mosaic's period of two, banding, pixels that stick out in every photo of a series."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .image.picture import as_floats
from .level import SIDE, Array, Estimate, Mask

LINES = 384  # rows or columns that are looked along
SURE = 6.0  # standard errors by which a grid must show, on both axes
OUTLIER = 4.0  # times the median deviation, to which steps are cut
BAND = 0.5 / 255  # banding from which on it is told
UNEVEN = 0.03  # share of noise by which a mosaic is told
FEWEST, MOST = 3, 32  # photos of one size that are compared
CROWDED = 0.02  # share of pixels that stick out, from which on a photo tells nothing of single ones
BY_CHANCE = 0.01  # pixels that may be found by chance


class Grid(NamedTuple):
    """What was found, each with its standard error, in image units but for `mosaic`, a share.

    jpeg: how much larger steps are at the edges of blocks of 8 x 8; corner: (row, column) of the first whole block. rows, columns: the standard
    deviation of what whole rows, or columns, are off by. mosaic: how much more noise, of all, every second pixel has, as on a chessboard.
    """

    jpeg: Estimate
    corner: tuple[int, int]
    rows: Estimate
    columns: Estimate
    mosaic: Estimate

    @property
    def words(self) -> tuple[str, ...]:
        """What is there beyond doubt."""
        said = []
        if self.jpeg.value > SURE * self.jpeg.error:
            said.append(f"JPEG's blocks from ({self.corner[0]}, {self.corner[1]})")
        for name, band in (("rows", self.rows), ("columns", self.columns)):
            if band.value > max(BAND, SURE * band.error):
                said.append(f"banding of {name} by {255 * band.value:.1f}/255")
        if abs(self.mosaic.value) > max(UNEVEN, SURE * self.mosaic.error):
            said.append("a mosaic's chessboard in the noise")
        return tuple(said)

    def as_json(self) -> dict[str, object]:
        """Each figure as {"value", "error"}, the corner as [row, column], and the words."""
        figures = {name: figure._asdict() for name, figure in self._asdict().items() if name != "corner"}
        return {**figures, "corner": list(self.corner), "words": list(self.words)}


def measure(planes: Array, blocks: Array, corners: tuple[Array, Array]) -> Grid:
    """planes: (H, W, C), of the file; blocks: (N, 64), flat ones of one channel, whose upper left pixels are at these rows and columns."""
    jpegs, places, bands = [], [], []
    for turned in (planes, planes.swapaxes(0, 1)):  # along rows, then along columns
        some = turned[:: max(len(turned) // LINES, 1)]
        lines = as_floats(some[..., :3]).mean(2, dtype=np.float32)
        step, place = _blocks(lines)
        jpegs.append(step)
        places.append(place)
        bands.append(_bands(lines))
    weaker = min(jpegs, key=lambda step: step.value / max(step.error, 1e-12))
    return Grid(weaker, (places[1], places[0]), bands[1], bands[0], _mosaic(blocks, corners))


def _blocks(lines: Array) -> tuple[Estimate, int]:
    """By how much steps along lines (L, W) are larger where JPEG's blocks meet than beside, and where the first block begins."""
    steps = np.abs(np.diff(lines, axis=1))
    if steps.shape[1] < 4 * SIDE:
        return Estimate(0.0, 1.0), 0
    extra = np.minimum(steps[:, 1:-1], 0.1) - (np.minimum(steps[:, :-2], 0.1) + np.minimum(steps[:, 2:], 0.1)) / 2
    means = extra.mean(0)
    phases = [means[at::SIDE] for at in range(SIDE)]
    middles = np.array([np.median(part) for part in phases])
    best = int(middles.argmax())
    others = np.concatenate([part for at, part in enumerate(phases) if at not in (best, (best + 1) % SIDE, (best - 1) % SIDE)])
    error = max(1.2533 * float(others.std()) / math.sqrt(len(phases[best])), 1e-5)  # of a median
    value = float(middles[best] - np.median(others))
    return Estimate(max(value, 0.0), error), (best + 2) % SIDE


def _bands(lines: Array) -> Estimate:
    """The standard deviation of what whole columns of lines (L, W) are off by: what the first and the last third of the lines share."""
    third, width = len(lines) // 3, lines.shape[1]
    if third < SIDE or width < 4 * SIDE:
        return Estimate(0.0, 1.0)
    off = lines[:, 1:-1] - (lines[:, :-2] + lines[:, 2:]) / 2
    off = _cut(off, float(np.median(np.abs(off[::4, ::4]))))
    one, other = (_cut(part, float(np.median(np.abs(part)))) for part in (off[:third].mean(0), off[-third:].mean(0)))
    common = float(np.mean((one - one.mean()) * (other - other.mean()))) / 1.5  # 1 + 2 / 4, of three columns' own
    chance = float(one.std() * other.std()) / math.sqrt(len(one) / 2) / 1.5
    value = math.sqrt(max(common, 0.0))
    return Estimate(value, chance / (2 * value) if common > chance else math.sqrt(chance))


def _cut(values: Array, middle: float) -> Array:
    return np.clip(values, -OUTLIER * middle, OUTLIER * middle)


def _mosaic(blocks: Array, corners: tuple[Array, Array]) -> Estimate:
    """How much more of the noise is at pixels whose row and column add up to an odd number, from -1 to 1."""
    if len(blocks) < SIDE:
        return Estimate(0.0, 1.0)
    pixels = blocks.reshape(-1, SIDE, SIDE)
    beside = (pixels[:, :-2, 1:-1] + pixels[:, 2:, 1:-1] + pixels[:, 1:-1, :-2] + pixels[:, 1:-1, 2:]) / 4
    squares = np.square(pixels[:, 1:-1, 1:-1] - beside)
    inner = np.indices(squares.shape[1:]).sum(0) % 2 == 1
    odd, even = squares[:, inner].mean(1), squares[:, ~inner].mean(1)
    turned = (corners[0] + corners[1]) % 2 == 1
    odd, even = np.where(turned, even, odd), np.where(turned, odd, even)
    shares = (odd - even) / np.maximum(odd + even, 1e-12)
    return Estimate(float(shares.mean()), float(shares.std()) / math.sqrt(len(shares)))


# --- single pixels ------------------------------------------------------------------------------------------------------------


def sticking_out(planes: Array, sigma: float) -> tuple[Mask, Mask]:
    """Pixels of (H, W, C) brighter, and darker, than all their four neighbours but one, by more than noise of sigma would make them.

    In the mean of the channels: (H, W) each; none at the edges.
    """
    plane, reach = as_floats(planes).mean(2, dtype=np.float32), max(6 * sigma, 0.08)
    beside = plane[:-2, 1:-1], plane[2:, 1:-1], plane[1:-1, :-2], plane[1:-1, 2:]
    high, low = [np.maximum(*beside[at : at + 2]) for at in (0, 2)], [np.minimum(*beside[at : at + 2]) for at in (0, 2)]
    found = []
    for sign, second in (
        (1, np.maximum(np.minimum(*high), np.maximum(*low))),  # the second largest of four
        (-1, np.minimum(np.maximum(*low), np.minimum(*high))),
    ):
        hits = np.zeros(plane.shape, bool)
        hits[1:-1, 1:-1] = sign * (plane[1:-1, 1:-1] - second) > reach
        found.append(hits)
    return found[0], found[1]


class Stuck:
    """Dead and hot pixels of a camera: those that stick out at the same place in most photos of one size."""

    def __init__(self) -> None:
        self.photos: dict[tuple[int, int], list[Array]] = {}

    def add(self, planes: Array, sigma: float) -> None:
        """Take note of a photo (H, W, C) whose noise has this sigma."""
        shape = planes.shape[0], planes.shape[1]
        seen = self.photos.setdefault(shape, [])
        if len(seen) < MOST:
            brighter, darker = sticking_out(planes, sigma)
            hits = np.flatnonzero(brighter | darker)
            if len(hits) <= CROWDED * brighter.size:
                seen.append(hits)

    def found(self) -> list[dict[str, object]]:
        """Of each size of which there are some: how many photos, the share of pixels, and the (row, column) of the first ten."""
        told: list[dict[str, object]] = []
        for shape, photos in self.photos.items():
            if len(photos) < FEWEST:
                continue
            pixels, counts = np.unique(np.concatenate(photos), return_counts=True)
            area, number = shape[0] * shape[1], len(photos)
            least = _least(area, number, sum(map(len, photos)) / (area * number))
            fixed = pixels[counts >= least]
            if len(fixed):
                first = [divmod(int(at), shape[1]) for at in fixed[:10]]
                told.append(
                    {"height": shape[0], "width": shape[1], "photos": number, "share": len(fixed) / area, "first": first}
                )
        return told


def _least(area: int, photos: int, share: float) -> int:
    """In how many photos a pixel must stick out: more than half of them, and so many that chance has next to none."""
    least = photos // 2 + 1
    while least < photos:
        chance = sum(
            math.comb(photos, hits) * share**hits * (1 - share) ** (photos - hits) for hits in range(least, photos + 1)
        )
        if area * chance < BY_CHANCE:
            break
        least += 1
    return least
