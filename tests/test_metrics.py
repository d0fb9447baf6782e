"""PSNR, SSIM, MS-SSIM and the estimate of noise against arithmetic, scikit-image and the definition written out."""

import math
import tracemalloc

import numpy as np
import pytest
import skimage.data
from conftest import refusal
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity
from skimage.restoration import estimate_sigma

from unnoise.errors import ImageError
from unnoise.metrics import ms_ssim, noise_sigma, psnr, similarities, ssim


def photo(name):
    return getattr(skimage.data, name)()[40:141, 60:127] / 255  # 101 x 67: odd sides, and quick


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("errors", "decibels"),
    [
        ([0.1, -0.1, 0.1, 0.1], 20.0),  # mean square 0.01
        ([0.2, 0, 0, 0], 20.0),  # the same, unevenly: a mean of squares, not of magnitudes
        ([0.01, 0.01, 0.01, 0.01], 40.0),
        ([1, 1, -1, -1], 0.0),  # the peak is 1
        ([1 / 255, 0, 0, 0], 20 * math.log10(255) + 10 * math.log10(4)),
        ([0, 0, 0, 0], math.inf),
    ],
)
def test_psnr_golden(errors, decibels, dtype):
    """Fails if the logarithm, its factor, the peak or the mean is another, or equal pictures divide by zero."""
    clean = np.full((2, 2, 1), 0.5, dtype)
    restored = clean + np.array(errors, dtype).reshape(2, 2, 1)
    assert psnr(restored, clean) == pytest.approx(decibels, abs=1e-4)  # float32's 6e-8, relative to an error of 0.004
    assert psnr(clean, restored) == pytest.approx(decibels, abs=1e-4)


def test_psnr_counts_every_channel():
    """Fails if the mean is taken over pixels, not over values: an error in one channel of three is a third of one in all."""
    clean = np.zeros((5, 7, 3))
    assert psnr(clean + np.array([0.1, 0, 0]), clean) == pytest.approx(20 + 10 * math.log10(3))


@pytest.mark.parametrize("spoil", [0.02, 0.2])
@pytest.mark.parametrize("name", ["camera", "astronaut", "chelsea"])
def test_ssim_is_that_of_skimage(name, spoil):
    """Fails if window, constants, edges, sample covariance or the mean over channels differ from Wang et al. 2004."""
    clean = photo(name)
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, spoil, clean.shape), 0, 1)
    expected = structural_similarity(
        noisy, clean, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
        channel_axis=2 if clean.ndim == 3 else None,
    )  # fmt: skip
    assert ssim(noisy, clean) == pytest.approx(expected, abs=1e-10)  # rounding alone: both work in float64
    assert ssim(noisy.astype(np.float32), clean.astype(np.float32)) == pytest.approx(expected, abs=1e-5)  # of the inputs
    if clean.ndim == 2:
        assert ssim(noisy[..., None], clean[..., None]) == ssim(noisy, clean)


def test_ssim_ends():
    """Fails if equal pictures are not exactly alike, the smallest picture is refused, or structure is not signed."""
    clean = np.random.default_rng(3).random((11, 11))
    assert ssim(clean, clean) == 1
    assert ssim(1 - clean, clean) < 0


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim, similarities])
@pytest.mark.parametrize("shape", [(12, 13), (12, 12, 1), (12, 12, 3)])
def test_shapes_that_differ(metric, shape):
    """Fails if numpy's broadcasting compares pictures of two shapes."""
    says = refusal(lambda: metric(np.zeros(shape), np.zeros((12, 12))), ImageError)
    assert f"restored {shape}, clean (12, 12): expected one shape" in says


@pytest.mark.parametrize("shape", [(10, 40), (40, 10, 3)])
def test_ssim_needs_room_for_a_window(shape):
    """Fails if the mean over no window at all comes out as a number, or as NaN."""
    assert "expects at least 11 pixels a side" in refusal(lambda: ssim(np.zeros(shape), np.zeros(shape)), ImageError)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim, lambda restored, clean: noise_sigma(restored)])
def test_metrics_leave_their_inputs(metric):
    """Fails if a metric works in place."""
    clean = skimage.data.camera()[:180, :190] / 255
    noisy = clean + 0.1
    before = clean.copy(), noisy.copy()
    metric(noisy, clean)
    np.testing.assert_array_equal((clean, noisy), before)


# --- MS-SSIM -----------------------------------------------------------------------------------------------------------------


def scale_by_scale(x, y):
    """MS-SSIM of two gray pictures as the authors' program does it, in scipy's two-dimensional convolutions."""
    grid = np.arange(-5, 6)
    window = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def local(image):
        return convolve2d(image, window, mode="valid")

    result = 1.0
    for scale, weight in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
        mx, my = local(x), local(y)
        vx, vy, vxy = local(x * x) - mx * mx, local(y * y) - my * my, local(x * y) - mx * my
        structure = (2 * vxy + 0.03**2) / (vx + vy + 0.03**2)
        luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
        result *= np.mean(structure * luminance if scale == 4 else structure) ** weight
        mirrored = [np.pad(image, ((0, 1), (0, 1)), "symmetric") for image in (x, y)]
        x, y = (convolve2d(image, np.full((2, 2), 0.25), mode="valid")[::2, ::2] for image in mirrored)
    return result


