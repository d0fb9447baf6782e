"""The pictures that methods are compared on: clean ones with a noise put on them, or pairs that come with their own."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from . import image
from .batch import ending_in, holds_pixels, outside, real
from .collection import LeftOut
from .config import PAIRS
from .errors import BadSetting, ImageError
from .image.picture import without_alpha
from .keyed import keyed_rng
from .ledger import sha256
from .metrics import noise_sigma
from .noise import EVERYWHERE, Clip, Noise, parts_of

Array = npt.NDArray[Any]
CROPS = "crops"  # the folder of the report that holds pictures
SATURATED = 0.05  # share of values at 0 or 1 that is worth a word: clipping alone restores much of it
UNCLEAN = 4 / 255  # estimated noise of clean pictures that is worth a word; the fine texture of photographs is taken for 2/255
NOISIEST = 3  # of the clean pictures are named, if they hold noise of their own
SHARE = 0.25  # of the clean pictures have less than the estimate that is told: texture is in some, noise in all


class PartnerError(ImageError):
    """What is wrong with the noisy picture of a pair, not with the clean one."""


@dataclass(frozen=True)
class Sample:
    """A picture to compare on: `name` is its path below the folder; `noisy`, if it comes with its own noise, its partner."""

    name: str
    clean: Path
    noisy: Path | None = None

    def content(self) -> list[str]:
        """The SHA-256 of its files. Raises ImageError, PartnerError."""
        return [_content(self.clean, ImageError), *([_content(self.noisy, PartnerError)] if self.noisy else [])]


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

    `left_out` takes what has no partner, and folders that are not gone into. Raises BadSetting if something is missing, or there is no picture.
    """
    if (clean is None) != (not noises):
        raise BadSetting("--clean and --noise belong together: give a folder of clean pictures, and what noise to put on them.")
    if clean is None and pairs is None:
        raise BadSetting("there is nothing to compare on; give --clean DIR --noise gaussian:25/255, or --pairs NOISY CLEAN.")
    found: list[Case] = []
    if clean is not None:
        samples = [Sample(name, file) for name, file in _pictures(clean, out, left_out).items()]
        found += [Case(noise, samples) for noise in dict.fromkeys(noises)]
    if pairs is not None:
        found.append(Case(None, _paired(*pairs, out, left_out)))
    return found


def read(sample: Sample, noise: Noise | None, seed: int, max_pixels: int) -> tuple[Array, Array, float]:
    """(clean, noisy, sigma): float32, (H, W) or (H, W, 3), without alpha; noise is drawn by seed and name, and not clipped.

    sigma: the true one of what is Gaussian or a camera's in the noise; of pairs, the root mean square of noisy - clean. Raises ImageError for
    what cannot be read or compared, PartnerError where that is the noisy picture.
    """
    clean = _colours(sample.clean, max_pixels)
    if clean.size and (clean.min() < 0 or clean.max() > 1):  # of the noisy one, that is how noise is
        raise ImageError("has values outside 0..1; scale them first.")
    if sample.noisy is None:
        assert noise is not None
        return clean, *_spoilt(clean, noise, keyed_rng(seed, index=_key(sample.name)))
    try:
        noisy = _colours(sample.noisy, max_pixels)
    except ImageError as error:
        raise PartnerError(str(error)) from None
    if noisy.shape != clean.shape:
        raise ImageError(f"is {_size(clean)}, and its noisy partner is {_size(noisy)}; crop both alike.")
    return clean, noisy, float(np.sqrt(np.mean(np.square(noisy - clean, dtype=np.float64))))


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
            f"{1 - SHARE:.0%} of them, most in {_noisiest(pictures)}; what removes it loses by these scores."
        )
    bright = [picture for picture in pictures if picture["saturated"] > SATURATED]
    if bright:
        worst = max(bright, key=lambda picture: float(picture["saturated"]))
        told.append(
            f"{len(bright)} of the {len(pictures)} clean pictures {'is' if len(bright) == 1 else 'are'} saturated, most {worst['name']}, where "
            f"{worst['saturated']:.0%} of the values are 0 or 1; clipping the result helps every method there."
        )
    return told


