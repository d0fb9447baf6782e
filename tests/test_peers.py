"""The classical methods: they are what they are called, get the parameters tuned for a noise, and work on pictures of any size."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, inpaint_biharmonic

from unnoise import image, peers, tuned
from unnoise.metrics import psnr
from unnoise.noise import BlockMasking, Gaussian, Masking, SaltAndPepper, keyed_rng, parse

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "peer_parameters.json"
BSD68 = Path(__file__).parents[2] / "shared" / "data" / "eval" / "BSD68"
LOSSES = ["masking:0.1", "masking:0.5", "masking:0.8", "salt-and-pepper:0.3", "salt-and-pepper:0.5", "salt-and-pepper:0.7", "blocks:count=4,size=8", "masking:fraction=0.3,per=channel", "salt-and-pepper:fraction=0.3,per=channel"]  # fmt: skip


def photo(colour, side=96):
    pixels = (
        skimage.data.chelsea()[80 : 80 + side, 150 : 150 + side]
        if colour
        else skimage.data.camera()[60 : 60 + side, 180 : 180 + side]
    )
    return np.clip(pixels / 255, 1 / 255, 254 / 255).astype(np.float32)  # no value that looks lost


def spoilt(clean, noise, seed=0):
    return noise(clean, keyed_rng(seed))


# --- Gaussian noise ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [5, 15, 35, 50, 80])
@pytest.mark.parametrize("colour", [False, True])
def test_every_method_removes_noise(colour, sigma):
    """Fails if a method is told another sigma than it understands, or its parameters make no sense between or beyond those tuned for."""
    clean, noise = photo(colour), Gaussian(sigma / 255)
    noisy, _ = spoilt(clean, noise)
    before = noisy.copy()
    found, absent = tuned.for_noise(noise)
    there = ["bm3d"] if find_spec("bm3d") else []
    assert [peer.name for peer in found] == ["nlm", "wavelet", "tv", "bilateral", "median", *there]
    assert [name for name, _ in absent] == ([] if there else ["bm3d"])
    for peer in found:
        restored = peer.denoise(noisy, sigma / 255)
        assert restored.shape == clean.shape
        added = psnr(np.clip(restored, 0, 1), clean) - psnr(np.clip(noisy, 0, 1), clean)
        assert added > (-5 if peer.name == "median" and sigma == 5 else 0.3), peer.name  # a median blurs what has little noise
        np.testing.assert_array_equal(noisy, before)


@pytest.mark.parametrize("colour", [False, True])
def test_methods_are_those_of_their_libraries(colour):
    """Fails if a parameter goes to the wrong place or unit."""
    noisy, _ = spoilt(photo(colour), Gaussian(0.1))
    axis = 2 if colour else None
    expected = denoise_nl_means(noisy, 7, 9, 0.05, fast_mode=True, sigma=0.1, channel_axis=axis)
    np.testing.assert_allclose(peers.non_local_means(noisy, 0.1, 0.5, 7, 9), expected, atol=1e-6)
    expected = denoise_tv_chambolle(noisy, weight=0.12, channel_axis=axis)
    np.testing.assert_allclose(peers.total_variation(noisy, 0.1, 1.2), expected, atol=1e-6)


@pytest.mark.parametrize("colour", [False, True])
def test_bm3d_is_that_of_its_package(colour):
    """Fails if sigma goes in as another unit, colours go through the gray form, or gray stored as RGB comes out as NaN."""
    package = pytest.importorskip("bm3d", reason="needs bm3d, which is not part of the product")
    noisy, _ = spoilt(photo(colour), Gaussian(0.1))
    expected = package.bm3d_rgb(noisy, 0.1) if colour else package.bm3d(noisy, 0.1)
    np.testing.assert_allclose(peers.bm3d(noisy, 0.1), expected, atol=1e-3)  # its threads add up in any order
    if not colour:
        same = peers.bm3d(np.stack([noisy] * 3, 2), 0.1)
        np.testing.assert_allclose(same, np.stack([expected] * 3, 2), atol=1e-3)  # its threads add up in any order


def test_median_is_that_of_numpy():
    """Fails if the window has another size, or channels are mixed."""
    noisy, _ = spoilt(photo(True, 32), Gaussian(0.1))
    windows = np.lib.stride_tricks.sliding_window_view(noisy, (5, 5), (0, 1))
    np.testing.assert_array_equal(peers.median(noisy, 5)[2:-2, 2:-2], np.median(windows, (-1, -2)))


def test_bilateral_is_its_definition():
    """Fails if the widths are taken for one another or in another unit; OpenCV's window is round, and its weights are from a table."""
    noisy, _ = spoilt(photo(False, 40), Gaussian(0.05))
    y, x, colour, space, radius = 20, 17, 0.15, 2.0, 3
    around = noisy[y - radius : y + radius + 1, x - radius : x + radius + 1]
    far = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1])
    weights = np.exp(-(far**2) / (2 * space**2) - (around - noisy[y, x]) ** 2 / (2 * colour**2)) * (far <= radius)
    expected = (weights * around).sum() / weights.sum()
    assert peers.bilateral(noisy, 0.05, 3.0, space)[y, x] == pytest.approx(expected, abs=1e-4)


