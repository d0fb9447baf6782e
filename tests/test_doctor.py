"""The noise in a picture is told from the picture alone: its kind, its level, what is missing; and clean pictures are left alone."""

import dataclasses
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SKIMAGE, refusal
from PIL import Image
from test_cli import opened, pixels, put

import unnoise
from unnoise import bundled, doctor
from unnoise.doctor import MODELS, advice, examine
from unnoise.errors import ImageError
from unnoise.grid import Grid
from unnoise.level import Estimate

SHARED = Path(__file__).parents[2] / "shared" / "data"
PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg")


def photo(name="coffee.png"):
    """(H, W, 3) float32 in [0, 1], 8 bits."""
    return np.asarray(Image.open(SKIMAGE / name).convert("RGB"), np.float32) / np.float32(255)


def spoilt(noise, clean, seed=0):
    return unnoise.parse(noise)(clean, np.random.default_rng(seed))[0]


def as_in_a_file(picture):
    """Clipped to [0, 1], and rounded to 8 bits."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.float32) / np.float32(255)


# --- sigma ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("kept", [np.asarray, as_in_a_file])
@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_sigma(name, kept, sigma):
    """Fails if texture counts as noise, the flattest blocks' own luck as less of it, or what clipping took away is not added."""
    found = examine(kept(spoilt(f"gaussian:{sigma}/255", photo(name))))
    assert found.sigma.value * 255 == pytest.approx(sigma, rel=0.05)  # the goal
    assert found.kinds == ("Gaussian noise",)
    assert abs(found.correlation.value) < 0.05  # white


@pytest.mark.parametrize("sigma", [5, 25])
def test_where_a_channel_is_flat_only_where_it_is_black(sigma):
    """Fails if what clipping left of noise is not used, so that texture, which is all there is besides, counts as noise."""
    clean = photo()
    clean[..., 0] = 0.3 + 0.2 * np.random.default_rng(1).random(clean.shape[:2])
    clean[:300, :, 0] = 0  # as the red of a blue sky
    found = examine(as_in_a_file(spoilt(f"gaussian:{sigma}/255", clean)))
    assert found.sigma.value * 255 == pytest.approx(sigma, rel=0.1)


def test_each_channel_has_its_own_sigma():
    """Fails if channels are mixed up or averaged, or alpha is taken for one of them."""
    clean, sigmas = photo(), np.array([30, 10, 20], np.float32) / 255
    noisy = clean + np.random.default_rng(1).standard_normal(clean.shape, np.float32) * sigmas
    alpha = np.random.default_rng(2).random((*clean.shape[:2], 1), np.float32)
    for picture in (noisy, np.concatenate([noisy, alpha], 2)):
        found = examine(picture)
        assert [one.value for one in found.channels] == pytest.approx(sigmas, rel=0.05)
        assert found.sigma.value == pytest.approx(np.sqrt(np.mean(sigmas**2)), rel=0.05)


def test_a_constant_channel_counts_for_nothing():
    """Fails if a channel that nothing can be measured in dilutes the noise of the others."""
    noisy = spoilt("gaussian:20/255", photo())
    noisy[..., 2] = 0.5
    found = examine(noisy)
    assert found.sigma.value * 255 == pytest.approx(20, rel=0.05)
    assert found.channels[2].value == 0


def test_the_error_of_sigma_is_true():
    """Fails if the stated error is far from the actual one: on pure noise, 20 draws, three standard errors, and not ten times too wide."""
    errors, stated = [], []
    for seed in range(20):
        found = examine(spoilt("gaussian:25/255", np.full((300, 300), 0.5, np.float32), seed))
        errors.append(found.sigma.value * 255 - 25)
        stated.append(found.sigma.error * 255)
    assert np.abs(errors).max() < 3 * max(stated)
    assert np.mean(stated) < 10 * np.std(errors)


@pytest.mark.parametrize(
    ("noise", "share"),
    [
        ("salt-and-pepper:0.1", 0.1),
        ("salt-and-pepper:0.3", 0.3),
        ("salt-and-pepper:fraction=0.1,per=channel", 0.1),
        ("masking:0.3", 0.3),
    ],
)
def test_impulses_do_not_spoil_sigma_nor_the_reverse(noise, share):
    """Fails if impulses count as noise, the values that fill them as pixels without any, or clipped noise as impulses."""
    found = examine(as_in_a_file(spoilt(f"gaussian:15/255+{noise}", photo())))
    assert found.sigma.value * 255 == pytest.approx(15, rel=0.1)
    assert found.extremes.value + found.missing.value == pytest.approx(share, abs=0.005)


