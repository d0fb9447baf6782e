"""Reading TIFF: whole numbers of 1, 8, 16 and 32 bits and floats, in strips or tiles, page by page; `tiff_writer` writes it.

tifffile parses the tags; every offset and size is checked before the first pixel is read, and what is packed is
inflated here, strip by strip, no further than a strip is long. LZW and PackBits go through Pillow one strip at a time; pages
of JPEG and fax wholly.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import tifffile
from PIL import TiffImagePlugin

from ..errors import ImageError
from .metadata import Entry, directory, exif_from, packed, turned
from .picture import (
    BAND,
    LARGEST_TEXT,
    MAX_FRAMES,
    Array,
    Bands,
    Page,
    as_floats,
    check_size,
    damaged,
    stored,
    with_alpha,
)  # fmt: skip

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its warnings are no words of ours

NONE, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 5, 7, 8, 32773, 32946
BY_PILLOW = (2, 3, 4, JPEG)  # with the three fax codes: whole pages
WHITE_IS_0, BLACK_IS_0, RGB, INDICES, INK = 0, 1, 2, 3, 5
COLOURS = {WHITE_IS_0: 1, BLACK_IS_0: 1, RGB: 3, INDICES: 1, INK: 4}
XMP, PROFILE = 700, 34675
REDUCED = 1  # bit of NewSubfileType: a preview of another page
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def read(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The pages of a TIFF file; previews among them are left out, and the pictures say so. Raises ImageError and more."""
    with tifffile.TiffFile(file) as tif:
        offsets = _offsets(tif)
        previews = [_is_preview(tif, offset) for offset in offsets] if len(offsets) > 1 else [False]
        frames = previews.count(False)
        if not frames or previews[0]:
            raise ImageError("begins with a preview, as camera raw files do; develop it to a TIFF first.")
        left_out = f"{len(offsets) - frames} previews of reduced size" if frames < len(offsets) else ""
        for number, offset in enumerate(offsets):
            if not previews[number]:
                yield _page(tif, offset, number, frames, left_out, limit)


