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
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from .. import atomic
from ..errors import ImageError, UnnoiseError
from . import jpeg, png, pnm, raster, tiff, tiff_writer
from .picture import MAX_PIXELS, Array, Bands, Page, Picture, as_floats, channels_of, damaged

__all__ = [
    "ENDINGS", "MAX_PIXELS", "Bands", "Picture", "convert", "encoded", "frames", "kind_of", "lost", "pages", "pass_on", "read", "write",
    "write_frames",
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
    "TIFF": tiff_writer.write,
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
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"SIMPLE  =": "FITS",
    b"FUJIFILMCCD-RAW": "camera raw",
    b"IIRO": "camera raw",  # Olympus
    b"IIRS": "camera raw",
    b"IIU\0": "camera raw",  # Panasonic
    b"FOVb": "camera raw",  # Sigma
    b"\0MRM": "camera raw",  # Minolta
}
BRANDS = {  # of ISO base media files, at byte 8
    "HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    "AVIF": (b"avif", b"avis"),
    "camera raw": (b"crx ",),  # Canon
}
SEVERAL = ("TIFF", "WebP", "GIF", "PNM")  # the kinds that hold several pictures
ALPHA = ("PNG", "TIFF", "WebP", "GIF", "BMP")
DEEPEST = {"PNG": 16, "JPEG": 8, "TIFF": 64, "WebP": 8, "GIF": 8, "BMP": 8, "PNM": 16}  # bits of a sample
HOLDS = {  # what of `keep` a kind has room for, whatever kind it came from
    "PNG": {"icc_profile", "exif", "xmp", "dpi", "chunks"},
    "JPEG": {"icc_profile", "exif", "xmp", "dpi", "passed"},
    "TIFF": {"icc_profile", "exif", "xmp", "dpi"},
    "WebP": {"icc_profile", "exif", "xmp", "loop", "duration"},
    "GIF": {"loop", "duration", "comment"},
    "BMP": {"dpi"},
    "PNM": set[str](),
}
WORDS = {
    "icc_profile": "its colour profile", "exif": "its EXIF", "xmp": "its XMP", "dpi": "its resolution",
    "passed": "its IPTC or comments", "comment": "its comment", "chunks": "its texts or gamma", "duration": "its timing",
}  # fmt: skip

Written = Callable[[BinaryIO], None]


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
    return kind_in(start, path)


def kind_in(start: bytes, path: Path) -> str | None:
    """The same of a file that is elsewhere, by its first 32 bytes and its name."""
    kind = next((kind for magic, kind in STARTS.items() if start.startswith(magic)), None) or _kind_by_parts(start)
    if kind is None and path.suffix.lower() in ENDINGS:
        wrong = f"is not the {path.suffix[1:].upper()} file that its name says" if start else "is empty"
        raise ImageError(f"{wrong}; restore it from a copy.")
    return kind


def _kind_by_parts(start: bytes) -> str | None:
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if re.match(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]", start, re.DOTALL):  # the size of its header follows
        return "BMP"
    if re.match(rb"P[1-6][ \t\r\n#]", start):
        return "PNM"
    brand = start[8:12] if start[4:8] == b"ftyp" else b""
    return next((kind for kind, brands in BRANDS.items() if brand in brands), None)


# --- reading ------------------------------------------------------------------------------------------------------------------


def read(path: Path, max_pixels: int = MAX_PIXELS) -> Picture[Array]:
    """The picture of a file, or its first page or frame; `Picture.frames` says how many there are.

    Raises ImageError, in one sentence, for what cannot be read exactly, and for more than `max_pixels`.
    """
    with contextlib.closing(frames(path, max_pixels)) as pictures:
        return next(pictures)


def frames(path: Path, max_pixels: int = MAX_PIXELS) -> Generator[Picture[Array]]:
    """Every page or frame of a file, one at a time; raises what `read` raises, when it comes to it. Close it if you stop early."""
    with contextlib.closing(pages(path, max_pixels)) as each:
        for page in each:
            picture = page.showing(as_floats(page.pixels.whole()))
            beyond = picture.floating and not (picture.pixels.min() >= 0 and picture.pixels.max() <= 1)
            yield replace(picture, keep=picture.keep | {"beyond": True}) if beyond else picture