def test_shifted_wavelets_are_a_mean_over_shifts():
    """Fails if a shift is not taken back, or cycle spinning does not help, as it is known to."""
    clean = photo(False)
    noisy, _ = spoilt(clean, Gaussian(0.1))
    np.testing.assert_allclose(peers.wavelets(np.full((32, 32), 0.3), 0.1, shifts=3), 0.3, atol=1e-6)
    assert psnr(peers.wavelets(noisy, 0.1, "db2", shifts=4), clean) > psnr(peers.wavelets(noisy, 0.1, "db2"), clean) + 0.3


def test_sigma_is_estimated_where_it_is_not_given():
    """Fails if leaving out sigma is much worse than the truth."""
    clean = photo(False, 200)
    noisy, _ = spoilt(clean, Gaussian(0.1))
    for method in (peers.non_local_means, peers.wavelets):
        assert psnr(method(noisy), clean) == pytest.approx(psnr(method(noisy, 0.1), clean), abs=0.4)


def test_nlm_on_bsd68_is_as_published():
    """Fails if non-local means is handicapped: 27.6 dB at sigma 25 is what it is known for; measured on every fourth picture."""
    if not BSD68.exists():
        pytest.skip("needs ../shared/data, which is not part of the repository")
    files = sorted(BSD68.glob("*.png"))[::4]
    peer = next(peer for peer in tuned.for_noise(Gaussian(25 / 255))[0] if peer.name == "nlm")
    scores = []
    for index, file in enumerate(files):
        clean = image.read(file).pixels
        noisy = Gaussian(25 / 255)(clean, keyed_rng(0, index=index))[0]
        scores.append(psnr(np.clip(peer.denoise(noisy, 25 / 255), 0, 1), clean))
    assert np.mean(scores) > 27.5


@pytest.mark.parametrize(("gain", "read"), [(0.02, 0.0), (0.005, 0.02), (0.025, 0.01), (1e-12, 0.05), (0.0, 0.05)])
@pytest.mark.parametrize("light", [0.05, 0.3, 0.9])
def test_stabilised_noise_is_the_same_everywhere_and_its_mean_comes_back(gain, read, light):
    """Fails if the transform's constants are wrong, sigma is told in other units, or the inverse is the algebraic one, which is too dark."""
    rng = keyed_rng(3)
    shape = (400, 400)
    counted = rng.poisson(light / gain, shape) * gain if gain > 1e-9 else np.full(shape, light)
    noisy = counted + read * rng.standard_normal(shape)
    told = []

    def mean(values, sigma):
        told.append(values.std() / sigma)
        return np.full_like(values, values.mean())

    restored = peers.stabilised(mean, noisy, gain, read)
    assert told[0] == pytest.approx(1, abs=0.04)  # it holds from two photons on
    error = 4 * noisy.std() / np.sqrt(noisy.size)
    assert restored.mean() == pytest.approx(
        noisy.mean(), abs=error + 0.03 * gain
    )  # the algebraic inverse is off by a quarter of gain


