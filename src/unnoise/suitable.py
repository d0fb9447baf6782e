"""Whether noisy pictures can be learned from alone, asked before a run starts: noise that neighbours share, takes that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import doctor
from .collection import Pictures
from .config import TrainConfig
from .errors import BadSetting
from .image.picture import as_floats

Array = npt.NDArray[Any]
LOOKED_AT = 8  # pictures, evenly spread over the collection
SIDE = 512  # of the middle of two takes that are compared, in pixels
CLEAR = 8.0  # standard deviations of all that are tried by which a shift must fit better than none


def check(pictures: Pictures, config: TrainConfig) -> None:
    """Raise BadSetting where what is asked for would teach the noise, or something else than the picture: see `targets`."""
    some = np.unique(np.linspace(0, len(pictures.arrays) - 1, min(LOOKED_AT, len(pictures.arrays))).round().astype(int))
    if config.target == "pairs":
        assert pictures.noisy is not None
        for index in some.tolist():
            _check_takes(pictures.pixels(index), pictures.noisy.pixels(index), pictures.names[index])
    elif config.target in ("blind-spot", "neighbours"):
        _check_white([doctor.examine(pictures.pixels(index)) for index in some.tolist()], config.target)


def _check_white(found: list[doctor.Diagnosis], target: str) -> None:
    """Both targets are pixels whose noise the pixels beside them must not tell."""
    alike = [one.correlation.value for one in found if one.correlation.beyond(doctor.ALIKE)]
    if 2 * len(alike) > len(found):
        raise BadSetting(
            f"--target {target}: in {len(alike)} of {len(found)} pictures looked at, noise is correlated between neighbours (by "
            f"{np.median(alike):.2f}; white noise has 0), so it would be learned from the pixels beside and left in; take each picture "
            "twice and use --target pairs, or a model for such noise by unnoise denoise --model real."
        )


def _check_takes(one: Array, other: Array, name: str) -> None:
    """Two takes show the same, at the same place, and are not the same file."""
    if np.array_equal(one, other):
        raise BadSetting(
            f"--noisy: both takes of {name} are the same to the last bit, noise and all; give two that were taken apart."
        )
    down, across = shift(one, other)
    if down or across:
        ways = [
            f"{abs(by)} pixel{'s' * (abs(by) > 1)} {way}"
            for by, way in ((down, "down" if down > 0 else "up"), (across, "right" if across > 0 else "left"))
            if by
        ]
        raise BadSetting(f"--noisy: the second take of {name} is shifted by {' and '.join(ways)}; align the takes first.")


def shift(one: Array, other: Array) -> tuple[int, int]:
    """By how many whole pixels what `other` shows lies further down and right than in `one`; (0, 0) unless that is clear.

    one, other: (H, W) or (H, W, C), noisy, of one shape. The shift at which their gradients correlate best, by their spectra, up to a
    quarter of the middle that is compared.
    """
    spectra = [np.fft.rfft2(_gradients(picture)) for picture in (one, other)]
    shape = _gradients(one).shape
    alike = np.fft.fftshift(np.fft.irfft2(spectra[0].conj() * spectra[1], shape))
    middle = [length // 2 for length in shape]
    reach = [max(length // 4, 1) for length in shape]
    near = alike[middle[0] - reach[0] : middle[0] + reach[0] + 1, middle[1] - reach[1] : middle[1] + reach[1] + 1]
    if near.max() - alike[middle[0], middle[1]] <= CLEAR * near.std():
        return 0, 0
    down, across = np.unravel_index(int(near.argmax()), near.shape)
    return int(down) - reach[0], int(across) - reach[1]


def _gradients(picture: Array) -> Array:
    """Differences down the diagonal in the middle of a picture, in gray: (H, W)."""
    height, width = (min(length, SIDE) for length in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    plane = as_floats(picture[top : top + height, left : left + width])
    plane = plane.mean(2) if plane.ndim == 3 else plane
    steps = plane[1:, 1:] - plane[:-1, :-1]
    return np.asarray(steps - steps.mean())
