"""A classical method for `denoise --model`, and for `--learn` to be compared with: told each picture's noise by `doctor`; extra [peers].

Where the noise grows with the light, values are stabilised first, see `peers.stabilised`.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from . import doctor, peers, tuned
from .denoiser import Denoiser
from .errors import BadSetting
from .tiling import check_side

Array = npt.NDArray[Any]
WHOLE = ("wavelet", "tv")  # which each pixel of the picture has a part in: they go in one piece
TILE, OVERLAP = 1024, 64  # pixels; blocks alike are looked for within 27 of BM3D's and 8 of non-local means'


def installed() -> tuple[list[str], list[str]]:
    """(the methods that can be used here, in the order of `tuned.DENOISERS`; those that are absent)."""
    there = [name for name in tuned.DENOISERS if not any(map(tuned.trouble, tuned.NEEDS[name]))]
    return there, [name for name in tuned.DENOISERS if name not in there]


def described(name: str) -> dict[str, Any]:
    """What a method is: `name`, `method` and its paper in a sentence, `needs`, the packages, and `install`, empty if it can be used here."""
    about = (tuned.FUNCTIONS[name].__doc__ or "").partition("\n")[0]
    needs = list(dict.fromkeys(tuned.PACKAGES[module][0] for module in _modules(name)))
    absent = any(map(tuned.trouble, tuned.NEEDS[name]))
    return {"name": name, "method": about, "needs": needs, "install": _install(name) if absent else ""}


def identity(name: str) -> dict[str, Any]:
    """What tells one result of a method from another. Raises BadSetting if it cannot be used here."""
    if absent := next(filter(None, map(tuned.trouble, tuned.NEEDS[name])), ""):
        raise BadSetting(f"{name}: {absent}; install it by {_install(name)}.")
    return {"method": name, "versions": tuned.versions(_modules(name)), "rule": doctor.RULE}


def _modules(name: str) -> list[str]:
    """The modules that a method needs, as `tuned.PACKAGES` has them."""
    return [module.partition(".")[0] for module in tuned.NEEDS[name]]


def _install(name: str) -> str:
    return "pip install " + ("bm3d, whose licence is for non-commercial use" if name == "bm3d" else '"unnoise[peers]"')


class Classical(Denoiser):
    """A method made ready for the noise of a picture, with the parameters of `tuned`, in tiles as a model goes."""

    def __init__(self, name: str, found: doctor.Diagnosis) -> None:
        self.name, self.found, self.card = name, found, {}
        self.channels, self.grid, self.overlap, self.tile = 3, 1, OVERLAP, 0 if name in WHOLE else TILE

    def _run(self, noisy: Array) -> Array:
        return _restored(self.name, self.found, noisy.squeeze(2) if noisy.shape[2] == 1 else noisy).reshape(noisy.shape)


def method(name: str, found: doctor.Diagnosis) -> tuple[Classical | None, str]:
    """(a method for a picture with that noise; what it was told, as the end of a sentence).

    None for a picture that is to stay as it is, and why: sigma is no larger than its error, as in tiny pictures, or next to nothing.
    """
    if found.level.value <= max(found.level.error, tuned.SILENT):
        what = "next to nothing" if found.level.value > found.level.error else "unknown"
        return None, f"as its noise is {what} ({found})"
    return Classical(name, found), f"told {found}"


def check_tile(name: str, tile: int | None) -> None:
    """Raise BadSetting for a tile side, if one is given, that a method cannot do with."""
    if tile and name in WHOLE:
        raise BadSetting(f"tile={tile} with {name}, which looks at the whole picture at once; leave it out.")
    if tile is not None:
        check_side(tile, 1, OVERLAP)


def _restored(name: str, found: doctor.Diagnosis, noisy: Array) -> Array:
    """(H, W) or (H, W, 3) floats to the same."""

    def of_sigma(picture: Array, sigma: float) -> Array:
        kind = "gray" if picture.ndim == 2 else "colour"
        return tuned.FUNCTIONS[name](picture, sigma, **tuned.at(tuned.GAUSSIAN[name][kind], sigma))

    def stabilised(picture: Array, sigma: float) -> Array:
        return peers.stabilised(of_sigma, picture, found.gain.value, found.read.value)

    return tuned.roomy(stabilised if found.grows else of_sigma, noisy, found.level.value)