# --- lost pixels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", LOSSES)
@pytest.mark.parametrize("colour", [False, True])
def test_what_is_lost_is_seen(colour, noise):
    """Fails if the mask that a picture shows is not the true one, where no value of the picture looks lost."""
    noise = parse(noise)
    noisy, mask = spoilt(photo(colour), noise)
    found = tuned.mask_of(noisy, [noise], 0.0)
    if "salt" in str(noise):
        assert np.mean(found != mask) < 1e-3  # by chance, more than half of a window is hit alike
    else:
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("noise", ["masking:0.1", "masking:0.5", "masking:0.8", "blocks:count=12,size=8", "masking:fraction=0.5,per=channel"])  # fmt: skip
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("sigma", [10 / 255, 25 / 255])
def test_what_is_lost_is_seen_under_noise(sigma, colour, noise):
    """Fails if pixels that are 0 are not found, once noise lies on them, because most of what is around them is lost as well."""
    clean = 0.4 + 0.6 * photo(colour)
    noisy, mask = spoilt(clean, parse(noise))
    found = tuned.mask_of(spoilt(noisy, Gaussian(sigma), 1)[0], [parse(noise)], sigma)
    assert found[mask].mean() > 0.85
    assert found[~mask].mean() < 0.1


def test_dark_parts_are_not_taken_for_lost_ones_under_noise():
    """Fails if all that is near 0, measured by the noise, is taken for lost and filled by what is bright."""
    clean = np.full((64, 64), 0.15)
    clean[:, 32:] = 0.8
    noisy, _ = spoilt(clean, Masking(fraction=0.3))
    noisy, _ = spoilt(noisy, Gaussian(25 / 255), 1)
    restored = tuned.filled("adaptive-median", noisy, tuned.mask_of(noisy, [Masking(fraction=0.3)], 25 / 255))
    assert restored[:, :28].mean() == pytest.approx(0.13, abs=0.05)
    assert restored[:, 36:].mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_a_thin_black_bar_is_not_eaten(rate):
    """Fails if what is black by itself is taken for pepper from its rim inwards, where few pixels are hit."""
    clean = np.full((64, 64), 0.5)
    clean[20:44, 30:33] = 0
    noisy, mask = spoilt(clean, SaltAndPepper(fraction=rate))
    bar = (clean == 0) & ~mask
    found = tuned.mask_of(noisy, [SaltAndPepper(fraction=rate)], 0.0)
    assert found[bar].mean() < 0.5


def page(colour):
    """White paper with black and gray writing: nearly every value looks like salt or pepper."""
    writing = Image.new("L", (160, 120), 255)
    for row in range(6):
        ImageDraw.Draw(writing).text((6, 6 + 18 * row), "Salt and pepper on paper", fill=0, font_size=14)
    pixels = np.asarray(writing, np.float32) / 255
    return np.stack([pixels] * 3, 2) if colour else pixels


@pytest.mark.parametrize("rate", [0.1, 0.3])
@pytest.mark.parametrize("colour", [False, True])
def test_white_paper_is_not_taken_for_lost(colour, rate):
    """Fails if on a saturated page the methods for impulses are worse than the median filter that anybody would use."""
    clean, noise = page(colour), SaltAndPepper(fraction=rate)
    noisy, mask = spoilt(clean, noise)
    usual = psnr(peers.median(noisy, 3), clean)
    assert tuned.mask_of(noisy, [noise], 0.0)[~mask].mean() < 0.3
    scores = {peer.name: psnr(np.clip(peer.denoise(noisy, 0.0), 0, 1), clean) for peer in tuned.for_noise(noise)[0]}
    assert min(scores[name] for name in ("adaptive-median", "biharmonic", "inpainting")) > max(usual, psnr(noisy, clean))


def test_the_median_of_impulses_is_the_plain_one():
    """Fails if `median` needs to know what is lost, where a user would take the median filter."""
    noisy, _ = spoilt(photo(True), SaltAndPepper(fraction=0.3))
    peer = next(peer for peer in tuned.for_noise(SaltAndPepper(fraction=0.3))[0] if peer.name == "median")
    np.testing.assert_array_equal(peer.denoise(noisy, 0.0), peers.median(noisy, tuned.HIT[1]["size"]))
    assert peer.parameters["30% lost"] == tuned.HIT[1]


def test_black_pixels_are_taken_for_lost_ones():
    """Fails if the methods are told more than the picture shows: the contract says that 0 in every channel is missing."""
    clean = np.array([[[0, 0, 0], [0, 0.5, 0.5]]], np.float32)
    assert peers.zeros(clean).tolist() == [[[True] * 3, [False] * 3]]
    assert peers.zeros(clean, "channel").tolist() == [[[True] * 3, [True, False, False]]]


