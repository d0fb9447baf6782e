"""JPEG, decoded and coded by Pillow. The file's segments are walked here first, for what Pillow does not tell or pass on."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageFile, JpegImagePlugin

from ..errors import ImageError
from .metadata import exif_of, turned
from .picture import Array, Bands, Page, channels_of, check_size, damaged, whole

END = 0xD9
SCAN = 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers that begin a picture
PLAIN = (0xC0, 0xC1)  # of these, the ones whose pixels may come in one pass
PASSED_ON = (  # long XMP, IPTC, comments
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"),
    (0xED, b"Photoshop 3.0\0"),
    (0xFE, b""),
)
EXIF = b"Exif\0\0"
LONGEST = 65533  # bytes of a segment
PADDING = 12  # a decoder reads ahead 8 bytes; twelve of set bits are no more than three blocks
ROOM = threading.Lock()  # of Pillow's one setting for it
MAX_SEGMENTS = 20_000
MARKER = re.compile(rb"\xff([^\xff])", re.DOTALL)
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


def read(file: BinaryIO, limit: int) -> Iterator[Page]:
    """The picture of a JPEG file, CMYK as RGB. Raises ImageError; Pillow's decoder raises whatever a broken file leads it to."""
    data = file.read()
    segments, start = _segments(data)
    for marker, body in segments:
        if marker in FRAMES and len(body) >= 5:
            height, width = struct.unpack_from(">HH", body, 1)
            check_size(width, height, limit)
    # The class, not Pillow.open: that takes a phone's second view for a second frame.
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(_without_end(data, segments, start)))
    check_size(*image.size, limit)
    passed = b"".join(
        struct.pack(">BBH", 255, marker, len(body) + 2) + body
        for marker, body in segments
        if any(marker == one and body.startswith(words) for one, words in PASSED_ON)
    )
    keep: dict[str, Any] = {"qtables": image.quantization, "subsampling": JpegImagePlugin.get_sampling(image)}
    keep |= {"passed": passed} if passed else {}
    keep |= {key: image.info[key] for key in ("icc_profile", "dpi", "xmp", "progressive") if image.info.get(key)}
    keep |= {"keep_rgb": True} if image.mode == "RGB" and image.info.get("adobe_transform") == 0 else {}
    told = [body for marker, body in segments if marker == 0xE1 and body.startswith(EXIF)]
    orientation, exif = exif_of(told[0] if told else b"")
    keep |= {"exif": exif} if exif else {}
    image.load()
    more = any(marker == 0xE2 and body.startswith(b"MPF\0") for marker, body in segments)
    left_out = ["its inks (CMYK comes out as RGB)"] if image.mode == "CMYK" else []
    left_out += ["the further pictures inside it (a preview, a second view, a depth or gain map)"] if more else []
    yield Page(turned(Bands.of(_rgb(image, keep)), orientation), "JPEG", 8, keep, left_out=" and ".join(left_out))


def _segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """(marker, content) of each segment up to the first scan, that included; and where the scan's coded data begin."""
    found: list[tuple[int, bytes]] = []
    at = 2
    for _ in range(MAX_SEGMENTS):
        mark = MARKER.search(data, at)
        if not mark or mark.end() + 2 > len(data):
            raise damaged("it is cut short")
        marker, at = mark[1][0], mark.end()
        if marker == END:
            raise damaged("it ends before its pixels")
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8:  # these stand alone
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            raise damaged("it is cut short")
        found.append((marker, data[at + 2 : at + length]))
        at += length
        if marker == SCAN:
            return found, at
    raise damaged(f"it has more than {MAX_SEGMENTS} segments before its pixels")


def _without_end(data: bytes, segments: list[tuple[int, bytes]], start: int) -> bytes:
    """The file with set bits in place of its end marker, so that a decoder which runs out of pixels says so.

    At a marker libjpeg fills up what is missing with gray, without a word; at the end of its data it stops. That needs
    pixels that come in one pass. Of others, only what is grossly too short is refused: a block takes a bit at least.
    """
    frame = next(((marker, body) for marker, body in segments if marker in FRAMES), (0, b""))
    scan = segments[-1][1]
    end = NEXT_MARKER.search(data, start)
    if len(frame[1]) < 6 or not scan:
        raise damaged("its header is cut short")
    if frame[0] in PLAIN and frame[1][5] == scan[0] and end and end.group()[-1] == END:
        return data[: end.start()] + b"\xff\0" * PADDING
    height, width = struct.unpack_from(">HH", frame[1], 1)
    if 8 * (len(data) - start) < (height // 8) * (width // 8):
        raise damaged("it has fewer bytes than blocks of pixels")
    return data


def _rgb(image: Pillow.Image, keep: dict[str, Any]) -> Array:
    """The pixels, those of CMYK by their profile or else as (1 - C)(1 - K); the profile and tables follow."""
    if image.mode not in ("L", "RGB", "CMYK"):
        raise ImageError(f"has {image.mode} colours, which this version does not read; convert it to RGB first.")
    if image.mode != "CMYK":
        return np.asarray(image)
    keep["subsampling"] = 0
    profile = keep.pop("icc_profile", b"")
    if profile[16:20] == b"CMYK":
        screen = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        try:
            press = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, press, screen, outputMode="RGB")
        except ImageCms.PyCMSError:
            converted = None
        if converted is not None:
            keep["icc_profile"] = screen.tobytes()
            return np.asarray(converted)
    return np.asarray(image.convert("RGB"))


def write(file: BinaryIO, pictures: Iterator[Page]) -> None:
    """One picture, gray or RGB, with the tables and subsampling of a JPEG source, else of quality 95."""
    picture = next(pictures)
    keep, gray = dict(picture.keep), channels_of(picture.pixels) == 1
    if "exif" in keep:
        keep["exif"] = EXIF + keep["exif"]
    for key, name, most in (("exif", "EXIF", LONGEST), ("xmp", "XMP", LONGEST - 29)):
        if len(keep.get(key, b"")) > most:
            raise ImageError(
                f"has {len(keep[key]) / 1000:.0f} kB of {name}, and a JPEG holds 65 kB; choose --format png, or remove it first."
            )
    if "qtables" not in keep:
        keep["quality"] = 95
    if keep.get("subsampling") == -1 or gray:
        keep.pop("subsampling", None)
    if not all(1 <= dots <= 65535 for dots in keep.get("dpi", ())):
        del keep["dpi"]
    if gray:
        keep.pop("keep_rgb", None)
    image, passed = Pillow.fromarray(whole(picture.pixels.whole(), 255)), keep.pop("passed", b"")
    with _room_for(5 * image.width * image.height if keep.get("progressive") else 0):
        image.save(file, "JPEG", extra=passed, **keep)


@contextlib.contextmanager
def _room_for(size: int) -> Iterator[None]:
    """Room for a progressive picture, which comes at once: Pillow makes two bytes a pixel, and noise in fine tables needs four."""
    with ROOM:
        before = ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK = max(before, size)
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = before
