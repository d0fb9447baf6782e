"""PNM: bitmaps, gray and colour, in bytes or in digits; a file of bytes may hold several pictures one after another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ..errors import ImageError
from .picture import BAND, MAX_FRAMES, Array, Bands, Page, channels_of, check_size, damaged, stored, whole

GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
HEADER = re.compile(rb"P([1-6])" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,9})")
TOP = re.compile(GAP + rb"(\d{1,9})")
LONGEST = 2**16  # bytes of a header with its comments


@dataclass(frozen=True)
class _Image:
    sort: int  # 1 to 3 in digits, 4 to 6 in bytes: bitmap, gray, colour
    width: int
    height: int
    top: int
    start: int  # where the pixels begin in the file

    @property
    def is_bitmap(self) -> bool:
        """Whether 1 is black."""
        return self.sort in (1, 4)

    @property
    def row(self) -> int:
        """Bytes of a row, of those in bytes."""
        if self.sort == 4:
            return (self.width + 7) // 8
        return self.width * (3 if self.sort == 6 else 1) * (1 if self.top < 256 else 2)


def read(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The pictures of a PNM file. Raises ImageError."""
    size = file.seek(0, 2)
    images, at = list[_Image](), 0
    while at < size and len(images) < MAX_FRAMES:
        image = _header(file, at, limit, first=not images)
        if image is None:
            break
        images.append(image)
        at = size if image.sort < 4 else image.start + image.row * image.height
        if at > size:
            raise damaged("it is cut short")
    if len(images) == MAX_FRAMES and at < size and _header(file, at, limit, first=False):
        raise ImageError(f"holds more than {MAX_FRAMES} pictures; split it first.")
    for image in images:
        shape = (image.height, image.width, 3) if image.sort in (3, 6) else (image.height, image.width)
        depth = 1 if image.is_bitmap else 8 if image.top < 256 else 16
        yield Page(Bands(shape, _bands(file, image, shape)), "PNM", depth, {"top": image.top}, frames=len(images))


def _bands(file: BinaryIO, image: _Image, shape: tuple[int, ...]) -> Iterator[Array]:
    rows = image.height if image.sort < 4 else max(1, BAND // image.row)
    for top in range(0, image.height, rows):
        here = min(rows, image.height - top)
        file.seek(image.start + (top * image.row if image.sort > 3 else 0))
        samples = _digits(file, image) if image.sort < 4 else _bytes(file, image, here)
        samples = samples.reshape(here, *shape[1:])
        if samples.max() > image.top:
            raise damaged(f"a sample is larger than the {image.top} that it names as the largest")
        values = stored(samples, image.top)
        yield 1 - values if image.is_bitmap else values


def _header(file: BinaryIO, at: int, limit: int, first: bool) -> _Image | None:
    """The header at a place of the file; None if what follows the first picture is none."""
    file.seek(at)
    text = file.read(LONGEST)
    found = HEADER.match(text)
    if not found:
        if first:
            raise damaged("its header cannot be read")
        return None
    sort, width, height = (int(number) for number in found.groups())
    end, top = found.end(), 1
    if sort not in (1, 4):
        largest = TOP.match(text, end)
        if not largest:
            raise damaged("its header cannot be read")
        end, top = largest.end(), int(largest[1])
    check_size(width, height, limit)
    if not 1 <= top <= 65535 or not text[end : end + 1].isspace():
        raise damaged("its header cannot be read")
    return _Image(sort, width, height, top, at + end + 1)


def _bytes(file: BinaryIO, image: _Image, rows: int) -> Array:
    data = file.read(image.row * rows)
    if len(data) < image.row * rows:
        raise damaged("it is cut short")
    if image.sort == 4:
        return np.unpackbits(np.frombuffer(data, np.uint8).reshape(rows, -1), axis=1, count=image.width)
    return np.frombuffer(data, np.uint8 if image.top < 256 else ">u2")


def _digits(file: BinaryIO, image: _Image) -> Array:
    number = image.width * image.height * (3 if image.sort == 3 else 1)
    text = re.sub(rb"#[^\r\n]*", b"", file.read(64 * number + LONGEST))
    whole_file = not file.read(1)
    if re.search(rb"[^\d\s]|\d{7}", text) if image.sort > 1 else re.search(rb"[^01\s]", text):
        raise damaged("it holds other than digits")
    if image.sort == 1:  # bits may stand without a gap
        samples: Array = np.frombuffer(text.translate(None, b" \t\r\n\v\f"), np.uint8) - 48
    else:
        samples = np.fromstring(text.decode("ascii"), np.int64, sep=" ") if text.strip() else np.zeros(0, np.int64)
    if len(samples) < number + (not whole_file):  # of what was not read, the last number may be half a one
        raise damaged("it is cut short" if whole_file else "it holds more white space than numbers")
    return samples[:number]


def write(file: BinaryIO, pictures: Iterator[Page]) -> None:
    """Picture after picture, in bytes: a bitmap if it is gray of one bit."""
    for picture in pictures:
        height, width = picture.pixels.shape[:2]
        top = picture.keep.get("top", 2**picture.depth - 1)
        channels = channels_of(picture.pixels)
        if channels not in (1, 3):
            raise ImageError("has alpha, which PNM has no room for; choose --format png.")
        bitmap = picture.depth == 1 and channels == 1
        if bitmap:
            file.write(b"P4\n%d %d\n" % (width, height))
        else:
            file.write(b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, top))
        for band in picture.pixels.bands:
            samples = whole(band, top)
            data = np.packbits(samples == 0, axis=1) if bitmap else samples.astype(np.uint8 if top < 256 else ">u2", copy=False)
            file.write(np.ascontiguousarray(data).data)
