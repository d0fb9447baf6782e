"""Picture files: from a file to floats in [0, 1], and back without losing what the file said.

Reads and writes PNG, JPEG, TIFF, WebP, GIF, BMP and PNM, of every depth they have, page by page and frame by frame. A file is
read exactly or refused in one sentence: header first, pixels after, regular files only. The EXIF orientation is applied once,
on reading; ICC profile, EXIF, XMP and resolution go on to the output.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .. import atomic
from ..errors import ImageError
from . import jpeg, png, pnm, raster, tiff
from .picture import MAX_PIXELS, Array, Picture, channels_of, damaged

__all__ = [
    "ENDINGS", "MAX_PIXELS", "Picture", "convert", "encoded", "frames", "kind_of", "lost", "read", "write", "write_frames",
]  # fmt: skip

READERS = {
    "PNG": png.read,
    "JPEG": jpeg.read,
    "TIFF": tiff.read,
    "WebP": raster.read_webp,
    "GIF": raster.read_gif,
    "BMP": raster.read_bmp,
    "PNM": pnm.read,
}
WRITERS = {
    "PNG": png.write,
    "JPEG": jpeg.write,
    "TIFF": tiff.write,
    "WebP": raster.write_webp,
    "GIF": raster.write_gif,
    "BMP": raster.write_bmp,
    "PNM": pnm.write,
}
ENDINGS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WebP", ".gif": "GIF",
    ".bmp": "BMP", ".ppm": "PNM", ".pgm": "PNM", ".pbm": "PNM", ".pnm": "PNM",
}  # fmt: skip
STARTS = {  # the first bytes of a file
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    # known, but not read
    b"8BPS": "Photoshop",
    b"%!PS": "PostScript",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\0\0\1\0": "Windows icon",
    b"v/1\1": "OpenEXR",
    b"P7\n": "PAM",
}
SEVERAL = ("TIFF", "WebP", "GIF", "PNM")  # the kinds that hold several pictures
ALPHA = ("PNG", "TIFF", "WebP", "GIF", "BMP")
DEEPEST = {"PNG": 16, "JPEG": 8, "TIFF": 64, "WebP": 8, "GIF": 8, "BMP": 8, "PNM": 16}  # bits of a sample
HOLDS = {  # what of `keep` a kind has room for, whatever kind it came from
    "PNG": {"icc_profile", "exif", "xmp", "dpi", "chunks"},
    "JPEG": {"icc_profile", "exif", "xmp", "dpi", "passed"},
    "TIFF": {"icc_profile", "exif", "xmp", "dpi"},
    "WebP": {"icc_profile", "exif", "xmp", "loop", "duration"},
    "GIF": {"loop", "duration"},
    "BMP": {"dpi"},
    "PNM": set[str](),
}
WORDS = {
    "icc_profile": "its colour profile", "exif": "its EXIF", "xmp": "its XMP", "dpi": "its resolution",
    "passed": "its IPTC or comments", "chunks": "its texts or gamma", "duration": "its timing",
}  # fmt: skip


def kind_of(path: Path) -> str | None:
    """The kind of a picture file by its first bytes: one of those read here, one that is not, or None: no picture.

    Raises ImageError for what is no regular file (a pipe would hang) and for what cannot be opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("is no regular file; give a picture file or a folder.")
        with open(path, "rb") as file:
            start = file.read(32)
    except OSError as error:
        raise ImageError(f"cannot be opened ({error.strerror}); check its name and permissions.") from None
    kind = next((kind for magic, kind in STARTS.items() if start.startswith(magic)), None) or _kind_by_parts(start)
    if kind is None and path.suffix.lower() in ENDINGS:
        raise ImageError(f"is not the {path.suffix[1:].upper()} file that its name says; restore it from a copy.")
    return kind


