"""The noise-level function of a sensor, fitted to variances whose law is known."""

import json

import numpy as np
import pytest

from unnoise import nlf
from unnoise.errors import BadSetting, ImageError
from unnoise.level import Estimate

FREEDOM = 63  # of a block of 8 x 8 pixels


def measured(gain, read, number=600, texture=0.0, seed=0, means=(0.02, 0.95)):
    """Means and variances of blocks of 64 pixels, a share of them with texture on top."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(*means, number)
    variance = (gain * mean + read**2) * rng.chisquare(FREEDOM, number) / FREEDOM
    return mean, variance + (rng.random(number) < texture) * rng.exponential(5 * variance.mean(), number)


def off(found, gain, read):
    """How many standard errors gain and read are from the truth."""
    return [abs(one.value - true) / max(one.error, 1e-12) for one, true in ((found.gain, gain), (found.read, read))]


@pytest.mark.parametrize("texture", [0.0, 0.3])
@pytest.mark.parametrize(("gain", "read"), [(0.001, 0.004), (0.01, 0.03), (0.0002, 0.01), (0.0, 0.02), (0.005, 0.0)])
def test_gain_and_read_are_found(gain, read, texture):
    """Fails if either is biased by its fit or by texture, or if its error says less than it is off by."""
    found = [nlf.fit(*measured(gain, read, texture=texture, seed=seed), FREEDOM) for seed in range(8)]
    away = np.array([off(one, gain, read) for one in found])
    assert away.max() < 4  # standard errors, of 16 figures
    assert np.sqrt(np.square(away).mean(0)).max() < 2
    middle = np.array([one.sigma(0.5) for one in found])
    np.testing.assert_allclose(middle, np.sqrt(gain * 0.5 + read**2), rtol=0.03)  # 1 % by chance, the rest by texture


def test_many_places_leave_no_bias():
    """Fails if the mean of what outliers are judged by is not that of the variances: 20,000 blocks tell 0.2 %."""
    found = nlf.fit(*measured(0.01, 0.03, 20_000), FREEDOM)
    assert found.gain.value == pytest.approx(0.01, rel=0.007)  # 4 standard errors
    assert found.read.value == pytest.approx(0.03, rel=0.01)
    assert found.gain.error < 0.0001


def test_small_places_leave_no_bias():
    """Fails if the fit takes variances for normal: those of 8 values are skew, and what lies far above is cut off."""
    rng = np.random.default_rng(5)
    mean = rng.uniform(0.1, 0.9, 20_000)
    found = nlf.fit(mean, (0.01 * mean + 0.03**2) * rng.chisquare(8, len(mean)) / 8, 8)
    assert float(found.sigma(0.5)) == pytest.approx(np.sqrt(0.01 * 0.5 + 0.03**2), rel=0.01)


def test_places_of_another_kind_may_lie_above():
    """Fails if the fit begins at the mean, from where it does not find back: 55 % are one texture, of ten times the variance."""
    mean, variance = measured(0.004, 0.01, 1000)
    variance[np.arange(1000) % 20 < 11] *= 10
    found = nlf.fit(mean, variance, FREEDOM)
    np.testing.assert_allclose(found.sigma(0.5), np.sqrt(0.004 * 0.5 + 1e-4), rtol=0.03)


def test_half_of_the_places_may_be_texture():
    """Fails if the fit begins at, or is drawn to, what lies above."""
    found = nlf.fit(*measured(0.004, 0.01, 2000, texture=0.5), FREEDOM)
    np.testing.assert_allclose(
        found.sigma(np.array([0.1, 0.5, 0.9])), np.sqrt(0.004 * np.array([0.1, 0.5, 0.9]) + 1e-4), rtol=0.05
    )


@pytest.mark.parametrize("means", [(0.5, 0.5), (0.498, 0.502)])
def test_one_brightness_tells_no_more_than_the_sum(means):
    """Fails if gain and read are told apart where nothing tells them apart, or the sum is lost, or an error is not finite."""
    found = nlf.fit(*measured(0.01, 0.03, means=means), FREEDOM)
    assert float(found.sigma(0.5)) == pytest.approx(np.sqrt(0.01 * 0.5 + 0.03**2), rel=0.02)
    assert found.gain.error > 0.5 * found.gain.value
    assert found.gain.error + found.gain.value > 0.01
    assert found.read.value - found.read.error <= 0.03 <= found.read.value + found.read.error
    assert np.isfinite(found.gain + found.read).all()


def test_places_of_unequal_size_count_by_it():
    """Fails if the weights are not used: few large places, and many small ones that are spread widely."""
    rng = np.random.default_rng(3)
    mean, freedom = rng.uniform(0.1, 0.9, 1000), np.where(np.arange(1000) < 100, 1000, 4)
    variance = 0.01 * mean * rng.chisquare(freedom) / freedom
    found = nlf.fit(mean, variance, freedom)
    assert found.gain.value == pytest.approx(0.01, rel=0.02)
    assert found.gain.error < 0.0002  # equal weights have 0.0003


def test_correlated_noise_has_larger_errors():
    """Fails if the errors take the weights at their word where the variances spread more than that."""
    mean, variance = measured(0.01, 0.03)
    claimed = nlf.fit(mean, variance, FREEDOM)
    less = nlf.fit(mean, (0.01 * mean + 0.03**2) * np.random.default_rng(1).chisquare(7, len(mean)) / 7, FREEDOM)
    assert less.gain.error > 2 * claimed.gain.error


def test_nothing_but_noiseless_places():
    """Fails on a division by 0."""
    assert nlf.fit(np.linspace(0, 1, 50), np.zeros(50), FREEDOM) == nlf.LevelFunction(Estimate(0.0, 0.0), Estimate(0.0, 0.0))
    with pytest.raises(ImageError, match="no variance was measured"):
        nlf.fit(np.zeros(0), np.zeros(0), FREEDOM)


def test_it_goes_through_json():
    """Fails if a figure is lost on the way, or nonsense is taken."""
    found = nlf.fit(*measured(0.01, 0.03), FREEDOM)
    assert nlf.LevelFunction.from_json(json.loads(json.dumps(found.as_json()))) == found
    good = {"value": 0.1, "error": 0.01}
    for bad in ({}, [], 3, {"gain": good}, {"gain": good, "read": 0.1}, {"gain": good, "read": {"value": -1, "error": 0}}):
        with pytest.raises(BadSetting, match="expected gain and read"):
            nlf.LevelFunction.from_json(bad)


def test_below_black_the_noise_is_that_of_black():
    """Fails if values that noise has made negative have less noise than black, or none that is a number."""
    np.testing.assert_allclose(nlf.variance(np.array([-1.0, 0.0, 0.5]), 0.01, 0.02), [0.0004, 0.0004, 0.0054])
    level = nlf.LevelFunction(nlf.Estimate(0.01, 0), nlf.Estimate(0.02, 0))
    assert level.sigma(-1.0) == pytest.approx(0.02)
