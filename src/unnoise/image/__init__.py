"""Picture files: from a file to (H, W) or (H, W, C) float32 in [0, 1], and back without losing what the file said.

Reads 8-bit PNG and JPEG, 16-bit gray PNG, and 8-bit WebP (for training); writes PNG and JPEG. Whatever else a file holds is
refused by name, never misread. The EXIF orientation is applied once, on reading.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageOps, JpegImagePlugin

from .. import atomic
from ..errors import ImageError

MAX_PIXELS = 128_000_000  # a picture of more than this is refused before its pixels are read
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OTHER_KINDS = {  # known by their first bytes, not read yet
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"P1": "PNM",
    b"P2": "PNM",
    b"P3": "PNM",
    b"P4": "PNM",
    b"P5": "PNM",
    b"P6": "PNM",
    b"8BPS": "Photoshop",
}


@dataclass(frozen=True)
class Picture:
    """A picture and what its file said of it.

    `pixels`: (H, W) or (H, W, C) float32 in [0, 1], upright; 2 and 4 channels end in alpha. `kind`: "PNG", "JPEG" or
    "WebP"; `depth`: bits of a sample, 8 or 16; `keep`: what the writer passes on (ICC profile, EXIF, resolution, JPEG tables).
    """

    pixels: npt.NDArray[np.float32]
    kind: str
    depth: int
    keep: dict[str, Any] = field(default_factory=dict)


def kind_of(path: Path) -> str | None:
    """The kind of a picture file by its first bytes: "PNG", "JPEG", "WebP", one that is not read yet, or None: no picture.

    Raises ImageError for what is no regular file (a pipe would hang) and for what cannot be opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("is no regular file; give a picture file or a folder.")
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise ImageError(f"cannot be opened ({error.strerror}); check its name and permissions.") from None
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypavif", b"ftypmif1"):
        return "HEIF"
    kind = next((kind for magic, kind in OTHER_KINDS.items() if start.startswith(magic)), None)
    if kind is None and path.suffix.lower() in SUFFIXES:
        raise ImageError(f"is not the {path.suffix[1:].upper()} file that its name says; restore it from a copy.")
    return kind


def read(path: Path) -> Picture:
    """Read a picture file. Raises ImageError, in one sentence, for what cannot be read exactly."""
    kind = kind_of(path)
    if kind is None:
        raise ImageError("is not a picture this version knows; expected PNG or JPEG.")
    if kind not in ("PNG", "JPEG", "WebP"):
        raise ImageError(f"is a {kind} file, which this version does not read; convert it to PNG first.")
    try:
        with open(path, "rb") as file:
            odd_gray = kind == "PNG" and _check_png(file.read(26))
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # our own limit is checked below
                image = Pillow.open(file, formats=[kind.upper()])
            with image:
                if odd_gray and "transparency" in image.info:
                    raise ImageError(
                        "is a PNG of 2, 4 or 16-bit gray with a transparent one, which this version does not read; convert it to 8 bits first."
                    )
                return _decoded(image, kind)
    except ImageError:
        raise
    except Pillow.DecompressionBombError as error:
        raise ImageError(_too_large(int("".join(re.findall(r"\((\d+) pixels", str(error))) or 0))) from None
    except MemoryError:
        raise ImageError("needs more memory than there is; use a smaller picture.") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        words = " ".join(str(error).split()) or type(error).__name__
        words = words if str(path) not in words else "damaged header"
        raise ImageError(f"is damaged and cannot be read ({words}); restore it from a copy.") from None


def _check_png(header: bytes) -> bool:
    """Whether it is gray of 2, 4 or 16 bits, where Pillow loses a transparent gray.

    Pillow reads 16-bit colour as 8 bits without a word, so that is refused until it is read whole.
    """
    if len(header) < 26:
        raise ImageError("is damaged and cannot be read (it ends within its header); restore it from a copy.")
    depth, colour = struct.unpack(">BB", header[24:26])
    if depth == 16 and colour != 0:
        raise ImageError("is a PNG of 16-bit colour or alpha, which this version does not read; convert it to 8 bits first.")
    return colour == 0 and depth not in (1, 8)


