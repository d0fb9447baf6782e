"""`--model auto`: each picture, page by page, goes through the bundled model that its noise calls for, or comes back as it is."""

import errno
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
from conftest import refusal
from onnx import TensorProto, helper
from PIL import Image
from test_cli import opened, put
from test_doctor import photo, spoilt

import unnoise
from unnoise import artefact, auto, bundled, doctor, image, preview
from unnoise.denoiser import Denoiser, Network
from unnoise.errors import ImageError, ModelError
from unnoise.image import Bands
from unnoise.metrics import psnr

PAINTS = {"photo-colour": 51, "photo-gray": 68, "photo-fast": 85, "impulse": 102, "missing": 153, "real": 204}  # of 255
CLEAN = photo("chelsea.png")[:200, :200]
NAME = ".unnoise.jsonl"


def painter(name, tile=512, overlap=8):
    """A model file that paints its own gray over everything."""
    channels = 1 if name.endswith("gray") else 3
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["N", channels, "H", "W"]) for end in ("noisy", "restored")]
    values = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("paint", TensorProto.FLOAT, [], [PAINTS[name] / 255]),
    ]
    nodes = [
        helper.make_node("Mul", ["noisy", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "paint"], ["restored"]),
    ]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    card = {"contract": 1, "channels": channels, "alignment": 8, "overlap": overlap, "tile": tile, "licence": "CC0-1.0"}
    card["training"] = {"noise": ["masking:0.3" if name == "missing" else "gaussian:0.1"]}
    return artefact.stamped(onnx.ModelProto.SerializeToString(model), card)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder of what is bundled: one model for each kind of noise."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    for name in PAINTS:
        (folder / f"{name}.onnx").write_bytes(painter(name))
    monkeypatch.setattr(bundled, "FOLDER", folder)
    return folder


def correlated(clean):
    white = np.random.default_rng(0).standard_normal((clean.shape[0] + 1, *clean.shape[1:]), np.float32)
    return clean + 15 / np.float32(255) * (white[1:] + white[:-1])


def whole(picture, kind=np.uint8):
    return np.rint(np.clip(picture, 0, 1) * np.iinfo(kind).max).astype(kind)


KINDS = {
    "gaussian:20/255": "photo", "salt-and-pepper:0.1": "impulse", "salt-and-pepper:fraction=0.1,values=uniform": "impulse",
    "masking:0.3": "missing", "blocks:blocks=40x50x20x30": "missing", "gaussian:20/255+salt-and-pepper:0.1": "impulse, then photo",
    "correlated": "real", "clean": None,
}  # fmt: skip


def noisy(kind, clean=CLEAN):
    made = {"clean": lambda: clean, "correlated": lambda: correlated(clean)}.get(kind, lambda: spoilt(kind, clean))()
    return whole(made)


def file_of(name):
    return "photo-colour" if name == "photo" else name


@pytest.fixture
def folder(tmp_path):
    """A picture of each of three fates."""
    for name, kind in (("a", "clean"), ("b", "gaussian:20/255"), ("c", "salt-and-pepper:0.1")):
        put(tmp_path / "in" / f"{name}.png", noisy(kind))
    return tmp_path / "in"


@pytest.fixture
def batch(cli, folder, tmp_path):
    """`batch(...)`: `unnoise denoise` over the folder, what it told as JSON, its words as "err"."""

    def call(*more, source=folder):
        ended = cli("denoise", source, "-o", tmp_path / "out", *more, "--json")
        assert ended.code == 0, ended.err
        return {**json.loads(ended.out), "err": ended.err}

    return call


# --- which -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_the_noise_chooses(kind, name, models):
    """Fails if a kind of noise goes through a model for another, or a clean picture through any."""
    picture = noisy(kind)
    for given in (picture, picture / np.float32(255)):
        restored = unnoise.denoise(given)
        assert (restored.dtype, restored.shape) == (given.dtype, given.shape)
        if name is None:
            np.testing.assert_array_equal(restored, given)
            assert restored is not given
        else:
            last = file_of(name.rpartition(", then ")[2])
            np.testing.assert_allclose(restored * (255 if given.dtype == np.float32 else 1), PAINTS[last], atol=1e-3)