def test_random_impulses_are_mostly_seen():
    """Fails if impulses of any value are not told from the picture: most of those that stand out, few of what does not."""
    clean = photo(False, 200)
    noisy, mask = spoilt(clean, SaltAndPepper(fraction=0.2, values="uniform"))
    found = tuned.mask_of(noisy, [SaltAndPepper(fraction=0.2, values="uniform")], 0.0)
    far = np.abs(noisy - clean) > 0.3
    assert found[mask & far].mean() > 0.9
    assert found[~mask].mean() < 0.15


@pytest.mark.parametrize("noise", [*LOSSES, "salt-and-pepper:fraction=0.2,values=uniform"])
@pytest.mark.parametrize("colour", [False, True])
def test_every_method_fills(colour, noise):
    """Fails if a method for lost pixels brings a picture no nearer, or touches what is known."""
    clean, noise = photo(colour), parse(noise)
    noisy, mask = spoilt(clean, noise)
    found, absent = tuned.for_noise(noise)
    assert ([peer.name for peer in found], absent) == (["median", "adaptive-median", "biharmonic", "inpainting"], [])
    for peer in found:
        restored = peer.denoise(noisy, 0.0)
        assert psnr(restored, clean) > psnr(noisy, clean) + 3, peer.name
        if "salt" not in str(noise):
            np.testing.assert_allclose(restored[~mask], clean[~mask], atol=1e-6)


@pytest.mark.parametrize(("sizes", "least"), [((3,), 1), ((5,), 2), ((3, 5, 7), 3)])
def test_filling_by_medians_is_its_definition(sizes, least):
    """Fails if a window has another size or place, a lost value is among the known, or the first window that will do is not taken."""
    clean = photo(False, 40)
    noisy, mask = spoilt(clean, Masking(fraction=0.5), 3)
    filled = peers.filled_by_median(noisy, mask, sizes, least)
    np.testing.assert_array_equal(filled[~mask], noisy[~mask])
    held = np.where(mask, np.nan, noisy)
    size, checked = sizes[0], 0
    for y, x in zip(*np.nonzero(mask), strict=True):
        r = size // 2
        around = held[max(y - r, 0) : y + r + 1, max(x - r, 0) : x + r + 1]
        if np.count_nonzero(~np.isnan(around)) >= least:
            assert filled[y, x] == pytest.approx(np.nanmedian(around), abs=1e-6)
            checked += 1
    assert checked > 500
    assert np.isfinite(filled).all()


def test_filling_ends():
    """Fails if a large hole, or one that is the whole picture, is never filled, or is left with NaN."""
    clean = photo(False)
    noisy, mask = spoilt(clean, BlockMasking(blocks=((10, 10, 70, 60),)))
    assert np.isfinite(peers.filled_by_median(noisy, mask, (3, 5), 6)).all()
    for fill in (peers.filled_by_median, peers.biharmonic, peers.inpainting):
        empty = np.zeros((20, 20), np.float32)
        assert np.isfinite(fill(empty, np.ones((20, 20), bool))).all()
        np.testing.assert_allclose(fill(clean, np.zeros(clean.shape, bool)), clean, atol=1e-6)


def test_biharmonic_is_that_of_skimage():
    """Fails if the mask is turned around, or colours with one mask are filled otherwise than one by one."""
    clean = photo(True, 48)
    noisy, mask = spoilt(clean, Masking(fraction=0.3))
    each = [inpaint_biharmonic(noisy[..., channel], mask[..., channel].copy()) for channel in range(3)]
    np.testing.assert_allclose(peers.biharmonic(noisy, mask), np.stack(each, 2), atol=1e-5)


@pytest.mark.parametrize("method", ["ns", "telea"])
def test_inpainting_keeps_floats(method):
    """Fails if values are rounded to 8 bits on the way."""
    clean = np.full((30, 30, 3), 0.12345, np.float32)
    noisy, mask = spoilt(clean, Masking(fraction=0.4))
    np.testing.assert_allclose(peers.inpainting(noisy, mask, 3, method), clean, atol=5e-5)


