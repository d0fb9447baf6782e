"""From pictures to training batches: corrupted crops of N pictures, each a pure function of (seed, step).

Drawn in numpy, so that what a model learns from can be tested without torch.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from . import targets
from .collection import Pictures as Pictures
from .collection import find as find
from .collection import load as load
from .config import OWN, PAIRS, TrainConfig
from .cropped import on_crop
from .errors import BadSetting, ImageError
from .image.picture import LUMA as LUMA
from .image.picture import WHOLE
from .keyed import keyed_rng, keyed_rngs
from .noise import BlockMasking, Noise, check_fits, parse, predefined

Array = npt.NDArray[Any]
ECHOED = 8  # pictures in use at a time where each is used for several steps
AHEAD = 8  # batches that wait while a large picture is decoded
VALIDATION, JUDGED = 256, 4  # side of a validation crop, in pixels; the pictures that such crops are taken from


def check(noises: Sequence[Noise], pictures: Pictures, config: TrainConfig) -> None:
    """Raise BadSetting, before anything starts, if a noise cannot be put on the pictures or on a crop of them."""
    shapes: dict[tuple[int, ...], str] = {}
    for array, name in zip(pictures.arrays, pictures.names, strict=True):
        shapes.setdefault(array.shape, name)
    for noise in noises:
        for shape, name in shapes.items():
            try:
                check_fits(noise, shape)
            except ImageError as error:
                raise BadSetting(f"--noise {noise} on {name}: {error}") from None
        sizes = [part.size for part in getattr(noise, "parts", (noise,)) if isinstance(part, BlockMasking) and part.size]
        largest = max((size[-1] if isinstance(size, tuple) else size for size in sizes), default=0)
        if largest > config.patch:
            raise BadSetting(
                f"--noise {noise}: blocks of {largest} pixels do not fit a patch of {config.patch}; raise --patch."
            )


def batch(
    pictures: Pictures, noises: Sequence[Noise], config: TrainConfig, step: int, part: range | None = None
) -> tuple[Array, Array, Array]:
    """(clean, noisy, mask) of a step, each (N, C, crop, crop): float32, float32, bool. A pure function of (seed, step).

    `part`: which of the batch; left out, all of it. Without clean pictures, what `targets` puts in their place; of `neighbours`
    the mask is uint8.
    """
    each = range(config.batch) if part is None else part
    shape = len(each), config.crop, config.crop, 3 if config.channels == "colour" else 1
    clean, noisy = np.empty(shape, np.float32), np.empty(shape, np.float32)
    mask = np.empty(shape, np.uint8 if config.target == "neighbours" else bool)
    for row, (place, rng) in enumerate(zip(each, keyed_rngs(config.seed, step, each), strict=True)):
        index = pictures.drawn(_echoed(config, step, place) if config.echo > 1 else rng)
        clean[row], noisy[row], mask[row] = _pair(pictures, index, noises, config, rng)
    # channels first in shape, last in memory: so convolutions are fastest, and torch takes the arrays as they are
    return clean.transpose(0, 3, 1, 2), noisy.transpose(0, 3, 1, 2), mask.transpose(0, 3, 1, 2)


def batches(
    pictures: Pictures, noises: Sequence[Noise], config: TrainConfig, first: int, part: range | None = None
) -> Iterator[tuple[Array, Array, Array]]:
    """The batches of the steps from `first` on.

    Where pictures are decoded as they are drawn, or a graphics card computes, a thread of its own makes some batches ahead; from
    the cache a batch is made in less time than a thread costs where torch keeps all cores busy.
    """
    steps = iter(range(first, config.steps_or_raise))
    if not pictures.streamed and config.device in ("auto", "cpu"):
        yield from (batch(pictures, noises, config, step, part) for step in steps)
        return
    maker = ThreadPoolExecutor(1, "batches")

    def begun(count: int) -> Iterator[Future[tuple[Array, Array, Array]]]:
        return (maker.submit(batch, pictures, noises, config, step, part) for step in itertools.islice(steps, count))

    try:
        coming = deque(begun(AHEAD))
        while coming:
            ready = coming.popleft().result()
            coming.extend(begun(1))
            yield ready
    finally:
        maker.shutdown(cancel_futures=True)


def _echoed(config: TrainConfig, step: int, place: int) -> np.random.Generator:
    """What draws the picture of a place in the batch: the same for `echo` steps in a row, and for every eighth place.

    So a picture that has to be decoded serves for many crops (data echoing, Choi et al. 2019, arXiv:1907.05550), few are held in
    memory at a time, and they change one after another, not all in one step.
    """
    slot = place % ECHOED
    return keyed_rng(config.seed, step=2**62 + (step + slot * config.echo // ECHOED) // config.echo, index=slot)


def _pair(
    pictures: Pictures, index: int, noises: Sequence[Noise], config: TrainConfig, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """A crop of a picture, sometimes at half its size, turned, then spoilt. Of the places drawn, the one with the most detail is taken."""
    picture = pictures.pixels(index)
    draws = 5 + 2 * config.places  # all at once: a call costs more than a draw
    which, halve, whiten, turn, flip, *at = rng.random(draws).tolist()
    noise = noises[int(which * len(noises))] if noises else None
    fixed = bool(noise and predefined(noise))  # the blocks' places belong to the picture as it lies
    half = noise and halve < config.half_share and not fixed and min(picture.shape[:2]) >= 2 * config.patch
    side = 2 * config.patch if half else config.crop
    corners = [_corner(picture, noise, side, place, rng) for place in zip(at[::2], at[1::2], strict=True)]
    top, left = max(corners, key=lambda corner: detail(_cut(picture, corner, side))) if len(corners) > 1 else corners[0]
    gray = bool(noise) and config.channels == "colour" and whiten < config.gray_share
    turns, mirror = (0, False) if fixed else (int(4 * turn), flip < 0.5)
    clean = _crop(_cut(picture, (top, left), side), bool(half), turns, mirror)
    if config.target == "blind-spot":
        return with_channels(*targets.blind_spot(clean, rng))
    if config.target == "neighbours":
        return with_channels(*targets.neighbours(clean, rng))
    if noise is None:  # as they are: at half the size, or in gray, their noise would be another
        assert pictures.noisy is not None
        other = _crop(_cut(pictures.noisy.pixels(index), (top, left), side), False, turns, mirror)
        taken = targets.pairs(clean, other, rng) if config.target == "pairs" else (clean, other, np.ones(clean.shape, bool))
        return with_channels(*taken)
    return spoilt_crop(clean, on_crop(noise, picture.shape, top, left, config.patch, rng, gray), rng, gray)


def _crop(cut: Array, half: bool, turns: int, mirror: bool) -> Array:
    """What was cut out, in floats, at half the size or not, turned."""
    side = len(cut) // (1 + half)
    crop = np.empty((side, side, *cut.shape[2:]), np.float32)
    laid = _laid(crop, turns, mirror)
    halved(cut, laid) if half else np.multiply(cut, _unit(cut), out=laid)
    return crop


def spoilt_crop(clean: Array, noise: Noise | None, rng: np.random.Generator, gray: bool = False) -> tuple[Array, Array, Array]:
    """(clean, noisy, mask) of a crop (H, W) or (H, W, 3) in floats, each (H, W, 1) or (H, W, 3).

    A crop of a colour model that is to be `gray` is spoilt by one noise for the three channels, as a gray file is.
    """
    clean = clean @ LUMA if gray and clean.ndim == 3 else clean
    noisy, mask = noise(clean, rng) if noise else (clean, np.zeros(clean.shape, bool))
    return with_channels(clean, noisy, mask)


def with_channels(clean: Array, noisy: Array, mask: Array) -> tuple[Array, Array, Array]:
    """Each (H, W, 1) or (H, W, 3)."""
    return (clean, noisy, mask) if clean.ndim == 3 else (clean[..., None], noisy[..., None], mask[..., None])


def validation(pictures: Pictures, noises: Sequence[Noise], config: TrainConfig) -> list[tuple[Array, ...]]:
    """(clean, noisy) pairs of (H, W, C) float32: the middle of each of up to four pictures, each noise in turn.

    Where there is no clean side, the other take; or (noisy, the same with hidden pixels, which these are), as of `targets.blind_spot`.
    """
    pairs: list[tuple[Array, ...]] = []
    for index in range(max(min(len(pictures.arrays), JUDGED), len(noises))):
        at = index % len(pictures.arrays)
        picture, noise = pictures.pixels(at), noises[index % len(noises)] if noises else None
        height, width = picture.shape[:2]
        side = min(VALIDATION, height, width)
        if noise and predefined(noise):
            block = predefined(noise)[0]
            top, left = min(block[0], height - side), min(block[1], width - side)
        else:
            top, left = (height - side) // 2, (width - side) // 2
        rng = keyed_rng(config.seed, step=2**63 + index)  # no training step reaches so far
        clean = _crop(_cut(picture, (top, left), side), False, 0, False)
        crops: tuple[Array, ...]
        if config.target in ("blind-spot", "neighbours"):
            crops = targets.blind_spot(clean, rng)
        elif noise is None:
            assert pictures.noisy is not None
            crops = clean, _crop(_cut(pictures.noisy.pixels(at), (top, left), side), False, 0, False)
        else:
            crops = spoilt_crop(clean, on_crop(noise, picture.shape, top, left, side, rng), rng)[:2]
        shape = side, side, 3 if config.channels == "colour" else 1
        pairs.append(tuple(np.broadcast_to(crop if crop.ndim == 3 else crop[..., None], shape).copy() for crop in crops))
    return pairs


def share(noises: Sequence[Noise], pictures: Pictures, config: TrainConfig, batches: int = 4) -> float:
    """The measured share of values that the noises touch, in the first batches of a run."""
    return float(np.mean([batch(pictures, noises, config, step)[2].mean() for step in range(batches)]))


def noises_of(config: TrainConfig) -> tuple[Noise, ...]:
    """The noises that a run draws from; none if its pictures come with their own. Raises BadSetting."""
    return () if config.noise in ((PAIRS,), (OWN,)) else tuple(parse(text) for text in config.noise)


def halved(cut: Array, out: Array | None = None) -> Array:
    """(H, W) or (H, W, C) of even sides at half the size, in floats in [0, 1]: each pixel the mean of four."""
    rows = np.add(cut[::2], cut[1::2], dtype=np.float32)
    out = np.empty((len(rows), rows.shape[1] // 2, *rows.shape[2:]), np.float32) if out is None else out
    planes = [(rows, out)] if rows.ndim == 2 else [(rows[..., c], out[..., c]) for c in range(rows.shape[2])]
    for sums, plane in planes:  # one by one: numpy is slow where only three values adjoin
        np.add(sums[:, ::2], sums[:, 1::2], out=plane)
    out *= _unit(cut) / 4
    return out


def _unit(samples: Array) -> np.float32:
    """What makes floats in [0, 1] of uint8 or uint16; 1 for floats."""
    return np.float32(1 / WHOLE.get(samples.dtype, 1))


def _laid(crop: Array, turns: int, mirror: bool) -> Array:
    """A view of the crop: what is written through it lies there as `np.rot90` would lay it, mirrored first if so."""
    crop = crop.swapaxes(0, 1) if turns % 2 else crop
    return crop[:: -1 if turns in (2, 3) else 1, :: -1 if (turns in (1, 2)) != mirror else 1]


def detail(crop: Array) -> float:
    """How much a crop of (H, W) or (H, W, 3) varies: squared differences down the diagonal, in gray or green, on a coarse grid."""
    apart = max(len(crop) // 24, 1)
    values = (crop if crop.ndim == 2 else crop[..., 1])[::apart, ::apart]
    steps = np.subtract(values[1:, 1:], values[:-1, :-1], dtype=np.float32)
    return float(np.vdot(steps, steps))


def _cut(picture: Array, corner: tuple[int, int], side: int) -> Array:
    return picture[corner[0] : corner[0] + side, corner[1] : corner[1] + side]


def _corner(
    picture: Array, noise: Noise | None, side: int, at: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int]:
    """Where a crop begins: anywhere in the picture, by two draws from [0, 1); with predefined blocks so that it meets at least one."""
    height, width = picture.shape[:2]
    lows, highs = [0, 0], [height - side, width - side]
    blocks = predefined(noise) if noise else ()
    if blocks:
        block = blocks[int(rng.integers(len(blocks)))]
        lows = [min(max(block[axis] - side + 1, 0), highs[axis]) for axis in (0, 1)]
        highs = [min(block[axis] + block[axis + 2] - 1, highs[axis]) for axis in (0, 1)]
    top, left = (low + int(draw * (high - low + 1)) for draw, low, high in zip(at, lows, highs, strict=True))
    return top, left
