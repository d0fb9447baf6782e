"""Classical denoisers to compare with, as plain functions from picture to picture; extra [peers]."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import needed_by

Array = npt.NDArray[Any]


def _restoration() -> Any:
    with needed_by("comparing with classical methods", "peers"):
        from skimage import restoration
    return restoration


def non_local_means(noisy: Array, sigma: float | None = None) -> Array:
    """Non-local means (Buades et al. 2005) of scikit-image, its fast form; sigma in [0, 1] is estimated if not given.

    (H, W) or (H, W, C) floats to the same. h = 0.6 sigma on 5 x 5 patches, as scikit-image's gallery sets it.
    """
    restoration = _restoration()
    axis = 2 if noisy.ndim == 3 else None
    known = float(np.mean(restoration.estimate_sigma(noisy, channel_axis=axis))) if sigma is None else sigma
    return np.asarray(
        restoration.denoise_nl_means(
            noisy, patch_size=5, patch_distance=6, h=0.6 * known, sigma=known, fast_mode=True, channel_axis=axis
        )
    )


def wavelets(noisy: Array, sigma: float | None = None) -> Array:
    """BayesShrink wavelet denoising (Chang et al. 2000) of scikit-image; sigma in [0, 1] is estimated if not given."""
    axis = 2 if noisy.ndim == 3 else None
    return np.asarray(_restoration().denoise_wavelet(noisy, sigma=sigma, channel_axis=axis, rescale_sigma=True))
