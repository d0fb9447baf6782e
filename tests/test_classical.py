"""`--model nlm` and the like: a classical method in the place of a model, told each picture's noise."""

import json

import numpy as np
import pytest
from conftest import refusal
from PIL import Image
from test_peers import photo, spoilt

import unnoise
from unnoise import auto, classical, doctor, tuned
from unnoise.errors import ModelError
from unnoise.noise import Gaussian


@pytest.mark.parametrize("colour", [False, True])
def test_a_method_is_told_the_noise_of_the_picture(colour):
    """Fails if it is told another sigma, the parameters of another kind of picture, or 8 bits come back in another range."""
    noisy, _ = spoilt(photo(colour, 128), Gaussian(20 / 255))
    found = doctor.examine(noisy)
    assert found.level.value == pytest.approx(20 / 255, rel=0.1)
    kind = "colour" if colour else "gray"
    for name in ("nlm", "tv"):
        expected = tuned.FUNCTIONS[name](noisy, found.level.value, **tuned.at(tuned.GAUSSIAN[name][kind], found.level.value))
        choice = auto.Models(name).choose(noisy)
        assert (choice.names, choice.why) == ((name,), f"told {found}")
        np.testing.assert_allclose(choice.denoise(noisy), expected, atol=1e-6)
    levels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
    restored = unnoise.denoise(levels, "nlm")
    assert restored.dtype == np.uint8
    again = unnoise.denoise(levels / np.float32(255), "nlm")
    assert np.abs(restored - 255 * again.clip(0, 1)).max() <= 0.501


def test_noise_that_grows_with_the_light_is_stabilised():
    """Fails if one sigma is used for all brightnesses, or gain and read noise are exchanged."""
    ramp = np.tile(np.linspace(0.05, 0.9, 256, dtype=np.float32), (256, 1))
    rng = np.random.default_rng(0)
    noisy = (ramp + np.sqrt(0.02 * ramp + 0.01**2) * rng.standard_normal(ramp.shape)).astype(np.float32)
    found = doctor.examine(noisy)
    assert "signal-dependent noise" in found.kinds
    restored = auto.Models("nlm").choose(noisy).denoise(noisy)
    plain = tuned.FUNCTIONS["nlm"](noisy, found.level.value, **tuned.at(tuned.GAUSSIAN["nlm"]["gray"], found.level.value))
    errors = [np.square(answer - ramp)[:, 192:].mean() for answer in (restored, plain)]
    assert errors[0] < 0.8 * errors[1]
    assert abs((restored - ramp)[:, :64].mean()) < 0.004


def test_a_picture_whose_noise_is_unknown_comes_back(tmp_path, cli):
    """Fails if a method is told a sigma that is no larger than its error, as in a tiny picture, or the file is coded anew all the same."""
    tiny = np.random.default_rng(0).random((5, 7), np.float32)
    found = doctor.examine(tiny)
    assert found.level.error >= found.level.value > tuned.SILENT
    choice = auto.Models("nlm").choose(tiny)
    assert (choice.passes, choice.name) == ((), None)
    assert choice.why == f"as its noise is unknown ({found})"
    np.testing.assert_array_equal(choice.denoise(tiny), tiny)
    Image.fromarray(np.rint(tiny * 255).astype(np.uint8)).save(tmp_path / "tiny.jpg", quality=50)
    ended = cli("denoise", tmp_path / "tiny.jpg", "-o", tmp_path / "out", "--model", "nlm", "--json")
    assert "tiny.jpg unchanged, as its noise is unknown" in ended.err
    assert json.loads(ended.out)["done"][0]["models"][0]["model"] is None
    assert (tmp_path / "out" / "tiny.jpg").read_bytes() == (tmp_path / "tiny.jpg").read_bytes()


def test_a_picture_with_next_to_no_noise_comes_back():
    """Fails if a method is run with a sigma that its parameters, or their division by it, were never meant for."""
    faint = 0.5 + np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32) * np.float32(5e-5)
    choice = auto.Models("nlm").choose(faint)
    assert (choice.passes, choice.why) == ((), f"as its noise is next to nothing ({doctor.examine(faint)})")


def test_a_method_goes_in_tiles_and_half_way(monkeypatch):
    """Fails if tiles leave seams where a method sees no further than the overlap, or strength, grain or alpha is forgotten."""
    from scipy.ndimage import uniform_filter

    picture = np.random.default_rng(0).random((150, 170, 4), np.float32)
    of_nine = lambda name, found, noisy: uniform_filter(noisy, (9, 9, 1)[: noisy.ndim], mode="mirror")  # noqa: E731
    monkeypatch.setattr(classical, "_restored", of_nine)
    monkeypatch.setattr(classical, "OVERLAP", 8)
    model = classical.Classical("nlm", doctor.examine(picture))
    whole = uniform_filter(picture[..., :3], (9, 9, 1), mode="mirror")
    for tile in (None, 64, 0):
        restored = model.denoise(picture, tile=tile)
        np.testing.assert_allclose(restored[..., :3], whole, atol=1e-6)
        np.testing.assert_array_equal(restored[..., 3], picture[..., 3])
    half = model.denoise(picture, strength=0.5)
    np.testing.assert_allclose(half[..., :3], (picture[..., :3] + whole) / 2, atol=1e-6)
    assert model.denoise(picture[..., 0]).shape == (150, 170)


