"""How near a restored picture is to the clean one. Training, evaluation and reports all score with these."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ImageError

Image = npt.NDArray[Any]


def psnr(restored: Image, clean: Image) -> float:
    """Peak signal-to-noise ratio in decibels, peak 1.0; higher is better, `inf` for equal pictures.

    restored, clean: floats in [0, 1] of one shape; clip first to score what a viewer sees. Raises ImageError if the shapes
    differ. Source: Huynh-Thu & Ghanbari 2008, doi:10.1049/el:20080522, which warns: compare on the same pictures only.
    """
    _check_shapes(restored, clean)
    error = float(np.mean(np.square(restored.astype(np.float64) - clean)))
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(restored: Image, clean: Image) -> float:
    """Structural similarity, at most 1; the mean over channels, and over the windows that lie inside the picture.

    restored, clean: (H, W) or (H, W, C) floats in [0, 1], at least 11 pixels a side. Raises ImageError. Source: Wang et al.
    2004, doi:10.1109/TIP.2003.819861: Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    _check_shapes(restored, clean)
    if min(clean.shape[:2]) < 11:
        raise ImageError(f"a picture of {clean.shape[0]}x{clean.shape[1]}: SSIM expects at least 11 pixels a side.")
    x, y = restored.astype(np.float64), clean.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x, var_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(similar / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def _windowed(image: Image) -> Image:
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()
    height, width = image.shape[0] - 10, image.shape[1] - 10
    rows = sum(weight * image[i : i + height] for i, weight in enumerate(window))
    return np.asarray(sum(weight * rows[:, i : i + width] for i, weight in enumerate(window)))


def _check_shapes(restored: Image, clean: Image) -> None:
    if restored.shape != clean.shape:
        raise ImageError(f"restored {restored.shape}, clean {clean.shape}: expected one shape; crop both alike first.")