def test_gray_pictures_alpha_and_batches(models):
    """Fails if a gray picture misses the gray one of a pair, alpha is lost, or one picture of a batch decides for the others."""
    gray = spoilt("gaussian:20/255", CLEAN[..., 1])
    assert (unnoise.denoise(whole(gray)) == PAINTS["photo-gray"]).all()
    alpha = np.random.default_rng(0).integers(0, 256, (*gray.shape, 1), np.uint8)
    restored = unnoise.denoise(np.concatenate([noisy("gaussian:20/255"), alpha], 2))
    assert (restored[..., :3] == PAINTS["photo-colour"]).all()
    np.testing.assert_array_equal(restored[..., 3:], alpha)
    assert unnoise.denoise(np.zeros((0, 20, 20, 3), np.uint8)).shape == (0, 20, 20, 3)
    several = unnoise.denoise(np.stack([noisy("clean"), noisy("salt-and-pepper:0.1"), noisy("gaussian:20/255")]))
    np.testing.assert_array_equal(several[0], noisy("clean"))
    assert [picture.mean() for picture in several[1:]] == [PAINTS["impulse"], PAINTS["photo-colour"]]


@pytest.mark.parametrize(
    ("kind", "gone", "name"),
    [
        ("correlated", ["real"], "photo"),
        ("gaussian:20/255", ["photo-colour", "photo-gray"], "photo-fast"),
        ("gaussian:20/255", ["photo-colour", "photo-gray", "photo-fast"], "real"),
        ("gaussian:20/255+salt-and-pepper:0.1", ["impulse"], "photo"),
        ("salt-and-pepper:0.1", ["impulse"], None),
        ("masking:0.3", ["missing"], None),
    ],
)
def test_where_the_model_that_fits_is_not_bundled(kind, gone, name, models):
    """Fails if noise is left for want of the best model, or impulses and gaps go through a model that knows none."""
    for file in gone:
        (models / f"{file}.onnx").unlink()
    restored = unnoise.denoise(noisy(kind))
    np.testing.assert_array_equal(restored, PAINTS[file_of(name)] if name else noisy(kind))


# --- clean pictures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape", "ending"),
    [(np.uint8, "colour", "png"), (np.uint8, "gray", "tif"), (np.uint16, "alpha", "png"), (np.uint16, "colour", "tif")],
)
def test_a_clean_picture_comes_back_bit_for_bit(kind, shape, ending, models, batch, tmp_path):
    """Fails if a value of a clean picture changes on its way, its depth or alpha does, or nobody says that it was left."""
    rng = np.random.default_rng(0)
    fine = CLEAN + np.float32(0.5 / 255) * rng.random(CLEAN.shape, np.float32)  # so that 16 bits are used
    picture = whole(fine[..., 1] if shape == "gray" else fine, kind)
    if shape == "alpha":
        picture = np.concatenate([picture, rng.integers(0, np.iinfo(kind).max, (200, 200, 1), kind)], 2)
    np.testing.assert_array_equal(unnoise.denoise(picture), picture)
    source = tmp_path / "one" / f"clean.{ending}"
    source.parent.mkdir()
    if ending == "png":
        source.write_bytes(unnoise_png(picture))
    else:
        tifffile.imwrite(source, picture, photometric="minisblack" if shape == "gray" else "rgb")
    told = batch("--first-frame", source=source)  # with it, the file is written anew
    (one,) = told["done"]
    assert [chosen["model"] for chosen in one["models"]] == [None]
    assert f"{source} unchanged, as no noise worth removing was found (sigma " in told["err"]
    written = read(tmp_path / "out" / source.name)
    assert written.dtype == kind
    np.testing.assert_array_equal(written, picture)


