"""From pictures to training batches: corrupted crops of N pictures, each a pure function of (seed, step).

Drawn in numpy, so that what a model learns from can be tested without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .collection import Pictures as Pictures
from .collection import find as find
from .collection import load as load
from .config import TrainConfig
from .errors import BadSetting, ImageError
from .image.picture import LUMA as LUMA
from .noise import BlockMasking, Noise, check_fits, keyed_rng, on_crop, parse, predefined

Array = npt.NDArray[Any]
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
    """(clean, noisy, mask) of a step, each (N, C, patch, patch): float32, float32, bool. A pure function of (seed, step).

    `part`: which of the batch; left out, all of it.
    """
    each = range(config.batch) if part is None else part
    pairs = [_pair(pictures, noises, config, keyed_rng(config.seed, step, index)) for index in each]
    clean, noisy, mask = (np.stack([pair[part] for pair in pairs]) for part in range(3))
    return clean, noisy, mask


def _pair(
    pictures: Pictures, noises: Sequence[Noise], config: TrainConfig, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """A crop, sometimes at half its size, turned, then spoilt. Of the places drawn, the one with the most detail is taken."""
    picture = pictures.drawn(rng)
    noise = noises[int(rng.integers(len(noises)))]
    fixed = bool(predefined(noise))  # the blocks' places belong to the picture as it lies
    half = rng.random() < config.half_share and not fixed and min(picture.shape[:2]) >= 2 * config.patch
    side = 2 * config.patch if half else config.patch
    corners = [_corner(picture, noise, side, rng) for _ in range(config.places)]
    top, left = max(corners, key=lambda corner: detail(_cut(picture, corner, side))) if len(corners) > 1 else corners[0]
    gray = config.channels == "colour" and rng.random() < config.gray_share
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    clean = as_floats(_cut(picture, (top, left), side))
    clean = halved(clean) if half else clean
    if not fixed:
        clean = np.rot90(clean[:, ::-1] if mirror else clean, turns)
    here = on_crop(noise, picture.shape, top, left, config.patch, rng, gray)
    return spoilt_crop(clean, here, config.channels, rng, gray)


def spoilt_crop(
    clean: Array, noise: Noise | None, channels: str, rng: np.random.Generator, gray: bool = False
) -> tuple[Array, Array, Array]:
    """(clean, noisy, mask) as a model of `channels` sees them, each (C, H, W), of a crop (H, W) or (H, W, 3) in floats.

    In a colour model's crop that is gray, one noise is drawn for the three channels: the gray picture is spoilt, then
    repeated, as a gray file is when it is denoised.
    """
    clean = clean @ LUMA if gray and clean.ndim == 3 else clean
    noisy, mask = noise(clean, rng) if noise else (clean, np.zeros(clean.shape, bool))
    depth = 3 if channels == "colour" else 1
    clean, noisy, mask = (a.transpose(2, 0, 1) if a.ndim == 3 else a[None] for a in (clean, noisy, mask))
    if len(clean) < depth:
        return clean.repeat(depth, 0), noisy.repeat(depth, 0), mask.repeat(depth, 0)
    return clean, noisy, mask


def validation(pictures: Pictures, noises: Sequence[Noise], config: TrainConfig) -> list[tuple[Array, Array]]:
    """(clean, noisy) pairs of (H, W, C) float32: the middle of each of up to four pictures, each noise in turn."""
    pairs = []
    for index in range(max(min(len(pictures.arrays), JUDGED), len(noises))):
        picture, noise = pictures.pixels(index % len(pictures.arrays)), noises[index % len(noises)]
        height, width = picture.shape[:2]
        side = min(VALIDATION, height, width)
        if predefined(noise):
            block = predefined(noise)[0]
            top, left = min(block[0], height - side), min(block[1], width - side)
        else:
            top, left = (height - side) // 2, (width - side) // 2
        rng = keyed_rng(config.seed, step=2**63 + index)  # no training step reaches so far
        here = on_crop(noise, picture.shape, top, left, side, rng)
        clean, noisy, _ = spoilt_crop(as_floats(_cut(picture, (top, left), side)), here, config.channels, rng)
        pairs.append((np.moveaxis(clean, 0, 2).copy(), np.moveaxis(noisy, 0, 2).copy()))
    return pairs


def share(noises: Sequence[Noise], pictures: Pictures, config: TrainConfig, batches: int = 4) -> float:
    """The measured share of values that the noises touch, in the first batches of a run."""
    return float(np.mean([batch(pictures, noises, config, step)[2].mean() for step in range(batches)]))


def noises_of(config: TrainConfig) -> tuple[Noise, ...]:
    """The noises that a run draws from. Raises BadSetting."""
    return tuple(parse(text) for text in config.noise)


def as_floats(array: Array) -> Array:
    """uint8 or uint16 to float32 in [0, 1]."""
    return array.astype(np.float32) * np.float32(1 / (255 if array.dtype == np.uint8 else 65535))


def halved(image: Array) -> Array:
    """(H, W) or (H, W, C) floats of even sides at half the size: each pixel the mean of four."""
    return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) * np.float32(0.25)


def detail(crop: Array) -> float:
    """How much a crop of (H, W) or (H, W, 3) varies: squared differences down the diagonal, in gray or green, on a coarse grid."""
    apart = max(len(crop) // 24, 1)
    values = (crop if crop.ndim == 2 else crop[..., 1])[::apart, ::apart].astype(np.float32)
    steps = values[1:, 1:] - values[:-1, :-1]
    return float(np.vdot(steps, steps))


def _cut(picture: Array, corner: tuple[int, int], side: int) -> Array:
    return picture[corner[0] : corner[0] + side, corner[1] : corner[1] + side]


def _corner(picture: Array, noise: Noise, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where a crop begins: anywhere in the picture, but with predefined blocks so that it meets at least one."""
    height, width = picture.shape[:2]
    lows, highs = [0, 0], [height - side, width - side]
    blocks = predefined(noise)
    if blocks:
        block = blocks[int(rng.integers(len(blocks)))]
        lows = [min(max(block[axis] - side + 1, 0), highs[axis]) for axis in (0, 1)]
        highs = [min(block[axis] + block[axis + 2] - 1, highs[axis]) for axis in (0, 1)]
    top, left = (int(rng.integers(low, high + 1)) for low, high in zip(lows, highs, strict=True))
    return top, left