def _offsets(tif: tifffile.TiffFile) -> list[int]:
    """Where the directories lie, each once: a chain that comes back to itself, or leaves the file, ends there."""
    form, handle, found = tif.tiff, tif.filehandle, dict[int, None]()
    handle.seek(4 if form.offsetsize == 4 else 8)
    raw = handle.read(form.offsetsize)
    while len(raw) == form.offsetsize:
        (offset,) = struct.unpack(form.offsetformat, raw)
        if offset == 0 or offset in found or offset + form.tagnosize > handle.size:
            break
        if len(found) == MAX_FRAMES:
            raise ImageError(f"holds more than {MAX_FRAMES} pages; split it first.")
        found[offset] = None
        handle.seek(offset)
        (count,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
        if offset + form.tagnosize + count * form.tagsize > handle.size:
            break
        handle.seek(count * form.tagsize, 1)
        raw = handle.read(form.offsetsize)
    if not found:
        raise damaged("it has no page")
    return list(found)


def _tags(tif: tifffile.TiffFile, offset: int, room_for: int) -> list[Entry]:
    def at(place: int, length: int) -> bytes:
        if place > tif.filehandle.size:
            return b""
        tif.filehandle.seek(place)
        return bytes(tif.filehandle.read(length))

    return directory(at, offset, tif.byteorder, tif.is_bigtiff, room_for)


def _is_preview(tif: tifffile.TiffFile, offset: int) -> bool:
    for tag, kind, value in _tags(tif, offset, 256):  # short ones: the rest is not read
        if tag == 254 and kind == 4:
            return bool(struct.unpack(tif.byteorder + "I", value[:4])[0] & REDUCED)
    return False


def _page(tif: tifffile.TiffFile, offset: int, number: int, frames: int, left_out: str, limit: int) -> Page:
    tif.filehandle.seek(offset)
    page = tifffile.TiffPage(tif, index=number)
    check_size(page.imagewidth, page.imagelength, limit)
    depth, channels = _layout(page)
    keep: dict[str, Any] = {"order": tif.byteorder, "big": tif.is_bigtiff, "packed": page.compression != NONE}
    keep |= _said(_tags(tif, offset, LARGEST_TEXT), tif.byteorder)
    orientation = page.tags.valueof(274) or 1
    floating = bool(page.dtype is not None and page.dtype.kind == "f")
    if page.compression in BY_PILLOW:
        if any(
            start + count > tif.filehandle.size for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ):
            raise damaged("its pixels lie outside the file")
        pixels, orientation = Bands.of(_by_pillow(tif, number)), 1  # Pillow turns them
        depth = 1 if depth == 1 else 8
    else:
        seen = (3 if channels > 1 or page.photometric == INDICES else 1) + page.samplesperpixel - channels
        shape = (page.imagelength, page.imagewidth, *((seen,) if seen > 1 else ()))
        pixels = Bands(shape, (_colours(page, samples, depth, channels) for samples in _samples(tif, page)))
    if page.photometric == INK:
        keep.pop("icc_profile", None)  # it is for inks
        left_out = " and ".join(["its inks (CMYK comes out as RGB)", *([left_out] if left_out else [])])
    if page.extrasamples and int(page.extrasamples[0]) == 0:
        keep["extra"] = 0  # a fourth channel that its writer did not call alpha
    return Page(turned(pixels, int(orientation)), "TIFF", depth, keep, floating, frames, left_out)


def _layout(page: tifffile.TiffPage) -> tuple[int, int]:
    """(bits of a sample, colour channels without alpha). Raises ImageError for what is not read here."""
    photometric, kind = int(page.photometric), page.dtype.kind if page.dtype is not None else "?"
    if photometric == 32803 or 50706 in page.tags:
        raise ImageError("is a camera raw file; develop it to a TIFF first.")
    if page.compression in BY_PILLOW:
        return int(np.max(page.bitspersample)), 0
    if page.compression not in (NONE, LZW, DEFLATE, PACKBITS, OLD_DEFLATE):
        raise ImageError(f"is a TIFF of compression {int(page.compression)}; save it with LZW, Deflate or none.")
    if photometric not in COLOURS:
        raise ImageError(
            f"is a TIFF of colours of type {photometric}; expected gray, RGB, CMYK or a palette: convert it first."
        )
    depth = page.bitspersample
    if kind in "ic" or not isinstance(depth, int) or depth not in ((16, 32, 64) if kind == "f" else (1, 8, 16, 32)):
        words = {"i": "signed whole numbers", "f": "floats", "c": "complex numbers"}.get(kind, "whole numbers")
        raise ImageError(
            f"is a TIFF of {words} of {depth} bits; expected unsigned whole numbers of 1, 8, 16 or 32 bits, or floats: convert it first."
        )
    channels, samples = COLOURS[photometric], page.samplesperpixel
    if samples not in (channels, channels + 1) or page.imagedepth != 1 or (depth == 1 and (samples > 1 or photometric == 3)):
        raise ImageError(f"is a TIFF of {samples} samples a pixel where {channels} make its colours; split its channels first.")
    return depth, channels


@dataclass(frozen=True)
class _Parts:
    """Where the strips or tiles of a page lie: equal ones, of which the last of a column or row may reach beyond the picture."""

    rows: int
    columns: int
    across: int  # how many lie side by side; 1 for strips
    length: int  # bytes of a row of one
    places: list[tuple[int, int]]  # offset and bytes of each, plane after plane


def _parts(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> _Parts:
    """Raises ImageError for parts that are missing, or lie outside the file."""
    height, width, planes, scheme = page.imagelength, page.imagewidth, page.shaped[0], int(page.compression)
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    if rows < 1 or columns < 1 or rows * columns > 16 * (height * width + 2**20):
        raise damaged(f"its parts are {columns} x {rows} pixels")
    length = math.ceil(columns * page.shaped[-1] * page.bitspersample / 8)
    across, down = math.ceil(width / columns), math.ceil(height / rows)
    number = planes * across * down
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))[:number]
    if len(places) < number:
        raise damaged(f"it has {len(places)} of {number} strips or tiles")
    if any(offset < 8 or count < 1 or offset + count > tif.filehandle.size for offset, count in places):
        raise damaged("its pixels lie outside the file")
    if scheme != NONE:
        return _Parts(rows, columns, across, length, places)
    last = length * (rows if page.is_tiled else height - (down - 1) * rows)
    if any(count < (last if index % down == down - 1 else length * rows) for index, (_, count) in enumerate(places)):
        raise damaged("it is cut short")
    return _Parts(rows, columns, across, length, places)