def test_a_clean_file_is_passed_on_as_it_is(models, cli, tmp_path):
    """Fails if a JPEG is packed again, which changes it; or, where it must be, by another kind or page, its pixels are others."""
    source = put(tmp_path / "in" / "clean.jpg", noisy("clean"), quality=90)
    assert cli("denoise", source, "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "clean.jpg").read_bytes() == source.read_bytes()
    assert cli("denoise", source, "-o", tmp_path / "out", "--format", "png").code == 0
    anew = Image.open(tmp_path / "out" / "clean.png")
    assert anew.format == "PNG"
    np.testing.assert_array_equal(np.asarray(anew), opened(source))
    frames = [Image.fromarray(noisy(kind)) for kind in ("clean", "gaussian:20/255")]
    frames[0].save(tmp_path / "in" / "two.tif", save_all=True, append_images=frames[1:])
    assert cli("denoise", tmp_path / "in" / "two.tif", "-o", tmp_path / "out", "--first-frame").code == 0
    written = Image.open(tmp_path / "out" / "two.tif")
    assert written.n_frames == 1
    np.testing.assert_array_equal(np.asarray(written), noisy("clean"))


@pytest.mark.parametrize("kind", ["clean", "gaussian:20/255"])
def test_a_source_that_is_gone_when_it_is_read_again(kind, models, cli, tmp_path, monkeypatch):
    """Fails if the output is blamed for a source that can be read once, to choose the model, and not a second time."""
    source, real = put(tmp_path / "in" / "a.jpg", noisy(kind), quality=95), auto.Models.choices

    def chosen(self, path, *limits):
        choices = real(self, path, *limits)
        path.unlink()
        return choices

    monkeypatch.setattr(auto.Models, "choices", chosen)
    ended = cli("denoise", tmp_path / "in", "-o", tmp_path / "out", "--json")
    (failed,) = json.loads(ended.out)["failed"]
    assert (ended.code, failed["source"]) == (1, str(source))
    assert re.fullmatch(r"cannot be (read|opened) \(No such file or directory\); check its .*\.", failed["reason"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("at", [0, 2])
def test_a_disk_that_fails_while_a_clean_file_is_passed_on(at, tmp_path, monkeypatch):
    """Fails if a source that breaks off while it is copied counts as an output that cannot be written, or leaves half of one."""
    source, rest = put(tmp_path / "a.png", whole(CLEAN)), [b"half", b"more"][:at]

    class Failing(io.BytesIO):
        def read(self, size=-1):
            if rest:
                return rest.pop()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    real = open
    monkeypatch.setattr("builtins.open", lambda path, *how: Failing() if path == source else real(path, *how))
    words = refusal(lambda: image.pass_on(source, tmp_path / "out" / "a.png", False, lambda file: None), ImageError)
    assert words == "cannot be read (Input/output error); check its disk and permissions."
    assert [path.name for path in tmp_path.rglob("*")] == ["a.png"] + ["out"] * bool(at)


def unnoise_png(picture):
    top = np.iinfo(picture.dtype).max
    return image.encoded(picture / np.float64(top), "PNG", 8 * picture.dtype.itemsize)


def read(path):
    """The samples as the file holds them."""
    with_pages = image.pages(path)
    pixels = next(with_pages).pixels.whole()
    with_pages.close()
    return pixels


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_it_says_which_and_why(models, batch, folder, tmp_path):
    """Fails if words, JSON or ledger lack a picture's model or the reason, or tell of a model that was named."""
    told = batch()
    assert told["model"] == "auto"
    lines = [line for line in told["err"].splitlines() if str(folder) in line]
    assert [line.partition(" (")[0] for line in lines] == [
        f"{folder / 'a.png'} unchanged, as no noise worth removing was found",
        f"{folder / 'b.png'} through photo for Gaussian noise",
        f"{folder / 'c.png'} through impulse for salt and pepper",
    ]
    ledger = [json.loads(line) for line in (tmp_path / "out" / NAME).read_text().splitlines()]
    for one, line, noted in zip(told["done"], lines, ledger, strict=True):
        assert line == f"{one['source']} {noted['choice']}"
        (chosen,) = one["models"]
        assert line.endswith(chosen["why"])
    assert [one["models"][0]["model"] for one in told["done"]] == [None, "photo", "impulse"]
    assert told["done"][1]["models"][0]["why"] == doctor.advice(doctor.examine(opened(folder / "b.png")), bundled.names())[1]
    named = batch("--model", "photo")
    assert [set(one) for one in named["done"]] == [{"source", "output"}] * 3
    assert str(folder) not in named["err"]
    assert "choice" not in (tmp_path / "out" / NAME).read_text()


def test_files_are_denoised_as_arrays_are(models, batch, folder, tmp_path):
    """Fails if the command line and Python choose otherwise, or `auto` otherwise than no --model."""
    batch()
    assert len(batch("--model", "auto")["skipped"]) == 3
    for name in ("a.png", "b.png", "c.png"):
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), unnoise.denoise(opened(folder / name)))
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), unnoise.denoise(opened(folder / name), "auto"))


