"""Masks: what is missing is filled in, and nothing else changes; and `quality`: the eight flips and turns."""

import json

import numpy as np
import pytest
from conftest import refusal
from test_cli import opened, put

import unnoise
from unnoise import artefact, load
from unnoise.errors import BadSetting, ImageError, ModelError
from unnoise.image import Bands


@pytest.fixture(scope="module")
def picture(held_out):
    return held_out("chelsea.png")[:150, :170]


@pytest.fixture(scope="module")
def filler(run, tmp_path_factory):
    """The small model, by its card one that has learned to fill in, and other noise: so it changes all that it may."""
    onnx, card = artefact.read_onnx(run / "model.onnx")
    card["training"]["noise"] = ["masking:0.1", "gaussian:25/255"]
    file = tmp_path_factory.mktemp("filler") / "filler.onnx"
    file.write_bytes(
        artefact.stamped(artefact.unstamped(onnx), {k: v for k, v in card.items() if k not in ("format", "sha256")})
    )
    return file


@pytest.fixture(scope="module")
def lost(picture):
    """A scratch, scattered pixels, and a corner."""
    mask = np.random.default_rng(1).random(picture.shape) < 0.02
    mask[60:64, 10:140] = mask[-9:, -7:] = True
    return mask


# --- a mask ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8, np.uint16])
def test_only_what_is_missing_changes(filler, picture, lost, kind):
    """Fails if a known pixel changes by a bit, or a missing one is not what the model makes of zeros there."""
    model = load(filler)
    given = picture.astype(kind) if np.dtype(kind).kind == "f" else np.rint(picture * np.iinfo(kind).max).astype(kind)
    answer = model.denoise(given, mask=lost)
    zeroed = given.copy()
    zeroed[lost] = 0
    assert answer.dtype == kind
    np.testing.assert_array_equal(answer[~lost], given[~lost])
    np.testing.assert_array_equal(answer[lost], model.denoise(zeroed)[lost])
    assert (answer[lost] != given[lost]).mean() > 0.9


def test_what_lies_under_the_mask_has_no_part(filler, picture, lost):
    model = load(filler)
    other = np.where(lost, np.float32(0.9), picture)
    np.testing.assert_array_equal(model.denoise(other, mask=lost)[lost], model.denoise(picture, mask=lost)[lost])


def test_tiles_alpha_channels_and_batches(filler, picture, lost):
    """Fails if a mask is laid on another part of the picture in tiles, on alpha, or on another picture of a batch."""
    model = load(filler)
    whole = model.denoise(picture, tile=0, mask=lost)
    np.testing.assert_allclose(model.denoise(picture, tile=96, mask=lost), whole, atol=1e-5)
    colour = np.dstack([picture, picture[::-1], picture / 2, np.full_like(picture, 0.3)])
    per_value = np.zeros(colour.shape, bool)
    per_value[..., 1] = lost
    answer = model.denoise(colour, mask=per_value)
    np.testing.assert_array_equal(answer, model.denoise(colour, mask=lost))
    np.testing.assert_array_equal(answer[..., 3], colour[..., 3])
    assert (answer[lost][:, :3] != colour[lost][:, :3]).mean() > 0.9
    batch, masks = np.stack([colour, colour / 2]), np.stack([lost, ~lost])
    both = model.denoise(batch, mask=masks)
    for one, restored, mask in zip(batch, both, masks, strict=True):
        np.testing.assert_array_equal(restored, model.denoise(one, mask=mask))
    nothing = model.denoise(picture, mask=np.zeros_like(lost))
    np.testing.assert_array_equal(nothing, picture)


@pytest.mark.parametrize("mask", [np.zeros((150, 170)), np.zeros((170, 150), bool), np.zeros((150, 170, 3), bool), [[True]]])
def test_a_mask_that_does_not_fit_is_refused(filler, picture, mask):
    assert "bool of the picture's shape (150, 170)" in refusal(lambda: load(filler).denoise(picture, mask=mask), ImageError)


@pytest.mark.parametrize("more", [{"strength": 0.5}, {"grain": 0.1}])
def test_a_mask_goes_without_strength_and_grain(filler, picture, lost, more):
    assert "leave strength and grain out" in refusal(lambda: load(filler).denoise(picture, mask=lost, **more), BadSetting)