def _samples(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Iterator[Array]:
    """The stored samples in bands (rows, W, S): a row of tiles or a strip each, or a few rows of a strip that is not packed."""
    parts = _parts(tif, page)
    height, width, planes = page.imagelength, page.imagewidth, page.shaped[0]
    down = math.ceil(height / parts.rows)
    few = parts.rows if page.is_tiled or int(page.compression) != NONE else max(1, BAND // parts.length)
    for row in range(down):
        full = min(parts.rows, height - row * parts.rows)
        for top in range(0, full, few):
            here = min(few, full - top)
            band = np.empty((here, width, page.samplesperpixel), page.dtype)
            for plane in range(planes):
                target = band[..., plane : plane + 1] if planes > 1 else band
                for column in range(parts.across):
                    place, left = parts.places[(plane * down + row) * parts.across + column], column * parts.columns
                    part = _part(tif, page, parts, place, top, parts.rows if page.is_tiled else here)
                    target[:, left : left + parts.columns] = part[:here, : width - left]
            yield band


def _part(tif: tifffile.TiffFile, page: tifffile.TiffPage, parts: _Parts, place: tuple[int, int], top: int, rows: int) -> Array:
    """(rows, columns, S) of a strip or tile; `top`: its first row wanted, 0 if it is packed."""
    (offset, count), scheme = place, int(page.compression)
    plain = scheme == NONE
    tif.filehandle.seek(offset + top * parts.length if plain else offset)
    raw = tif.filehandle.read(rows * parts.length if plain else count)
    raw = raw.translate(REVERSED) if page.fillorder == 2 else raw
    data = _expanded(raw, scheme, parts.rows * parts.length, rows * parts.length)
    dtype, shape = np.dtype(page.dtype).newbyteorder(tif.byteorder), (rows, parts.columns, page.shaped[-1])
    if page.bitspersample == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8).reshape(rows, -1), axis=1, count=parts.columns)[..., None]
    data = _unpredicted(data, int(page.predictor), shape, dtype) if page.predictor != 1 else data
    return np.frombuffer(data, dtype).reshape(shape)


def _expanded(raw: bytes, scheme: int, most: int, size: int) -> bytes:
    """The `size` bytes of a strip or tile; it may be padded up to `most`."""
    if scheme in (DEFLATE, OLD_DEFLATE):
        stream = zlib.decompressobj()
        data = stream.decompress(raw, most)
        if not stream.eof and stream.decompress(stream.unconsumed_tail, 1):
            raise damaged("a strip or tile holds more than its pixels")
        if not stream.eof:
            raise damaged("it is cut short")
    elif scheme in (LZW, PACKBITS):
        data = _by_libtiff(raw, scheme, size)
    else:
        data = raw
    if len(data) < size:
        raise damaged("it is cut short")
    return data[:size]


def _by_libtiff(raw: bytes, scheme: int, size: int) -> bytes:
    """Bytes unpacked by Pillow, which takes them for the one row of a gray picture."""
    numbers = {256: size, 257: 1, 258: 8, 259: scheme, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(raw)}
    start = 8 + len(raw) + len(raw) % 2
    tags = packed([(tag, 4, struct.pack("<I", value)) for tag, value in numbers.items()], start, "<")
    head = b"II*\0" + struct.pack("<I", start)
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(head + raw + bytes(len(raw) % 2) + tags))
    image.load()
    return image.tobytes()