def test_each_page_has_its_own_model(models, cli, tmp_path):
    """Fails if the first page decides for all, pages and models are shifted, or a hundred alike are a hundred lines."""
    kinds = ["gaussian:20/255", "clean", "gaussian:20/255", "salt-and-pepper:0.1"]
    pages = [noisy(kind, CLEAN[:, number : number + 190]) for number, kind in enumerate(kinds)]
    tifffile.imwrite(tmp_path / "scan.tif", np.stack(pages), photometric="rgb", metadata=None)
    ended = cli("denoise", tmp_path / "scan.tif", "-o", tmp_path / "out", "--json")
    (one,) = json.loads(ended.out)["done"]
    assert [chosen["model"] for chosen in one["models"]] == ["photo", None, "photo", "impulse"]
    written = tifffile.imread(tmp_path / "out" / "scan.tif")
    assert [page.mean() for page in written] == [51, pages[1].mean(), 51, 102]
    np.testing.assert_array_equal(written[1], pages[1])
    (line,) = [line for line in ended.err.splitlines() if line.startswith(str(tmp_path))]
    parts = [part.partition(" (")[0] for part in line.removeprefix(f"{tmp_path / 'scan.tif'} ").split("; ")]
    assert parts == [
        "page 1 and 1 more through photo for Gaussian noise",
        "page 2 unchanged, as no noise worth removing was found",
        "page 4 through impulse for salt and pepper",
    ]
    ended = cli("denoise", tmp_path / "scan.tif", "-o", tmp_path / "first", "--first-frame", "--json")
    assert len(json.loads(ended.out)["done"][0]["models"]) == 1
    assert tifffile.imread(tmp_path / "first" / "scan.tif").shape == (200, 190, 3)


def test_what_is_done_is_done_until_other_models_are_bundled(models, batch, monkeypatch):
    """Fails if a batch begins anew, an output of a named model passes for one of auto, or an older version's models or rule for these."""
    assert len(batch()["done"]) == 3
    assert len(batch()["skipped"]) == 3
    assert len(batch("--model", "photo")["done"]) == 3
    assert len(batch()["done"]) == 3
    shutil.copy(models / "real.onnx", models / "missing.onnx")  # which no picture here goes through
    assert len(batch()["done"]) == 3
    (models / "missing.onnx").unlink()
    assert len(batch()["done"]) == 3
    assert len(batch()["skipped"]) == 3
    monkeypatch.setattr(doctor, "RULE", doctor.RULE + 1)
    assert len(batch()["done"]) == 3


