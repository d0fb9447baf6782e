"""Which classical methods a user would take for a noise, each with its best-known parameters for it.

The parameters were found on pictures that no test set holds: TUNED_ON. `benchmarks/peer_parameters.py` finds them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from . import peers
from .noise import EVERYWHERE, Camera, Clip, Gaussian, Masking, Noise, Profile, SaltAndPepper, parts_of

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
HIT = ({"size": 3}, {"size": 5}, {"size": 7}, {"size": 19})  # the plain median, for salt and pepper; one for each of RATES
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
NEEDS = {  # modules
    "nlm": ("skimage.restoration",), "wavelet": ("skimage.restoration", "pywt"), "tv": ("skimage.restoration",),
    "bilateral": ("cv2",), "median": ("scipy.ndimage",), "bm3d": ("bm3d",), "adaptive-median": ("scipy.ndimage",),
    "biharmonic": ("skimage.restoration",), "inpainting": ("cv2",),
}  # fmt: skip
PACKAGES = {  # by module, those that decide results
    "numpy": ("numpy",), "onnxruntime": ("onnxruntime",), "skimage": ("scikit-image",), "scipy": ("scipy",), "pywt": ("PyWavelets",),
    "cv2": ("opencv-python-headless", "opencv-python"), "bm3d": ("bm3d",), "torch": ("torch",),
}  # fmt: skip
NAMES = tuple(NEEDS)
DENOISERS = ("nlm", "wavelet", "tv", "bilateral", "bm3d")  # that `denoise` takes in the place of a model, see `classical`
FIRST = "adaptive-median"  # fills what is lost where there is Gaussian noise too
SMALLEST = 16  # side in pixels that every method can work on; a smaller picture is mirrored to that size
SILENT = 1e-4  # sigma below which there is nothing to take away


@dataclass(frozen=True)
class Peer:
    """A classical method made ready for a noise.

    `denoise(noisy, sigma)`: floats, (H, W) or (H, W, 3) of any size, to the same; sigma is the noise of this picture, for
    where the parameters depend on it. `parameters`: for the report, what decides the result besides the picture; `tuned_on`:
    where they are from, empty where nothing was tuned.
    """

    name: str
    parameters: Parameters
    tuned_on: str
    denoise: Callable[[Array, float], Array]


def for_noise(noise: Noise | None, wanted: Sequence[str] | None = None) -> tuple[list[Peer], list[tuple[str, str]]]:
    """(the methods for a noise, None being the pictures' own; those that cannot be used here, with the reason), of the wanted."""
    parts, holes = _parts(noise)
    blurred = noise is None or holes != parts
    names = [name for name in names_for(noise) if wanted is None or name in wanted]
    absent = [(name, reason) for name in names if (reason := _why_not(name, bool(holes and blurred)))]
    there = [name for name in names if name not in dict(absent)]
    if not blurred:
        return [_filler(name, holes, noise) for name in there], absent
    return [_denoiser(name, noise) for name in there], absent


def names_for(noise: Noise | None) -> list[str]:
    """The methods that are for a noise, usable here or not."""
    parts, holes = _parts(noise)
    return list(GAUSSIAN if noise is None or holes != parts else LOST)


def unasked(noise: Noise | None, wanted: Sequence[str] | None) -> list[str]:
    """The methods for a noise that are installed, and not wanted."""
    others = [name for name in names_for(noise) if wanted is not None and name not in wanted]
    return [name for name in others if all(find_spec(module.partition(".")[0]) for module in NEEDS[name])]


def known_sigma(noise: Noise | None) -> float | None:
    """The sigma of a noise whose Gaussian parts have fixed ones; None where it is another for each picture."""
    parts = parts_of(noise) if noise else ()
    sigmas = [part.sigma for part in parts if isinstance(part, Gaussian)]
    if (
        noise is None
        or any(isinstance(sigma, tuple) for sigma in sigmas)
        or any(isinstance(part, Camera | Profile) for part in parts)
    ):
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
    return FILLERS[name](noisy, mask, **LOST[name][_nearest(mask)])


def mask_of(noisy: Array, holes: Sequence[Any], sigma: float) -> npt.NDArray[np.bool_]:
    """What of a picture a user who knows the kind of noise can tell to be lost; nobody is told the true places."""
    found = np.zeros(noisy.shape, bool)
    for part in holes:
        per = getattr(part, "per", "pixel")
        if not isinstance(part, SaltAndPepper):
            found |= peers.zeros(noisy, per, sigma)
        elif part.values == "uniform":
            found |= peers.unlike(noisy, per, UNLIKE + 3 * sigma)
        else:
            found |= peers.extremes(noisy, per, sigma)
    return found


def _denoiser(name: str, noise: Noise | None) -> Peer:
    """A method for Gaussian noise; what is lost besides is filled first."""
    parts, holes = _parts(noise)
    after = holes and isinstance(parts[-1], EVERYWHERE)  # noise on top hides the exact 0 and 1

    def denoise(noisy: Array, sigma: float) -> Array:
        if holes:
            mask = mask_of(noisy, holes, sigma if after else 0.0)
            noisy = filled(FIRST, noisy, mask).astype(noisy.dtype)
        if sigma < SILENT:
            return noisy
        kind = "gray" if noisy.ndim == 2 else "colour"
        return FUNCTIONS[name](noisy, sigma, **at(GAUSSIAN[name][kind], sigma))

    first = {"filled first by": {FIRST: _by_rate(LOST[FIRST])} | _hits(holes)} if holes else {}
    told: Parameters
    if (known := known_sigma(noise)) is None:
        each = {kind: values for kind, values in GAUSSIAN[name].items() if values}
        told = {"sigma": "each picture's own, from its clean side", **each}
        told |= {"three values are for": "sigma 15, 25, 50 of 255"} if each else {}
    else:
        told = {"sigma": known, **{kind: at(values, known) for kind, values in GAUSSIAN[name].items() if values}}
    unlike = noise is not None and any(not isinstance(part, Gaussian) for part in parts_of(noise))
    return Peer(name, _rounded({**told, **first}), _from(name, "Gaussian noise", noise, unlike), partial(roomy, denoise))


def _filler(name: str, holes: tuple[Any, ...], noise: Noise | None) -> Peer:
    """A method for lost pixels; the median of impulses is that of all values, known or not."""
    plain = name == "median" and all(isinstance(part, SaltAndPepper) for part in holes)

    def denoise(noisy: Array, sigma: float) -> Array:
        mask = mask_of(noisy, holes, 0.0)
        return peers.median(noisy, HIT[_nearest(mask)]["size"]) if plain else filled(name, noisy, mask)

    of = "salt and pepper" if plain else "missing pixels, each for itself"
    unlike = any(not isinstance(part, Masking) for part in holes) and not plain
    return Peer(
        name, _by_rate(HIT if plain else LOST[name]) | _hits(holes), _from(name, of, noise, unlike), partial(roomy, denoise)
    )


def _from(name: str, of: str, noise: Noise | None, unlike: bool) -> str:
    """Where the parameters are from; empty where there are none. unlike: they were found for another noise."""
    if name in ("bm3d", "biharmonic"):
        return ""
    return f"{TUNED_ON}, for {of}" + (
        f"; used here for {noise or 'pairs'}, as nearest to it" if unlike or noise is None else ""
    )


def _hits(holes: tuple[Any, ...]) -> Parameters:
    """What decides which random impulses are found."""
    random = any(isinstance(part, SaltAndPepper) and part.values == "uniform" for part in holes)
    return {"taken for hit": f"what is further than {UNLIKE} from the median around it"} if random else {}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _nearest(mask: npt.NDArray[np.bool_]) -> int:
    """Which of RATES a mask is nearest to."""
    return int(np.argmin(np.abs(np.array(RATES) - mask.mean())))


def _by_rate(found: tuple[Parameters, ...]) -> Parameters:
    return {f"{rate:.0%} lost": parameters for rate, parameters in zip(RATES, found, strict=True) if parameters}


def roomy(denoise: Callable[[Array, float], Array], noisy: Array, sigma: float) -> Array:
    """A method on a picture that may be smaller than what it can work on."""
    height, width = noisy.shape[:2]
    beyond = [(0, max(SMALLEST - length, 0)) for length in (height, width)] + [(0, 0)] * (noisy.ndim - 2)
    enough = np.pad(noisy, beyond, "symmetric") if min(height, width) < SMALLEST else noisy
    return denoise(enough, sigma)[:height, :width]


def _why_not(name: str, fills: bool) -> str:
    """Why a method cannot be used here; empty if it can."""
    modules = dict.fromkeys(NEEDS[name] + (NEEDS[FIRST] if fills else ()))
    return " and ".join(filter(None, map(trouble, modules)))


def trouble(module: str) -> str:
    """Why a module cannot be imported; empty if it can."""
    package = module.partition(".")[0]
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        return (
            f"{package} not installed"
            if error.name in (package, None)
            else f"{package} cannot be imported ({error.name} is missing)"
        )
    except Exception as error:  # a library that its system lacks, or one that another is too old for
        return f"{package} cannot be imported ({type(error).__name__})"
    return ""


def _parts(noise: Noise | None) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(the parts of a noise but for Clip, those that lose pixels)."""
    parts = () if noise is None else tuple(part for part in parts_of(noise) if not isinstance(part, Clip))
    return parts, tuple(part for part in parts if not isinstance(part, EVERYWHERE))


def versions(modules: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Of the packages that these modules come in, those that are installed."""
    names = [name for module in modules for name in PACKAGES[module]]
    return {name: found for name in names if (found := version(name))}


@cache
def version(package: str) -> str:
    """Of an installed package; empty for one that is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