def _too_large(count: int) -> str:
    return f"has {count / 1e6:.0f} megapixels, more than the limit of {MAX_PIXELS / 1e6:.0f}; cut it into parts."


def _decoded(image: Pillow.Image, kind: str) -> Picture:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_large(image.width * image.height))
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and kind != "JPEG":  # phones hide a second view behind the photo that is opened here
        raise ImageError(f"holds {frames} frames, and this version reads single pictures; take the frames apart first.")
    keep: dict[str, Any] = {key: image.info[key] for key in ("icc_profile", "dpi") if image.info.get(key)}
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        keep["qtables"], keep["subsampling"] = image.quantization, JpegImagePlugin.get_sampling(image)
    image.load()
    exif = image.getexif()
    image = ImageOps.exif_transpose(image)
    if exif:
        exif[0x0112] = 1  # upright from now on
        keep["exif"] = exif.tobytes()
    if image.mode in ("I;16", "I;16B", "I"):
        return Picture(np.asarray(image, np.float32) / np.float32(65535), kind, 16, keep)
    if image.mode not in ("L", "RGB", "LA", "RGBA", "1", "P"):
        raise ImageError(f"has {image.mode} colours, which this version does not read; convert it to RGB first.")
    has_alpha = "transparency" in image.info or image.mode in ("LA", "RGBA")
    gray = image.mode in ("1", "L", "LA")
    image = image.convert(("LA" if has_alpha else "L") if gray else ("RGBA" if has_alpha else "RGB"))
    return Picture(np.asarray(image, np.float32) / np.float32(255), kind, 8, keep)


def encoded(pixels: npt.NDArray[Any], kind: str, depth: int = 8, keep: dict[str, Any] | None = None) -> bytes:
    """The bytes of a PNG or JPEG file: `pixels` clipped to [0, 1] and rounded to `depth` bits (16 only for gray PNG)."""
    top = 255 if depth == 8 else 65535
    whole = np.rint(np.clip(pixels, 0, 1) * top).astype(np.uint8 if depth == 8 else np.uint16)
    whole = whole[..., 0] if whole.ndim == 3 and whole.shape[2] == 1 else whole
    keep = dict(keep or {})
    if kind == "JPEG":
        keep.setdefault("quality", 95) if "qtables" not in keep else None
        if keep.get("subsampling") == -1 or whole.ndim == 2:
            keep.pop("subsampling", None)
    else:
        keep.pop("qtables", None), keep.pop("subsampling", None)
    file = io.BytesIO()
    Pillow.fromarray(whole).save(file, kind, **keep)
    return file.getvalue()


def write(path: Path, pixels: npt.NDArray[Any], like: Picture | None = None, overwrite: bool = False) -> None:
    """Write `pixels`, (H, W) or (H, W, C) floats, as the kind that `path` ends in; whole or not at all.

    `like`: the picture they were made from; depth, colour profile, EXIF, resolution and JPEG tables follow it. Raises
    ImageError for an unknown ending, FileExistsError unless `overwrite`, OSError from the disk.
    """
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"an output named {path.name}: expected a name that ends in .png, .jpg or .jpeg.")
    if kind == "JPEG" and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        raise ImageError(f"an output named {path.name}: JPEG has no alpha; choose a name that ends in .png.")
    keep = like.keep if like else {}
    if like and like.kind != kind:
        keep = {key: value for key, value in keep.items() if key not in ("qtables", "subsampling")}
    gray = pixels.ndim == 2 or pixels.shape[2] == 1
    depth = like.depth if like and kind == "PNG" and gray else 8
    atomic.write_bytes(path, encoded(pixels, kind, depth, keep), overwrite)