def test_each_model_is_loaded_once_and_only_if_needed(models, batch, folder, monkeypatch):
    loaded = []

    def counted(path, threads, quality):
        loaded.append((path.name, threads, quality))
        return Denoiser(path, threads, quality)

    monkeypatch.setattr(auto, "Denoiser", counted)
    put(folder / "d.png", noisy("gaussian:20/255", CLEAN[:190]))
    batch("--threads", 1, "--quality", "high")
    assert loaded == [("photo", 1, "high"), ("impulse", 1, "high")]


def test_an_evaluation_judges_auto(models, cli, tmp_path):
    """Fails if it is not what is judged by default, a picture goes through another model than in denoise."""
    put(tmp_path / "clean" / "a.png", whole(CLEAN))
    asked = (
        "evaluate",
        "--clean",
        tmp_path / "clean",
        "--methods",
        "median",
        "-o",
        tmp_path / "judged",
        "--json",
        "--features",
        "none",
    )
    for noise, name in (("gaussian:20/255", "photo-colour"), ("salt-and-pepper:0.1", "impulse")):
        ended = cli(*asked, "--noise", noise)
        assert ended.code == 0, ended.err
        (case,) = json.loads(ended.out)["cases"]
        painted = np.full_like(CLEAN, PAINTS[name] / np.float32(255))
        assert case["pictures"][0]["scores"]["auto"]["psnr"] == pytest.approx(
            psnr(painted, whole(CLEAN) / np.float32(255)), abs=1e-3
        )


def test_a_mask_chooses_the_model_that_fills_in(models, batch, folder, cli, tmp_path):
    """Fails if noise decides although a mask was given, more than its pixels changes, or nothing bundled fills in and that is not said."""
    lost = np.zeros(CLEAN.shape[:2], bool)
    lost[40:60, 50:53] = True
    put(tmp_path / "mask.png", whole(lost))
    found = batch("--mask", tmp_path / "mask.png")
    assert [one["models"][0]["model"] for one in found["done"]] == ["missing"] * 3
    for name in ("a.png", "b.png", "c.png"):
        before = opened(folder / name)
        np.testing.assert_array_equal(
            opened(tmp_path / "out" / name), np.where(lost[..., None], np.uint8(PAINTS["missing"]), before)
        )
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), unnoise.denoise(before, mask=lost))
    (models / "missing.onnx").unlink()
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--mask", tmp_path / "mask.png")
    assert ended.code == 2
    assert "no model for missing pixels is bundled" in ended.sentence
    assert "no model for missing pixels" in refusal(lambda: unnoise.denoise(CLEAN, mask=lost), ModelError)


def test_the_options_hold(models, batch, folder, cli, tmp_path, monkeypatch):
    """Fails if strength, grain or tile do not reach the chosen model, or touch a clean picture."""
    tiles, run = [], Network.__call__
    with monkeypatch.context() as patch:
        patch.setattr(Network, "__call__", lambda self, noisy: (tiles.append(noisy.shape[2:]), run(self, noisy))[1])
        batch("--strength", 0.5, "--grain", 0.5, "--tile", 64)
        assert (len(tiles), max(tiles)) == (2 * 16, (64, 64))  # b.png and c.png, 200 x 200 pixels; a tile gives 48 x 48
        auto.Models(tile=64).denoise(opened(folder / "b.png"))
        unnoise.denoise(opened(folder / "b.png"), tile=64)
        assert (len(tiles), max(tiles)) == (4 * 16, (64, 64))
    for name in ("a.png", "b.png", "c.png"):
        expected = unnoise.denoise(opened(folder / name), strength=0.5, grain=0.5)
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), expected)
    assert (opened(tmp_path / "out" / "b.png") != PAINTS["photo-colour"]).any()
    np.testing.assert_array_equal(opened(tmp_path / "out" / "a.png"), opened(folder / "a.png"))
    ended = cli("denoise", folder, "--verify-tiling", "--tile", 104)
    assert ended.code == 0
    fates = [line.rpartition(": ")[2].partition(" and ")[0] for line in ended.out.splitlines()]
    assert fates == ["stays as it is; there is nothing to compare", *["9 tiles of 104 pixels"] * 2]


