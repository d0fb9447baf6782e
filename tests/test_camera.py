"""The noise of cameras follows the light, spreads as demosaicing spreads it, and is 0 on the mean."""

import dataclasses
import io

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from conftest import refusal
from PIL import Image

from unnoise import camera
from unnoise.errors import ImageError
from unnoise.keyed import keyed_rng
from unnoise.metrics import psnr
from unnoise.noise import Camera

# Malvar, He & Cutler 2004, figure 2, in eighths: green at red and blue; red at green in a red row, in a blue row; red at blue
GREEN = [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
IN_ROW = [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
IN_COLUMN = np.transpose(IN_ROW)
ACROSS = [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]
PHASES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def flat(level, *shape, dtype=np.float32):
    return np.full(shape, level, dtype)


def photo(height=40, width=56):
    """Smooth colours from 0 to 1 with an edge, in whole 255ths."""
    rows, columns = np.mgrid[:height, :width]
    planes = [rows / height, columns / width, (rows + columns) % 23 / 23]
    return (np.round(255 * np.stack(planes, 2)) / 255).astype(np.float32)


def noise_of(noise, clean, key):
    return noise(clean, keyed_rng(5, key))[0].astype(np.float64) - clean


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


# --- how strong --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(128, 128), (128, 128, 3)])
@pytest.mark.parametrize("sigma", [3 / 255, 8 / 255])
def test_sigma_is_what_mid_gray_has(sigma, shape):
    """Fails if gains, matrix, demosaicing, smoothing or the tone curve change the strength unaccounted for, or a range is not drawn."""
    squares = [np.mean(noise_of(Camera(sigma), flat(0.5, *shape), key) ** 2) for key in range(24)]
    expected = sigma**2 + 1 / 12 / 255**2  # and the rounding's
    # 1.5 % of sigma for the curve's bend, which the formula leaves out: f'''/f' * sigma^2 at the light of 0.5; and 4 standard errors
    assert abs(np.mean(squares) / expected - 1) < 0.03 + 4 * np.std(squares) / expected / np.sqrt(24)


def test_a_range_is_drawn_once_a_picture():
    """Fails if the range's ends are not reached, or sigma or quality changes within a picture."""
    stds = [noise_of(Camera((0.0, 20 / 255)), flat(0.5, 64, 64), key).std() * 255 for key in range(40)]
    assert min(stds) < 3  # (17 / 20)^40 = 0.2 % that no draw of 40 lies so low
    assert max(stds) > 17
    whole = noise_of(Camera((0.0, 20 / 255)), flat(0.5, 128, 128), 1)
    assert whole[:64].std() == pytest.approx(whole[64:].std(), rel=0.05)  # 4 standard errors of each
    sizes = [np.abs(noise_of(Camera(0, (5, 90)), photo(), key)).mean() for key in range(20)]
    assert max(sizes) > 3 * min(sizes)


def linear(body, shares=0.0):
    """The camera without a tone curve, without smoothing: the picture's values are its light."""
    lights = (np.arange(camera.LEVELS) / (camera.LEVELS - 1)).astype(np.float32)
    return dataclasses.replace(body, lights=lights, tones=camera.LIGHT.astype(np.float32), shares=0 * body.shares + shares)


def developed(light, body, key=0):
    """The noise of a picture whose values are light: (C, H, W)."""
    height, width = light.shape[1:]
    drawn = keyed_rng(9, key).standard_normal((height + 2 * body.room, width + 2 * body.room), np.float32)
    return camera._developed_noise(light, slice(0, height), drawn, linear(body)).astype(np.float64)


@pytest.mark.parametrize("key", range(4))
@pytest.mark.parametrize("colour", [(0.4, 0.3, 0.2), (0.02, 0.05, 0.03), (0.0, 0.0, 0.0), (0.6, 0.2, 0.1)])
def test_variance_follows_the_light_on_the_sensor(colour, key):
    """Fails if shot noise is not in proportion to the signal before white balance, or read noise to nothing (Foi et al. 2008)."""
    body = camera._colour_body(10 / 255, keyed_rng(3, key))
    light = np.broadcast_to(np.float32(colour)[:, None, None], (3, 192, 192))
    found = np.einsum("ij,jhw->ihw", body.to_camera, developed(light, body, key))  # in the sensor's colours, white-balanced
    signals = body.to_camera @ np.round(np.array(colour) * 1023) / 1023
    for channel, at in body.sites:  # where demosaicing leaves what was measured
        there = np.zeros((192 + 2 * camera.ROOM, 192 + 2 * camera.ROOM), bool)
        there[at] = True
        gain = float(body.gains[channel, 0, 0])
        signal = max(signals[channel] / gain, 0)
        here = found[channel][there[camera.ROOM : -camera.ROOM, camera.ROOM : -camera.ROOM]] / gain
        expected = body.shot * signal + body.read
        assert abs(here.mean()) < 4.5 * np.sqrt(expected / here.size)  # standard errors: 64 cases at once
        assert abs(here.var() / expected - 1) < 4.5 * np.sqrt(2 / here.size)


def test_a_gray_sensor_has_the_same_law():
    """Fails if gray noise does not follow the light, or is not independent from pixel to pixel."""
    body = camera._gray_body(10 / 255, keyed_rng(3))
    for level in (0.0, 0.05, 0.5, 0.85):
        noise = developed(flat(level, 1, 256, 256), body)[0]
        expected = (body.shot * np.round(level * 1023) / 1023 / camera.BRIGHTER + body.read) * camera.BRIGHTER**2
        assert abs(noise.var() / expected - 1) < 4 * np.sqrt(2 / noise.size)
        for step in (noise[:, 1:] * noise[:, :-1], noise[1:] * noise[:-1]):
            assert abs(step.mean()) < 4 * expected / np.sqrt(step.size)


def test_read_noise_is_what_cameras_have():
    """Fails if log read is not 2.18 log shot + 1.20 with a deviation of 0.26 (Brooks et al. 2019, section 3.1)."""
    bodies = [camera._colour_body(sigma / 255, keyed_rng(3, key)) for key in range(300) for sigma in (2, 6)]
    off = [np.log(body.read) - 2.18 * np.log(body.shot) - 1.20 for body in bodies]
    assert abs(np.mean(off)) < 4 * 0.26 / np.sqrt(600) + 0.02  # read is in proportion to a shot that is up to 2 % larger
    assert np.std(off) == pytest.approx(0.26, rel=0.15)  # 5 standard errors: a draw serves both sigmas
    assert len({body.shot for body in bodies}) == 600


def test_noise_fades_towards_white():
    """Fails if what is white, and was above the sensor's range, is noisy."""
    noisy, mask = Camera(20 / 255)(flat(1, 64, 64, 3), keyed_rng(5))
    assert (noisy == 1).all()
    assert mask.all()
    assert Camera(20 / 255)(flat(0.9, 64, 64, 3), keyed_rng(5))[0].std() > 5 / 255


@pytest.mark.parametrize("shape", [(24, 12), (24, 12, 3)])
def test_the_mean_of_many_shots_is_the_clean_picture(shape):
    """Fails if the tone curve's bend shifts dark tones: f(x + n) - f(x) is too dark on the mean."""
    clean = np.broadcast_to(np.linspace(0.15, 0.85, 24, dtype=np.float32).reshape(24, *[1] * (len(shape) - 1)), shape)
    shots = [noise_of(Camera(10 / 255), clean, key) for key in range(600)]
    means = np.mean(shots, 0)
    deviations = np.std(shots, 0) / np.sqrt(600)
    assert np.abs(means / deviations).max() < 5  # standard errors: up to 864 of them at once
    rows = means.reshape(24, -1).mean(1)
    assert np.abs(rows).max() < 0.35 / 255  # 5 standard errors of 12 correlated values of 600 shots


@pytest.mark.parametrize("contrast", [0, 8, 16])
def test_the_tone_curves(contrast):
    """Fails if a curve is not sRGB's with its share of a smoothstep, or the way back does not lead back."""
    tones, lights, slope = camera._curve(contrast)
    value = np.linspace(0, 1, camera.LEVELS)
    plain = np.linspace(0, 1, 100_001)
    curved = plain + contrast / 16 * (3 * plain**2 - 2 * plain**3 - plain)
    before = np.interp(value, curved, plain)
    light = np.where(before <= 0.04045, before / 12.92, ((before + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    np.testing.assert_allclose(lights, light, atol=2e-6)
    np.testing.assert_allclose(tones[np.round(np.sqrt(light) * camera.STEPS).astype(int)], value, atol=1 / camera.STEPS)
    near = np.interp([0.499, 0.501], value, light)
    assert slope == pytest.approx(0.002 / (near[1] - near[0]), rel=1e-3)


# --- how it spreads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_demosaicing_is_that_of_the_paper(phase):
    """Fails if a filter has a wrong weight, is turned, or serves the wrong sites."""
    mosaic = np.random.default_rng(1).random((31, 38))
    filtered = {name: scipy.ndimage.correlate(mosaic, np.array(kernel) / 8)[2:-2, 2:-2] for name, kernel in
                (("green", GREEN), ("row", IN_ROW), ("column", IN_COLUMN), ("across", ACROSS))}  # fmt: skip
    filtered["own"] = mosaic[2:-2, 2:-2]
    rows, columns = np.mgrid[:27, :34]
    kind = 2 * ((rows + phase[0]) % 2) + (columns + phase[1]) % 2  # 0: red, 1: green beside red, 2: green beside blue, 3: blue
    named = (("own", "row", "column", "across"), ("green", "own", "own", "green"), ("across", "column", "row", "own"))
    expected = [np.choose(kind, [filtered[name] for name in names]) for names in named]
    np.testing.assert_allclose(camera.demosaiced(mosaic, camera._sites(*phase)), expected, atol=1e-12)


def test_neighbours_and_colours_share_their_noise():
    """Fails if the mosaic is left out: neighbours would be independent, and colours tied by the matrix alone, negatively."""
    found = []
    for key in range(12):
        noise = noise_of(Camera(8 / 255), flat(0.5, 64, 64, 3), key)
        gray = noise_of(Camera(8 / 255), flat(0.5, 64, 64), key)
        beside, below = correlation(noise[:, 1:], noise[:, :-1]), correlation(noise[1:], noise[:-1])
        found.append((beside, below, correlation(noise[..., 0], noise[..., 2])))
        assert min(beside, below) > 0.25
        assert abs(correlation(gray[:, 1:], gray[:, :-1])) < 4 / 64  # 4 standard errors of 64^2 independent pairs
        assert abs(correlation(gray[1:], gray[:-1])) < 4 / 64
    assert np.ptp(found, 0).min() > 0.1  # every picture from a camera of its own
    assert np.mean(found, 0)[2] > 0.2
    assert np.abs(np.mean(found, 0)[0] - np.mean(found, 0)[1]) < 0.03  # rows and columns alike


@pytest.mark.parametrize("shares", [0.0, 1.0])
def test_smoothing_is_a_mean_over_nine_pixels(shares):
    """Fails if the share of a pixel's own value and of the mean of 3 x 3 around it are not what was drawn."""
    body = linear(camera._colour_body(5 / 255, keyed_rng(3)), shares)
    light, drawn = flat(0.3, 3, 30, 40), np.random.default_rng(2).standard_normal((36, 46), np.float32)
    found = camera._developed_noise(light, slice(0, 30), drawn, body)
    sharp = camera._developed_noise(light, slice(0, 30), drawn, linear(body, 0.0))
    expected = scipy.ndimage.uniform_filter(sharp, (1, 3, 3)) if shares else sharp
    np.testing.assert_allclose(
        found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-3
    )  # the table's steps of light; the noise has 0.02


def test_bands_leave_no_trace(monkeypatch):
    """Fails if a picture that is developed in bands of rows differs from one that is developed whole."""
    clean = photo(61, 47)
    whole = Camera(10 / 255)(clean, keyed_rng(5))[0]
    for pixels in (1, 47 * 4, 47 * 9):
        monkeypatch.setattr(camera, "BAND", pixels)
        np.testing.assert_allclose(Camera(10 / 255)(clean, keyed_rng(5))[0], whole, atol=0.51 / 255 * 2)
        assert (Camera(10 / 255)(clean, keyed_rng(5))[0] == whole).mean() > 0.99  # the last bit of a sum may round otherwise


def test_the_edge_is_as_noisy_as_the_middle():
    """Fails if demosaicing finds nothing beyond the picture's edge."""
    stacks = np.stack([noise_of(Camera(8 / 255), flat(0.5, 32, 32, 3), key) for key in range(200)])
    edge = np.concatenate([stacks[:, 0], stacks[:, -1], stacks[:, :, 0], stacks[:, :, -1]])
    assert edge.std() / stacks[:, 8:-8, 8:-8].std() == pytest.approx(1, abs=0.03)


# --- the file ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("jpeg", [0, 90])
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
def test_layouts(channels, jpeg, dtype):
    """Fails if the input or alpha changes, the mask denies a touched value, or values are no 255ths in [0, 1]."""
    clean = np.random.default_rng(1).random((21, 34, *channels)).astype(dtype)
    before = clean.copy()
    noisy, mask = Camera(12 / 255, jpeg)(clean, keyed_rng(5))
    np.testing.assert_array_equal(clean, before)
    assert (noisy.shape, noisy.dtype, mask.shape, mask.dtype) == (clean.shape, clean.dtype, clean.shape, bool)
    colours = slice(None)
    if channels in ((2,), (4,)):
        colours = slice(-1)
        np.testing.assert_array_equal(noisy[..., -1], clean[..., -1])
        assert not mask[..., -1].any()
    noisy, mask = (part if clean.ndim == 2 else part[..., colours] for part in (noisy, mask))
    assert mask.all()
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    np.testing.assert_allclose(noisy * 255, np.round(noisy * 255), atol=1e-4)
    assert psnr(noisy, clean if clean.ndim == 2 else clean[..., colours]) > 15


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 9, 3), (7, 1, 3), (2, 3, 3), (3, 5)])
@pytest.mark.parametrize("jpeg", [0, 80])
def test_tiny_pictures(shape, jpeg):
    """Fails if a picture smaller than the filters is refused, or has no noise."""
    assert np.abs(noise_of(Camera(20 / 255, jpeg), flat(0.5, *shape), 1)).max() > 1 / 255


@pytest.mark.parametrize("gray", [False, True])
def test_no_noise_but_rounding(gray):
    """Fails if sigma 0 leaves anything of the mosaic, the matrix or the curve in the picture."""
    clean = photo()[..., 1] if gray else photo()
    np.testing.assert_allclose(Camera(0)(clean, keyed_rng(5))[0], clean, atol=1e-7)
    between = np.clip(clean + 0.4 / 255, 0, 1).astype(np.float32)
    np.testing.assert_allclose(Camera(0)(between, keyed_rng(5))[0], clean, atol=1e-7)


def test_values_beyond_the_range_are_cut():
    """Fails if light below 0 or above 1 wraps round in 8 bits."""
    clean = np.float32([[-0.5, 0.0, 1.0, 1.7, 0.5, 0.5]]).repeat(6, 0)
    noisy = Camera(0)(clean, keyed_rng(5))[0]
    np.testing.assert_array_equal(noisy[:, :4], np.clip(clean, 0, 1)[:, :4])


def steps_by_phase(picture):
    """Mean size of the second differences across columns, by column modulo 8: large where blocks meet."""
    bends = np.abs(np.diff(picture, axis=1)[:, 1:-1] - (np.diff(picture, axis=1)[:, 2:] + np.diff(picture, axis=1)[:, :-2]) / 2)
    return [bends[:, at::8].mean() for at in range(8)]


def test_jpeg_has_its_blocks_anywhere():
    """Fails if JPEG is left out, its grid always begins at the corner, or its blocks are not 8 pixels wide."""
    rows, columns = np.mgrid[:64, :96]
    clean = (0.5 + 0.3 * np.sin(rows / 9 + columns / 13)).astype(np.float32)
    seen = set()
    for key in range(40):
        found = np.array(steps_by_phase(Camera(0, 20)(clean, keyed_rng(5, key))[0].astype(float)))
        place = int(found.argmax())
        assert found[place] > 2 * np.median(found)
        seen.add(place)
    assert seen == set(range(8))  # 8 * (7/8)^40 = 4 % that one is missing, for other keys
    plain = np.array(steps_by_phase(Camera(0)(clean, keyed_rng(5))[0].astype(float)))
    assert plain.max() < 1.5 * np.median(plain)


@pytest.mark.parametrize("gray", [False, True])
def test_jpeg_is_that_of_a_file(gray):
    """Fails if quality is of another scale, channels are swapped, or the picture is shifted by where its grid begins."""
    clean = (photo(48, 64)[..., 1] if gray else photo(48, 64)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.round(255 * clean))).save(file, "JPEG", quality=85, subsampling=1)
    expected = psnr(np.asarray(Image.open(file)) / 255, clean)
    found = [psnr(Camera(0, 85)(clean, keyed_rng(5, key))[0].astype(float), clean) for key in range(12)]
    assert np.mean(found) == pytest.approx(expected, abs=2.5)  # the grid's place and the colours' size are others
    worse = [psnr(Camera(0, 30)(clean, keyed_rng(5, key))[0].astype(float), clean) for key in range(12)]
    assert np.mean(worse) < np.mean(found) - 3


def test_jpeg_goes_over_the_noise():
    """Fails if JPEG is applied to the clean picture before the noise: at quality 40 a third of the noise is gone."""
    noisy = noise_of(Camera(10 / 255), flat(0.5, 96, 96), 1)
    coded = noise_of(Camera(10 / 255, 40), flat(0.5, 96, 96), 1)
    assert coded.std() < 0.8 * noisy.std()
    assert correlation(noisy, coded) > 0.4


# --- what cannot be ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Camera(10), "sigma=10: expected image units, 0 to 1; did you mean 10/255?"),
        (lambda: Camera(-0.1), "sigma=-0.1: expected a number from 0 to 1"),
        (lambda: Camera(0.1, 101), "jpeg=101: expected a whole number from 0 to 100"),
        (lambda: Camera(0.1, 89.5), "jpeg=89.5: expected a whole number from 0 to 100"),
        (lambda: Camera(0.1, (0, 90)), "jpeg=(0, 90): expected a whole number from 1 to 100, or a range low..high"),
        (lambda: Camera(0.1, (90, 70)), "jpeg=(90, 70): expected"),
    ],
)
def test_settings_that_cannot_be(make, says):
    """Fails if a wrong setting is taken, or its error leaves out the value, what was expected or the way on."""
    assert says in refusal(make)


def test_a_picture_too_long_for_jpeg():
    """Fails if libjpeg's own error, which names no way on, comes through."""
    clean = flat(0.5, 1, 65490)
    assert "a picture of 1x65490: a JPEG has at most 65500 pixels a side; use jpeg=0" in refusal(
        lambda: Camera(0.1, 90)(clean, keyed_rng(5)), ImageError
    )
    assert Camera(0.1)(clean, keyed_rng(5))[0].shape == clean.shape
    assert Camera(0.1, 90)(clean[:, :65485], keyed_rng(5))[0].shape == (1, 65485)
