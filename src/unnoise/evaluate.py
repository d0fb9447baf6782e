"""Score a denoiser on pictures whose clean side is known. A denoiser is any function from a picture to a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .keyed import keyed_rng
from .metrics import psnr, ssim
from .noise import Noise

Array = npt.NDArray[Any]
Denoise = Callable[[Array], Array]


def spoilt(clean: Array, noise: Noise, seed: int, index: int) -> Array:
    """Picture number `index` with its noise: unclipped, the same for every method that is scored with this seed."""
    return noise(clean, keyed_rng(seed, index=index))[0]


def score(restored: Array, clean: Array) -> dict[str, float]:
    """PSNR and SSIM of the clipped, unrounded result."""
    restored = np.clip(restored, 0, 1)
    return {"psnr": psnr(restored, clean), "ssim": ssim(restored, clean)}


def mean_psnr(denoise: Denoise, pairs: Iterable[tuple[Array, Array]]) -> float:
    """Mean PSNR over (clean, noisy) pairs of pictures, each result clipped."""
    return float(np.mean([psnr(np.clip(denoise(noisy), 0, 1), clean) for clean, noisy in pairs]))