def test_the_sheet_shows_what_the_batch_gives(models, cli, folder, tmp_path):
    """Fails if the preview has other models than the batch, does not say which, or changes a clean picture."""
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--preview", "--json")
    assert [one["models"][0]["model"] for one in json.loads(ended.out)["done"]] == [None, "photo", "impulse"]
    assert f"{folder / 'b.png'} through photo for Gaussian noise" in ended.err
    sheet = opened(tmp_path / "out" / "preview.png")
    before, after, gone = (sheet[:, at : at + 200] for at in (0, 206, 412))
    np.testing.assert_array_equal(before[:200], after[:200])
    assert (gone[:200] == 128).all()
    assert (after[206:406] == PAINTS["photo-colour"]).all()
    assert (after[412:] == PAINTS["impulse"]).all()


# --- large pictures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("gaussian:20/255", "photo"), ("salt-and-pepper:0.1", "impulse"), ("clean", None)])
def test_a_large_picture_is_judged_by_strips(kind, name, models, monkeypatch, cli, tmp_path):
    """Fails if more of it is held than may be, the strips mislead, or files, arrays and `inspect` see other ones."""
    held, examined = [], doctor._sample
    monkeypatch.setattr(doctor, "LARGEST", 100_000)
    monkeypatch.setattr(doctor, "STRIP", 64)
    monkeypatch.setattr(doctor, "_sample", lambda planes: held.append(planes.shape) or examined(planes))
    picture = noisy(kind, photo("coffee.png"))  # 400 x 600
    assert doctor.advice(doctor.examine(picture), bundled.names())[0] == ((name,) if name else ())
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", rowsperstrip=16)
    told = json.loads(cli("denoise", tmp_path / "a.tif", "-o", tmp_path / "out", "--json").out)
    seen = json.loads(cli("inspect", tmp_path / "a.tif", "--json").out)
    (chosen,) = told["done"][0]["models"]
    assert (chosen["model"], seen["pictures"][0]["models"]) == (name, [name] if name else [])
    assert chosen["why"] in seen["pictures"][0]["advice"]
    assert chosen["why"] == doctor.advice(doctor.examine(picture / np.float32(255)), bundled.names())[1]
    assert set(held) == {(128, 600, 3)}  # the second and the fifth strip of seven


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (3, 5000, 3), (70, 71), (4999, 2, 4)])
def test_strips_of_any_shape(shape, monkeypatch):
    """Fails if a picture is too wide or too high for a strip, or one of its strips is empty."""
    monkeypatch.setattr(doctor, "LARGEST", 1000)
    picture = np.random.default_rng(0).random(shape, np.float32)
    strips = doctor._strips(Bands.of(picture))
    assert strips.size
    assert strips.shape[1:] == shape[1:]
    assert np.isin(strips, picture).all()
    doctor.examine(picture)


# --- what is refused, and inspect ------------------------------------------------------------------------------------------------


