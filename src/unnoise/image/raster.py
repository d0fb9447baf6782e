"""WebP, GIF and BMP: decoded and coded by Pillow, frame after frame."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, WebPImagePlugin
from PIL import Image as Pillow

from ..errors import ImageError
from .metadata import exif_of, turned
from .picture import Array, Bands, Page, channels_of, check_size, damaged, in_colour, stored, whole

OPAQUE = 128  # alpha from which a pixel of a GIF is seen


# --- reading ------------------------------------------------------------------------------------------------------------------


def read_webp(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The frames of a WebP file. Raises ImageError; Pillow raises whatever a broken file leads it to."""
    data = file.read()
    if len(data) < 30 or struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise damaged("it is cut short")
    width, height, lossless = _webp(data)
    check_size(width, height, limit)
    keep: dict[str, Any] = {"lossless": lossless}
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    yield from _frames(image, "WebP", limit, keep)


def _webp(data: bytes) -> tuple[int, int, bool]:
    """(width, height, whether the first frame is lossless), before a decoder makes room for the picture."""
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, 26))
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind in (b"VP8 ", b"VP8L"):
            return width, height, bool(kind == b"VP8L")
        at += 24 if kind == b"ANMF" else 8 + length + length % 2  # into a frame, past anything else
    raise damaged("it has no pixels")