def test_from_the_command_line(tmp_path, cli):
    """Fails if a method cannot be named, it goes unsaid what it was told, or the same command does the work again."""
    noisy, _ = spoilt(photo(False, 128), Gaussian(20 / 255))
    Image.fromarray(np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    ended = cli("denoise", tmp_path / "a.png", "-o", tmp_path / "out", "--model", "nlm")
    assert (ended.code, "through nlm told sigma" in ended.err) == (0, True)
    assert (np.asarray(Image.open(tmp_path / "out" / "a.png")) != np.asarray(Image.open(tmp_path / "a.png"))).mean() > 0.5
    ended = cli("denoise", tmp_path / "a.png", "-o", tmp_path / "out", "--model", "nlm")
    assert "1 skipped" in ended.err
    ended = cli("denoise", tmp_path / "a.png", "-o", tmp_path / "out", "--model", "tv")
    assert "1 done" in ended.err


@pytest.mark.parametrize(("given", "meant"), [("nml", "nlm"), ("wavelets", "wavelet"), ("bm3", "bm3d"), ("phto", "photo")])
def test_a_mistyped_method_is_asked_after(given, meant, tmp_path, cli):
    """Fails if the methods are no names to `--model` and `models` when one is spelt wrong, or models are none any more."""
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.png")
    words = f"unnoise: {given} does not exist; did you mean {meant}?"
    assert cli("denoise", tmp_path, "-o", tmp_path / "out", "--model", given).sentence == words
    assert cli("models", given).sentence == words


def test_a_method_is_no_model_file(tmp_path, cli):
    """Fails if what takes models alone asks whether a method that was spelt right was meant, or leaves out where it belongs."""
    words = "tv is a classical method, which has no model file: denoise takes it by --model tv, evaluate by --methods tv."
    assert refusal(lambda: unnoise.load("tv"), ModelError) == words
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.png")
    ended = cli("evaluate", "tv", "--clean", tmp_path, "--noise", "gaussian:0.1", "-o", tmp_path / "out")
    assert (ended.code, ended.sentence) == (2, f"unnoise: {words}")


def test_what_a_method_is(monkeypatch, cli, tmp_path):
    """Fails if `models` does not know a method, its paper, what it needs, whether that is there, or what takes it; or a run of its name is passed over."""
    line, use = cli("models", "nlm").out.splitlines()
    assert line == (
        "nlm: Non-local means (Buades et al. 2005, doi:10.1109/CVPR.2005.38) of scikit-image, its fast form. "
        "A classical method, told each picture's noise. It needs scikit-image (installed)."
    )
    assert use == "To use it: unnoise denoise PHOTOS -o clean --model nlm"
    for name in tuned.DENOISERS:
        told = classical.described(name)
        assert told["method"].endswith(".")
        assert "doi:" in told["method"]
    monkeypatch.setitem(tuned.NEEDS, "bm3d", ("bm3d", "no_such_module"))
    monkeypatch.setitem(tuned.PACKAGES, "no_such_module", ("another",))
    assert "It needs bm3d and another: pip install bm3d, whose licence" in cli("models", "bm3d").out
    told = json.loads(cli("models", "wavelet", "--json").out)
    assert (told["models"], told["methods"][0]["needs"]) == ([], ["scikit-image", "PyWavelets"])
    assert told["methods"][0] == classical.described("wavelet")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tv").mkdir()
    assert cli("models", "tv").sentence.startswith("unnoise: tv holds no model.onnx")


def test_what_a_method_cannot_do(monkeypatch):
    """Fails if an option that only networks have is taken and forgotten, or a method that is absent ends in a traceback."""
    assert "only a trained model has it" in refusal(lambda: auto.Models("nlm", quality="high"))
    assert "fills nothing in" in refusal(lambda: auto.Models("nlm").filling())
    assert "tile=" in refusal(lambda: auto.Models("nlm", tile=64))
    assert "looks at the whole picture" in refusal(lambda: auto.Models("tv", tile=512))
    monkeypatch.setitem(tuned.NEEDS, "bm3d", ("no_such_module",))
    assert "whose licence is for non-commercial use" in refusal(lambda: auto.Models("bm3d"))
    monkeypatch.setitem(tuned.NEEDS, "nlm", ("no_such_module",))
    assert 'pip install "unnoise[peers]"' in refusal(lambda: auto.Models("nlm"))
    there, absent = classical.installed()
    assert "nlm" in absent
    assert "tv" in there
