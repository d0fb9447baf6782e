"""The pictures that methods are compared on: clean ones with a noise put on them, or pairs that come with their own."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import image
from .batch import real
from .collection import LeftOut, find
from .config import PAIRS
from .errors import BadSetting, ImageError
from .keyed import keyed_rng
from .ledger import sha256
from .metrics import noise_sigma
from .noise import Noise

Array = npt.NDArray[Any]
SATURATED = 0.05  # share of values at 0 or 1 that is worth a word: clipping alone restores much of it
UNCLEAN = 4 / 255  # estimated noise of clean pictures that is worth a word; the fine texture of photographs is taken for 2/255
SHARE = 0.25  # of the clean pictures have less than the estimate that is told: texture is in some, noise in all


@dataclass(frozen=True)
class Sample:
    """A picture to compare on: `name` is its path below the folder; `noisy`, if it comes with its own noise, its partner."""

    name: str
    clean: Path
    noisy: Path | None = None

    def content(self) -> list[str]:
        """The SHA-256 of its files. Raises ImageError."""
        try:
            return [sha256(file) for file in (self.clean, self.noisy) if file is not None]
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror}); check its disk and permissions.") from None


@dataclass(frozen=True)
class Case:
    """Pictures with one noise; `noise` is None for pairs."""

    noise: Noise | None
    samples: list[Sample] = field(default_factory=list)

    @property
    def title(self) -> str:
        return PAIRS if self.noise is None else str(self.noise)


def cases(
    clean: Path | None, noises: list[Noise], pairs: tuple[Path, Path] | None, out: Path, left_out: list[LeftOut]
) -> list[Case]:
    """A case for each noise on the pictures of `clean`, and one for the pairs (noisy, clean); nothing of `out` is among them.

    `left_out` takes what has no partner. Raises BadSetting if something is missing, or there is no picture.
    """
    if (clean is None) != (not noises):
        raise BadSetting("--clean and --noise belong together: give a folder of clean pictures, and what noise to put on them.")
    if clean is None and pairs is None:
        raise BadSetting("there is nothing to compare on; give --clean DIR --noise gaussian:25/255, or --pairs NOISY CLEAN.")
    found: list[Case] = []
    if clean is not None:
        samples = [Sample(name, file) for name, file in _pictures(clean, out)]
        found += [Case(noise, samples) for noise in dict.fromkeys(noises)]
    if pairs is not None:
        found.append(Case(None, _paired(*pairs, out, left_out)))
    return found


def read(sample: Sample, noise: Noise | None, seed: int, max_pixels: int) -> tuple[Array, Array]:
    """(clean, noisy) float32, (H, W) or (H, W, 3), without alpha; noise is drawn by seed and name, and not clipped.

    Raises ImageError for what cannot be read or compared.
    """
    clean = _colours(sample.clean, max_pixels)
    if sample.noisy is None:
        assert noise is not None
        key = zlib.crc32(sample.name.encode("utf-8", "surrogateescape"))  # as in corrupt; another picture more changes no draw
        return clean, noise(clean, keyed_rng(seed, index=key))[0]
    noisy = _colours(sample.noisy, max_pixels)
    if noisy.shape != clean.shape:
        raise ImageError(f"is {_size(clean)}, and its noisy partner is {_size(noisy)}; crop both alike.")
    return clean, noisy


def about(clean: Array, noisy: Array) -> dict[str, Any]:
    """What the report says of a picture besides its scores."""
    return {
        "height": clean.shape[0],
        "width": clean.shape[1],
        "channels": 1 if clean.ndim == 2 else clean.shape[2],
        "estimated_noise": noise_sigma(noisy),
        "clean_noise": noise_sigma(clean),
        "saturated": float(np.mean((clean <= 0) | (clean >= 1))),
    }


def notes(pictures: list[dict[str, Any]]) -> list[str]:
    """What to know of the pictures of a case before its scores are believed, a sentence each."""
    told = []
    floor = float(np.quantile([picture["clean_noise"] for picture in pictures], SHARE))
    if floor > UNCLEAN:
        told.append(
            f"The clean pictures hold noise, or fine texture, of their own, estimated {255 * floor:.1f}/255 or more in "
            f"{1 - SHARE:.0%} of them; what removes it loses by these scores."
        )
    bright = [picture for picture in pictures if picture["saturated"] > SATURATED]
    if bright:
        worst = max(bright, key=lambda picture: float(picture["saturated"]))
        told.append(
            f"{len(bright)} of the {len(pictures)} clean pictures are saturated, most {worst['name']}, where "
            f"{worst['saturated']:.0%} of the values are 0 or 1; clipping the result helps every method there."
        )
    return told


def _pictures(folder: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """(path below the folder, file) of each picture, those below `out` left out."""
    some = False
    for file in find(folder):
        if real(out) in real(file).parents or not _is_picture(file):
            continue
        some = True
        yield (file.relative_to(folder).as_posix() if folder.is_dir() else file.name), file
    if not some:
        raise BadSetting(f"{folder} holds no picture; expected PNG, JPEG, TIFF or other picture files in it or below it.")


def _is_picture(file: Path) -> bool:
    try:
        return image.kind_of(file) is not None
    except ImageError:
        return True  # it will be named among what is left out


def _paired(noisy: Path, clean: Path, out: Path, left_out: list[LeftOut]) -> list[Sample]:
    """The clean pictures that have a partner of the same path, but for the ending, below `noisy`."""
    partners: dict[str, Path] = {}
    for name, file in _pictures(noisy, out):
        if partners.setdefault(_stem(name), file) != file:
            left_out.append((file, f"has the name of {partners[_stem(name)].name} but for the ending, and was not used."))
    samples = []
    for name, file in _pictures(clean, out):
        partner = partners.pop(_stem(name), None)
        if partner is None:
            left_out.append((file, f"has no noisy partner in {noisy}."))
        else:
            samples.append(Sample(name, file, partner))
    left_out += [(file, f"has no clean partner in {clean}.") for file in partners.values()]
    if not samples:
        raise BadSetting(
            f"--pairs: no picture in {noisy} has the name of one in {clean}; expected the same names in both folders."
        )
    return samples


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _colours(file: Path, max_pixels: int) -> Array:
    """(H, W) or (H, W, 3) float32 of the only page of a file. Raises ImageError."""
    picture = image.read(file, max_pixels)
    if picture.frames > 1:
        raise ImageError(f"holds {picture.frames} pages or frames; take them apart first.")
    if picture.keep.get("beyond"):
        raise ImageError("has values outside 0..1; scale them first.")
    pixels = picture.pixels
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., 0]
    return np.ascontiguousarray(pixels, np.float32)


def _size(pixels: Array) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} in {'gray' if pixels.ndim == 2 else 'colour'}"
