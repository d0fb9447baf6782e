"""How near a restored picture is to the clean one. Training, evaluation and reports all score with these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import ImageError

Image = npt.NDArray[Any]
ROWS = 256  # of a picture that are worked on at a time
WINDOW = 11  # side of SSIM's window, in pixels
TILE, STRIP = 96, 8  # side and height, in windows, of what SSIM works on at a time: what stays in a processor's cache
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # MS-SSIM's weights, from the finest scale to the coarsest
SMALLEST = WINDOW * 2 ** (len(SCALES) - 1)  # side in pixels that has room for the window at the coarsest scale
DB2 = (  # the low-pass filter of Daubechies' wavelet with two vanishing moments
    (1 - math.sqrt(3)) / (4 * math.sqrt(2)),
    (3 - math.sqrt(3)) / (4 * math.sqrt(2)),
    (3 + math.sqrt(3)) / (4 * math.sqrt(2)),
    (1 + math.sqrt(3)) / (4 * math.sqrt(2)),
)

WEIGHTS = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / 1.5) ** 2)  # of the window's rows, and of its columns
BAND = np.array([np.pad(WEIGHTS / WEIGHTS.sum(), (row, STRIP - 1 - row)) for row in range(STRIP)])  # as a matrix


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a report says of a metric, in words. `decimals`: of its values; None shows three significant digits."""

    title: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""  # left empty, no method is called the best by it
    definition: str = ""
    range: str = ""
    source: str = ""
    decimals: int | None = None


MEANINGS = {
    "psnr": Meaning(
        title="PSNR",
        unit="dB",
        better="higher",
        definition="-10 log10 of the mean squared error over all values, peak 1",
        range="∞ for equal pictures",
        source="Huynh-Thu & Ghanbari 2008, doi:10.1049/el:20080522",
        decimals=2,
    ),
    "ssim": Meaning(
        title="SSIM",
        better="higher",
        definition="structural similarity, Gaussian window of 11 pixels, mean over channels",
        range="at most 1; from 11 pixels a side",
        source="Wang et al. 2004, doi:10.1109/TIP.2003.819861",
        decimals=3,
    ),
    "ms_ssim": Meaning(
        title="MS-SSIM",
        better="higher",
        definition="structural similarity over five scales, mean over channels",
        range="0 to 1; from 176 pixels a side",
        source="Wang, Simoncelli & Bovik 2003, doi:10.1109/ACSSC.2003.1292216",
        decimals=3,
    ),
}


