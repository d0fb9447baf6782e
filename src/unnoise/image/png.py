"""PNG: every depth and colour type, exactly.

The chunks are walked here, with limits and checksums, and inflated row by row; Pillow undoes the rows' filters. By itself it
checks no CRC of the pixels and reads 16-bit colour as 8 bits.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import PngImagePlugin

from ..errors import ImageError
from .metadata import exif_of, turned
from .picture import (
    BAND,
    LARGEST_TEXT,
    PACKING,
    Array,
    Bands,
    Page,
    beside,
    channels_of,
    check_size,
    damaged,
    stored,
    whole,
    with_alpha,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, COLOUR, PALETTE, GRAY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
DEPTHS = {GRAY: (1, 2, 4, 8, 16), COLOUR: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), COLOUR_ALPHA: (8, 16)}
TYPES = {1: GRAY, 2: GRAY_ALPHA, 3: COLOUR, 4: COLOUR_ALPHA}  # by channels
CHANNELS = {GRAY: 1, COLOUR: 3, PALETTE: 1, GRAY_ALPHA: 2, COLOUR_ALPHA: 4}  # of samples
PASSED_ON = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tEXt", b"zTXt", b"iTXt")  # from PNG to PNG, unread
WANTED = (b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"pHYs", b"acTL")
XMP = b"XML:com.adobe.xmp"
MAX_CHUNKS = 1_000_000
INCH = 0.0254  # metres


def read(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The picture of a PNG file. Raises ImageError; Pillow's decoder raises whatever a broken stream leads it to."""
    header: tuple[int, ...] = ()
    found: dict[bytes, bytes] = {}
    passed: list[tuple[bytes, bytes]] = []
    keep: dict[str, Any] = {}
    for kind, body in _chunks(file):
        if not header:
            header = _header(kind, body, limit)
        elif kind == b"iTXt" and body.startswith(XMP + b"\0"):
            keep["xmp"] = _international(body)
        elif kind in PASSED_ON:
            passed.append((kind, body))
        elif kind in WANTED:
            found.setdefault(kind, body)
    width, height, depth, colour, interlaced = header
    (frames,) = struct.unpack(">I", found.get(b"acTL", b"\0\0\0\1")[:4].rjust(4, b"\0"))
    if frames > 1:
        raise ImageError(
            f"holds {frames} frames, and this version reads no animated PNG; save it as WebP, or take the frames apart first."
        )
    keep |= _said(found) | ({"chunks": passed} if passed else {})
    orientation, exif = exif_of(found.get(b"eXIf", b""))
    if exif:
        keep["exif"] = exif
    channels = 3 if colour == PALETTE else CHANNELS[colour]
    channels += b"tRNS" in found and channels in (1, 3)
    samples = _interlaced(file, header) if interlaced else _samples(file, header)
    bands = (_palette(part, found) if colour == PALETTE else _values(part, depth, found.get(b"tRNS")) for part in samples)
    pixels = Bands((height, width, *((channels,) if channels > 1 else ())), bands)
    yield Page(turned(pixels, orientation), "PNG", 8 if colour == PALETTE else depth, keep)