# --- correlation ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [8, 25])
def test_correlated_noise(sigma):
    """Fails if noise that is smooth over pixels is taken for less of it, or for white; means of 2 x 2 have a correlation of 0.5."""
    clean = photo("chelsea.png")
    white = np.random.default_rng(0).standard_normal((clean.shape[0] + 1, clean.shape[1] + 1, 3), np.float32)
    smooth = (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2  # of variance 1
    found = examine(clean + sigma / np.float32(255) * smooth)
    assert found.kinds == ("correlated noise",)
    assert found.correlation.value == pytest.approx(0.5, abs=0.06)
    assert found.sigma.value * 255 == pytest.approx(sigma, rel=0.1)
    assert advice(found)[0] == ("real",)


def test_noise_that_was_packed_as_jpeg():
    """Fails if a JPEG's missing high frequencies make its noise none, or a clean picture's edges of blocks are noise."""

    def packed(picture):
        file = io.BytesIO()
        Image.fromarray((as_in_a_file(picture) * 255).astype(np.uint8)).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))

    clean = photo("chelsea.png")
    assert examine(packed(clean)).kinds == ()
    assert examine(packed(spoilt("gaussian:15/255", clean))).kinds == ("correlated noise",)


# --- what is missing, and impulses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "kind", "field", "share"),
    [
        ("salt-and-pepper:0.005", "salt and pepper", "extremes", 0.005),
        ("salt-and-pepper:0.1", "salt and pepper", "extremes", 0.1),
        ("salt-and-pepper:0.5", "salt and pepper", "extremes", 0.5),
        ("salt-and-pepper:0.8", "salt and pepper", "extremes", 0.8),
        ("salt-and-pepper:fraction=0.1,per=channel", "salt and pepper", "extremes", 0.1),
        ("salt-and-pepper:0.9", "salt and pepper", "extremes", 0.9),
        ("masking:0.005", "missing pixels", "missing", 0.005),
        ("masking:0.3", "missing pixels", "missing", 0.3),
        ("masking:0.8", "missing pixels", "missing", 0.8),
        ("blocks:blocks=100x200x64x40", "missing blocks", "blocks", 64 * 40 / (400 * 600)),
    ],
)  # fmt: skip
def test_shares(noise, kind, field, share):
    """Fails if a share is off by half a point, or shows up under another name."""
    found = examine(spoilt(noise, photo()))
    shares = {name: getattr(found, name).value for name in ("extremes", "impulses", "missing", "blocks")}
    assert shares.pop(field) == pytest.approx(share, abs=min(0.005, share / 4))
    assert found.kinds == (kind,)
    assert max(shares.values()) < 0.005


def test_pepper_on_a_colour_that_is_dark_in_one_channel():
    """Fails if a block counts only where black would show in every channel: nowhere in the red of a blue sky."""
    sky = 0.5 * photo() + 0.3
    sky[..., 0] = 0.05
    assert examine(spoilt("masking:0.1", sky)).missing.value == pytest.approx(0.1, abs=0.005)