def pages(path: Path, max_pixels: int = MAX_PIXELS) -> Generator[Page]:
    """As `frames`, their pixels in bands, to be taken before the next page is asked for."""
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
        for page in _quietly(READERS[kind](file, max_pixels), path):
            keep = {key: value for key, value in page.keep.items() if key != "dpi" or all(0 < dots < 1e6 for dots in value)}
            bands = _quietly(page.pixels.bands, path)
            yield replace(page, keep=keep).showing(Bands(page.pixels.shape, _finite(bands) if page.floating else bands))


T = TypeVar("T")


def _quietly(each: Iterator[T], path: Path) -> Iterator[T]:
    """The same, without Pillow's warnings, for what is refused or mended here, and with errors of ours alone."""
    while True:
        with _one_sentence(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                one = next(each)
            except StopIteration:
                return
        yield one


def _finite(bands: Iterator[Array]) -> Iterator[Array]:
    for band in bands:
        if not np.isfinite(band).all():
            raise ImageError("holds NaN or infinity; replace those values first.")
        yield band


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
    """The bytes of a file of that kind: `pixels` clipped to [0, 1] and rounded to `depth` bits, or as many as it has.

    PNG is packed by runs of equal bytes alone: as small for photographs once they are filtered, in less than half the time.
    """
    file, kept = io.BytesIO(), {"packing": zlib.Z_RLE} | (keep or {})
    WRITERS[kind](file, iter([_fitted(Picture(Bands.of(pixels), kind, depth, kept), kind, "a picture")]))
    return file.getvalue()


def write(
    path: Path,
    pixels: Array,
    like: Picture[Array] | None = None,
    overwrite: bool = False,
    kind: str | None = None,
    written: Written | None = None,
) -> None:
    """Write `pixels`, (H, W) or (H, W, C) floats, as `kind`, or as the kind that `path` ends in; whole or not at all.

    `like`: the picture they were made from; depth, colour profile, EXIF, XMP, resolution and JPEG tables follow it. Raises
    ImageError for what the kind has no room for, FileExistsError unless `overwrite`, OSError from the disk. `written` is
    given the complete file before it gets its name; what it raises leaves no file.
    """
    kind = kind or _kind_by_name(path)
    page = replace(like, frames=1).showing(Bands.of(pixels)) if like else Picture(Bands.of(pixels), kind, 8)
    write_frames(path, [page], overwrite, kind, written)


def write_frames(
    path: Path,
    pictures: Iterable[Page],
    overwrite: bool = False,
    kind: str | None = None,
    written: Written | None = None,
) -> None:
    """Write pages or frames, each taken when the one before it is coded; all of them or nothing. Errors as of `write`."""
    kind, each = kind or _kind_by_name(path), iter(pictures)
    first = next(each)
    if first.frames > 1 and kind not in SEVERAL:
        raise ImageError(
            f"holds {first.frames} pages or frames, and a {kind} file holds one; choose --format tiff, or --first-frame."
        )
    fitted = (_fitted(picture, kind, f"an output named {path.name}") for picture in chain([first], each))
    try:
        with atomic.writing(path, overwrite) as file:
            WRITERS[kind](file, fitted)
            if written:
                written(file)
    except (OSError, ValueError, RuntimeError, struct.error) as error:  # Pillow's writers raise them
        if isinstance(error, UnnoiseError) or getattr(error, "errno", None) is not None:
            raise
        raise ImageError(f"cannot be coded as {kind} ({_words(error)}); choose another --format.") from None


def convert(
    source: Path,
    output: Path,
    change: Callable[[Bands], Bands],
    kind: str | None = None,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    first_frame: bool = False,
    written: Written | None = None,
) -> str:
    """Write every page or frame of a file, its pixels changed, as `kind` or as what it was; return what is lost, as `lost`.

    `first_frame`: only the first of them.
    `change` sees the pixels in bands, as the file holds them, and so a picture passes through without ever lying in memory, if
    it is a TIFF, PNM or PNG, upright, not interlaced, and not packed in one piece.
    """
    gone: dict[str, None] = {}
    with contextlib.closing(pages(source, max_pixels)) as each:
        first = next(each)
        into = kind or first.kind
        rest: Iterable[Page] = each
        if first_frame and first.frames > 1:
            gone[f"the further {first.frames - 1} of its {first.frames} pages or frames"] = None
            first, rest = replace(first, frames=1), ()

        def changed(page: Page) -> Page:
            gone.update(dict.fromkeys(_gone(page, into)))
            narrow = page.floating and into != "TIFF"
            pixels = Bands(page.pixels.shape, _within(page.pixels.bands, into)) if narrow else page.pixels
            return page.showing(change(pixels))

        write_frames(output, map(changed, chain([first], rest)), overwrite, into, written)
    return _without(gone)


def pass_on(source: Path, output: Path, overwrite: bool, written: Written) -> str:
    """Write a file as it is, byte for byte, as packing a JPEG again would change it; nothing is lost.

    Raises as `write`, and ImageError for a source that cannot be read.
    """
    blocks = _blocks(source)
    first = next(blocks, b"")
    with atomic.writing(output, overwrite) as copy:
        copy.writelines(chain([first], blocks))
        written(copy)
    return ""


def _blocks(path: Path) -> Iterator[bytes]:
    """A file's bytes, a megabyte at a time."""
    try:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                yield block
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror}); check its disk and permissions.") from None