def psnr(restored: Image, clean: Image) -> float:
    """Peak signal-to-noise ratio in decibels, peak 1.0; higher is better, `inf` for equal pictures.

    restored, clean: floats in [0, 1] of one shape; clip first to score what a viewer sees. Raises ImageError if the shapes
    differ. Source: Huynh-Thu & Ghanbari 2008, doi:10.1049/el:20080522, which warns: compare on the same pictures only.
    """
    _check_shapes(restored, clean)
    bands = (slice(top, top + ROWS) for top in range(0, len(clean), ROWS))
    error = sum(float(np.square(restored[band].astype(np.float64) - clean[band]).sum()) for band in bands) / max(clean.size, 1)
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(restored: Image, clean: Image) -> float:
    """Structural similarity, at most 1; the mean over channels, and over the windows that lie inside the picture.

    restored, clean: (H, W) or (H, W, C) floats in [0, 1], at least 11 pixels a side. Raises ImageError. Source: Wang et al.
    2004, doi:10.1109/TIP.2003.819861: Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    _check_room("SSIM", restored, clean, WINDOW)
    pairs = zip(_planes(restored), _planes(clean), strict=True)
    return float(np.mean([_similarity(x, y)[0] for x, y in pairs]))


def ms_ssim(restored: Image, clean: Image) -> float:
    """Structural similarity over five scales, 0 to 1; the mean over channels.

    Contrast and structure of each scale, and luminance of the coarsest, each to the power of its weight; each scale is the
    one before it, averaged over 2 x 2 pixels. What is negative, structure turned around, counts as 0. restored, clean: (H, W)
    or (H, W, C) floats in [0, 1], at least 176 pixels a side. Raises ImageError. Source: Wang, Simoncelli & Bovik 2003,
    doi:10.1109/ACSSC.2003.1292216.
    """
    return similarities(restored, clean)[1]


def similarities(restored: Image, clean: Image) -> tuple[float, float]:
    """(`ssim`, `ms_ssim`), for the time of the second: the finest scale is the same."""
    _check_room("MS-SSIM", restored, clean, SMALLEST)
    found = [_over_scales(x, y) for x, y in zip(_planes(restored), _planes(clean), strict=True)]
    fine, product = np.mean(found, 0)
    return float(fine), float(product)


def noise_sigma(image: Image) -> float:
    """The noise in a picture, without a clean one to compare it with: sigma of Gaussian noise, in image units; 0 or more.

    (H, W) or (H, W, C) floats; the mean over the channels. The median of the finest diagonal wavelet coefficients (Daubechies
    2) that are not 0, by that of the normal distribution: fine texture counts as noise, and noise that is smooth over pixels,
    as a camera's after its own processing, is missed. Source: Donoho & Johnstone 1994, doi:10.1093/biomet/81.3.425.
    """
    found = []
    for plane in _planes(image):
        details = _diagonal(plane.astype(np.float64))
        details = np.abs(details[details != 0])
        found.append(np.median(details) / NormalDist().inv_cdf(0.75) if details.size else 0.0)
    return float(np.mean(found))


def _planes(image: Image) -> list[Image]:
    """The channels: one at a time takes a third of the memory."""
    return [image] if image.ndim == 2 else list(np.moveaxis(image, 2, 0))


def _over_scales(x: Image, y: Image) -> tuple[float, float]:
    """(SSIM, MS-SSIM) of a channel."""
    scales = []
    for scale in range(len(SCALES)):
        scales.append(_similarity(x, y))
        if scale + 1 < len(SCALES):
            x, y = _halved(x), _halved(y)
    factors = [structure for _, structure in scales[:-1]] + [scales[-1][0]]
    return scales[0][0], math.prod(max(factor, 0.0) ** weight for factor, weight in zip(factors, SCALES, strict=True))


def _diagonal(planes: Image) -> Image:
    """The high-pass of rows and columns, every second value; beyond the edges the picture is mirrored."""
    high = [sign * tap for sign, tap in zip((-1, 1, -1, 1), reversed(DB2), strict=True)]
    for axis in (0, 1):
        around = np.pad(planes, [(3, 3) if at == axis else (0, 0) for at in range(planes.ndim)], "symmetric")
        count = (planes.shape[axis] + 3) // 2
        ahead = np.moveaxis(around, axis, 0)
        planes = np.moveaxis(
            np.asarray(sum(tap * ahead[4 - at : 3 - at + 2 * count : 2] for at, tap in enumerate(high))), 0, axis
        )
    return planes


def _similarity(x: Image, y: Image) -> tuple[float, float]:
    """(SSIM, its part of contrast and structure) of a channel, (H, W): the means over the windows, a tile at a time."""
    height, width = x.shape[0] - WINDOW + 1, x.shape[1] - WINDOW + 1
    similar = alike = 0.0
    for top, left in product(range(0, height, TILE), range(0, width, TILE)):
        tile = np.s_[top : top + TILE + WINDOW - 1, left : left + TILE + WINDOW - 1]
        luminance, structure = _structure(x[tile].astype(np.float64), y[tile].astype(np.float64))
        similar += float((luminance * structure).sum())
        alike += float(structure.sum())
    return similar / (height * width), alike / (height * width)


def _structure(x: Image, y: Image) -> tuple[Image, Image]:
    """(luminance, contrast and structure) of SSIM in each window; of the variances it is the sum alone that counts."""
    mean_x, mean_y, squares, products = _windowed(np.stack([x, y, x * x + y * y, x * y]))
    c1, c2 = 0.01**2, 0.03**2
    product_of_means, squared_means = mean_x * mean_y, mean_x**2 + mean_y**2
    luminance = (2 * product_of_means + c1) / (squared_means + c1)
    return luminance, (2 * (products - product_of_means) + c2) / (squares - squared_means + c2)


def _windowed(images: Image) -> Image:
    """The weighted mean in the window around every pixel that has room for it; (N, H, W) to (N, H - 10, W - 10)."""
    return _down(_down(images).swapaxes(1, 2)).swapaxes(1, 2)


def _down(images: Image) -> Image:
    """The weighted means of the rows of a window, a strip of STRIP means at a time: products of matrices are numpy's quickest."""
    (count, height, width), (of_image, of_row, of_pixel) = images.shape, images.strides
    strips, rest = divmod(height - WINDOW + 1, STRIP)
    whole = strips * STRIP
    means = np.empty((count, whole + rest, width))
    shape, strides = (count, strips, STRIP + WINDOW - 1, width), (of_image, STRIP * of_row, of_row, of_pixel)
    overlapping = np.lib.stride_tricks.as_strided(images, shape, strides, writeable=False)
    np.matmul(BAND, overlapping, out=means[:, :whole].reshape(count, strips, STRIP, width))
    np.matmul(BAND[:rest, : rest + WINDOW - 1], images[:, whole:], out=means[:, whole:])
    return means


def _halved(image: Image) -> Image:
    """Means of 2 x 2 pixels; an odd last row or column counts twice, as in the authors' program."""
    for _ in range(2):
        even = np.concatenate([image, image[-1:]]) if len(image) % 2 else image
        image = np.add(even[::2], even[1::2], dtype=np.float64).T
    return image / 4


def _check_room(metric: str, restored: Image, clean: Image, side: int) -> None:
    _check_shapes(restored, clean)
    if min(clean.shape[:2]) < side:
        raise ImageError(f"a picture of {clean.shape[0]}x{clean.shape[1]}: {metric} expects at least {side} pixels a side.")


def score(restored: Image, clean: Image) -> dict[str, float]:
    """PSNR and SSIM of the clipped, unrounded result."""
    restored = np.clip(restored, 0, 1)
    return {"psnr": psnr(restored, clean), "ssim": ssim(restored, clean)}


def mean_psnr(denoise: Callable[[Image], Image], pairs: Iterable[tuple[Image, ...]]) -> float:
    """Mean PSNR over (clean, noisy) pairs of pictures, each result clipped; of (clean, noisy, mask) where the mask is True."""
    found = []
    for clean, noisy, *mask in pairs:
        restored, where = np.clip(denoise(noisy), 0, 1), mask[0] if mask else ...
        found.append(psnr(restored[where], clean[where]))
    return float(np.mean(found))


def _check_shapes(restored: Image, clean: Image) -> None:
    if restored.shape != clean.shape:
        raise ImageError(f"restored {restored.shape}, clean {clean.shape}: expected one shape; crop both alike first.")