def _chunks(file: BinaryIO, pixels: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of each chunk up to IEND that is of use here but those of pixels, or of those alone.

    One that a decoder may do without is passed over if its checksum is wrong.
    """
    size, at = file.seek(0, 2), len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        if at + 12 + length > size:
            raise damaged("it ends within its header" if at == len(SIGNATURE) and len(head) == 8 else "it is cut short")
        at += 12 + length
        needed = kind in (*PASSED_ON, *WANTED) or not kind[0] & 0x20  # a capital letter: the pixels depend on it
        if needed and pixels == (kind == b"IDAT"):
            if length > LARGEST_TEXT and not pixels:
                raise ImageError(f"has a text or profile of {length >> 20} MB; remove it first.")
            body, checksum = file.read(length), file.read(4)
            if zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big") == checksum:
                yield kind, body
            elif not kind[0] & 0x20:
                raise damaged("a checksum is wrong")
        if kind == b"IEND":
            return
    raise damaged(f"it has more than {MAX_CHUNKS} chunks")


def _header(kind: bytes, body: bytes, limit: int) -> tuple[int, int, int, int, int]:
    if kind != b"IHDR" or len(body) != 13:
        raise damaged("its header is missing")
    width, height, depth, colour, packing, filters, interlaced = struct.unpack(">IIBBBBB", body)
    check_size(width, height, limit)
    if depth not in DEPTHS.get(colour, ()) or packing or filters or interlaced > 1:
        raise damaged(f"its header names colour type {colour} of {depth} bits, which PNG does not have")
    return width, height, depth, colour, interlaced


def _inflated(data: bytes, what: str) -> bytes:
    """A profile or text; empty if it cannot be inflated. Raises ImageError for one that grows beyond all use."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, LARGEST_TEXT + 1)
    except zlib.error:
        return b""
    if len(text) > LARGEST_TEXT:
        raise ImageError(f"has {what} of more than {LARGEST_TEXT >> 20} MB; remove it first.")
    return text


def _international(body: bytes) -> bytes:
    """The text of an iTXt chunk: keyword, whether and how it is packed, language, translated keyword, text."""
    _, _, rest = body.partition(b"\0")
    packing, text = rest[:1], rest[2:].split(b"\0", 2)[-1]
    return _inflated(text, "an XMP") if packing == b"\1" else text


def _said(found: dict[bytes, bytes]) -> dict[str, Any]:
    keep: dict[str, Any] = {}
    if profile := _inflated(found.get(b"iCCP", b"\0\0").partition(b"\0")[2][1:], "a colour profile"):
        keep["icc_profile"] = profile
    if len(found.get(b"pHYs", b"")) == 9:
        across, down, unit = struct.unpack(">IIB", found[b"pHYs"])
        if unit == 1 and across and down:
            keep["dpi"] = (across * INCH, down * INCH)
    return keep


def _samples(file: BinaryIO, header: tuple[int, ...]) -> Iterator[Array]:
    """The samples as they are stored, 0..2**depth - 1, in bands (rows, W) or (rows, W, C); a palette's as indices.

    What the stream holds is inflated here, a few rows at a time. To undo their filters, Pillow gets them as a PNG of their
    own, below the row that came before them.
    """
    width, height, depth, colour, _ = header
    length = (width * depth * CHANNELS[colour] + 7) // 8
    stream, above, top = _inflated_rows(file, 1 + length, height), bytes(length), 0
    for rows in stream:
        count = len(rows) // (1 + length)
        packed = zlib.compress(b"\0" + above + rows, 0)
        samples = _decoded((width, count + 1), depth, colour, 0, [packed])[1:]
        above = _rows(samples[-1:], depth).tobytes()
        top += count
        yield samples
    if top < height:
        raise damaged("it is cut short")


def _inflated_rows(file: BinaryIO, length: int, height: int) -> Iterator[bytes]:
    """Rows of `length` bytes, several at a time; fewer than `height` if the stream ends before."""
    inflate, held, left = zlib.decompressobj(), bytearray(), height * length
    most = max(1, BAND // length) * length
    for _, body in _chunks(file, pixels=True):
        while left and (part := inflate.decompress(body, min(most - len(held), left))):
            body, left = inflate.unconsumed_tail, left - len(part)
            held += part
            if len(held) == most and left:
                yield bytes(held)
                held.clear()
        if not left and not inflate.eof:
            inflate.decompress(body, 1)  # to its end: the checksum of the stream
    if full := len(held) // length * length:
        yield bytes(held[:full])


def _interlaced(file: BinaryIO, header: tuple[int, ...]) -> Iterator[Array]:
    """The samples of an interlaced picture, whose rows come in seven passes: all at once."""
    width, height, depth, colour, _ = header
    yield _decoded((width, height), depth, colour, 1, [body for _, body in _chunks(file, pixels=True)])


def _decoded(size: tuple[int, int], depth: int, colour: int, interlaced: int, packed: list[bytes]) -> Array:
    """The samples of a PNG stream, by Pillow: (H, W) or (H, W, C)."""

    def decoded(depth: int, colour: int, raw: str = "") -> Array:
        table = _chunk(b"PLTE", bytes(768)) if colour == PALETTE else b""
        parts = [SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)), table]
        parts += [_chunk(b"IDAT", body) for body in packed]
        image = PngImagePlugin.PngImageFile(io.BytesIO(b"".join([*parts, _chunk(b"IEND", b"")])))
        if raw:
            image.tile = [image.tile[0]._replace(args=raw)]
        image.load()
        return np.asarray(image.convert("L") if image.mode == "1" else image)

    if not packed:
        raise damaged("it has no pixels")
    if depth == 16 and colour == GRAY_ALPHA:  # four bytes a pixel: to a decoder the same as 8-bit RGBA
        return decoded(8, COLOUR_ALPHA).view(">u2").astype(np.uint16)
    if depth == 16 and colour != GRAY:  # Pillow gives one byte of each sample at a time
        raw = "RGB;16" if colour == COLOUR else "RGBA;16"
        samples = decoded(16, colour, raw + "B").astype(np.uint16)
        samples <<= 8
        samples |= decoded(16, colour, raw + "L")
        return samples
    samples = decoded(depth, colour)
    return samples // (255 // (2**depth - 1)) if colour == GRAY and depth < 8 else samples


