"""Which classical methods a user would take for a noise, each with its best-known parameters for it.

The parameters were found on pictures that no test set holds: TUNED_ON. `benchmarks/peer_parameters.py` finds them again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from . import peers
from .noise import BlockMasking, Gaussian, Masking, Noise, SaltAndPepper

Array = npt.NDArray[Any]
Parameters = dict[str, Any]
TUNED_ON = "12 photographs of the training corpus, every 24th of it, as they are and at half size (benchmarks/results/peer_parameters.json)"
SIGMAS = (15 / 255, 25 / 255, 50 / 255)  # what the strengths below were found for; between them they are interpolated
GAUSSIAN: dict[str, dict[str, Parameters]] = {  # a tuple has one value for each of SIGMAS
    "nlm": {
        "gray": {"patch": 5, "distance": 6, "h": (0.7, 0.7, 0.6)},
        "colour": {"patch": 5, "distance": 6, "h": (0.7, 0.6, 0.5)},
    },
    "wavelet": {
        "gray": {"wavelet": "db1", "shifts": 4, "strength": (1.1, 1.0, 1.0)},
        "colour": {"wavelet": "db1", "shifts": 4, "ycbcr": True, "strength": (1.0, 1.0, 1.0)},
    },
    "tv": {
        "gray": {"weight": (0.7, 0.8, 0.9)},
        "colour": {"weight": (0.7, 0.7, 0.9)},
    },
    "bilateral": {
        "gray": {"colour": (2.5, 2.5, 3.5), "space": (2, 2, 2.5)},
        "colour": {"colour": (4, 4, 5), "space": (2.5, 2.5, 2.5)},
    },
    "median": {
        "gray": {"size": (3, 3, 7)},
        "colour": {"size": (3, 3, 7)},
    },
    "bm3d": {"gray": {}, "colour": {}},
}
RATES = (0.1, 0.3, 0.5, 0.8)  # shares of lost pixels that the following were found for; the nearest is taken
LOST: dict[str, tuple[Parameters, ...]] = {
    "median": (
        {"sizes": (3,), "least": 1},
        {"sizes": (3,), "least": 2},
        {"sizes": (3,), "least": 2},
        {"sizes": (3,), "least": 2},
    ),
    "adaptive-median": (
        {"sizes": (3, 5), "least": 1},
        {"sizes": (3, 5), "least": 2},
        {"sizes": (3, 5), "least": 2},
        {"sizes": (3, 5), "least": 1},
    ),
    "biharmonic": ({}, {}, {}, {}),
    "inpainting": (
        {"radius": 1, "method": "ns"},
        {"radius": 1, "method": "ns"},
        {"radius": 2, "method": "ns"},
        {"radius": 2, "method": "telea"},
    ),
}
UNLIKE = 0.125  # how far from the median around it a value of random impulses is taken as hit
FUNCTIONS: dict[str, Callable[..., Array]] = {
    "nlm": peers.non_local_means,
    "wavelet": peers.wavelets,
    "tv": peers.total_variation,
    "bilateral": peers.bilateral,
    "median": lambda noisy, sigma, size: peers.median(noisy, 2 * round((size - 1) / 2) + 1),
    "bm3d": peers.bm3d,
}
FILLERS: dict[str, Callable[..., Array]] = {
    "median": peers.filled_by_median,
    "adaptive-median": peers.filled_by_median,
    "biharmonic": peers.biharmonic,
    "inpainting": peers.inpainting,
}
NEEDS = {  # packages
    "nlm": ("skimage",), "wavelet": ("skimage", "pywt"), "tv": ("skimage",), "bilateral": ("cv2",), "median": ("scipy",),
    "bm3d": ("bm3d",), "adaptive-median": ("scipy",), "biharmonic": ("skimage",), "inpainting": ("cv2",),
}  # fmt: skip
NAMES = tuple(NEEDS)
FIRST = "adaptive-median"  # fills what is lost where there is Gaussian noise too
SMALLEST = 16  # side in pixels that every method can work on; a smaller picture is mirrored to that size
SILENT = 1e-4  # sigma below which there is nothing to take away


@dataclass(frozen=True)
class Peer:
    """A classical method made ready for a noise.

    `denoise(noisy, sigma)`: floats, (H, W) or (H, W, 3) of any size, to the same; sigma is the noise of this picture, for
    where the parameters depend on it. `parameters`: for the report, what decides the result besides the picture.
    """

    name: str
    parameters: Parameters
    denoise: Callable[[Array, float], Array]


def for_noise(noise: Noise | None) -> tuple[list[Peer], list[tuple[str, str]]]:
    """(the methods for a noise, None being the pictures' own; those whose packages are not installed, with the reason)."""
    parts = _parts(noise)
    blurred = noise is None or any(isinstance(part, Gaussian) for part in parts)
    holes = [part for part in parts if not isinstance(part, Gaussian)]
    names = list(GAUSSIAN if blurred else LOST)
    absent = [(name, f"{' and '.join(gone)} not installed") for name in names if (gone := _gone(name, bool(holes and blurred)))]
    there = [name for name in names if name not in dict(absent)]
    if not blurred:
        return [_filler(name, holes) for name in there], absent
    return [_denoiser(name, parts, holes, known_sigma(noise)) for name in there], absent


def known_sigma(noise: Noise | None) -> float | None:
    """The sigma of a noise whose Gaussian parts have fixed ones; None where it is another for each picture."""
    sigmas = [part.sigma for part in _parts(noise) if isinstance(part, Gaussian)]
    if noise is None or any(isinstance(sigma, tuple) for sigma in sigmas):
        return None
    return float(np.hypot.reduce([float(sigma) for sigma in sigmas], initial=0.0))  # type: ignore[arg-type]


def at(parameters: Parameters, sigma: float) -> Parameters:
    """The parameters for a sigma: tuples are interpolated between SIGMAS, and stay as they are beyond."""
    return {
        name: float(np.interp(sigma, SIGMAS, value)) if isinstance(value, tuple) else value
        for name, value in parameters.items()
    }


def filled(name: str, noisy: Array, mask: npt.NDArray[np.bool_]) -> Array:
    """The lost values filled by a method, with the parameters for their share."""
    nearest = int(np.argmin(np.abs(np.array(RATES) - mask.mean())))
    return FILLERS[name](noisy, mask, **LOST[name][nearest])


def mask_of(noisy: Array, holes: list[Any], sigma: float) -> npt.NDArray[np.bool_]:
    """What of a picture a user who knows the kind of noise can tell to be lost; nobody is told the true places."""
    found = np.zeros(noisy.shape, bool)
    for part in holes:
        per = getattr(part, "per", "pixel")
        if isinstance(part, SaltAndPepper) and part.values == "uniform":
            found |= peers.lost(noisy, "unlike", per, UNLIKE + 3 * sigma)
        else:
            found |= peers.lost(noisy, "extreme" if isinstance(part, SaltAndPepper) else "zero", per, 3 * sigma)
    return found


def _denoiser(name: str, parts: tuple[Any, ...], holes: list[Any], known: float | None) -> Peer:
    """A method for Gaussian noise; what is lost besides is filled first."""
    after = [part for part in holes if isinstance(parts[-1], Gaussian)]  # noise on top hides the exact 0 and 1

    def denoise(noisy: Array, sigma: float) -> Array:
        if holes:
            mask = mask_of(noisy, holes, sigma if after else 0.0)
            noisy = filled(FIRST, noisy, mask).astype(noisy.dtype)
        if sigma < SILENT:
            return noisy
        kind = "gray" if noisy.ndim == 2 else "colour"
        return FUNCTIONS[name](noisy, sigma, **at(GAUSSIAN[name][kind], sigma))

    first = {"filled first by": {FIRST: _by_rate(FIRST)}} if holes else {}
    told: Parameters
    if known is None:
        told = {
            "sigma": "each picture's own, from its clean side",
            **GAUSSIAN[name],
            "three values are for": "sigma 15, 25, 50 of 255",
        }
    else:
        told = {"sigma": known, **{kind: at(values, known) for kind, values in GAUSSIAN[name].items() if values}}
    return Peer(name, {**told, **first}, partial(_roomy, denoise))


def _filler(name: str, holes: list[Any]) -> Peer:
    """A method for lost pixels."""

    def denoise(noisy: Array, sigma: float) -> Array:
        return filled(name, noisy, mask_of(noisy, holes, 0.0))

    return Peer(name, _by_rate(name), partial(_roomy, denoise))


def _by_rate(name: str) -> Parameters:
    return {f"{rate:.0%} lost": parameters for rate, parameters in zip(RATES, LOST[name], strict=True) if parameters}


def _roomy(denoise: Callable[[Array, float], Array], noisy: Array, sigma: float) -> Array:
    """A method on a picture that may be smaller than what it can work on."""
    height, width = noisy.shape[:2]
    beyond = [(0, max(SMALLEST - length, 0)) for length in (height, width)] + [(0, 0)] * (noisy.ndim - 2)
    enough = np.pad(noisy, beyond, "symmetric") if min(height, width) < SMALLEST else noisy
    return denoise(enough, sigma)[:height, :width]


def _gone(name: str, fills: bool) -> list[str]:
    packages = NEEDS[name] + (NEEDS[FIRST] if fills else ())
    return [package for package in dict.fromkeys(packages) if find_spec(package) is None]


def _parts(noise: Noise | None) -> tuple[Any, ...]:
    kinds = (Gaussian, SaltAndPepper, Masking, BlockMasking)
    return () if noise is None else (noise,) if isinstance(noise, kinds) else noise.parts