# --- which, and how ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise", ["gaussian:0.05+masking:0.2", "masking:0.2+gaussian:0.05", "gaussian:0.05+salt-and-pepper:0.1"]
)
def test_sums_are_filled_and_denoised(noise):
    """Fails if a method for Gaussian noise takes lost pixels for it, on a noise that is both."""
    clean, noise = photo(False), parse(noise)
    noisy, _ = spoilt(clean, noise)
    for peer in tuned.for_noise(noise)[0]:
        assert psnr(peer.denoise(noisy, 0.05), clean) > 25 > psnr(noisy, clean) + 5, peer.name


def test_sigma_of_a_noise():
    """Fails if variances are not added, or a range is taken for a number."""
    assert tuned.known_sigma(parse("gaussian:0.1")) == pytest.approx(0.1)
    assert tuned.known_sigma(parse("gaussian:0.03+gaussian:0.04")) == pytest.approx(0.05)
    assert tuned.known_sigma(parse("masking:0.1")) == 0
    assert tuned.known_sigma(parse("gaussian:0..0.1")) is None
    assert tuned.known_sigma(None) is None
    assert tuned.known_sigma(parse("camera:0.1")) is None  # another in every picture, as it follows the light
    assert tuned.known_sigma(parse("gaussian:0.1+camera:0.1")) is None


def test_parameters_between_those_tuned_for():
    """Fails if a parameter jumps, overshoots, or runs away beyond the sigmas that were tried."""
    given = {"h": (0.8, 0.6, 0.7), "patch": 5}
    assert [tuned.at(given, sigma)["h"] for sigma in tuned.SIGMAS] == pytest.approx([0.8, 0.6, 0.7])
    assert tuned.at(given, 20 / 255) == {"h": pytest.approx(0.7), "patch": 5}
    assert (tuned.at(given, 1 / 255)["h"], tuned.at(given, 0.9)["h"]) == (0.8, 0.7)


@pytest.mark.parametrize("noise", ["gaussian:25/255", "masking:0.3", "salt-and-pepper:0.3", "blocks:count=1,size=1"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 40), (3, 17, 3), (16, 16), (15, 33, 3)])
def test_pictures_of_any_size(shape, noise):
    """Fails if a small picture raises, comes back in another shape, or with NaN."""
    clean = np.random.default_rng(1).random(shape, np.float32)
    noisy = spoilt(clean, parse(noise))[0]
    for peer in tuned.for_noise(parse(noise))[0]:
        restored = peer.denoise(noisy, 25 / 255)
        assert restored.shape == shape, peer.name
        assert np.isfinite(restored).all(), peer.name


def test_no_noise_is_left_alone():
    """Fails if sigma 0 divides by zero or blurs."""
    clean = photo(False)
    for peer in tuned.for_noise(Gaussian(0))[0]:
        np.testing.assert_array_equal(peer.denoise(clean, 0.0), clean)


def test_parameters_are_those_that_were_found():
    """Fails if a parameter in the package is not the best one of benchmarks/results/peer_parameters.json."""
    found = json.loads(RESULTS.read_text())
    for name, kinds in found["gaussian"].items():
        for kind, one in kinds.items():
            told = {
                key: list(value) if isinstance(value, tuple) else value for key, value in tuned.GAUSSIAN[name][kind].items()
            }
            assert told == one["parameters"], f"{name}, {kind}"
    for name, rates in found["lost"].items():
        for rate, parameters in zip(tuned.RATES, tuned.LOST[name], strict=True):
            told = {key: list(value) if isinstance(value, tuple) else value for key, value in parameters.items()}
            assert told == rates[f"{rate:g}"]["parameters"], f"{name}, {rate}"
    assert [found["impulses"][f"{rate:g}"]["parameters"] for rate in tuned.RATES] == list(tuned.HIT)
    assert found["random impulses"]["unlike"] == tuned.UNLIKE
    for name, kinds in found["gaussian"].items():
        for one in kinds.values():
            best = {
                sigma: max(tried["psnr"] for tried in one["tried"] if tried["sigma"] == f"{sigma}/255")
                for sigma in (15, 25, 50)
            }
            assert all(
                psnr > best[sigma] - (0.5 if name == "nlm" else 0.15) for psnr, sigma in zip(one["psnr"], best, strict=True)
            )  # one wavelet for all sigmas; for nlm, see SETTLED
