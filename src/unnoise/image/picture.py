"""A picture and what its file said of it; the checks and sentences that the readers and writers of all kinds share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError

Array = npt.NDArray[Any]
MAX_PIXELS = 128_000_000  # a picture of more than this is refused before its pixels are read
MAX_FRAMES = 65_536
LARGEST_TEXT = 16 * 2**20  # bytes of a colour profile, EXIF or XMP; more is refused, not inflated


@dataclass(frozen=True)
class Picture:
    """A picture and what its file said of it.

    `pixels`: (H, W) or (H, W, C) floats in [0, 1], upright; 2 and 4 channels end in alpha, which is straight. float32, but
    float64 where a file holds 32-bit whole numbers or doubles; only a file of floats may hold values outside [0, 1].
    `kind`: "PNG", "JPEG", "TIFF", "WebP", "GIF", "BMP" or "PNM". `depth`: bits of a sample in the file, 1 to 64; 8 for a
    palette. `keep`: what a writer passes on (ICC profile, EXIF, XMP, resolution, and what only one kind knows, as JPEG's
    tables). `floating`: the file's samples are floats. `frames`: how many pictures the file holds. `left_out`: what else it
    holds that no reader here gives, in words; empty if nothing.
    """

    pixels: Array
    kind: str
    depth: int
    keep: dict[str, Any] = field(default_factory=dict)
    floating: bool = False
    frames: int = 1
    left_out: str = ""


def damaged(why: str) -> ImageError:
    """The error for a file that is not as its kind demands."""
    return ImageError(f"is damaged and cannot be read ({why}); restore it from a copy.")


def check_size(width: int, height: int, limit: int) -> None:
    """Raise ImageError for a picture without pixels or with more than `limit`."""
    if width < 1 or height < 1:
        raise damaged(f"it says that it is {width} x {height} pixels")
    count = width * height
    if count > limit:
        raise ImageError(
            f"has {count / 1e6:.0f} megapixels, more than the limit of {limit / 1e6:g}; raise it with --max-megapixels, or cut it into parts."
        )


def channels_of(pixels: Array) -> int:
    """1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha."""
    return 1 if pixels.ndim == 2 else int(pixels.shape[2])


def floats(samples: Array, top: int) -> Array:
    """Whole numbers 0..top as floats in [0, 1]: float32, or float64 where float32 would lose bits."""
    values: Array = samples.astype(np.float32 if top < 2**24 else np.float64)
    values /= top
    return values


def whole(pixels: Array, top: int) -> Array:
    """Floats, clipped to [0, 1], as whole numbers 0..top, rounded: the smallest unsigned type that holds them."""
    values = pixels if top < 2**24 else pixels.astype(np.float64)
    kind: np.dtype[Any] = np.min_scalar_type(top)
    samples: Array = np.rint(np.clip(values, 0, 1) * top).astype(kind)
    return samples


def with_alpha(colours: Array, alpha: Array) -> Array:
    """(H, W) or (H, W, C) with (H, W) as its last channel."""
    planes = colours[..., None] if colours.ndim == 2 else colours
    return np.concatenate([planes, alpha[..., None].astype(planes.dtype)], axis=2)


def in_colour(pixels: Array) -> Array:
    """Gray, with alpha or without, as three equal channels; colour as it is."""
    channels = channels_of(pixels)
    if channels > 2:
        return pixels
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return planes[..., [0, 0, 0] if channels == 1 else [0, 0, 0, 1]]
