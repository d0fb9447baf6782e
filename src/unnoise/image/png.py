"""PNG: every depth and colour type, exactly.

The chunks are walked here, with limits and checksums, and Pillow decodes only the pixels: it checks no CRC of theirs and
reads 16-bit colour as 8 bits.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import PngImagePlugin

from ..errors import ImageError
from .metadata import exif_of, upright
from .picture import LARGEST_TEXT, Array, Picture, channels_of, check_size, damaged, floats, whole, with_alpha

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, COLOUR, PALETTE, GRAY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
DEPTHS = {GRAY: (1, 2, 4, 8, 16), COLOUR: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), COLOUR_ALPHA: (8, 16)}
TYPES = {1: GRAY, 2: GRAY_ALPHA, 3: COLOUR, 4: COLOUR_ALPHA}  # by channels
PASSED_ON = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tEXt", b"zTXt", b"iTXt")  # from PNG to PNG, unread
XMP = b"XML:com.adobe.xmp"
MAX_CHUNKS = 1_000_000
INCH = 0.0254  # metres


def read(file: BinaryIO, limit: int) -> Iterator[Picture]:
    """The picture of a PNG file. Raises ImageError; Pillow's decoder raises whatever a broken stream leads it to."""
    header: tuple[int, ...] = ()
    found: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    passed: list[tuple[bytes, bytes]] = []
    keep: dict[str, Any] = {}
    for kind, body in _chunks(file.read()):
        if not header:
            header = _header(kind, body, limit)
        elif kind == b"IDAT":
            pixels.append(body)
        elif kind == b"iTXt" and bytes(body[: len(XMP) + 1]) == XMP + b"\0":
            keep["xmp"] = _international(bytes(body))
        elif kind in PASSED_ON:
            passed.append((kind, bytes(body)))
        elif kind in (b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"pHYs", b"acTL"):
            found.setdefault(kind, bytes(body))
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
    samples = _samples((width, height), depth, colour, interlaced, pixels)
    values = _palette(samples, found) if colour == PALETTE else _values(samples, depth, found.get(b"tRNS"))
    yield Picture(upright(values, orientation), "PNG", 8 if colour == PALETTE else depth, keep)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of each chunk up to IEND; one that a decoder may do without is passed over if its CRC is wrong."""
    at, view = len(SIGNATURE), memoryview(data)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            raise damaged("it is cut short")
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise damaged("it ends within its header" if at == len(SIGNATURE) else "it is cut short")
        body = view[at + 8 : at + 8 + length]
        sound = zlib.crc32(body, zlib.crc32(kind)) == struct.unpack_from(">I", data, at + 8 + length)[0]
        if sound:
            yield kind, body
        elif not kind[0] & 0x20:  # a capital letter: the pixels depend on it
            raise damaged("a checksum is wrong")
        if kind == b"IEND":
            return
        at += 12 + length
    raise damaged(f"it has more than {MAX_CHUNKS} chunks")


def _header(kind: bytes, body: memoryview, limit: int) -> tuple[int, int, int, int, int]:
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


def _samples(size: tuple[int, int], depth: int, colour: int, interlaced: int, pixels: list[memoryview]) -> Array:
    """The samples as they are stored, 0..2**depth - 1: (H, W) or (H, W, C), a palette's as indices."""

    def decoded(depth: int, colour: int, raw: str = "") -> Array:
        table = _chunk(b"PLTE", bytes(768)) if colour == PALETTE else b""
        parts = [SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)), table]
        parts += [_chunk(b"IDAT", body) for body in pixels]
        image = PngImagePlugin.PngImageFile(io.BytesIO(b"".join([*parts, _chunk(b"IEND", b"")])))
        if raw:
            image.tile = [image.tile[0]._replace(args=raw)]
        image.load()
        return np.asarray(image.convert("L") if image.mode == "1" else image)

    if not pixels:
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
    """Floats; with alpha where one gray or colour is called transparent."""
    values = floats(samples, 2**depth - 1)
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
    return floats(table, 255)[indices]


def write(file: BinaryIO, pictures: Iterator[Picture]) -> None:
    """One picture: 8 or 16 bits a sample, or 1, 2 or 4 if it is gray."""
    picture = next(pictures)
    samples, depth = whole(picture.pixels, 2**picture.depth - 1), picture.depth
    channels = channels_of(samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, TYPES[channels], 0, 0, 0)
    file.write(SIGNATURE + _chunk(b"IHDR", header) + _words(picture.keep))
    if depth == 8 or (depth == 16 and channels == 1):
        buffer = io.BytesIO()
        Pillow.fromarray(samples).save(buffer, "PNG")
        for kind, body in _chunks(buffer.getvalue()):
            if kind == b"IDAT":
                file.write(_chunk(kind, body))
    else:
        packer = zlib.compressobj(4)
        for rows in _filtered(samples, depth):
            file.write(_chunk(b"IDAT", packer.compress(rows)))
        file.write(_chunk(b"IDAT", packer.flush()))
    file.write(_chunk(b"IEND", b""))


def _filtered(samples: Array, depth: int) -> Iterator[bytes]:
    """Scanlines of 16-bit samples, each less its left or upper neighbour, whichever is smaller; of fewer bits, packed."""
    flat = samples.reshape(samples.shape[0], -1)
    if depth < 8:
        bits = flat[..., None] >> np.arange(depth)[::-1] & 1
        rows = np.packbits(bits.astype(np.uint8).reshape(len(flat), -1), axis=1)
        yield np.pad(rows, ((0, 0), (1, 0))).tobytes()
        return
    step, some = 2 * channels_of(samples), max(1, 2**20 // flat.shape[1])
    above = np.zeros((1, 2 * flat.shape[1]), np.uint8)
    for top in range(0, len(flat), some):
        rows = flat[top : top + some].astype(">u2").view(np.uint8)
        left = np.pad(rows, ((0, 0), (step, 0)))[:, :-step]
        choices = np.stack([rows - left, rows - np.concatenate([above, rows[:-1]])])  # filters 1 and 2; bytes wrap
        cost = np.abs(choices.view(np.int8).astype(np.int16)).sum(2, dtype=np.int64)
        best = cost.argmin(0)
        chosen = choices[best, np.arange(len(rows))]
        yield np.column_stack([(best + 1).astype(np.uint8), chosen]).tobytes()
        above = rows[-1:]


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
