"""A picture and what its file said of it; the checks and sentences that the readers and writers of all kinds share."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ImageError

Array = npt.NDArray[Any]
MAX_PIXELS = 128_000_000  # a picture of more than this is refused before its pixels are read
MAX_FRAMES = 65_536
LARGEST_TEXT = 16 * 2**20  # bytes of a colour profile, EXIF or XMP; more is refused, not inflated
BAND = 2**21  # bytes of the rows that are read or written at once, where the file leaves the choice
PACKING = 4  # level of Deflate, of 9: files up to a twentieth larger than at the usual 6, in half the time
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # brightness of RGB: ITU-R BT.601, as Pillow's conversion to gray
PACKERS = min(os.cpu_count() or 1, 4)  # threads
WHOLE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # what stands for 1.0 in samples that are whole numbers
Item = TypeVar("Item")
Made = TypeVar("Made")


def without_alpha(pixels: Array) -> Array:
    """(H, W) of gray pixels, (H, W, 3) of coloured ones: a view."""
    if pixels.ndim == 2:
        return pixels
    return pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]


@dataclass(frozen=True)
class Bands:
    """Pixels that come once, from top to bottom, in bands of whole rows: a large picture need never lie in memory.

    `shape`: (H, W) or (H, W, C), of all bands together. Their samples are as a file holds them where those are uint8 or uint16
    of the whole range, else floats in [0, 1].
    """

    shape: tuple[int, ...]
    bands: Iterator[Array]

    @classmethod
    def of(cls, pixels: Array) -> Bands:
        """A picture that lies in memory anyhow, as one band."""
        return cls(pixels.shape, iter([pixels]))

    def whole(self) -> Array:
        """All bands in one array."""
        (pixels,) = self.of_rows(self.shape[0])
        return pixels

    def windows(self, ranges: Iterable[tuple[int, int]]) -> Iterator[Array]:
        """The rows [first, last) of each range in turn; each begins in the one before it or at its end. Others are let go."""
        rest = next(self.bands)
        none = np.empty((0, *self.shape[1:]), rest.dtype)
        window, top = none, 0
        for first, last in ranges:
            window, top = window[first - top :], first
            if not len(window) and len(rest) == last - first:
                window, rest = rest, none
            elif len(window) < last - first:
                at, above, window = len(window), window, np.empty((last - first, *self.shape[1:]), rest.dtype)
                window[:at], above = above, none
                while at < len(window):
                    rest = rest if len(rest) else next(self.bands)
                    count = min(len(rest), len(window) - at)
                    window[at : at + count] = rest[:count]  # copied, so that the band can go before the next one comes
                    at, rest = at + count, rest[count:] if count < len(rest) else none
            yield window
        next(self.bands, None)  # there is none; but a reader may check its file to the end

    def of_rows(self, rows: int) -> Iterator[Array]:
        """The same in bands of `rows` rows each, the last as long as is left."""
        height = self.shape[0]
        return self.windows((top, min(top + rows, height)) for top in range(0, height, rows))


def beside(work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """`work` on each, in order, on threads of their own while the next item is made: packing takes longer than all else in writing."""
    with ThreadPoolExecutor(PACKERS) as pool:
        waiting = deque[Future[Made]]()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > PACKERS:
                yield waiting.popleft().result()
        yield from (made.result() for made in waiting)


Pixels = TypeVar("Pixels", Array, Bands)
Other = TypeVar("Other", Array, Bands)


@dataclass(frozen=True)
class Picture(Generic[Pixels]):
    """A picture and what its file said of it; from and to files, its pixels come in bands.

    `pixels`: (H, W) or (H, W, C) floats in [0, 1], upright; 2 and 4 channels end in alpha, which is straight. float32, but
    float64 where a file holds 32-bit whole numbers or doubles; only a file of floats may hold values outside [0, 1].
    `kind`: "PNG", "JPEG", "TIFF", "WebP", "GIF", "BMP" or "PNM". `depth`: bits of a sample in the file, 1 to 64; 8 for a
    palette. `keep`: what a writer passes on (ICC profile, EXIF, XMP, resolution, and what only one kind knows, as JPEG's
    tables). `floating`: the file's samples are floats. `frames`: how many pictures the file holds. `left_out`: what else it
    holds that no reader here gives, in words; empty if nothing.
    """

    pixels: Pixels
    kind: str
    depth: int
    keep: dict[str, Any] = field(default_factory=dict)
    floating: bool = False
    frames: int = 1
    left_out: str = ""

    def showing(self, pixels: Other) -> Picture[Other]:
        """The same with other pixels."""
        return Picture(pixels, self.kind, self.depth, self.keep, self.floating, self.frames, self.left_out)


Page = Picture[Bands]


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


def channels_of(pixels: Array | Bands) -> int:
    """1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha."""
    return 1 if len(pixels.shape) == 2 else int(pixels.shape[2])


def floats(samples: Array, top: int) -> Array:
    """Whole numbers 0..top as floats in [0, 1]: float32, or float64 where float32 would lose bits."""
    values: Array = samples.astype(np.float32 if top < 2**24 else np.float64)
    values /= top
    return values


def as_floats(samples: Array) -> Array:
    """uint8 and uint16 as float32 in [0, 1]; floats as they are."""
    return floats(samples, WHOLE[samples.dtype]) if samples.dtype in WHOLE else samples


def stored(samples: Array, top: int) -> Array:
    """Whole numbers 0..top as they are, if they are uint8 or uint16 of the whole range; else `floats`."""
    kind = {255: np.uint8, 65535: np.uint16}.get(top)
    return samples.astype(kind, copy=False) if kind else floats(samples, top)


def whole(pixels: Array, top: int) -> Array:
    """As whole numbers 0..top, the smallest unsigned type that holds them: floats clipped to [0, 1], and rounded."""
    if WHOLE.get(pixels.dtype) == top:
        return pixels
    values = as_floats(pixels) if top < 2**24 else as_floats(pixels).astype(np.float64)
    kind: np.dtype[Any] = np.min_scalar_type(top)
    samples: Array = np.rint(np.clip(values, 0, 1) * top).astype(kind)
    return samples


def with_alpha(colours: Array, alpha: Array) -> Array:
    """(H, W) or (H, W, C) with (H, W) as its last channel: of the same kind, or True where nothing shines through."""
    planes = colours[..., None] if colours.ndim == 2 else colours
    if alpha.dtype == bool:
        alpha = alpha * np.array(WHOLE.get(colours.dtype, 1), colours.dtype)
    return np.concatenate([planes, alpha[..., None].astype(planes.dtype, copy=False)], axis=2)


def in_colour(pixels: Array) -> Array:
    """Gray, with alpha or without, as three equal channels; colour as it is."""
    channels = channels_of(pixels)
    if channels > 2:
        return pixels
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return planes[..., [0, 0, 0] if channels == 1 else [0, 0, 0, 1]]