def test_lights_in_a_quarter_of_the_picture():
    """Fails if white dots that stand alone as impulses do, but in one part of the picture only, are taken for salt."""
    night = photo()
    dots = np.random.default_rng(0).random(night.shape[:2]) < 0.01
    dots[: 3 * len(dots) // 4] = False
    night[dots] = 1
    assert examine(night).kinds == ()
    assert "salt and pepper" in examine(spoilt("salt-and-pepper:0.0025", photo())).kinds  # as many, all over it


def test_salt_and_pepper_on_missing_pixels():
    """Fails if one of two kinds of black pixels swallows the other: 6 of 100 are white, so are 6 of the black ones, 30 are missing."""
    rng, noisy = np.random.default_rng(0), photo()
    kind = rng.random((*noisy.shape[:2], 1))
    noisy = np.where(
        kind < 0.12, np.where(kind < 0.06, np.float32(0), np.float32(1)), np.where(kind > 0.7, np.float32(0), noisy)
    )
    found = examine(noisy)
    assert found.extremes.value == pytest.approx(0.12, abs=0.005)
    assert found.missing.value == pytest.approx(0.3, abs=0.005)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_impulses_of_any_value(share):
    """Fails if impulses other than 0 and 1 are not counted, or those that hide near the picture's own values are not added."""
    found = examine(spoilt(f"salt-and-pepper:fraction={share},values=uniform", photo("chelsea.png")))
    assert found.impulses.value == pytest.approx(share, rel=0.15)
    assert found.kinds == ("impulses",)


def test_blocks_among_shadows_and_bars():
    """Fails if bars, round shadows or dark corners count as missing blocks, or blocks hide the shadows that are none."""
    picture = photo()
    down, across = np.indices(picture.shape[:2])
    picture[:40], picture[:, -30:] = 0, 0
    picture[(down - 250) ** 2 + (across - 150) ** 2 < 60**2] = 0
    assert examine(picture).kinds == ()
    picture[100:120, 300:316] = 0
    found = examine(picture)
    assert found.kinds == ("missing blocks",)
    assert found.blocks.value == pytest.approx(20 * 16 / down.size, rel=0.3)  # it is counted on every 16th pixel


def test_drawings_hold_no_impulses():
    """Fails if thin black lines and white dots, alike in many places, are taken for pepper and salt: they do not stand alone."""
    drawing = np.full((400, 400), 0.6, np.float32)
    drawing[::37], drawing[:, ::41] = 0, 0
    drawing[5:60:11, 5:60:13] = 1  # and some do, in one corner
    assert (drawing == 0).mean() > 0.05
    assert examine(drawing).kinds == ()


# --- clean pictures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PHOTOS, "astronaut.png", "camera.png"])
def test_clean_photos_are_left_alone(name):
    found = examine(photo(name))
    assert found.kinds == ()
    assert advice(found)[0] == ()
    assert advice(found)[1].startswith("as no noise worth removing was found (sigma ")
    assert f" ± {255 * found.sigma.error:.1f} in its flattest parts" in advice(found)[1]
    assert advice(found)[1].endswith(f"{', '.join(found.grid.words)})")


@pytest.mark.parametrize(("folder", "pattern"), [("train", "*.webp"), ("eval/Kodak24", "*")])
def test_pictures_of_the_corpus(folder, pattern):
    """Fails if fewer than 95 % of clean pictures are left alone, or one with noise of 5/255 is."""
    files = sorted((SHARED / folder).glob(pattern))
    if not files:
        pytest.skip(f"../shared/data/{folder} is absent")
    clean = [np.asarray(Image.open(file).convert("RGB")) for file in files[:: max(len(files) // 36, 1)]]
    assert np.mean([advice(examine(picture))[0] == () for picture in clean]) >= 0.95
    noisy = [as_in_a_file(spoilt("gaussian:5/255", picture / np.float32(255), seed)) for seed, picture in enumerate(clean[::3])]
    assert not [number for number, picture in enumerate(noisy) if advice(examine(picture))[0] == ()]


# --- the rule ------------------------------------------------------------------------------------------------------------------

NOTHING = Estimate(0.0, 0.0)
CLEAN = doctor.Diagnosis(NOTHING, (NOTHING,), NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)


def with_findings(**found):
    findings = {name: value if isinstance(value, Estimate) else Estimate(value, 0.0) for name, value in found.items()}
    return dataclasses.replace(CLEAN, **findings)


@pytest.mark.parametrize(
    ("found", "names", "models"),
    [
        ({}, MODELS, ()),
        ({"fine": 2.4 / 255, "sigma": 2.4 / 255}, MODELS, ()),
        ({"fine": 2.6 / 255, "sigma": 2.6 / 255}, MODELS, ("photo",)),
        ({"fine": 2.6 / 255, "sigma": 2.6 / 255}, ("real", "photo-fast"), ("photo-fast",)),
        ({"fine": Estimate(5 / 255, 3 / 255), "sigma": 5 / 255}, MODELS, ()),  # it may be texture
        ({"fine": 9 / 255, "correlation": 0.3}, MODELS, ("real",)),
        ({"fine": 9 / 255, "correlation": 0.3}, ("photo-fast", "impulse"), ("photo-fast",)),
        ({"fine": 9 / 255, "correlation": 0.3}, ("photo-fast", "photo"), ("photo",)),
        ({"fine": 9 / 255}, ("real", "photo-fast"), ("photo-fast",)),
        ({"fine": 9 / 255}, ("real", "impulse"), ("real",)),
        ({"fine": 9 / 255}, ("impulse", "missing"), ()),
        ({"extremes": 0.002}, MODELS, ("impulse",)),
        ({"extremes": 0.0005}, MODELS, ()),
        ({"extremes": 0.002, "fine": 9 / 255}, ("photo", "real"), ("photo",)),
        ({"extremes": 0.002}, ("photo", "missing"), ()),
        ({"impulses": 0.02, "fine": 9 / 255}, MODELS, ("impulse", "photo")),
        ({"impulses": 0.02, "fine": 9 / 255, "correlation": 0.3}, MODELS, ("impulse", "real")),
        ({"missing": 0.3, "fine": 9 / 255}, MODELS, ("missing", "photo")),
        ({"missing": 0.3, "blocks": 0.1, "fine": 9 / 255}, MODELS, ("missing", "photo")),
        ({"missing": 0.3, "extremes": 0.1, "fine": 9 / 255}, MODELS, ("missing",)),
        ({"missing": 0.3, "extremes": 0.1}, MODELS, ("missing",)),
        ({"blocks": 0.001}, MODELS, ("missing",)),
        ({"blocks": 0.001}, (), ()),
    ],
)  # fmt: skip
def test_the_rule(found, names, models):
    """Fails if a kind goes to a model that is not for it, or to one that is not there, or an estimate's error is not heeded."""
    chosen, why = advice(with_findings(**found), names)
    assert chosen == models
    assert why.startswith("for " if models else "as ")


def test_the_sentence_says_what_and_why():
    """Fails if the figures, or what is left for another pass, are not in it."""
    found = with_findings(extremes=0.1, sigma=Estimate(12 / 255, 0.5 / 255), fine=12 / 255)
    seen = "(salt and pepper 10 %, sigma 12.0/255 ± 0.5)"
    assert advice(found)[1] == f"for salt and pepper and then Gaussian noise {seen}"
    assert advice(found, ["photo"])[1] == f"for Gaussian noise, leaving salt and pepper, which no model here is for {seen}"
    assert advice(found, ["missing"])[1] == f"as no model here is for salt and pepper and Gaussian noise {seen}"
    both = dataclasses.replace(found, missing=Estimate(0.2, 0.0))
    assert (
        "for salt and pepper, leaving Gaussian noise for another pass and missing pixels, which no model here is for ("
        in advice(both, ["impulse", "real"])[1]
    )
    assert advice(both)[0] == ("missing",)
    assert "for missing pixels, leaving salt and pepper and Gaussian noise for another pass (" in advice(both)[1]
    gaps = dataclasses.replace(both, extremes=Estimate(0.0, 0.0), blocks=Estimate(0.1, 0.0))
    assert "for missing blocks and missing pixels and then Gaussian noise (" in advice(gaps)[1]


def test_where_it_was_measured_stands_beside_sigma():
    """Fails if the words after sigma make the sentence say that something else is in the flattest parts."""
    traces = Grid(NOTHING, (0, 0), NOTHING, NOTHING, Estimate(0.1, 0.0))
    seen = advice(dataclasses.replace(with_findings(sigma=Estimate(0.5 / 255, 0.1 / 255)), grid=traces))[1]
    assert (
        seen
        == "as no noise worth removing was found (sigma 0.5/255 ± 0.1 in its flattest parts, a mosaic's chessboard in the noise)"
    )


# --- pictures of all sorts -----------------------------------------------------------------------------------------------------


def test_kinds_of_arrays():
    """Fails if whole numbers, or gray in three channels, are read otherwise, or the picture is changed."""
    noisy = as_in_a_file(spoilt("gaussian:20/255+salt-and-pepper:0.05", photo("camera.png")))
    before, found = noisy.copy(), examine(noisy)
    np.testing.assert_array_equal(noisy, before)
    assert examine(noisy) == found
    assert examine(np.rint(noisy * 255).astype(np.uint8)) == found
    assert examine(noisy.astype(np.float64)) == found
    deep = examine(np.rint(noisy * 65535).astype(np.uint16))
    assert deep.sigma.value == pytest.approx(found.sigma.value, rel=1e-3)
    gray = examine(noisy[..., 0])
    assert gray.sigma.value == pytest.approx(found.sigma.value, rel=0.02)
    assert gray.extremes.value == pytest.approx(found.extremes.value, abs=0.002)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (3, 5), (8, 16), (9, 9, 4), (1, 500), (500, 1, 3)])
@pytest.mark.parametrize("value", [0, 0.5, 1, None])
def test_small_pictures_are_left_alone(shape, value):
    """Fails if a picture that is too small to tell anything breaks it, or is judged all the same."""
    picture = np.random.default_rng(0).random(shape, np.float32) if value is None else np.full(shape, value, np.float32)
    found = examine(picture)
    assert value is not None or max(shape) > 100 or found.sigma.error >= 0.5 * found.sigma.value
    assert value is None or (found.kinds == () and found.sigma.value == 0)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_empty_pictures(value):
    """Fails if a picture of one value holds noise."""
    assert examine(np.full((200, 200, 3), value, np.uint8)).kinds == ()


def test_what_is_no_picture():
    assert "expected finite values" in refusal(lambda: examine(np.full((20, 20), np.nan, np.float32)), ImageError)
    assert "expected an array (height, width)" in refusal(lambda: examine(np.zeros((2, 20, 20, 3), np.uint8)), ImageError)
    assert "divide by 255" in refusal(lambda: examine(np.full((20, 20), 128.0)), ImageError)


def test_a_large_picture_takes_half_a_second():
    """Fails if the time follows the pixels: 12 megapixels, the processor's time, the best of three."""
    large = np.tile(photo(), (8, 7, 1))[:3000, :4000]
    large = spoilt("salt-and-pepper:0.05", large)
    taken = []
    for _ in range(3):
        began = time.process_time()
        examine(large)
        taken.append(time.process_time() - began)
    assert min(taken) < 0.5


# --- unnoise inspect -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clean picture, a noisy one, one with impulses, of three kinds; one that is cut, and a file that is none. Nothing is bundled."""
    monkeypatch.setattr(bundled, "names", list)
    clean = photo("chelsea.png")[:200, :200]
    folder = tmp_path / "in"
    put(folder / "clean.png", (clean * 255).astype(np.uint8))
    put(folder / "sub" / "noisy.tif", (as_in_a_file(spoilt("gaussian:20/255", clean)) * 255).astype(np.uint8))
    put(
        folder / "sub" / "spotted.webp",
        (as_in_a_file(spoilt("salt-and-pepper:0.1", clean)) * 255).astype(np.uint8),
        lossless=True,
    )
    (folder / "notes.txt").write_text("exposure 1/60")
    return folder


def test_inspect_says_a_line_for_each(cli, folder):
    ended = cli("inspect", folder)
    assert ended.code == 0
    names = ["clean.png", "sub/noisy.tif", "sub/spotted.webp"]
    lines = ended.out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(folder / name) for name in names]
    said = [line.partition(": ")[2] for line in lines]
    assert [" ".join(words.split()[:2]) for words in said] == ["Leave it,", "Use photo", "Use impulse"]
    assert said[0] == f"Leave it, {advice(examine(opened(folder / 'clean.png')))[1]}."
    assert said[1] == f"Use photo {advice(examine(opened(folder / 'sub' / 'noisy.tif')))[1]}."
    assert "3 inspected: 1 to leave as it is, 1 for photo, 1 for impulse, 1 skipped in " in ended.err


def test_inspect_tells_the_same_as_json(cli, folder):
    """Fails if the document lacks a file or a figure, or is not alone on standard output."""
    cut = put(folder / "cut.png", pixels(40, 40, 3)).read_bytes()
    (folder / "cut.png").write_bytes(cut[: len(cut) // 2])
    ended = cli("inspect", folder, "--json")
    told = json.loads(ended.out)
    assert ended.code == 1
    assert [picture["models"] for picture in told["pictures"]] == [[], ["photo"], ["impulse"]]
    noisy = told["pictures"][1]
    assert noisy["sigma"]["value"] * 255 == pytest.approx(20, rel=0.1)
    assert noisy["sigma"]["error"] > 0
    assert noisy["kinds"] == ["Gaussian noise"]
    assert [len(noisy["channels"]), noisy["frames"]] == [3, 1]
    assert [entry["source"] for entry in told["skipped"]] == [str(folder / "notes.txt")]
    assert [entry["source"] for entry in told["failed"]] == [str(folder / "cut.png")]
    assert "cut.png is damaged" in ended.err


def test_inspect_looks_at_the_first_page_and_says_so(cli, tmp_path):
    frames = [Image.fromarray(pixels(60, 60, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert "moving.gif (the first of 3 pages or frames): " in cli("inspect", tmp_path).out


@pytest.mark.parametrize("arguments", [["nowhere"], ["empty"], ["empty", "--max-megapixels", "0"]])
def test_what_inspect_refuses(cli, tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    ended = cli("inspect", tmp_path / arguments[0], *arguments[1:])
    assert (ended.code, ended.out) == (2, "")
    assert ended.sentence


def test_inspect_needs_neither_torch_nor_onnxruntime(child, folder):
    ended = child("inspect", folder / "clean.png", python=["-X", "importtime"])
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.err.splitlines()}
    assert ended.code == 0
    assert "numpy" in loaded
    assert not loaded & {"torch", "onnxruntime", "scipy", "skimage", "cv2"}


def test_the_python_of_the_docs():
    """Fails if the Python of docs/inspect.md does not run as written."""
    page = (Path(__file__).parents[1] / "docs" / "inspect.md").read_text()
    names = {"noisy": spoilt("gaussian:20/255", photo())}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    assert names["models"] == ("photo",)