def read_gif(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The frames of a GIF file. Raises ImageError; Pillow raises whatever a broken file leads it to."""
    yield from _frames(GifImagePlugin.GifImageFile(file), "GIF", limit, {})


def read_bmp(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The picture of a BMP file. Raises ImageError; Pillow raises whatever a broken file leads it to."""
    yield from _frames(BmpImagePlugin.BmpImageFile(file), "BMP", limit, {})


def _frames(image: ImageFile.ImageFile, kind: str, limit: int, keep: dict[str, Any]) -> Iterator[Page]:
    check_size(*image.size, limit)
    keep |= {
        key: image.info[key] for key in ("icc_profile", "xmp", "dpi", "loop", "comment") if image.info.get(key) is not None
    }
    orientation, exif = exif_of(image.info.get("exif", b""))
    keep |= {"exif": exif} if exif else {}
    frames = getattr(image, "n_frames", 1)
    if frames == 1:
        keep.pop("loop", None)
    for number in range(frames):
        image.seek(number)
        check_size(*image.size, limit)  # a frame of a GIF may reach beyond the first
        image.load()
        told = keep | ({"duration": image.info.get("duration", 0)} if frames > 1 else {})
        depth = 1 if image.mode == "1" else 8
        pixels = Bands.of(stored(_pixels(image), 2**depth - 1))
        yield Page(turned(pixels, orientation), kind, depth, told, frames=frames)


def _pixels(image: Pillow.Image) -> Array:
    clear, gray = image.has_transparency_data, image.mode in ("1", "L", "LA")
    if image.mode == "1" and not clear:
        return np.asarray(image)
    return np.asarray(image.convert(("LA" if clear else "L") if gray else ("RGBA" if clear else "RGB")))


# --- writing ------------------------------------------------------------------------------------------------------------------


class _Film(Pillow.Image):
    """Pictures that are made one at a time, when Pillow's writers of animations seek to them; they never seek back."""

    def __init__(self, pictures: Iterator[Pillow.Image], frames: int) -> None:
        super().__init__()
        self.n_frames, self.is_animated, self._next, self._at = frames, True, pictures, -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame <= self._at:
            return
        picture = next(self._next, None)
        if picture is None:
            raise EOFError("no more frames")
        self._at, self.im, self._mode, self._size = frame, picture.im, picture.mode, picture.size
        self.palette, self.info = picture.palette, picture.info

    def tell(self) -> int:
        return self._at


def _images(pictures: Iterator[Page], made: Callable[[Array], Pillow.Image], shown: list[int]) -> Iterator[Pillow.Image]:
    """The pictures as Pillow has them; how long each is shown, in milliseconds, is told as it passes."""
    size = None
    for picture in pictures:
        if size not in (None, picture.pixels.shape[:2]):
            raise ImageError(f"holds pages of several sizes, and a {picture.kind} has one; choose --format tiff.")
        size = picture.pixels.shape[:2]
        shown.append(picture.keep.get("duration", 0))
        yield made(picture.pixels.whole())


def write_webp(file: BinaryIO, pictures: Iterator[Page]) -> None:
    """Frame after frame: lossless if the source was, else of quality 90."""
    first, shown = next(pictures), list[int]()
    keep: dict[str, Any] = {key: first.keep[key] for key in ("icc_profile", "exif", "xmp", "loop") if key in first.keep}
    keep.setdefault("loop", 1)  # what a GIF means that names no number
    keep |= {"lossless": True, "exact": True} if first.keep.get("lossless") else {"quality": 90}
    images = _images(chain([first], pictures), lambda pixels: Pillow.fromarray(whole(in_colour(pixels), 255)), shown)
    if first.frames == 1:
        next(images).save(file, "WEBP", **keep)
    else:
        _Film(images, first.frames).save(file, "WEBP", save_all=True, duration=shown, **keep)


def write_gif(file: BinaryIO, pictures: Iterator[Page]) -> None:
    """Frame after frame, each with a palette of its own: exact up to 256 colours, else the nearest of 255."""
    first, shown = next(pictures), list[int]()
    images = _images(chain([first], pictures), _paletted, shown)
    if first.frames == 1:
        next(images).save(file, "GIF", optimize=False, comment=first.keep.get("comment"))
        return
    keep: dict[str, Any] = {key: first.keep[key] for key in ("loop", "comment") if key in first.keep}
    keep["disposal"] = 2  # else what was seen shows through
    _Film(images, first.frames).save(file, "GIF", save_all=True, optimize=False, duration=shown, **keep)


def _paletted(pixels: Array) -> Pillow.Image:
    samples = whole(pixels, 255)
    if channels_of(samples) == 1:
        return Pillow.fromarray(samples)
    samples = in_colour(samples)
    clear = samples[..., 3] < OPAQUE if samples.shape[2] == 4 else np.zeros(samples.shape[:2], bool)
    keys = samples[..., :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    if clear.any():
        keys[clear] = 1 << 24 | keys[clear][0]
    colours, indices = np.unique(keys, return_inverse=True)
    table = np.column_stack([colours >> 16, colours >> 8, colours]).astype(np.uint8)
    through = len(colours) - 1
    if len(colours) > 256:
        image = Pillow.fromarray(samples[..., :3]).quantize(255, dither=Pillow.Dither.NONE)
        table, through = np.zeros((256, 3), np.uint8), 255
        told = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:255]
        table[: len(told)], indices = told, np.where(clear, through, np.asarray(image))
    height, width = samples.shape[:2]
    image = Pillow.frombytes("P", (width, height), indices.astype(np.uint8).tobytes())
    image.putpalette(table.tobytes())
    if clear.any():
        image.info["transparency"] = through
    return image


def write_bmp(file: BinaryIO, pictures: Iterator[Page]) -> None:
    """One picture: 8 bits a sample, or one bit if it is gray of one bit; alpha by masks, which Pillow does not write."""
    picture = next(pictures)
    samples, dpi = whole(picture.pixels.whole(), 2**picture.depth - 1), picture.keep.get("dpi", (0, 0))
    if channels_of(samples) not in (2, 4):
        Pillow.fromarray(samples.astype(bool) if picture.depth == 1 else samples).save(file, "BMP", dpi=dpi)
        return
    rows = in_colour(samples)[::-1, :, [2, 1, 0, 3]].tobytes()
    height, width = samples.shape[:2]
    a_metre = [min(round(dots / 0.0254), 2**31 - 1) for dots in dpi]
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(rows), *a_metre, 0, 0)
    info += struct.pack("<4I4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs") + bytes(48)
    file.write(b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows)
