"""How much a method invents: what it leaves of noise where there is no picture.

A flat gray picture with noise has nothing in it to restore, so whatever an answer shows besides a flat picture is the method's own: noise that
it has left in, or structure that it has made of noise. How the values of neighbouring pixels go together says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import artefact, doctor, heldout
from .config import OWN, PAIRS
from .cropped import on_crop
from .denoiser import through
from .errors import ImageError
from .keyed import keyed_rng
from .noise import parse, predefined

Array = npt.NDArray[Any]
GRAYS = 0.25, 0.5, 0.75
SIDE, PICTURES = 128, 12  # pixels a side of the flat pictures, and how many there are, or one for each noise
WHOLE = 512, 512  # pixels of the picture that a count of the noise is for: a flat one gets its share
SEED = 20100  # of the noise on them


def in_card(network: Callable[[Array], Array], card: artefact.Card) -> artefact.Card:
    """What the card of a network, (N, C, H, W) to the same, says under `invented`: see `figure`; nothing where no noise is known that fits.

    The noise is that of its last training, or what the card says there already.
    """
    noises = card.get("invented", {}).get("noise") or [one for one in artefact.noises(card) if one not in (PAIRS, OWN)]
    channels = card["channels"]

    def denoise(noisy: Array) -> Array:
        return through(network, channels, noisy if noisy.ndim == 3 else noisy[..., None]).reshape(noisy.shape)

    try:
        return {"invented": {"noise": noises, **figure(denoise, noises, channels)}} if noises else {}
    except ImageError:  # blocks that are larger than the flat pictures
        return {}


def figure(denoise: Callable[[Array], Array], noises: Sequence[str], channels: int) -> dict[str, float]:
    """{"left", "share", "correlation"} of what a method gives for flat pictures of three grays with `noises`, as text, in turn.

    `left`: the standard deviation of the answers about their means, each channel's of each picture, in 255ths; `share`: the same
    by that of the noisy pictures, left out where these are flat; `correlation`: of pixels beside and below one another in what is left,
    0 for white noise, 1 for smooth blotches. channels: 1, or 3 for every other picture in colour. A method that gives back
    the mean has 0, one that gives back its input a share of 1. Always the same pictures. Raises ImageError if a noise does not fit.
    """
    before = after = alike = 0.0
    count = max(PICTURES, len(noises))
    for index in range(count):
        rng, turn = keyed_rng(SEED, index=index), index // len(GRAYS)
        colours = (3,) if channels == 3 and (index + turn) % 2 else ()
        flat = np.full((SIDE, SIDE, *colours), GRAYS[(index + turn) % len(GRAYS)], np.float32)
        noise = parse(noises[index % len(noises)])
        corner = predefined(noise)[0][:2] if predefined(noise) else (0, 0)
        fitting = on_crop(noise, (*WHOLE, *colours), *corner, SIDE, rng)
        noisy = fitting(flat, rng)[0] if fitting else flat
        left = _about_the_mean(denoise(noisy))
        before += float(np.mean(np.square(_about_the_mean(noisy)))) / count
        after += float(np.mean(np.square(left))) / count
        alike += heldout.neighbours_product(left) / count
    found = {"left": round(255 * after**0.5, 3)}
    if before:
        found["share"] = round((after / before) ** 0.5, 4)
    if after:
        found["correlation"] = round(alike / after, 2)
    return found


def like(noisy: Sequence[Array]) -> str:
    """Gaussian noise, as text, of the strength that pictures which come with their own noise seem to have; (H, W, C) floats each."""
    sigma = float(np.median([doctor.examine(picture).sigma.value for picture in noisy]))
    return f"gaussian:sigma={255 * min(sigma, 1):.1f}/255"


def _about_the_mean(picture: Array) -> Array:
    """(H, W) or (H, W, C) less the mean of each channel."""
    return np.asarray(picture - picture.mean((0, 1), keepdims=True, dtype=np.float64))