# --- on the command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, picture, lost):
    """Two pictures of two sizes that `corrupt --save-mask` could have left, masks among them, and one without."""
    put(tmp_path / "in" / "a.png", np.rint(picture * 255).astype(np.uint8))
    put(tmp_path / "in" / "a.mask.png", 255 * lost.astype(np.uint8))
    put(tmp_path / "in" / "sub" / "b.png", np.rint(picture[:90] * 255).astype(np.uint8))
    put(tmp_path / "in" / "sub" / "b.mask.png", 255 * lost[:90].astype(np.uint8))
    return tmp_path / "in"


def test_a_folder_of_masks(cli, filler, folder, lost, tmp_path):
    """Fails if a picture gets another one's mask, a mask is denoised, a new mask changes nothing, or the same one does it again."""
    asked = ("denoise", folder, "-o", tmp_path / "out", "--model", filler, "--mask", folder, "--json")
    ended = cli(*asked)
    assert ended.code == 0, ended.err
    assert sorted(one["source"] for one in json.loads(ended.out)["done"]) == [
        str(folder / "a.png"),
        str(folder / "sub" / "b.png"),
    ]
    for name, mask in (("a.png", lost), ("sub/b.png", lost[:90])):
        expected = load(filler).denoise(opened(folder / name), mask=mask)
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), expected)
    assert [one["reason"] for one in json.loads(cli(*asked).out)["skipped"]].count("is done already") == 2
    put(folder / "a.mask.png", 255 * (~lost).astype(np.uint8))
    assert [one["source"] for one in json.loads(cli(*asked).out)["done"]] == [str(folder / "a.png")]
    np.testing.assert_array_equal(
        opened(tmp_path / "out" / "a.png"), load(filler).denoise(opened(folder / "a.png"), mask=~lost)
    )


def test_masks_that_do_not_fit_are_named(cli, filler, folder, tmp_path):
    """Fails if a picture without its mask goes through all the same, or one bad mask stops the others."""
    (folder / "sub" / "b.mask.png").unlink()
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--model", filler, "--mask", folder, "--json")
    assert ended.code == 1
    told = json.loads(ended.out)
    assert [one["source"] for one in told["done"]] == [str(folder / "a.png")]
    assert "b.mask.png, which is not there" in told["failed"][0]["reason"]
    dry = json.loads(
        cli("denoise", folder, "-o", tmp_path / "dry", "--model", filler, "--mask", folder, "--dry-run", "--json").out
    )
    assert (len(dry["would_write"]), len(dry["failed"])) == (1, 1)
    ended = cli(
        "denoise",
        folder / "sub" / "b.png",
        "-o",
        tmp_path / "one",
        "--model",
        filler,
        "--mask",
        folder / "a.mask.png",
        "--json",
    )
    assert ended.code == 1
    assert "is 170 x 90 pixels, its mask" in json.loads(ended.out)["failed"][0]["reason"]
    assert not (tmp_path / "one" / "b.png").exists()
    (folder / "a.mask.png").write_bytes(b"no picture")
    ended = cli(
        "denoise", folder / "a.png", "-o", tmp_path / "two", "--model", filler, "--mask", folder / "a.mask.png", "--json"
    )
    assert ended.code == 1
    assert "has a mask" in json.loads(ended.out)["failed"][0]["reason"]
    gone = cli("denoise", folder, "-o", tmp_path / "out", "--model", filler, "--mask", tmp_path / "none.png")
    assert gone.code == 2
    assert "there is no such file" in gone.sentence
    for more in (["--strength", 0.5], ["--preview"], ["--grain", 0.1]):
        refused = cli("denoise", folder, "-o", tmp_path / "out", "--model", filler, "--mask", folder, *more)
        assert refused.code == 2
        assert "--mask fills in what is missing" in refused.sentence


