"""EXIF and the directories of tags that EXIF and TIFF share; the orientation, applied to pixels.

EXIF is passed on byte for byte, its orientation patched in place: parsed and written anew, makers' notes would lose their
places. Only in a TIFF, whose directory is the EXIF's own, are the tags taken apart and laid out again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from .picture import LARGEST_TEXT, Array, Bands

MAKER, MODEL, ISO = 0x010F, 0x0110, 0x8827
ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# What a TIFF says of its picture, not of how the pixels lie: names, times, camera, place; IPTC, and GeoTIFF's tags.
SAYING = {269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, 33550, 33723, 33922, 34264, 34735, 34736, 34737}
SAYING |= {*range(40091, 40096), 42112, 42113, EXIF_IFD, GPS_IFD}

Entry = tuple[int, int, Any]  # tag, type, and its bytes, or the entries of the directory it points to
At = Callable[[int, int], bytes]  # (offset, length) to bytes, fewer where there are no more


def upright(pixels: Array, orientation: int) -> Array:
    """Stored pixels as a viewer shows them: EXIF 2.3, tag 274, orientations 1 to 8; any other leaves them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def turned(bands: Bands, orientation: int) -> Bands:
    """`upright` for pixels that come in bands; those that must be turned are brought into memory."""
    return Bands.of(upright(bands.whole(), orientation)) if orientation in range(2, 9) else bands


def exif_of(data: bytes) -> tuple[int, bytes | None]:
    """(orientation, EXIF that says upright) of EXIF bytes, with or without their "Exif" mark; (1, None) if they are none.

    The thumbnail of a turned picture is unlinked: it would lie on its side from now on.
    """
    data = data.removeprefix(b"Exif\0\0")
    order = ORDERS.get(data[:4])
    if order is None or len(data) < 8:
        return 1, None
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        return 1, None
    (count,) = struct.unpack_from(order + "H", data, start)
    end = start + 2 + 12 * count
    if end > len(data):
        return 1, None
    patched, orientation = bytearray(data), 1
    for at in range(start + 2, end, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        if tag == ORIENTATION and number == 1 and kind in (3, 4):
            form = order + {3: "H", 4: "I"}[kind]
            (orientation,) = struct.unpack_from(form, data, at + 8)
            struct.pack_into(form, patched, at + 8, 1)
    if orientation not in range(2, 9):
        return 1, bytes(patched)
    if end + 4 <= len(data):
        patched[end : end + 4] = bytes(4)
    return orientation, bytes(patched)


def taken_by(exif: bytes | None) -> tuple[str, int | None]:
    """(camera, ISO) that EXIF tells, as given in `Picture.keep`: the model, else the maker; ("", None) where it does not."""
    order, tags = saying(exif) if exif else ("<", [])
    inner: list[Entry] = next((value for tag, _, value in tags if tag == EXIF_IFD), [])
    names = {tag: value.decode("ascii", "replace").strip("\0 ") for tag, kind, value in tags if kind == 2}
    iso = next((value for tag, kind, value in inner if (tag, kind) == (ISO, 3)), b"")
    number = struct.unpack_from(order + "H", iso)[0] if len(iso) >= 2 else 0
    return names.get(MODEL) or names.get(MAKER, ""), number or None


def within(data: bytes) -> At:
    return lambda offset, length: data[offset : offset + length]


def directory(at: At, offset: int, order: str, big: bool = False, room_for: int = LARGEST_TEXT, depth: int = 0) -> list[Entry]:
    """The tags of a TIFF directory, their bytes in the file's `order`.

    Passed over: those that point outside the file, that come twice, and that do not fit into `room_for` bytes with the others.
    """
    number, word, room = ("Q", "Q", 8) if big else ("H", "I", 4)
    start, step = struct.calcsize("<" + number), 4 + 2 * room
    head = at(offset, start)
    if len(head) < start:
        return []
    table = at(offset + start, step * min(struct.unpack(order + number, head)[0], 4096))
    entries: list[Entry] = []
    seen = set[int]()
    for row in range(0, len(table) - step + 1, step):
        tag, kind, count = struct.unpack_from(order + "HH" + word, table, row)
        inline = table[row + 4 + room : row + step]
        (place,) = struct.unpack(order + word, inline)
        size = SIZES.get(kind, 0) * count
        if tag in seen:
            continue
        seen.add(tag)
        if tag in (EXIF_IFD, GPS_IFD, INTEROP_IFD):
            inner = directory(at, place, order, big, room_for, depth + 1) if depth < 2 else []
            entries += [(tag, 4, inner)] if inner else []
        elif 0 < size <= room_for:
            room_for -= size
            value = inline[:size] if size <= room else at(place, size)
            entries += [(tag, kind, value)] if len(value) == size else []
    return entries


def packed(entries: list[Entry], start: int, order: str, big: bool = False) -> bytes:
    """The bytes of a directory that lies at `start`, an even place, with all that it points to; no directory follows it."""
    number, word, room = ("Q", "Q", 8) if big else ("H", "I", 4)
    after = start + struct.calcsize("<" + number) + len(entries) * (4 + 2 * room) + room
    table, data = bytearray(), bytearray()
    for tag, kind, value in sorted(entries, key=lambda entry: entry[0]):
        place = after + len(data)
        if isinstance(value, list):
            inner = packed(value, place, order, big)
            data += inner + bytes(len(inner) % 2)
            kind, value = (16 if big else 4), struct.pack(order + word, place)
        count = len(value) // SIZES[kind]
        if len(value) > room:
            data += value + bytes(len(value) % 2)
            value = struct.pack(order + word, place)
        table += struct.pack(order + "HH" + word, tag, kind, count) + value.ljust(room, b"\0")
    return struct.pack(order + number, len(entries)) + bytes(table) + bytes(room) + bytes(data)


def exif_from(entries: list[Entry], order: str) -> bytes | None:
    """EXIF of those tags of a TIFF that say something of the picture; None if there are none."""
    kept = _classic([entry for entry in entries if entry[0] in SAYING])
    if not kept:
        return None
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + packed(kept, 8, order)


def saying(exif: bytes) -> tuple[str, list[Entry]]:
    """(byte order, tags for a TIFF) of EXIF: what `exif_from` takes back."""
    order = ORDERS[exif[:4]]
    (start,) = struct.unpack_from(order + "I", exif, 4)
    return order, [entry for entry in directory(within(exif), start, order) if entry[0] in SAYING]


def _classic(entries: list[Entry]) -> list[Entry]:
    """Without the types that only a BigTIFF has."""
    return [(tag, kind, _classic(value) if isinstance(value, list) else value) for tag, kind, value in entries if kind <= 13]