def lost(picture: Picture[Any], kind: str) -> str:
    """What of a picture's file a file of `kind` will not hold, in one sentence; empty if nothing is lost."""
    return _without(_gone(picture, kind))


def _gone(picture: Picture[Any], kind: str) -> list[str]:
    gone = [words for key, words in WORDS.items() if key in picture.keep and key not in HOLDS[kind]]
    if picture.depth > DEEPEST[kind]:
        gone.append(f"the lower {picture.depth - DEEPEST[kind]} of its {picture.depth} bits")
    return gone + ([picture.left_out] if picture.left_out else [])


def _without(gone: Iterable[str]) -> str:
    words = " and ".join(gone)
    return f"is written without {words}." if words else ""


def _within(bands: Iterator[Array], kind: str) -> Iterator[Array]:
    for band in bands:
        if not (band.min() >= 0 and band.max() <= 1):
            raise _clipped(kind)
        yield band


def _clipped(kind: str) -> ImageError:
    return ImageError(f"has values outside 0..1, which {kind} would clip; scale them first, or write a TIFF.")


def _kind_by_name(path: Path) -> str:
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"an output named {path.name}: expected a name that ends in {', '.join(ENDINGS)}.")
    return kind


def _fitted(picture: Page, kind: str, name: str) -> Page:
    """The picture as a file of `kind` can hold it. Raises ImageError for alpha, or floats beyond [0, 1], that it cannot."""
    channels = channels_of(picture.pixels)
    pixels = picture.pixels
    if pixels.shape[2:] == (1,):
        pixels = Bands(pixels.shape[:2], (band[..., 0] for band in picture.pixels.bands))
    if channels in (2, 4) and kind not in ALPHA:
        raise ImageError(f"{name}: {kind} has no alpha; choose a name that ends in .png, or --format png.")
    if picture.keep.get("beyond") and kind != "TIFF":
        raise _clipped(kind)
    depth = min(picture.depth, DEEPEST[kind])
    low = {"PNG": (1, 2, 4), "TIFF": (1,), "BMP": (1,), "PNM": range(1, 8)}.get(kind, ())
    if depth < 8 and (channels > 1 or depth not in low):
        depth = 8
    keep = picture.keep
    if picture.kind != kind:
        keep = {key: value for key, value in keep.items() if key in HOLDS[kind]}
        keep |= {"lossless": True} if kind == "WebP" and picture.kind != "JPEG" else {}
    return replace(picture, pixels=pixels, kind=kind, depth=depth, keep=keep, floating=picture.floating and kind == "TIFF")