def _noisiest(pictures: list[dict[str, Any]]) -> str:
    worst = sorted(pictures, key=lambda picture: -float(picture["clean_noise"]))[:NOISIEST]
    return " and ".join(f"{picture['name']} ({255 * picture['clean_noise']:.1f}/255)" for picture in worst)


def _spoilt(clean: Array, noise: Noise, rng: np.random.Generator) -> tuple[Array, float]:
    """(the noisy picture, sigma of its Gaussian and camera parts together, measured where no other part has been, and before Clip)."""
    noisy, whole, untouched = clean, clean, np.ones(clean.shape, bool)
    for part in parts_of(noise):
        before = noisy
        noisy, touched = part(noisy, rng)
        whole = whole if isinstance(part, Clip) else whole + (noisy - before)
        untouched &= ~touched | isinstance(part, EVERYWHERE)
    apart = np.square(whole - clean, dtype=np.float64)
    return noisy, math.sqrt(apart.mean(where=untouched)) if untouched.any() else 0.0


def _key(name: str) -> int:
    """What the draws of a picture depend on: its name as `corrupt` writes it; another picture more changes no draw."""
    return zlib.crc32(ending_in(".png", PurePosixPath(name)).as_posix().encode("utf-8", "surrogateescape"))


def _content(file: Path, kind: type[ImageError]) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise kind(f"cannot be read ({error.strerror}); check its disk and permissions.") from None


def _pictures(folder: Path, out: Path, left_out: list[LeftOut]) -> dict[str, Path]:
    """Each picture by its path below the folder, those below `out` left out; `left_out` takes folders that are not gone into."""
    here, there = real(folder), real(out)
    if here == there or there / CROPS in (here, *here.parents):
        raise BadSetting(f"-o {out}: its crops would lie among the pictures of {folder}; choose another -o.")
    before = len(left_out)
    files = [file for file in outside(out, folder, left_out, left_out) if holds_pixels(file)]
    if not files:
        more = "".join(f"; {file} {reason.rstrip('.')}" for file, reason in left_out[before:])
        raise BadSetting(f"{folder} holds no picture; expected PNG, JPEG, TIFF or other picture files in it or below it{more}.")
    return {file.relative_to(folder).as_posix() if folder.is_dir() else file.name: file for file in files}


def _paired(noisy: Path, clean: Path, out: Path, left_out: list[LeftOut]) -> list[Sample]:
    """The clean pictures that have a partner below `noisy`: of the same path, else of the same but for the ending."""
    there, wanted = _pictures(noisy, out, left_out), _pictures(clean, out, left_out)
    alike: dict[str, list[str]] = {}
    for name in there:
        alike.setdefault(_stem(name), []).append(name)
    partners = {name: name for name in wanted if name in there}
    takers = dict(partners)  # the same from the other side
    for name in [name for name in wanted if name not in partners]:
        others = alike.get(_stem(name), [])
        free = [other for other in others if other not in takers]
        if free:
            partners[name], takers[free[0]] = free[0], name
        elif others:
            left_out.append((wanted[name], f"its partner {others[0]} was taken by {takers[others[0]]}."))
        else:
            left_out.append((wanted[name], f"has no noisy partner in {noisy}."))
    for name in [name for name in there if name not in takers]:
        near = [other for other in alike[_stem(name)] if other in takers]
        why = (
            f"has the name of {near[0]} but for the ending, and was not used." if near else f"has no clean partner in {clean}."
        )
        left_out.append((there[name], why))
    if not partners:
        raise BadSetting(
            f"--pairs: no picture in {noisy} has the name of one in {clean}; expected the same names in both folders."
        )
    return [Sample(name, file, there[partners[name]]) for name, file in wanted.items() if name in partners]


def _stem(name: str) -> str:
    """The path without its ending, if that is one of a picture file."""
    return ending_in("", PurePosixPath(name)).as_posix()


def _colours(file: Path, max_pixels: int) -> Array:
    """(H, W) or (H, W, 3) float32 of the only page of a file. Raises ImageError."""
    picture = image.read(file, max_pixels)
    if picture.frames > 1:
        raise ImageError(f"holds {picture.frames} pages or frames; take them apart first.")
    return np.ascontiguousarray(without_alpha(picture.pixels), np.float32)


def _size(pixels: Array) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} in {'gray' if pixels.ndim == 2 else 'colour'}"