def _unpredicted(data: bytes, predictor: int, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> bytes:
    """Samples from their differences along rows; of floats, from those of their bytes, the highest bytes first."""
    rows, columns, samples = shape
    if predictor == 2 and dtype.kind == "u":
        steps = np.frombuffer(data, dtype).reshape(shape)
        return np.cumsum(steps, axis=1, dtype=dtype.newbyteorder("=")).astype(dtype).tobytes()
    if predictor == 3 and dtype.kind == "f":
        steps = np.frombuffer(data, np.uint8).reshape(rows, -1, samples)
        parts = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, columns * samples)
        return parts.swapaxes(1, 2).copy().view(dtype.newbyteorder(">")).astype(dtype).tobytes()
    raise ImageError(f"is a TIFF with predictor {predictor}; save it without one.")


def _colours(page: tifffile.TiffPage, samples: Array, depth: int, channels: int) -> Array:
    """Gray or RGB, with straight alpha where there is a further sample."""
    colours = samples[..., :channels]
    if page.photometric == INDICES:
        table = page.colormap
        if table is None or colours.max() >= table.shape[1]:
            raise damaged("a pixel points outside the palette")
        values = stored(table.T, 65535 if table.max() > 255 else 255)[colours[..., 0]]
    elif samples.dtype.kind == "f":
        values = colours.astype(np.float64 if depth == 64 else np.float32)
        values = 1 - values if page.photometric == WHITE_IS_0 else values
    else:
        top = 2**depth - 1
        values = stored(top - colours.astype(np.uint32) if page.photometric == WHITE_IS_0 else colours, top)
    if page.photometric == INK:
        values = as_floats(values)
        values = (1 - values[..., :3]) * (1 - values[..., 3:])
    values = values[..., 0] if values.shape[2] == 1 else values
    if samples.shape[2] == channels:
        return values
    alpha = samples[..., -1] if samples.dtype.kind == "f" else stored(samples[..., -1], 2**depth - 1)
    multiplied = page.extrasamples and page.extrasamples[0] == 1
    if multiplied or values.dtype.kind == "f":
        values, alpha = as_floats(values), as_floats(alpha)
    if multiplied:  # the colours, by alpha
        share = np.where(alpha > 0, alpha, 1)
        values = values / (share if values.ndim == 2 else share[..., None])
        values = values if samples.dtype.kind == "f" else np.minimum(values, 1)  # more colour than alpha is a writer's mistake
    return with_alpha(values, alpha)


def _by_pillow(tif: tifffile.TiffFile, number: int) -> Array:
    tif.filehandle.seek(0)
    image = TiffImagePlugin.TiffImageFile(cast(BinaryIO, tif.filehandle._fh))
    image.seek(number)
    image.load()
    if image.mode in ("1", "L", "RGB", "RGBA"):
        return stored(np.asarray(image), 1 if image.mode == "1" else 255)
    return np.asarray(image.convert("RGB"))


def _said(tags: list[Entry], order: str) -> dict[str, Any]:
    values = {tag: (kind, value) for tag, kind, value in tags}
    keep: dict[str, Any] = {}
    for tag, key in ((PROFILE, "icc_profile"), (XMP, "xmp")):
        if tag in values and isinstance(values[tag][1], bytes):
            keep[key] = values[tag][1]
    inches = {2: 1.0, 3: 2.54}.get(_number(values.get(296), order), 0)
    if inches and all(values.get(tag, (0, b""))[0] == 5 for tag in (282, 283)):
        ratios = [struct.unpack(order + "II", values[tag][1][:8]) for tag in (282, 283)]
        if all(above and below for above, below in ratios):
            keep["dpi"] = tuple(above / below * inches for above, below in ratios)
    if exif := exif_from(tags, order):
        keep["exif"] = exif
    return keep


def _number(entry: tuple[int, Any] | None, order: str) -> int:
    return int(struct.unpack(order + "H", entry[1][:2])[0]) if entry and entry[0] == 3 else 2