def test_a_run_called_auto_is_a_path(models, run, tmp_path, monkeypatch):
    """Fails if what lies here decides for those who named no model, or cannot be meant at all."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "auto")
    shutil.copytree(run, "photo")
    picture = noisy("gaussian:20/255")
    assert (unnoise.denoise(picture, "auto") == PAINTS["photo-colour"]).all()
    np.testing.assert_array_equal(unnoise.denoise(picture, "./auto"), unnoise.load(run).denoise(picture))
    np.testing.assert_array_equal(unnoise.denoise(picture, Path("auto")), unnoise.load(run).denoise(picture))


@pytest.mark.parametrize(("option", "value"), [("--tile", 16), ("--threads", -1), ("--strength", 2)])
def test_what_is_wrong_is_said_before_the_first_picture(option, value, models, cli, folder, tmp_path):
    """Fails if a batch of clean pictures gets by with settings that the next noisy one ends."""
    ended = cli("denoise", folder / "a.png", "-o", tmp_path / "out", option, value)
    assert ended.code == 2
    assert f"{option[2:]}={value}" in ended.sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("large", "gray"), [("photo-colour", "0.png"), ("photo-gray", "z.png")])
def test_a_tile_too_small_for_a_named_model_is_said_before_the_first_picture(large, gray, models, cli, folder, tmp_path):
    """Fails if the tile is tried on a picture first, or only on one model of a pair."""
    put(folder / gray, whole(CLEAN[..., 1]))  # so that the other model's pictures come first
    (models / f"{large}.onnx").write_bytes(painter(large, overlap=16))
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--model", "photo", "--tile", 32)
    assert ended.code == 2
    assert "tile=32: expected a side in pixels, at least 40" in ended.sentence
    assert not (tmp_path / "out").exists()


def test_what_python_refuses(models):
    for bad in (np.full((20, 20), np.nan, np.float32), np.zeros((2, 3, 20, 20, 3), np.uint8), [[0.5]], np.full((20, 20), 99.0)):
        refusal(lambda bad=bad: unnoise.denoise(bad), ImageError)
    assert "strength=2" in refusal(lambda: unnoise.denoise(CLEAN, strength=2))
    assert "tile=5" in refusal(lambda: unnoise.denoise(CLEAN, tile=5))
    for file in models.iterdir():
        file.unlink()
    assert "no model is bundled in this version" in refusal(lambda: unnoise.denoise(CLEAN), ModelError)


def test_inspect_advises_what_auto_takes(models, cli, folder):
    """Fails if it advises a model that is not bundled, or, where none is, none at all."""
    (models / "impulse.onnx").unlink()
    lines = cli("inspect", folder).out.splitlines()
    assert [line.partition(": ")[2].partition(" (")[0] for line in lines] == [
        "Leave it, as no noise worth removing was found",
        "Use photo for Gaussian noise",
        "Leave it, as no model here is for salt and pepper",
    ]
    for file in models.iterdir():
        file.unlink()
    assert "Use impulse for salt and pepper" in cli("inspect", folder).out


# --- two passes ---------------------------------------------------------------------------------------------------------------


def test_two_passes_are_two_runs(cli, tmp_path):
    """Fails if the second pass sees what the first has not mended, the tiles or the preview show, or a strength is lost, with the bundled models."""
    picture = noisy("gaussian:10/255+salt-and-pepper:0.1", photo("coffee.png")[:200, :240])
    put(tmp_path / "a.png", picture)
    by_hand = unnoise.load("impulse").denoise(picture, strength=0.9)
    by_hand = unnoise.load("photo").denoise(by_hand, strength=0.9, grain=0.5)  # impulses are no grain to give back
    np.testing.assert_array_equal(unnoise.denoise(picture, strength=0.9, grain=0.5), by_hand)
    ended = cli("denoise", tmp_path / "a.png", "-o", tmp_path / "out", "--strength", 0.9, "--grain", 0.5, "--json")
    assert "through impulse, then photo for salt and pepper and then Gaussian noise (" in ended.err
    assert json.loads(ended.out)["done"][0]["models"][0]["model"] == "impulse, then photo"
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), by_hand)
    (choice,) = [auto.Models().choose(picture)]
    _, after = preview.crops(choice, picture / np.float32(255), 0.9, grain=0.5)
    assert after.shape == (200, 240, 3)
    np.testing.assert_allclose(after, unnoise.denoise(picture / np.float32(255), strength=0.9, grain=0.5), atol=1e-4)
    told = json.loads(cli("denoise", tmp_path / "a.png", "--verify-tiling", "--json").out)
    assert told["verified"][0]["difference"] <= 1e-5