def test_a_mask_is_neither_denoised_nor_replaced(cli, filler, folder, tmp_path):
    """Fails if a mask of any name among the photos is taken for one of them, or is written over as an output."""
    put(folder / "scratch.png", opened(folder / "a.mask.png"))
    (folder / "sub" / "b.png").unlink()
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--model", filler, "--mask", folder / "scratch.png", "--json")
    assert [one["source"] for one in json.loads(ended.out)["done"]] == [str(folder / "a.png")]
    put(tmp_path / "q" / "a.png", opened(folder / "a.mask.png"))
    before = (tmp_path / "q" / "a.png").read_bytes()
    asked = (
        "denoise",
        folder / "a.png",
        "-o",
        tmp_path / "q",
        "--model",
        filler,
        "--mask",
        tmp_path / "q" / "a.png",
        "--overwrite",
    )
    assert cli(*asked).code == 1
    assert (tmp_path / "q" / "a.png").read_bytes() == before


def test_a_model_that_does_not_fill_in_is_refused(cli, run, folder, picture, lost, tmp_path):
    """Fails if a hole is filled by a model that never saw one: it leaves it black."""
    assert "has not learned to fill in" in refusal(lambda: load(run).denoise(picture, mask=lost), ModelError)
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--model", run, "--mask", folder)
    assert ended.code == 2
    assert "has not learned to fill in" in ended.sentence


def test_what_is_no_number_is_missing_too(filler, picture, lost):
    """Fails if NaN, where the mask is, is refused or spreads; elsewhere it still is refused."""
    holes = np.where(lost, np.nan, picture)
    np.testing.assert_array_equal(
        load(filler).denoise(holes, mask=lost), load(filler).denoise(picture.astype(np.float64), mask=lost)
    )
    holes[0, 0] = np.nan
    refusal(lambda: load(filler).denoise(holes, mask=lost & (np.arange(lost.size).reshape(lost.shape) > 0)), ImageError)


def test_a_mask_of_alpha_alone_fills_in_nothing(filler, picture):
    colour = np.dstack([picture] * 4)
    mask = np.zeros(colour.shape, bool)
    mask[..., 3] = True
    np.testing.assert_array_equal(load(filler).denoise(colour, mask=mask), colour)


# --- quality -----------------------------------------------------------------------------------------------------------------


def positions(picture):
    """The eight flips and turns, and what undoes each."""
    for turns in range(4):
        yield np.rot90(picture, turns), lambda answer, turns=turns: np.rot90(answer, -turns)
        yield np.rot90(picture[:, ::-1], turns), lambda answer, turns=turns: np.rot90(answer, -turns)[:, ::-1]


def test_high_quality_is_the_mean_of_eight_positions(run, picture):
    """Fails if one of them is left out, counted twice or turned back wrongly."""
    side = picture[:144, :160]  # on the model's grid, where padding is the same in every position
    usual = load(run)
    expected = np.mean([back(usual.denoise(np.ascontiguousarray(laid))) for laid, back in positions(side)], 0)
    answer = load(run, quality="high").denoise(side)
    np.testing.assert_allclose(answer, expected, atol=2e-6)
    assert np.abs(answer - usual.denoise(side)).max() > 1e-3
    np.testing.assert_allclose(unnoise.denoise(side, run, quality="high"), answer, atol=1e-6)


def test_high_quality_is_the_same_in_tiles_and_for_a_turned_picture(run, picture):
    model = load(run, quality="high")
    side = picture[:144, :160]
    np.testing.assert_allclose(model.denoise(side, tile=96), model.denoise(side, tile=0), atol=1e-5)
    turned = np.ascontiguousarray(np.rot90(side))
    np.testing.assert_allclose(model.denoise(turned), np.rot90(model.denoise(side)), atol=1e-5)
    bands = model.in_bands(Bands(picture.shape, iter([picture[:70], picture[70:]]))).whole()
    np.testing.assert_array_equal(bands, model.denoise(picture))


def test_quality_on_the_command_line(cli, run, picture, tmp_path):
    """Fails if the option does not reach the model, or an output of the one passes for the other's."""
    put(tmp_path / "a.png", np.rint(picture * 255).astype(np.uint8))
    for quality in ("normal", "high"):
        ended = cli("denoise", tmp_path / "a.png", "-o", tmp_path / "out", "--model", run, "--quality", quality, "--json")
        assert len(json.loads(ended.out)["done"]) == 1
        expected = load(run, quality=quality).denoise(opened(tmp_path / "a.png"))
        np.testing.assert_array_equal(opened(tmp_path / "out" / "a.png"), expected)
    assert "expected normal, or high" in refusal(lambda: load(run, quality="best"), BadSetting)