@pytest.mark.parametrize("spoil", [0.02, 0.2])
@pytest.mark.parametrize("shape", [(176, 176), (181, 240), (200, 187)])
def test_ms_ssim_is_its_definition(shape, spoil):
    """Fails if a weight, the window, a constant, the halving, its odd edges or the scale of the luminance is another."""
    clean = skimage.data.camera()[100 : 100 + shape[0], 60 : 60 + shape[1]] / 255
    noisy = np.clip(clean + np.random.default_rng(2).normal(0, spoil, shape), 0, 1)
    assert ms_ssim(noisy, clean) == pytest.approx(scale_by_scale(noisy, clean), abs=1e-12)
    assert similarities(noisy, clean) == (ssim(noisy, clean), ms_ssim(noisy, clean))


def test_ms_ssim_of_colours_is_the_mean_over_channels():
    """Fails if the scales of different channels are mixed."""
    clean = skimage.data.astronaut()[:180, :180] / 255
    noisy = np.clip(clean + np.random.default_rng(2).normal(0, [0.01, 0.1, 0.3], clean.shape), 0, 1)
    each = [scale_by_scale(noisy[..., channel], clean[..., channel]) for channel in range(3)]
    assert ms_ssim(noisy, clean) == pytest.approx(np.mean(each), abs=1e-12)
    assert similarities(noisy, clean)[0] == pytest.approx(ssim(noisy, clean), abs=1e-12)


def test_ms_ssim_ends():
    """Fails if equal pictures are not alike, or a structure turned around raises a negative number to a power: NaN."""
    clean = np.random.default_rng(3).random((176, 180))
    assert ms_ssim(clean, clean) == 1
    assert ms_ssim(1 - clean, clean) == 0


def test_ms_ssim_falls_as_noise_grows():
    """Fails if more noise scores better."""
    clean = skimage.data.camera() / 255
    noise = np.random.default_rng(3).normal(0, 1, clean.shape)
    scores = [ms_ssim(np.clip(clean + sigma * noise, 0, 1), clean) for sigma in (0, 0.02, 0.05, 0.1, 0.2, 0.4)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 6


@pytest.mark.parametrize("shape", [(175, 400), (400, 175, 3)])
def test_ms_ssim_needs_room(shape):
    """Fails if the coarsest scale has no room for the window, and the mean over nothing comes out."""
    assert "expects at least 176 pixels a side" in refusal(lambda: ms_ssim(np.zeros(shape), np.zeros(shape)), ImageError)


# --- the noise in a picture --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(101, 67), (32, 32), (33, 40), (4, 7), (101, 67, 3)])
def test_noise_sigma_is_that_of_skimage(shape):
    """Fails if wavelet, edges, the treatment of zeros or the median's factor differ from Donoho & Johnstone 1994."""
    clean = (skimage.data.camera() if len(shape) == 2 else skimage.data.astronaut())[40 : 40 + shape[0], 60 : 60 + shape[1]]
    noisy = clean / 255 + np.random.default_rng(1).normal(0, 0.1, shape)
    expected = estimate_sigma(noisy, channel_axis=2 if len(shape) == 3 else None, average_sigmas=True)
    assert noise_sigma(noisy) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sigma", [2 / 255, 10 / 255, 50 / 255])
def test_noise_sigma_finds_the_noise(sigma):
    """Fails if the estimate is not in image units; the sampling error of the median is below 1 % here."""
    flat = np.full((400, 400), 0.5)
    assert noise_sigma(flat + np.random.default_rng(5).normal(0, sigma, flat.shape)) == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 1, 3), (50, 60)])
def test_noise_sigma_of_what_is_flat(shape):
    """Fails if the median over no coefficient comes out as NaN, or a picture too small for the filter raises."""
    assert noise_sigma(np.zeros(shape)) == 0
    assert noise_sigma(np.full(shape, 0.3, np.float32)) == pytest.approx(0, abs=1e-9)


def test_metrics_need_little_memory():
    """Fails if all channels, or all rows, are worked on at once: 327 bytes a pixel, where the pictures themselves have 24."""
    clean = np.random.default_rng(1).random((1400, 600, 3), np.float32)
    tracemalloc.start()
    try:
        similarities(clean[::-1], clean), psnr(clean[::-1], clean), noise_sigma(clean)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80 * clean.shape[0] * clean.shape[1]


@pytest.mark.parametrize("side", [5, 23, 64])  # in windows: less than a strip of SSIM's, strips and a rest, strips alone
def test_bands_and_tiles_are_one_picture(side, monkeypatch):
    """Fails if windows at the border of two bands, tiles or strips are left out or counted twice."""
    from unnoise import metrics

    rng = np.random.default_rng(2)
    clean = rng.random((190, 181, 3), np.float32)
    restored = np.clip(clean + rng.normal(0, 0.1, clean.shape), 0, 1)
    whole = [*similarities(restored, clean), psnr(restored, clean)]
    monkeypatch.setattr(metrics, "ROWS", side)
    monkeypatch.setattr(metrics, "TILE", side)
    assert [*similarities(restored, clean), psnr(restored, clean)] == pytest.approx(whole, rel=1e-9)
