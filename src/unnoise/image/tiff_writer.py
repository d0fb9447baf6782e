"""Writing TIFF, page after page, in strips: by the lines here, because tifffile writes no EXIF directory; `tiff` reads it."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .metadata import Entry, packed, saying
from .picture import PACKING, Array, Page, beside, channels_of, whole
from .tiff import BLACK_IS_0, DEFLATE, NONE, PROFILE, RGB, XMP

STRAIGHT = 2  # of ExtraSamples: alpha by which the colours are not multiplied
STRIP = 2**18  # bytes of a strip, before packing


def write(file: BinaryIO, pictures: Iterator[Page]) -> None:
    """Page after page, each in strips, packed with Deflate if the source was packed."""
    link, order, big, word = 0, "<", False, "I"
    for number, picture in enumerate(pictures):
        told, entries = saying(picture.keep["exif"]) if "exif" in picture.keep else (None, [])
        if number == 0:
            order = told or picture.keep.get("order", "<")
            big = picture.keep.get("big", False) or _room(picture) > 2**32
            word, head = ("Q", 43) if big else ("I", 42)
            mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", head)
            file.write(mark + (struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)))
            link = 8 if big else 4
        entries = [*_structure(file, picture, order, word), *(entries if told in (None, order) else [])]
        at = file.tell()
        file.write(bytes(at % 2))
        at += at % 2
        file.write(packed(entries, at, order, big))
        file.seek(link)
        file.write(struct.pack(order + word, at))
        file.seek(0, 2)
        link = at + (8 + 20 * len(entries) if big else 2 + 12 * len(entries))


def _structure(file: BinaryIO, picture: Page, order: str, word: str) -> list[Entry]:
    """Write the strips; return the tags that describe them, and the profile, XMP and resolution."""
    height, width = picture.pixels.shape[:2]
    depth, channels, pack = picture.depth, channels_of(picture.pixels), picture.keep.get("packed", False)
    predict = pack and depth in (8, 16, 32) and not picture.floating
    rows = max(1, STRIP // max(1, width * channels * depth // 8))
    places, sizes = [], []

    def strip(band: Array) -> bytes:
        data = _strip(band, picture, order, predict)
        return zlib.compress(data, PACKING) if pack else data

    for data in beside(strip, picture.pixels.of_rows(rows)):
        places.append(file.tell())
        sizes.append(file.write(data))
    form = order + word

    def many(tag: int, kind: str, values: list[int]) -> Entry:
        return tag, {"H": 3, "I": 4, "Q": 16}[kind], b"".join(struct.pack(order + kind, value) for value in values)

    entries = [
        many(256, "I", [width]), many(257, "I", [height]), many(258, "H", [depth] * channels), many(259, "H", [DEFLATE if pack else NONE]),
        many(262, "H", [BLACK_IS_0 if channels < 3 else RGB]), many(273, form[1], places), many(274, "H", [1]), many(277, "H", [channels]),
        many(278, "I", [rows]), many(279, form[1], sizes), many(284, "H", [1]), many(339, "H", [3 if picture.floating else 1] * channels),
    ]  # fmt: skip
    entries += [many(254, "I", [2])] if picture.frames > 1 else []  # one page of several
    entries += [many(317, "H", [2])] if predict else []
    entries += [many(338, "H", [picture.keep.get("extra", STRAIGHT)])] if channels in (2, 4) else []
    if "dpi" in picture.keep:
        across, down = picture.keep["dpi"]
        entries += [(282, 5, _ratio(across, order)), (283, 5, _ratio(down, order)), many(296, "H", [2])]
    for tag, kind, key in ((XMP, 1, "xmp"), (PROFILE, 7, "icc_profile")):
        entries += [(tag, kind, picture.keep[key])] if key in picture.keep else []
    return entries


def _room(picture: Page) -> int:
    """Bytes that its file may take: of the picture itself, and a little more; of its other pages, whose size is not known yet, twice that."""
    return math.prod(picture.pixels.shape) * picture.depth // 8 * (2 * picture.frames - 1) * 129 // 128 + 2**26


def _strip(pixels: Array, picture: Page, order: str, predict: bool) -> bytes:
    if picture.floating:
        return pixels.astype(f"{order}f{picture.depth // 8}").tobytes()
    samples = whole(pixels, 2**picture.depth - 1)
    if picture.depth == 1:
        return np.packbits(samples.astype(bool), axis=1).tobytes()
    if predict:
        samples = np.diff(samples, axis=1, prepend=samples[:, :1] * 0)
    return samples.astype(f"{order}u{samples.itemsize}").tobytes()


def _ratio(value: float, order: str) -> bytes:
    below = 1 if value == round(value) else 10000
    return struct.pack(order + "II", min(max(round(value * below), 1), 2**32 - 1), below)