def _values(samples: Array, depth: int, transparent: bytes | None) -> Array:
    """With alpha where one gray or colour is called transparent."""
    values = stored(samples, 2**depth - 1)
    channels = channels_of(samples)
    if transparent is None or channels in (2, 4):
        return values
    if len(transparent) != 2 * channels:
        raise damaged("its transparent colour is not one")
    clear = np.array(struct.unpack(f">{channels}H", transparent)) & (2**depth - 1)
    return with_alpha(values, samples != clear[0] if channels == 1 else (samples != clear).any(2))


def _palette(indices: Array, found: dict[bytes, bytes]) -> Array:
    table = np.frombuffer(found.get(b"PLTE", b""), np.uint8)
    if not 3 <= len(table) <= 768 or len(table) % 3:
        raise damaged("its palette is missing")
    table = table.reshape(-1, 3)
    if indices.max() >= len(table):
        raise damaged("a pixel points outside the palette")
    if b"tRNS" in found:
        alpha = np.frombuffer(found[b"tRNS"][: len(table)].ljust(len(table), b"\xff"), np.uint8)
        table = np.column_stack([table, alpha])
    return table[indices]


def write(file: BinaryIO, pictures: Iterator[Page]) -> None:
    """One picture: 8 or 16 bits a sample, or 1, 2 or 4 if it is gray."""
    picture = next(pictures)
    (height, width), depth, channels = picture.pixels.shape[:2], picture.depth, channels_of(picture.pixels)
    header = struct.pack(">IIBBBBB", width, height, depth, TYPES[channels], 0, 0, 0)
    file.write(SIGNATURE + _chunk(b"IHDR", header) + _words(picture.keep))
    checksum = zlib.adler32(b"")
    count = max(1, BAND // 4 // (width * depth * channels // 8 + 1))  # of rows in a part
    bands = picture.pixels.of_rows(count)
    pack = partial(_packed, picture.keep.get("packing", zlib.Z_DEFAULT_STRATEGY))

    def scanlines() -> Iterator[tuple[bytes, bytes]]:
        nonlocal checksum
        above, before = np.zeros((1, (width * depth * channels + 7) // 8), np.uint8), b""
        for band in bands:
            rows = _rows(whole(band, 2**depth - 1), depth)
            lines = _filtered(rows, above, depth * channels // 8)
            yield before, lines
            checksum = zlib.adler32(lines, checksum)
            above, before = rows[-1:], lines[-(2**15) :]

    file.write(_chunk(b"IDAT", b"\x78\x5e"))  # the stream's own header: what is looked back at is 32 kB
    for packed in (map if count >= height else beside)(pack, scanlines()):
        file.write(_chunk(b"IDAT", packed))
    file.write(_chunk(b"IDAT", b"\3\0" + checksum.to_bytes(4, "big")) + _chunk(b"IEND", b""))


def _packed(strategy: int, lines: tuple[bytes, bytes]) -> bytes:
    """A part of a Deflate stream that ends at a byte, and looks back at the end of the part before it."""
    before, data = lines
    packer = zlib.compressobj(PACKING, zlib.DEFLATED, -15, 9, strategy, before)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def _rows(samples: Array, depth: int) -> Array:
    """The bytes of each row: 16-bit samples with the high byte first, those of less than 8 bits side by side in a byte."""
    flat = samples.reshape(len(samples), -1)
    if depth < 8:
        bits = flat[..., None] >> np.arange(depth)[::-1] & 1
        return np.packbits(bits.astype(np.uint8).reshape(len(flat), -1), axis=1)
    return flat.astype(">u2").view(np.uint8) if depth == 16 else flat


def _filtered(rows: Array, above: Array, step: int) -> bytes:
    """Each row less its left or upper neighbours (`step` bytes to the left), whichever is smaller; as it is, if step is 0."""
    if step == 0:
        return np.pad(rows, ((0, 0), (1, 0))).tobytes()
    left = np.pad(rows, ((0, 0), (step, 0)))[:, :-step]
    choices = np.stack([rows - left, rows - np.concatenate([above, rows[:-1]])])  # filters 1 and 2; bytes wrap
    cost = np.minimum(choices, 0 - choices).sum(2, dtype=np.int64)
    best = cost.argmin(0)
    chosen = choices[best, np.arange(len(rows))]
    return np.column_stack([(best + 1).astype(np.uint8), chosen]).tobytes()


def _words(keep: dict[str, Any]) -> bytes:
    chunks = list(keep.get("chunks", ()))
    if "icc_profile" in keep:
        chunks.insert(0, (b"iCCP", b"ICC profile\0\0" + zlib.compress(keep["icc_profile"])))
    if "dpi" in keep:
        across, down = (min(max(round(dots / INCH), 1), 2**31 - 1) for dots in keep["dpi"])
        chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if "exif" in keep:
        chunks.append((b"eXIf", keep["exif"]))
    if "xmp" in keep:
        chunks.append((b"iTXt", XMP + b"\0\0\0\0\0" + keep["xmp"]))
    return b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
