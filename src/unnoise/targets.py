"""What a network is asked for where there is no clean picture: input and target, both from noisy pictures.

Each takes noisy crops (H, W) or (H, W, C) in floats and gives (target, input, mask) of their shape, in the place of (clean, noisy,
mask). Noise in the target that the input does not tell, and whose mean is 0, moves no minimum of the squared error: what is
learned is the mean of all targets that an input may have, which is the clean picture. So nothing in an input may tell the noise of
its own target: tests change what is asked for, and see that the input stays as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .config import HIDDEN
from .noise import Masking

Array = npt.NDArray[Any]
Crops = tuple[Array, Array, Array]
REACH = 2  # pixels: a hidden pixel gets the value of one that is no further away, down and across
AROUND = [(y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1) if (y, x) != (0, 0)]
ADJACENT = np.array([(0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1), (2, 3), (3, 2)])  # of 2 x 2 pixels in reading order
FIRST, SECOND = 1, 2  # in the mask of `neighbours`


def pairs(one: Array, other: Array, rng: np.random.Generator) -> Crops:
    """Noise2Noise: of two noisy takes of a picture, one is put in and the other asked for; a coin says which.

    theta = argmin of the sum over i of L(f_theta(x_i), y_i), x_i and y_i two takes with noise that is independent of one another.
    Source: Lehtinen et al. 2018, arXiv:1803.04189.
    """
    noisy, target = (one, other) if rng.random() < 0.5 else (other, one)
    return target, noisy, np.ones(target.shape, bool)


def blind_spot(noisy: Array, rng: np.random.Generator) -> Crops:
    """Noise2Void: some pixels are hidden, each by the value of one beside it, and asked for: the mask says which.

    theta = argmin of the sum over hidden pixels i of L(f_theta(x~)_i, x_i), x~ being x with the hidden pixels replaced. They are those
    of masking noise, a share HIDDEN; with the emphasis loss, alpha where the mask is and beta = 0 elsewhere, that is this cost. A
    hidden value is never put in a place of another. Source: Krull et al. 2019, arXiv:1811.10980; without the middle of the window,
    as in Höck et al. 2022, arXiv:2211.08512.
    """
    mask = Masking(fraction=HIDDEN)(noisy, rng)[1]
    hidden = mask if mask.ndim == 2 else mask[..., 0]
    places = np.argwhere(hidden)
    sources, open_ = places.copy(), np.arange(len(places))
    for _ in range(100):  # until each has found one that is not hidden itself: the chance that one has not is below 10^-99
        around = places[open_] + np.take(AROUND, rng.integers(0, len(AROUND), len(open_)), 0)
        sources[open_] = _reflected(around, hidden.shape)
        open_ = open_[hidden[tuple(sources[open_].T)]]
        if not len(open_):
            break
    given = noisy.copy()
    given[tuple(places.T)] = noisy[tuple(sources.T)]
    return noisy, given, mask


def neighbours(noisy: Array, rng: np.random.Generator) -> Crops:
    """Neighbor2Neighbor: of each cell of 2 x 2 pixels, two that adjoin: the FIRST is put in, the SECOND asked for.

    Target and input are both the whole crop, of even sides, and the mask is uint8, FIRST and SECOND where these are and 0 elsewhere:
    `losses.neighbours` takes them apart, as its regulariser needs the whole too. Source: Huang et al. 2021, arXiv:2101.02824.
    """
    rows, columns = noisy.shape[0] // 2, noisy.shape[1] // 2
    chosen = ADJACENT[rng.integers(0, len(ADJACENT), (rows, columns))]
    cells = np.zeros((rows, columns, 4), np.uint8)
    for which in (FIRST, SECOND):
        np.put_along_axis(cells, chosen[..., which - 1, None], which, 2)
    places = cells.reshape(rows, columns, 2, 2).swapaxes(1, 2).reshape(2 * rows, 2 * columns)
    mask = places if noisy.ndim == 2 else np.broadcast_to(places[..., None], noisy.shape)
    return noisy, noisy, mask


def _reflected(places: Array, shape: tuple[int, ...]) -> Array:
    """Places (N, 2), those beyond an edge reflected at it."""
    last = np.array(shape) - 1
    inside = np.abs(places)
    return np.clip(np.where(inside > last, 2 * last - inside, inside), 0, last)
