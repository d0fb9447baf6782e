"""PSNR and SSIM against arithmetic and against scikit-image."""

import math

import numpy as np
import pytest
import skimage.data
from conftest import refusal
from skimage.metrics import structural_similarity

from unnoise.errors import ImageError
from unnoise.metrics import psnr, ssim


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


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("shape", [(12, 13), (12, 12, 1), (12, 12, 3)])
def test_shapes_that_differ(metric, shape):
    """Fails if numpy's broadcasting compares pictures of two shapes."""
    says = refusal(lambda: metric(np.zeros(shape), np.zeros((12, 12))), ImageError)
    assert f"restored {shape}, clean (12, 12): expected one shape" in says


@pytest.mark.parametrize("shape", [(10, 40), (40, 10, 3)])
def test_ssim_needs_room_for_a_window(shape):
    """Fails if the mean over no window at all comes out as a number, or as NaN."""
    assert "expects at least 11 pixels a side" in refusal(lambda: ssim(np.zeros(shape), np.zeros(shape)), ImageError)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_leave_their_inputs(metric):
    """Fails if a metric works in place."""
    clean = photo("camera")
    noisy = clean + 0.1
    before = clean.copy(), noisy.copy()
    metric(noisy, clean)
    np.testing.assert_array_equal((clean, noisy), before)
