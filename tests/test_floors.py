"""Noise that the flattest places hide is found at other brightnesses, texture is not taken for it, and gain and read noise are told."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_doctor import PHOTOS, as_in_a_file, photo, spoilt

from unnoise import doctor, floors, level
from unnoise.diagnosis import LIKELY
from unnoise.doctor import examine

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def test_the_weights_are_those_that_were_learned():
    """Fails if a weight was changed by hand, or gray and colour are mixed up."""
    told = json.loads((RESULTS / "doctor_rule.json").read_text())["channels"]
    assert {int(channels): tuple(one["weights"]) for channels, one in told.items()} == floors.WEIGHTS


@pytest.mark.parametrize("sigma", [5, 20])
def test_the_typical_sigma_of_white_noise(sigma):
    """Fails if what the lower end of chance lacks is not added, or a channel or a band of frequencies counts twice."""
    picture = np.linspace(0.2, 0.8, 512, dtype=np.float32)[:, None, None] * np.ones((1, 512, 3), np.float32)
    for noisy in (spoilt(f"gaussian:{sigma}/255", picture), spoilt(f"gaussian:{sigma}/255", picture[..., 0])):
        assert 255 * examine(noisy).typical.value == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("name", ["chelsea.png", "rocket.jpg", "astronaut.png"])
def test_noise_that_the_dark_hides(name):
    """Fails if noise is looked for in the flattest places alone: here these are dark, and nothing is in them."""
    clean = photo(name)
    noisy = as_in_a_file(spoilt("camera:sigma=12/255,jpeg=85", clean, 2))
    dark = np.full((clean.shape[0] // 4, *clean.shape[1:]), 0.05, np.float32)
    dark += np.random.default_rng(0).integers(0, 2, dark.shape) / np.float32(255)
    found = examine(np.concatenate([as_in_a_file(dark), noisy]))
    assert 255 * found.fine.value < 2.5
    assert found.kinds == ("correlated noise",)
    assert found.likelihood > LIKELY
    assert found.level == found.typical


def test_gray_texture_in_a_colour_picture():
    """Fails if texture that has no colour is taken for noise; the same with a colour of its own is noise."""
    rng, shape = np.random.default_rng(0), (300, 400)
    smooth = 0.5 + 0.1 * np.sin(np.arange(400) / 60)[None, :, None] * np.array([1, 0.8, 0.5])

    def waves(channels):
        white = rng.standard_normal((shape[0] + 1, shape[1] + 1, channels))
        return (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2 * 8 / 255

    assert examine(as_in_a_file(smooth + waves(1))).kinds == ()
    assert examine(as_in_a_file(smooth + waves(3))).kinds == ("correlated noise",)
    assert examine(as_in_a_file((smooth + waves(1)).mean(2))).kinds == ("correlated noise",)  # gray: nothing is known of colour


# --- gain and read noise ------------------------------------------------------------------------------------------------------


def counted(clean, gain, read, seed=0):
    return clean + np.random.default_rng(seed).standard_normal(clean.shape) * np.sqrt(gain * clean + read**2)


@pytest.mark.parametrize("name", PHOTOS)
def test_gain_and_read_noise(name):
    """Fails if the noise of one brightness is taken for that of another, texture for noise, or the two parts for one another."""
    found = examine(as_in_a_file(counted(photo(name), 0.004, 5 / 255)))
    assert found.gain.value == pytest.approx(0.004, rel=0.2)
    assert 255 * found.read.value == pytest.approx(5, rel=0.25)
    assert found.kinds == ("signal-dependent noise",)
    assert found.level.value == pytest.approx(np.sqrt(0.002 + (5 / 255) ** 2), rel=0.1)
    assert doctor.advice(found)[0] == ("photo",)
    assert "signal-dependent noise (sigma " in doctor.advice(found)[1]


def test_the_errors_of_gain_and_read_noise():
    """Fails if they are far from what 12 draws differ by; it is pure noise, so three of them hold all."""
    ramp = np.linspace(0.2, 0.7, 400)[:, None] * np.ones((1, 400))
    found = [examine(counted(ramp, 0.003, 0.02, seed)) for seed in range(12)]
    for figures, true in (([one.gain for one in found], 0.003), ([one.read for one in found], 0.02)):
        off = [figure.value - true for figure in figures]
        assert max(map(abs, off)) < 4 * max(figure.error for figure in figures)
        assert np.mean([figure.error for figure in figures]) < 5 * np.std(off)


def test_what_was_clipped_says_nothing_of_the_level():
    """Fails if half of the noise, which black left, counts as the noise of the dark."""
    clean = np.linspace(0, 1, 512)[:, None, None] * np.ones((1, 512, 3))
    found = examine(as_in_a_file(counted(clean, 0, 20 / 255)))
    assert 255 * found.read.value == pytest.approx(20, rel=0.05)
    assert found.gain.value < 0.1 * found.read.value**2 + 2 * found.gain.error
    assert found.kinds == ("Gaussian noise",)


def test_autocorrelation():
    """Fails if white noise has any, rows are columns, or the wavelength is off: means of two pixels down have half at one step, none at two."""
    white = np.random.default_rng(0).standard_normal((301, 400)) * 10 / 255
    for noise, lags in ((white[1:], (0, 0)), ((white[1:] + white[:-1]) / 2**0.5, (0.5, 0))):
        sight = doctor.look(0.5 + noise)
        alike = level.autocorrelation(sight.blocks, doctor.points_of(sight, doctor.diagnose(sight)))
        assert alike[0, 0] == 1
        assert alike[1:3, 0] == pytest.approx(lags, abs=0.06)
        assert alike[0, 1:3] == pytest.approx((0, 0), abs=0.06)
