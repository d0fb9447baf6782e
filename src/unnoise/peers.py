"""Classical denoisers to compare with, as plain functions from picture to picture; extra [peers].

All take (H, W) or (H, W, C) floats, at least 16 pixels a side, and give the same, unclipped. `sigma` is that of the noise in
image units, estimated if it is not given where it may be left out; strengths are multiples of it. Those that fill take a
`mask`, bool of the picture's shape: True where a value is to be replaced. Their best parameters are in `tuned`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import needed_by
from .metrics import noise_sigma

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
WHAT = "comparing with classical methods"
MANY = 0.35  # share of salt and pepper from which a hit is often amid others
FINE = 2**16  # what OpenCV's inpainting is given for 1.0: `telea` errs by up to 1, which is little of 255, and all of [0, 1]


def non_local_means(noisy: Array, sigma: float | None = None, h: float = 0.6, patch: int = 5, distance: int = 6) -> Array:
    """Non-local means (Buades et al. 2005, doi:10.1109/CVPR.2005.38) of scikit-image, its fast form.

    Patches of `patch` x `patch` pixels among those up to `distance` pixels away, weighed with the width h * sigma; the
    defaults are those of scikit-image's gallery.
    """
    with needed_by(WHAT, "peers"):
        from skimage.restoration import denoise_nl_means
    known = noise_sigma(noisy) if sigma is None else sigma
    size = {"patch_size": patch, "patch_distance": distance}
    return np.asarray(denoise_nl_means(noisy, h=h * known, sigma=known, fast_mode=True, channel_axis=_axis(noisy), **size))


def wavelets(
    noisy: Array, sigma: float | None = None, wavelet: str = "db1", strength: float = 1.0, shifts: int = 1, ycbcr: bool = False
) -> Array:
    """BayesShrink wavelet denoising (Chang et al. 2000, doi:10.1109/83.862633) of scikit-image.

    Thresholds are those for the noise strength * sigma. `shifts`: the mean over so many shifts down and as many across,
    cycle spinning (Coifman & Donoho 1995). `ycbcr`: colours as brightness and two differences.
    """
    with needed_by(WHAT, "peers"):
        import pywt  # noqa: F401, scikit-image asks for it when it is too late
        from skimage.restoration import denoise_wavelet
    known = noise_sigma(noisy) if sigma is None else sigma
    colour = noisy.ndim == 3
    settings: dict[str, Any] = {"sigma": strength * known, "wavelet": wavelet, "channel_axis": _axis(noisy)}
    settings |= {"rescale_sigma": True, "convert2ycbcr": ycbcr and colour}
    turns = list(product(range(shifts), repeat=2))
    restored = (np.roll(denoise_wavelet(np.roll(noisy, (-y, -x), (0, 1)), **settings), (y, x), (0, 1)) for y, x in turns)
    return np.asarray(sum(restored) / len(turns))


def total_variation(noisy: Array, sigma: float, weight: float = 1.0) -> Array:
    """Total variation (Rudin et al. 1992; Chambolle 2004, doi:10.1023/B:JMIV.0000011325.36760.1e) of scikit-image.

    The weight of smoothness is weight * sigma.
    """
    with needed_by(WHAT, "peers"):
        from skimage import restoration
    chambolle: Any = restoration.denoise_tv_chambolle
    return np.asarray(chambolle(noisy, weight=weight * sigma, channel_axis=_axis(noisy)))


def bilateral(noisy: Array, sigma: float, colour: float = 3.0, space: float = 2.0) -> Array:
    """Bilateral filter (Tomasi & Manduchi 1998, doi:10.1109/ICCV.1998.710815) of OpenCV.

    The width in values is colour * sigma, in pixels it is `space`.
    """
    cv2 = _opencv()
    return np.asarray(cv2.bilateralFilter(noisy.astype(np.float32), 0, colour * sigma, space))


def median(noisy: Array, size: int = 3) -> Array:
    """The median of `size` x `size` pixels, each channel by itself, of SciPy."""
    with needed_by(WHAT, "peers"):
        from scipy.ndimage import median_filter
    return np.asarray(median_filter(noisy, size=(size, size, 1)[: noisy.ndim]))


def bm3d(noisy: Array, sigma: float) -> Array:
    """BM3D (Dabov et al. 2007, doi:10.1109/TIP.2007.901238) of the `bm3d` package, by its own settings; see its licence."""
    with needed_by(WHAT, "peers"):
        import bm3d as package
    if noisy.ndim == 2:
        return np.asarray(package.bm3d(noisy, sigma))
    with np.errstate(divide="ignore", invalid="ignore"):
        restored = package.bm3d_rgb(noisy, sigma)
    if not np.isfinite(restored).all():  # it divides by the range of the colours' differences, which is 0 for gray in RGB
        restored = np.stack([package.bm3d(noisy[..., channel], sigma) for channel in range(noisy.shape[2])], 2)
    return np.asarray(restored)


def stabilised(denoise: Callable[[Array, float], Array], noisy: Array, gain: float, read: float) -> Array:
    """A method for noise of one sigma, used where the variance is gain * mean + read^2: in values whose noise is the same everywhere.

    gain, read: from 0, image units, not both 0. Values go through the generalised Anscombe transform
    2 / gain * sqrt(gain * x + 3/8 * gain^2 + read^2), after which sigma is about 1, are brought to [0, 1] for `denoise(noisy, sigma)`, and come
    back by the closed form of the exact unbiased inverse, since the mean of roots is not the root of the mean (Mäkitalo & Foi
    2013, doi:10.1109/TIP.2012.2202675). Where gain is too small to matter, the method is used as it is.
    """
    if gain < 1e-3 * read**2 or gain < 1e-9:  # over [0, 1] the variance would grow by a thousandth
        return denoise(noisy, math.hypot(read, math.sqrt(max(gain, 0) / 2)))
    least = 3 / 8 + (read / gain) ** 2  # of what the root is taken of, where the light is 0
    stable = 2 * np.sqrt(np.maximum(noisy.astype(np.float64) / gain + least, 0))
    low, high = (2 * math.sqrt(end / gain + least) for end in (0, 1))  # the same for each tile
    scale = high - low
    restored = np.asarray(denoise(((stable - low) / scale).astype(noisy.dtype), 1 / scale), np.float64) * scale + low
    root = np.maximum(restored, 2 * math.sqrt(3 / 8))  # below, the closed form has no meaning
    shape = math.sqrt(3 / 2)
    unbiased = root**2 / 4 + shape / 4 / root - 11 / 8 / root**2 + 5 / 8 * shape / root**3 - 1 / 8 - (read / gain) ** 2
    return np.asarray(unbiased * gain, noisy.dtype)


# --- for pixels that are lost ------------------------------------------------------------------------------------------------


def zeros(noisy: Array, per: str = "pixel", sigma: float = 0.0) -> Mask:
    """Which values were set to 0, as far as the picture itself shows: bool of its shape. `per`: "pixel" asks for it in all channels.

    Without noise on top, what is 0. With noise of `sigma`, what is within 3 sigma of 0, as far as such values around it are 0 on
    the mean and not merely dark: in a window of 5 pixels, below sigma / 2; or below sigma, and the value itself 2 sigma below the
    mean of the others there, if there are any.
    """
    near = np.abs(noisy) <= 3 * sigma
    if noisy.ndim == 3 and per == "channel":
        return np.stack([zeros(noisy[..., channel], per, sigma) for channel in range(noisy.shape[2])], 2)
    whole: Mask = np.asarray(near.all(2)) if noisy.ndim == 3 else near
    if sigma:
        plane = noisy.mean(2) if noisy.ndim == 3 else noisy
        whole = whole & _below(plane, whole, sigma / math.sqrt(noisy.shape[2] if noisy.ndim == 3 else 1))
    return np.broadcast_to(whole[..., None], noisy.shape) if noisy.ndim == 3 else whole


def extremes(noisy: Array, per: str = "pixel", sigma: float = 0.0) -> Mask:
    """Which values are salt or pepper, as far as the picture itself shows: 0 or 1, and another than the median around them.

    `per` as in `zeros`. Within 3 sigma of 0 or 1, and further than that from the median, where noise of `sigma` lies on top. The
    window has 5 pixels a side, 9 where more than half is hit. Where many are hit, some of them are the median of their surroundings:
    then what is found is filled, and looked at again. Where few are, that would eat what is black or white by itself.
    """
    near = [np.abs(noisy - value) <= 3 * sigma for value in (0, 1)]
    whole = noisy.ndim == 3 and per == "pixel"
    extreme = np.any([np.broadcast_to(one.all(2, keepdims=True), noisy.shape) if whole else one for one in near], 0)
    found, filled = np.zeros(noisy.shape, bool), noisy
    while True:
        apart = np.abs(noisy - median(filled, 9 if found.mean() > 0.5 else 5)) > 3 * sigma
        hit: Mask = found | extreme & (np.broadcast_to(apart.any(2, keepdims=True), noisy.shape) if whole else apart)
        if hit.mean() < MANY or (hit == found).all():
            return hit
        found, filled = hit, filled_by_median(noisy, hit)


def unlike(noisy: Array, per: str = "pixel", threshold: float = 0.125) -> Mask:
    """Which values are further than `threshold` from the median of 5 x 5 around them. `per`: "pixel" takes any channel for all."""
    apart = np.abs(noisy - median(noisy, 5)) > threshold
    return np.broadcast_to(apart.any(2, keepdims=True), noisy.shape) if noisy.ndim == 3 and per == "pixel" else apart


def _below(plane: Array, near: Mask, sigma: float) -> Mask:
    """Where a value is 0 under noise rather than dark: see `zeros`. plane: (H, W); near: what is close to 0 in all channels."""
    with needed_by(WHAT, "peers"):
        from scipy.ndimage import uniform_filter

    def mean(chosen: Mask) -> tuple[Array, Array]:
        share = uniform_filter(chosen.astype(np.float64), 5)
        return share, uniform_filter(np.where(chosen, plane, 0.0), 5) / np.maximum(share, 1e-9)

    share, other = mean(~near)
    _, dark = mean(near)
    return np.asarray((dark < sigma / 2) | (dark < sigma) & (share > 0.1) & (other - plane > 2 * sigma))  # 0.1: 3 of 25


def filled_by_median(noisy: Array, mask: Mask, sizes: Sequence[int] = (5,), least: int = 1) -> Array:
    """Each lost value becomes the median of the known ones in a window around it; each channel by itself.

    The window has the first of the `sizes` that holds at least `least` known values: with several sizes, the adaptive median
    (Hwang & Haddad 1995, doi:10.1109/83.370679). What no window reaches waits until its neighbours are known.
    """
    if noisy.ndim == 3:
        planes = [filled_by_median(noisy[..., c], mask[..., c], sizes, least) for c in range(noisy.shape[2])]
        return np.stack(planes, 2)
    filled = np.where(mask, np.nan, noisy)
    while np.isnan(filled).any() and not np.isnan(filled).all():
        before = np.isnan(filled).sum()
        for size in sizes:
            rows, columns = np.nonzero(np.isnan(filled))
            around = np.pad(filled, size // 2, constant_values=np.nan)
            windows = np.lib.stride_tricks.sliding_window_view(around, (size, size))[rows, columns]
            values = np.sort(windows.reshape(len(rows), size * size), 1)  # what is not known comes last
            known = np.count_nonzero(~np.isnan(values), 1)
            ready = known >= least
            rows, columns, values, known = rows[ready], columns[ready], values[ready], known[ready]
            each = np.arange(len(rows))
            filled[rows, columns] = (values[each, (known - 1) // 2] + values[each, known // 2]) / 2
        least = least if np.isnan(filled).sum() < before else 1
    return noisy if np.isnan(filled).any() else filled


def biharmonic(noisy: Array, mask: Mask) -> Array:
    """Lost values by the biharmonic equation (Damelin & Hoang 2018, doi:10.1155/2018/3950312) of scikit-image."""
    with needed_by(WHAT, "peers"):
        from skimage.restoration import inpaint_biharmonic
    if mask.all() or not mask.any():
        return noisy
    if noisy.ndim == 3 and (mask == mask[..., :1]).all():
        return np.asarray(inpaint_biharmonic(noisy, np.ascontiguousarray(mask[..., 0]), channel_axis=2))
    if noisy.ndim == 3:
        return np.stack([biharmonic(noisy[..., c], mask[..., c]) for c in range(noisy.shape[2])], 2)
    return np.asarray(inpaint_biharmonic(noisy, np.ascontiguousarray(mask)))


def inpainting(noisy: Array, mask: Mask, radius: float = 3, method: str = "ns") -> Array:
    """Lost values by OpenCV: `ns`, Navier-Stokes (Bertalmio et al. 2001), or `telea`, fast marching (Telea 2004).

    Each channel by itself, in floats.
    """
    cv2 = _opencv()
    if noisy.ndim == 3:
        return np.stack([inpainting(noisy[..., c], mask[..., c], radius, method) for c in range(noisy.shape[2])], 2)
    flag = cv2.INPAINT_NS if method == "ns" else cv2.INPAINT_TELEA
    known = np.where(mask, 0, noisy * FINE).astype(np.float32)
    return np.asarray(cv2.inpaint(known, np.ascontiguousarray(mask, np.uint8), radius, flag)) / np.float32(FINE)


def _axis(noisy: Array) -> int | None:
    return 2 if noisy.ndim == 3 else None


def _opencv() -> Any:
    with needed_by(WHAT, "peers"):
        import cv2
    return cv2