def _kind_by_parts(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if re.match(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]", start, re.DOTALL):  # the size of its header follows
        return "BMP"
    if re.match(rb"P[1-6][ \t\r\n#]", start):
        return "PNM"
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "HEIF"
    return "AVIF" if start[4:12] == b"ftypavif" else None


# --- reading ------------------------------------------------------------------------------------------------------------------


def read(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture of a file, or its first page or frame; `Picture.frames` says how many there are.

    Raises ImageError, in one sentence, for what cannot be read exactly, and for more than `max_pixels`.
    """
    with contextlib.closing(frames(path, max_pixels)) as pictures:
        return next(pictures)


def frames(path: Path, max_pixels: int = MAX_PIXELS) -> Generator[Picture]:
    """Every page or frame of a file, one at a time; raises what `read` raises, when it comes to it. Close it if you stop early."""
    kind = kind_of(path)
    if kind is None:
        raise ImageError(f"is not a picture this version knows; expected {', '.join(READERS)}.")
    if kind not in READERS:
        raise ImageError(
            f"is {'an' if kind[0] in 'AO' else 'a'} {kind} file, which this version does not read; convert it to PNG first."
        )
    with _one_sentence(path), open(path, "rb") as file:
        most = 8 * max_pixels + 2**26  # bytes: what no sound picture within the limit needs
        if kind in ("PNG", "JPEG", "WebP") and os.fstat(file.fileno()).st_size > most:
            raise ImageError(f"is larger than {most / 1e9:.1f} GB; raise --max-megapixels, or convert it to TIFF.")
        pictures = READERS[kind](file, max_pixels)
        while (picture := _next(pictures)) is not None:
            yield picture


def _next(pictures: Iterator[Picture]) -> Picture | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, for what is refused or mended here
        picture = next(pictures, None)
    if picture is None:
        return None
    if not all(0 < dots < 1e6 for dots in picture.keep.get("dpi", ())):
        picture = replace(picture, keep={key: value for key, value in picture.keep.items() if key != "dpi"})
    if not picture.floating:
        return picture
    if not np.isfinite(picture.pixels).all():
        raise ImageError("holds NaN or infinity; replace those values first.")
    beyond = bool(picture.pixels.min() < 0 or picture.pixels.max() > 1)
    return replace(picture, keep=picture.keep | {"beyond": True}) if beyond else picture


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("needs more memory than there is; use a smaller picture.") from None
    except Exception as error:  # decoders raise whatever a broken file leads them to
        words = _words(error)
        raise damaged(words if str(path) not in words else type(error).__name__) from None


def _words(error: Exception) -> str:
    """What a library says, if it fits into one of our sentences."""
    words = " ".join(str(error).split()).rstrip(".")
    return words if words.isprintable() and ". " not in words and 0 < len(words) < 120 else type(error).__name__


# --- writing ------------------------------------------------------------------------------------------------------------------


def encoded(pixels: Array, kind: str, depth: int = 8, keep: dict[str, Any] | None = None) -> bytes:
    """The bytes of a file of that kind: `pixels` clipped to [0, 1] and rounded to `depth` bits, or as many as it has."""
    file = io.BytesIO()
    WRITERS[kind](file, iter([_fitted(Picture(pixels, kind, depth, keep or {}), kind, "a picture")]))
    return file.getvalue()


def write(path: Path, pixels: Array, like: Picture | None = None, overwrite: bool = False, kind: str | None = None) -> None:
    """Write `pixels`, (H, W) or (H, W, C) floats, as `kind`, or as the kind that `path` ends in; whole or not at all.

    `like`: the picture they were made from; depth, colour profile, EXIF, XMP, resolution and JPEG tables follow it. Raises
    ImageError for what the kind has no room for, FileExistsError unless `overwrite`, OSError from the disk.
    """
    kind = kind or _kind_by_name(path)
    write_frames(path, [replace(like, pixels=pixels, frames=1) if like else Picture(pixels, kind, 8)], overwrite, kind)


def write_frames(path: Path, pictures: Iterable[Picture], overwrite: bool = False, kind: str | None = None) -> None:
    """Write pages or frames, each taken when the one before it is coded; all of them or nothing. Errors as of `write`."""
    kind, each = kind or _kind_by_name(path), iter(pictures)
    first = next(each)
    if first.frames > 1 and kind not in SEVERAL:
        raise ImageError(
            f"holds {first.frames} pages or frames, and a {kind} file holds one; choose --format tiff, or take them apart first."
        )
    fitted = (_fitted(picture, kind, f"an output named {path.name}") for picture in chain([first], each))
    try:
        with atomic.writing(path, overwrite) as file:
            WRITERS[kind](file, fitted)
    except (OSError, ValueError, struct.error) as error:
        if isinstance(error, ImageError) or getattr(error, "errno", None) is not None:
            raise
        raise ImageError(f"cannot be coded as {kind} ({_words(error)}); choose another --format.") from None


def convert(
    source: Path,
    output: Path,
    change: Callable[[Array], Array],
    kind: str | None = None,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> str:
    """Write every page or frame of a file, its pixels changed, as `kind` or as what it was; return what is lost, as `lost`."""
    with contextlib.closing(frames(source, max_pixels)) as pictures:
        first = next(pictures)
        changed = (replace(picture, pixels=change(picture.pixels)) for picture in chain([first], pictures))
        write_frames(output, changed, overwrite, kind or first.kind)
    return lost(first, kind or first.kind)


def lost(picture: Picture, kind: str) -> str:
    """What of a picture's file a file of `kind` will not hold, in one sentence; empty if nothing is lost."""
    gone = [words for key, words in WORDS.items() if key in picture.keep and key not in HOLDS[kind]]
    if picture.depth > DEEPEST[kind]:
        gone.append(f"the lower {picture.depth - DEEPEST[kind]} of its {picture.depth} bits")
    gone += [picture.left_out] if picture.left_out else []
    return f"is written without {' and '.join(gone)}." if gone else ""


def _kind_by_name(path: Path) -> str:
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"an output named {path.name}: expected a name that ends in {', '.join(ENDINGS)}.")
    return kind


def _fitted(picture: Picture, kind: str, name: str) -> Picture:
    """The picture as a file of `kind` can hold it. Raises ImageError for alpha, or floats beyond [0, 1], that it cannot."""
    pixels = picture.pixels[..., 0] if picture.pixels.ndim == 3 and picture.pixels.shape[2] == 1 else picture.pixels
    channels = channels_of(pixels)
    if channels in (2, 4) and kind not in ALPHA:
        raise ImageError(f"{name}: {kind} has no alpha; choose a name that ends in .png, or --format png.")
    if picture.keep.get("beyond") and kind != "TIFF":
        raise ImageError(
            f"{name}: the source has values outside 0..1, which {kind} would clip; scale them first, or write a TIFF."
        )
    depth = min(picture.depth, DEEPEST[kind])
    low = {"PNG": (1, 2, 4), "TIFF": (1,), "BMP": (1,), "PNM": range(1, 8)}.get(kind, ())
    if depth < 8 and (channels > 1 or depth not in low):
        depth = 8
    keep = picture.keep
    if picture.kind != kind:
        keep = {key: value for key, value in keep.items() if key in HOLDS[kind]}
        keep |= {"lossless": True} if kind == "WebP" and picture.kind != "JPEG" else {}
    return replace(picture, pixels=pixels, kind=kind, depth=depth, keep=keep, floating=picture.floating and kind == "TIFF")
