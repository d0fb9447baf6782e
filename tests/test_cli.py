"""The command line: every file is accounted for, nothing is overwritten, and every error is one sentence."""

import hashlib
import json
import re
import shlex
import statistics
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unnoise import artefact, export, load, load_autoencoder
from unnoise.cli import app
from unnoise.denoiser import Denoiser, physical_cores
from unnoise.keyed import keyed_rng
from unnoise.noise import Camera

VERBS = sorted(name for name in app if not name.startswith("-"))
STEP = ["--steps", "2", "--model", "dense:hidden=16,code=8", "--batch", "1", "--threads", "1"]


def pixels(height, width, channels=0, seed=1):
    """A smooth picture with some noise, 8 bits: (H, W), or (H, W, C) whose fourth channel is a ramp of alpha."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(30, 220, width)[None, :, None] + rng.normal(0, 12, (height, width, max(channels, 1)))
    array = np.clip(ramp, 0, 255).astype(np.uint8)
    return array if channels else array[..., 0]


def put(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def opened(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def digests(folder):
    """SHA-256 of every file below a folder, by its path; the ledger, which tests/test_folders.py looks at, left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".unnoise.jsonl"
    }


@pytest.fixture
def tree(tmp_path):
    """A folder as people have them: six pictures of five kinds, two that cannot be done, and a file that is no picture."""
    folder = tmp_path / "in"
    put(folder / "colour.png", pixels(33, 41, 3))
    put(folder / "sub" / "photo.jpg", pixels(40, 31, 3), quality=90)
    put(folder / "sub" / "deep" / "gray.png", pixels(17, 64))
    put(folder / "alpha.PNG", pixels(20, 30, 4))
    put(folder / "sub" / "scan.tif", pixels(20, 30))
    put(folder / "moving.gif", pixels(20, 30))
    (folder / "layers.psd").write_bytes(b"8BPS\0\1" + bytes(20))
    whole = put(folder / "cut.png", pixels(40, 40, 3)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "sub" / "notes.txt").write_text("exposure 1/60")
    return folder


@pytest.fixture
def gray(tmp_path):
    """A folder with two mid-gray pictures, on which every replaced value shows: 128 is neither 0 nor 255."""
    put(tmp_path / "gray" / "a.png", np.full((40, 50), 128, np.uint8))
    put(tmp_path / "gray" / "b" / "c.png", np.full((32, 48, 3), 128, np.uint8))
    return tmp_path / "gray"


# --- denoise ---------------------------------------------------------------------------------------------------------------


def test_denoise_accounts_for_every_file(child, tree, run, tmp_path):
    """Fails if a file is lost from the count, a failure is not named, words reach standard output, or a source changes."""
    before, out = digests(tree), tmp_path / "out"
    ended = child("denoise", tree, "-o", out, "--model", run, "--json")
    assert ended.code == 1
    told = json.loads(ended.out)
    assert set(told) == {"done", "skipped", "failed", "seconds", "model"}
    assert told["model"] == str(run)
    assert 0 < told["seconds"] < 60
    done = {Path(entry["source"]).relative_to(tree): Path(entry["output"]).relative_to(out) for entry in told["done"]}
    pictures = {"colour.png", "alpha.PNG", "sub/photo.jpg", "sub/deep/gray.png", "sub/scan.tif", "moving.gif"}
    assert {str(path) for path in done} == pictures
    assert all(source == output for source, output in done.items())  # IN/a/b.png is at OUT/a/b.png
    assert set(digests(out)) == {str(path) for path in done}  # and nothing else is there, half files included
    failed = {Path(entry["source"]).name: entry["reason"] for entry in told["failed"]}
    assert set(failed) == {"cut.png", "layers.psd"}
    assert "damaged" in failed["cut.png"]
    assert "Photoshop" in failed["layers.psd"]
    assert [Path(entry["source"]).name for entry in told["skipped"]] == ["notes.txt"]
    assert sum(len(told[fate]) for fate in ("done", "skipped", "failed")) == len(before)
    lines = ended.err.splitlines()
    assert len(lines) == 5  # one for each failure, one for a gray model on colour, one for what is skipped, and the sum
    assert all(any(name in line for line in lines[:2]) for name in failed)
    assert "is a model for gray" in lines[2]
    assert "notes.txt is not a picture" in lines[3]
    assert "6 done, 1 skipped, 2 failed" in lines[4]
    assert digests(tree) == before


def test_denoise_keeps_shape_alpha_and_changes_the_rest(cli, tree, run, tmp_path):
    """Fails if a picture comes back cropped to the model's grid, in another mode, with its alpha denoised, or as it was."""
    cli("denoise", tree, "-o", tmp_path / "out", "--model", run)
    for name in ("colour.png", "alpha.PNG", "sub/photo.jpg", "sub/deep/gray.png", "sub/scan.tif", "moving.gif"):
        clean, noisy = opened(tmp_path / "out" / name), opened(tree / name)
        assert clean.shape == noisy.shape
        assert (clean != noisy).mean() > 0.3  # the noise of these pictures has sigma 12 of 255
    np.testing.assert_array_equal(opened(tmp_path / "out" / "alpha.PNG")[..., 3], opened(tree / "alpha.PNG")[..., 3])


def test_strength_zero_changes_no_pixel(cli, tree, run, tmp_path):
    """Fails if a strength is applied to the wrong side, or reading and writing alone move a value."""
    cli("denoise", tree, "-o", tmp_path / "out", "--model", run, "--strength", 0)
    for name in ("colour.png", "alpha.PNG", "sub/deep/gray.png", "sub/scan.tif", "moving.gif"):
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), opened(tree / name))


def test_every_page_is_denoised(cli, run, tmp_path):
    """Fails if a page of a scan comes out as it was, or not at all, or in 8 bits."""
    pages = [pixels(20, 30, seed=n).astype(np.uint16) * 257 for n in range(3)]
    with tifffile.TiffWriter(tmp_path / "scan.tif") as file:
        for page in pages:
            file.write(page)
    assert cli("denoise", tmp_path / "scan.tif", "-o", tmp_path / "out", "--model", run).code == 0
    with tifffile.TiffFile(tmp_path / "out" / "scan.tif") as file:
        clean = [page.asarray() for page in file.pages]
    assert [page.dtype for page in clean] == [np.uint16] * 3
    assert all((after != before).mean() > 0.9 for after, before in zip(clean, pages, strict=True))
    ended = cli("corrupt", tmp_path / "scan.tif", "-o", tmp_path / "noisy", "--noise", "masking:0.5")
    assert (ended.code, "holds 3 pages" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("format", "ending", "kind"),
    [
        ("png", ".png", "PNG"),
        ("jpeg", ".jpg", "JPEG"),
        ("tiff", ".tif", "TIFF"),
        ("webp", ".webp", "WEBP"),
        ("pnm", ".pnm", "PPM"),
    ],
)
def test_format_chooses_the_kind_of_the_output(format, ending, kind, cli, run, tmp_path):
    """Fails if `--format` leaves the kind, or the name says another than the content; and what is lost is told."""
    put(tmp_path / "in" / "a.png", pixels(20, 30, 3), icc_profile=b"a profile")
    put(tmp_path / "in" / "b.JPG", pixels(20, 30), format="JPEG")
    ended = cli("denoise", tmp_path / "in", "-o", tmp_path / "out", "--model", run, "--format", format, "--json")
    told = json.loads(ended.out)
    assert set(digests(tmp_path / "out")) == {f"a{ending}", f"b{ending}"}
    for entry in told["done"]:
        with Image.open(entry["output"]) as picture:
            assert picture.format == kind
    note = {entry["source"]: entry.get("note") for entry in told["done"]}[str(tmp_path / "in" / "a.png")]
    assert note == ("is written without its colour profile." if kind == "PPM" else None)
    assert ("a.png is written without its colour profile." in ended.err) == (kind == "PPM")


def test_a_misnamed_picture_keeps_its_kind(cli, run, tmp_path):
    """Fails if a PNG that is named .jpg comes out as a JPEG, which changes it."""
    put(tmp_path / "in" / "a.jpg", pixels(20, 30, 3), format="PNG")
    put(tmp_path / "in" / "b", pixels(20, 30), format="TIFF")
    assert cli("denoise", tmp_path / "in", "-o", tmp_path / "out", "--model", run, "--strength", 0).code == 0
    for name, kind in (("a.jpg", "PNG"), ("b", "TIFF")):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.format == kind
        np.testing.assert_array_equal(opened(tmp_path / "out" / name), opened(tmp_path / "in" / name))


@pytest.mark.parametrize("verb", ["denoise", "corrupt"])
def test_the_limit_of_pixels_is_an_option(verb, cli, run, tmp_path):
    """Fails if the option that the error names does not exist, or does not move the limit."""
    how = ["--model", run] if verb == "denoise" else ["--noise", "masking:0.5"]
    put(tmp_path / "a.png", pixels(40, 50))
    ended = cli(verb, tmp_path / "a.png", "-o", tmp_path / "out", *how, "--max-megapixels", 0.0019)
    assert (ended.code, "--max-megapixels" in ended.err) == (1, True)
    assert cli(verb, tmp_path / "a.png", "-o", tmp_path / "out", *how, "--max-megapixels", 0.002).code == 0


def test_tiles_and_threads_reach_the_model(cli, run, tmp_path, monkeypatch):
    """Fails if --tile or --threads is taken and forgotten, or a picture in tiles comes back otherwise than in one piece."""
    put(tmp_path / "in" / "wide.png", pixels(50, 300))
    asked, in_bands = [], Denoiser.in_bands

    def watched(self, picture, strength, tile, *more):
        asked.append((tile, self.network.session.get_session_options().intra_op_num_threads))
        return in_bands(self, picture, strength, tile, *more)

    monkeypatch.setattr(Denoiser, "in_bands", watched)
    for tile in (0, 152):
        cli("denoise", tmp_path / "in", "-o", tmp_path / str(tile), "--model", run, "--tile", tile, "--threads", 1)
    cli("denoise", tmp_path / "in", "-o", tmp_path / "own", "--model", run)
    assert asked == [(0, 1), (152, 1), (load(run).tile, physical_cores() or 0)]
    whole, tiled = (opened(tmp_path / name / "wide.png").astype(int) for name in ("0", "152"))
    assert np.abs(whole - tiled).max() <= 1  # rounded to 8 bits


def test_a_large_picture_says_how_far_it_is(cli, child, run, tmp_path, monkeypatch):
    """Fails if minutes pass in silence: a share that grows, with the time left; on a terminal, bars instead of lines."""
    put(tmp_path / "in" / "wi\x1bde.png", pixels(50, 500))
    monkeypatch.setattr("unnoise.console.SAY_EVERY", -1)
    ended = cli("denoise", tmp_path / "in", "-o", tmp_path / "a", "--model", run, "--tile", 152)
    told = re.findall(r"^wi\\x1bde\.png: (\d+)%, about \d+:\d\d left$", ended.err, re.MULTILINE)
    assert len(told) > 3
    assert [int(share) for share in told] == sorted({int(share) for share in told})
    assert 0 < int(told[0]) < int(told[-1]) < 100
    monkeypatch.setenv("FORCE_COLOR", "1")
    ended = cli("denoise", tmp_path / "in", "-o", tmp_path / "b", "--model", run, "--tile", 152)
    assert "pictures" in ended.err
    assert "left" not in ended.err


def test_grain_is_an_option(cli, run, tmp_path):
    """Fails if --grain is taken and forgotten: with all of it, a gray picture stays as it is."""
    put(tmp_path / "in" / "a.png", pixels(50, 60))
    for grain in (0, 1):
        assert cli("denoise", tmp_path / "in", "-o", tmp_path / str(grain), "--model", run, "--grain", grain).code == 0
    assert (opened(tmp_path / "0" / "a.png") != pixels(50, 60)).any()
    np.testing.assert_array_equal(opened(tmp_path / "1" / "a.png"), pixels(50, 60))


def test_verify_tiling(cli, run, tmp_path):
    """Fails if a sound model does not pass, anything is written, a file is not accounted for, or one piece is compared with itself."""
    put(tmp_path / "in" / "a.png", pixels(97, 301))
    put(tmp_path / "in" / "b.png", pixels(150, 50, 3))
    (tmp_path / "in" / "notes.txt").write_text("exposure 1/60")
    before = digests(tmp_path)
    ended = cli("denoise", tmp_path / "in", "--model", run, "--verify-tiling", "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["failed"], told["limit"]) == (0, [], 1e-5)
    assert [Path(one["source"]).name for one in told["verified"]] == ["a.png", "b.png"]
    assert all(one["tiles"] >= 2 and one["tile"] < 301 and one["difference"] <= 1e-5 for one in told["verified"])
    ended = cli("denoise", tmp_path / "in", "--model", run, "--verify-tiling", "--tile", 104)
    assert ended.code == 0
    assert len(re.findall(r"^.*/[ab]\.png: \d+ tiles of 104 pixels and one piece differ by \S+ at most$", ended.out, re.M)) == 2
    assert digests(tmp_path) == before


def test_verify_tiling_finds_a_model_that_cannot_be_tiled(cli, run, tmp_path):
    """Fails if an overlap that is too small, here none, or a picture that cannot be read, passes."""
    picture, torn = put(tmp_path / "a.png", pixels(97, 301)), tmp_path / "torn.png"
    torn.write_bytes(picture.read_bytes()[:200])
    net = load_autoencoder(run)
    (tmp_path / "m.onnx").write_bytes(artefact.stamped(export.to_onnx(net), {**export.contract(net), "overlap": 0}))
    ended = cli("denoise", picture, "--model", tmp_path / "m.onnx", "--verify-tiling", "--tile", 104, "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["verified"][0]["difference"] > 1e-3
    ended = cli("denoise", picture, torn, "--model", run, "--verify-tiling", "--json")
    assert ended.code == 1
    assert "damaged" in json.loads(ended.out)["failed"][0]["reason"]


def test_export_writes_what_the_run_holds(cli, run, tmp_path):
    """Fails if the exported file loses a word of its card or computes otherwise, or a file is replaced unasked."""
    ended = cli("export", run, "-o", tmp_path / "new" / "model.onnx")
    assert (ended.code, ended.out) == (0, "")
    assert re.search(r"a pixel sees \d+ x \d+ pixels, tiles of \d+ overlap by \d+ on each side", ended.sentence)
    mine, theirs = load(tmp_path / "new" / "model.onnx"), load(run)
    assert {**mine.card, "sha256": ""} == {**theirs.card, "sha256": ""}
    picture = pixels(61, 47) / np.float32(255)
    np.testing.assert_allclose(mine.denoise(picture), theirs.denoise(picture), atol=1e-6)
    assert cli("export", run / "model.safetensors", "-o", tmp_path / "b.onnx").code == 0
    before = digests(tmp_path)
    assert "exists already" in cli("export", run, "-o", tmp_path / "b.onnx").sentence
    assert digests(tmp_path) == before
    (tmp_path / "b.onnx").write_text("old")
    assert cli("export", run, "-o", tmp_path / "b.onnx", "--overwrite").code == 0
    assert digests(tmp_path) == before
    for file in ("half.onnx", "half.safetensors"):
        assert cli("export", run, "-o", tmp_path / file, "--float16").code == 0
        assert (tmp_path / file).stat().st_size < 0.62 * (run / f"model{Path(file).suffix}").stat().st_size
        assert "exists already" in cli("export", run, "-o", tmp_path / file, "--float16").sentence


def test_all_done_is_zero_and_quiet_on_standard_output(cli, gray, run, tmp_path):
    """Fails if a good run exits otherwise than 0, or prints where only JSON belongs."""
    ended = cli("denoise", gray, "-o", tmp_path / "out", "--model", run)
    assert (ended.code, ended.out) == (0, "")
    assert "2 done, 0 skipped, 0 failed" in ended.err.splitlines()[-1]


@pytest.mark.parametrize("verb", ["denoise", "corrupt"])
def test_outputs_are_replaced_only_when_asked(verb, cli, gray, run, tmp_path):
    """Fails if a second run replaces files, or `--overwrite` does not."""
    how = ["--model", run] if verb == "denoise" else ["--noise", "masking:0.5"]
    out = tmp_path / "out"
    put(out / "a.png", pixels(9, 9))
    before = (out / "a.png").read_bytes()
    ended = cli(verb, gray, "-o", out, *how)
    assert ended.code == 1
    assert re.search(r"a\.png .*exists.*--overwrite", ended.err)
    assert "1 done, 0 skipped, 1 failed" in ended.err
    assert (out / "a.png").read_bytes() == before
    assert cli(verb, gray, "-o", out, *how, "--overwrite").code == 0
    assert opened(out / "a.png").shape == (40, 50)


@pytest.mark.parametrize("spelled", ["{}", "{}/../gray", "relative", "link", "{}/b/.."])
@pytest.mark.parametrize("verb", ["denoise", "corrupt"])
def test_a_source_is_never_overwritten(verb, spelled, cli, gray, run, tmp_path, monkeypatch):
    """Fails if `-o` naming the input folder, in whatever way it is written, replaces a source or loses one from the sum."""
    how = ["--model", run] if verb == "denoise" else ["--noise", "masking:0.5"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(gray)
    out, before = {"relative": "gray", "link": "link"}.get(spelled, spelled.format(gray)), digests(gray)
    ended = cli(verb, gray, "-o", out, *how, "--overwrite")
    assert digests(gray) == before
    assert ended.code == 1
    assert "a.png" in ended.err
    assert "0 done, 0 skipped, 2 failed" in ended.err


@pytest.mark.parametrize(
    ("file", "out"), [("gray/a.png", "gray"), ("gray/a.png", "."), ("gray/b/c.png", "gray"), ("gray", ".")]
)
def test_a_file_that_was_asked_for_is_done_or_named(file, out, cli, gray, tmp_path, monkeypatch):
    """Fails if a picture that lies below the output folder is passed over without a word, and the exit code is 0."""
    monkeypatch.chdir(tmp_path)
    before = digests(gray)
    ended = cli("corrupt", file, "-o", out, "--noise", "masking:0.5", "--json")
    assert ended.code in (0, 1), ended.err
    told = json.loads(ended.out)
    assert len(told["done"]) + len(told["failed"]) == (1 if file.endswith("png") else 2)
    assert {name: digests(gray)[name] for name in before} == before


def test_links_that_lead_nowhere_are_named(cli, gray, tmp_path):
    """Fails if a link in circles, or to nothing, ends the job instead of being one of its failures."""
    (gray / "circle.png").symlink_to("circle.png")
    (gray / "dangling.png").symlink_to("nowhere")
    ended = cli("corrupt", gray, "-o", tmp_path / "out", "--noise", "masking:0.5")
    assert "2 done, 0 skipped, 2 failed" in ended.err
    assert re.search(r"circle\.png cannot be opened", ended.err)


def test_outputs_below_the_input_are_not_done_again(cli, gray, tmp_path):
    """Fails if `-o` inside the input folder makes the second run denoise its own results."""
    for seed in range(2):
        ended = cli("corrupt", gray, "-o", gray / "noisy", "--noise", "masking:0.5", "--seed", seed)
        assert "2 done, 0 skipped, 0 failed" in ended.err
    assert set(digests(gray)) == {"a.png", "b/c.png", "noisy/a.png", "noisy/b/c.png"}


def test_several_folders_and_files_do_not_meet(cli, tmp_path):
    """Fails if files of one name from two folders replace each other, or one of them is lost from the sum."""
    for folder in ("one", "two"):
        put(tmp_path / folder / "x.png", pixels(20, 20))
    ended = cli("corrupt", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "out", "--noise", "masking:0.5")
    assert ended.code == 0
    assert set(digests(tmp_path / "out")) == {"one/x.png", "two/x.png"}
    files = [tmp_path / folder / "x.png" for folder in ("one", "two")]
    ended = cli("corrupt", *files, "-o", tmp_path / "flat", "--noise", "masking:0.5", "--overwrite", "--json")
    told = json.loads(ended.out)
    assert ended.code == 1
    assert [entry["source"] for entry in told["done"]] == [str(files[0])]
    assert [entry["source"] for entry in told["failed"]] == [str(files[1])]


def test_a_full_disk_is_named_and_leaves_no_half_file(child, tmp_path, run):
    """Fails if a disk that is full ends the job with a traceback, or leaves half a picture; 4,000 bytes fit here."""
    put(tmp_path / "in" / "large.png", pixels(128, 128))
    put(tmp_path / "in" / "small.png", pixels(12, 12))
    ended = child("denoise", tmp_path / "in", "-o", tmp_path / "out", "--model", run, file_limit=4000)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert re.match(r"\S*large\.png .*cannot be written", ended.err)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != ".unnoise.jsonl"] == ["small.png"]


# --- corrupt ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [np.full((40, 50), 128, np.uint8), np.full((40, 50, 3), 128, np.uint8)])
@pytest.mark.parametrize(
    ("noise", "touched", "values"),
    [
        ("salt-and-pepper:count=500", 500, {0, 255}),
        ("salt-and-pepper:count=2000", 2000, {0, 255}),  # every pixel
        ("masking:count=123", 123, {0}),
        ("masking:0.3", 600, {0}),  # of 40 x 50
        ("blocks:blocks=2x3x5x7/30x40x10x10", 135, {0}),  # 5 x 7 and 10 x 10, the second at the very corner
        ("masking:0", 0, set()),
    ],
)
def test_corrupt_touches_so_many_pixels_and_says_which(array, noise, touched, values, cli, tmp_path):
    """Fails if the file's count is off by one, channels are hit apart, or the mask is not of what was touched."""
    put(tmp_path / "in" / "flat.png", array)
    ended = cli("corrupt", tmp_path / "in", "-o", tmp_path / "out", "--noise", noise, "--save-mask")
    assert ended.code == 0
    assert set(digests(tmp_path / "out")) == {"flat.png", "flat.mask.png"}
    noisy, mask = opened(tmp_path / "out" / "flat.png"), opened(tmp_path / "out" / "flat.mask.png")
    assert noisy.shape == array.shape
    changed = (noisy != 128).reshape(40, 50, -1)
    assert (changed.any(2) == changed.all(2)).all()
    assert changed.any(2).sum() == touched
    np.testing.assert_array_equal(mask, np.where(changed.any(2), 255, 0))
    assert set(np.unique(noisy[noisy != 128])) <= values


def test_gaussian_on_disk_has_its_sigma(cli, tmp_path):
    """Fails if sigma is of 255, or taken twice. Rounding adds a variance of 1/12; 4 standard errors of 160,000 draws."""
    put(tmp_path / "flat.png", np.full((400, 400), 128, np.uint8))
    cli("corrupt", tmp_path / "flat.png", "-o", tmp_path / "out", "--noise", "gaussian:10/255", "--save-mask")
    noise = opened(tmp_path / "out" / "flat.png").astype(float) - 128
    expected = np.sqrt(100 + 1 / 12)
    assert abs(noise.mean()) < 4 * expected / 400
    assert abs(noise.std() - expected) < 4 * expected / np.sqrt(2 * 160_000)
    assert (opened(tmp_path / "out" / "flat.mask.png") == 255).all()


def test_camera_noise_on_disk(cli, tmp_path):
    """Fails if corrupt cannot write a camera's noise, JPEG included, or writes another than Python gives. Alpha stays."""
    clean = pixels(40, 50, 4)
    put(tmp_path / "in" / "a.png", clean)
    ended = cli("corrupt", tmp_path / "in", "-o", tmp_path / "out", "--noise", "camera:12/255,jpeg=60..90", "--save-mask")
    assert ended.code == 0
    noisy = opened(tmp_path / "out" / "a.png")
    key = keyed_rng(0, index=zlib.crc32(b"a.png"))
    expected = Camera(12 / 255, (60, 90))((clean / 255).astype(np.float32), key)[0]
    np.testing.assert_array_equal(noisy, np.round(255 * expected))
    np.testing.assert_array_equal(noisy[..., 3], clean[..., 3])
    assert np.std(noisy[..., :3].astype(float) - clean[..., :3]) > 5
    assert (opened(tmp_path / "out" / "a.mask.png") == 255).all()


def test_corrupt_is_keyed_by_seed_and_name(cli, gray, tmp_path):
    """Fails if bytes differ for one seed, agree for two, agree for two pictures, or depend on what else is in the folder."""
    for out, seed in (("one", 7), ("two", 7), ("other", 8)):
        cli("corrupt", gray, "-o", tmp_path / out, "--noise", "gaussian:25/255", "--seed", seed)
    one, two, other = (digests(tmp_path / out) for out in ("one", "two", "other"))
    assert one == two
    assert all(one[name] != other[name] for name in one)
    put(gray / "d.png", opened(gray / "a.png"))
    (gray / "b" / "c.png").unlink()
    cli("corrupt", gray, "-o", tmp_path / "more", "--noise", "gaussian:25/255", "--seed", 7)
    more = digests(tmp_path / "more")
    assert more["a.png"] == one["a.png"]
    assert more["d.png"] != more["a.png"]


def test_corrupt_reports_what_it_did(cli, gray, tmp_path):
    """Fails if the report cannot reproduce the run: noise and seed are part of it."""
    ended = cli("corrupt", gray, "-o", tmp_path / "out", "--noise", "masking:0.5", "--seed", 7, "--json")
    told = json.loads(ended.out)
    assert set(told) == {"done", "skipped", "failed", "seconds", "noise", "seed"}
    assert told["seed"] == 7
    (tmp_path / "again").mkdir()
    cli("corrupt", gray, "-o", tmp_path / "again", "--noise", told["noise"], "--seed", told["seed"])
    assert digests(tmp_path / "again") == digests(tmp_path / "out")


def test_a_count_larger_than_the_picture_fails_by_name(cli, gray, tmp_path):
    """Fails if a count is cut to the picture's size in silence, or one small picture stops the others."""
    ended = cli("corrupt", gray, "-o", tmp_path / "out", "--noise", "masking:count=1800")  # a.png has 2000, c.png 1536
    assert ended.code == 1
    assert re.search(r"c\.png .*count=1800.*1536 pixels", ended.err)
    assert set(digests(tmp_path / "out")) == {"a.png"}


def test_a_jpeg_becomes_a_png(cli, tmp_path):
    """Fails if a noisy picture is written as JPEG: what was not touched would not stay."""
    source = put(tmp_path / "in" / "a.b.jpg", pixels(30, 40, 3))
    cli("corrupt", source, "-o", tmp_path / "out", "--noise", "masking:0")
    with Image.open(tmp_path / "out" / "a.b.png") as picture:
        assert picture.format == "PNG"
    np.testing.assert_array_equal(opened(tmp_path / "out" / "a.b.png"), opened(source))


def test_corrupt_keeps_the_depth(cli, tmp_path):
    """Fails if 16-bit colour is spoilt in 8 bits, or a bitmap's noise is rounded to black and white."""
    deep = pixels(20, 30, 3).astype(np.uint16) * 257 + 1
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    put(tmp_path / "bits.png", pixels(20, 30) > 100)
    cli("corrupt", tmp_path / "deep.tif", tmp_path / "bits.png", "-o", tmp_path / "out", "--noise", "masking:0")
    assert (tmp_path / "out" / "deep.png").read_bytes()[24] == 16
    np.testing.assert_array_equal(opened(tmp_path / "out" / "deep.png"), deep >> 8)  # Pillow gives the high bytes
    cli("corrupt", tmp_path / "bits.png", "-o", tmp_path / "gauss", "--noise", "gaussian:0.1")
    assert len(np.unique(opened(tmp_path / "gauss" / "bits.png"))) > 50


def test_a_mask_never_overwrites_a_source(cli, tmp_path):
    """Fails if `--save-mask --overwrite` into the input folder replaces a picture that happens to be named so."""
    folder = tmp_path / "in"
    put(folder / "a.jpg", pixels(30, 40))
    put(folder / "a.mask.png", pixels(30, 40))
    before = digests(folder)
    cli("corrupt", folder, "-o", folder, "--noise", "masking:0.5", "--save-mask", "--overwrite")
    after = digests(folder)
    assert {name: after[name] for name in before} == before


# --- train -----------------------------------------------------------------------------------------------------------------


def test_train_names_what_it_leaves_out(child, photos, tmp_path):
    """Fails if one broken picture stops a run, is not named, changes the exit code, or a library talks on standard error."""
    broken, small = tmp_path / "broken.png", put(tmp_path / "small.png", pixels(40, 60))
    broken.write_bytes((photos / "coins.png").read_bytes()[:5000])
    more = ["--channels", "gray", "--noise", "gaussian:25/255", "--json"]
    ended = child("train", photos, broken, small, "-o", tmp_path / "run", *STEP, *more)
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["folder"] == str(tmp_path / "run")
    assert told["steps"] == 2
    assert [entry["source"] for entry in told["skipped"]] == [str(broken), str(small)]
    left_out = [line for line in ended.err.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == 2
    assert re.search(r"broken\.png .*damaged", left_out[0])
    assert re.search(r"small\.png .*60x40.*patch of 48", left_out[1])
    assert "Warning" not in ended.err
    assert (tmp_path / "run" / "model.onnx").exists()
    assert 20.1 < told["noisy_psnr"] < 21  # 20 log10(255 / 25) = 20.17, and clipping takes some of the noise
    worse = f"this is worse than the noisy pictures ({told['psnr']:.2f} against {told['noisy_psnr']:.2f} dB); train longer"
    assert ended.err.count(worse) == 1  # after two steps


def test_too_many_broken_pictures_stop_a_run(cli, photos, tmp_path):
    """Fails if a run learns from a folder most of which it cannot read. 1 of 7 goes on, 2 of 8 are more than 20 %."""
    broken = [tmp_path / f"{number}.png" for number in range(2)]
    for path in broken:
        path.write_bytes((photos / "coins.png").read_bytes()[:5000])
    assert cli("train", photos, broken[0], "--dry-run").code == 0
    ended = cli("train", photos, *broken, "-o", tmp_path / "run", *STEP)
    assert ended.code == 2
    assert re.search(r"2 of 8 pictures.*0\.png", ended.sentence)
    assert not (tmp_path / "run").exists()


def settled(cli, photos, *arguments):
    """The settings that `train` would begin with."""
    return json.loads(cli("train", photos, "--dry-run", "--json", *arguments).out)["config"]


def test_settings_from_a_file(cli, photos, run, tmp_path):
    """Fails if a file's setting is forgotten, comes before the command line's, or a run's own config.json is not taken."""
    (tmp_path / "a.toml").write_text('noise = ["gaussian:0.1", "masking:0.3"]\nrate = 0.001\nhalf-share = 0.25\nsteps = 7\n')
    plain = settled(cli, photos)
    given = settled(cli, photos, "--config", tmp_path / "a.toml", "--rate", 0.005)
    changed = {"noise": ["gaussian:0.1", "masking:0.3"], "rate": 0.005, "half_share": 0.25, "steps": 7}
    assert given == plain | changed
    assert settled(cli, photos, "--config", tmp_path / "a.toml", "--minutes", 3) == plain | changed | {
        "rate": 0.001, "minutes": 3, "steps": None
    }  # fmt: skip
    assert settled(cli, photos, "--config", run / "config.json") == json.loads((run / "config.json").read_text())["config"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "rat = 1", "there is no setting 'rat'; did you mean rate?"),
        ("a.toml", "rate = ", "is no TOML"),
        ("a.json", "[1]", "is no JSON"),
        ("a.json", '{"rate": "fast"}', "fast"),
        ("absent.toml", None, "cannot be opened"),
    ],
)
def test_a_bad_file_of_settings_is_one_sentence(name, text, words, cli, photos, tmp_path):
    """Fails if a typing error in the file starts a run, or is not named."""
    if text is not None:
        (tmp_path / name).write_text(text)
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 1, "--config", tmp_path / name)
    assert (ended.code, words in ended.sentence) == (2, True), ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("noise", "share"),
    [
        ("masking:0.3", 0.3),
        ("gaussian:0..55/255", 1.0),
        ("salt-and-pepper:count=6554", 0.1),  # of 256 x 256 pixels: a crop takes its share of a count
    ],
)
def test_dry_run_tells_the_share(noise, share, child, photos, tmp_path):
    """Fails if the share is of something else than a crop's values, torch is loaded for it, or anything is written.

    The count of a crop is rounded by a draw, to within 1 of its 48 x 48 pixels.
    """
    arguments = ("train", photos, "-o", tmp_path / "run", "--noise", noise, "--dry-run", "--json")
    ended = child(*arguments, python=["-X", "importtime"])
    told = json.loads(ended.out)
    assert ended.code == 0
    assert told["share"] == pytest.approx(share, abs=1 / 48**2)
    assert told["pictures"] == 6
    assert f"{share:.1%}" in ended.err
    assert not re.search(r"\| +torch$", ended.err, re.MULTILINE)
    assert not (tmp_path / "run").exists()


# --- errors ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("denoise MISSING -o OUT --model RUN", ["missing", "does not exist"]),
        ("denoise EMPTY -o OUT --model RUN", ["empty", "no picture"]),
        ("denoise GRAY -o FILE --model RUN", ["file.txt is a file"]),
        ("denoise GRAY -o OUT --model MISSING", ["missing", "does not exist"]),
        ("denoise GRAY -o OUT --model GRAY", ["gray", "no model.onnx"]),
        ("denoise GRAY -o OUT --model FILE", ["file.txt", "no card of unnoise"]),
        ("denoise GRAY -o OUT --model CUT", ["cut.onnx"]),
        ("denoise GRAY --model RUN", ["there is no -o", "unnoise denoise photos -o cleaned"]),
        ("denoise GRAY -o PNG --model RUN", ["one.png: expected a folder"]),
        ("corrupt GRAY -o PNG --noise masking:0.1", ["one.png: expected a folder"]),
        ("denoise -o OUT --model RUN", ["PHOTOS", "See: unnoise denoise --help"]),
        ("corrupt GRAY -o OUT", ["there is no --noise; give one. See: unnoise corrupt --help"]),
        ("corrupt GRAY -o OUT --noise", ["--noise requires an argument. See: unnoise corrupt --help"]),
        ("denoise GRAY -o OUT --model RUN --strength 2", ["strength=2", "0 (nothing) to 1"]),
        ("denoise GRAY -o OUT --model RUN --strength nan", ["strength=nan"]),
        ("denoise GRAY -o OUT --model RUN --grain 2", ["grain=2", "0 (nothing) to 1"]),
        ("denoise GRAY -o OUT --model RUN --format heic", ["heic", "png", "tiff"]),
        ("denoise GRAY -o OUT --model RUN --max-megapixels 0", ["max-megapixels=0", "128"]),
        ("denoise GRAY -o OUT --model RUN --strengt 1", ["--strengt", "--strength"]),
        ("denoise GRAY -o OUT --model RUN --tile 5", ["tile=5", "at least"]),
        ("denoise GRAY --verify-tiling --model RUN --tile 5", ["tile=5", "at least"]),
        ("denoise GRAY -o OUT --model RUN --threads -1", ["threads=-1", "1 to 1024"]),
        ("denoise GRAY -o OUT --model OLD", ["old.onnx", "does not say how to tile", "unnoise export RUN -o model.onnx"]),
        ("export RUN -o OUT", ["out", "ends in .onnx or .safetensors"]),
        ("export RUN -o NEW --int8 --float16", ["--int8", "leave --float16 out"]),
        ("export RUN -o CUT", ["cut.onnx exists already", "--overwrite"]),
        ("export GRAY -o NEW", ["model.safetensors does not exist"]),
        ("export RUN", ["--out"]),
        ("denois GRAY", ["denois", "denoise", "See: unnoise --help"]),
        ("corrupt MISSING -o OUT --noise masking:0.1", ["missing", "does not exist"]),
        ("corrupt EMPTY -o OUT --noise masking:0.1", ["empty", "no picture"]),
        ("corrupt GRAY -o OUT --noise gausian:0.1", ["gausian", "did you mean gaussian?"]),
        ("corrupt GRAY -o OUT --noise masking:fracton=0.1", ["fracton", "did you mean fraction?"]),
        ("corrupt GRAY -o OUT --noise gaussian:25", ["sigma=25", "did you mean 25/255?"]),
        ("corrupt GRAY -o OUT --noise gaussian:sigma=25", ["did you mean 25/255?"]),
        ("corrupt GRAY -o OUT --noise masking:1.5", ["1.5"]),
        ("corrupt GRAY -o OUT --noise masking:count=-1", ["count=-1"]),
        ("corrupt GRAY -o OUT --noise masking:", ["masking:"]),
        ("corrupt GRAY -o OUT --noise masking:0.1 --seed -1", ["seed=-1"]),
        ("corrupt GRAY -o OUT --noise masking:0.1 --seed 999999999999999999999999999999999999999999", ["seed=9999"]),
        ("train MISSING -o OUT", ["missing", "does not exist"]),
        ("train EMPTY -o OUT", ["no picture"]),
        ("train GRAY -o OUT", ["smaller than a patch of 48"]),  # 40 and 32 pixels high
        ("train -o OUT", ["no photos"]),
        ("train PHOTOS", ["-o"]),
        ("train PHOTOS -o GRAY", ["not empty", "--resume"]),
        ("train PHOTOS -o OUT --stps 5", ["--stps", "--steps"]),
        ("train PHOTOS -o OUT --noise gaussian:25", ["did you mean 25/255?"]),
        ("train PHOTOS -o OUT --model unett", ["unett", "did you mean unet?"]),
        ("train PHOTOS -o OUT --optimiser adam", ["adam"]),
        ("train PHOTOS -o OUT --steps 5 --minutes 1", ["one of them"]),
        ("train PHOTOS -o OUT --perceptual 0.1 --features vgg16:MISSING", ["MISSING does not exist"]),
        ("train PHOTOS -o OUT --perceptual 0.1 --layers levle1=1", ["levle1", "level1, down1, level2"]),
        ("train PHOTOS -o OUT --perceptual much", ["--perceptual", "much"]),
        ("train PHOTOS -o OUT --perceptual 0 --pixel 0", ["nothing would be learned"]),
        ("train PHOTOS -o OUT --features vgg16:MISSING", ["--perceptual auto"]),
        ("train --resume MISSING", ["missing does not exist"]),
        ("train --resume RUN --validation PHOTOS", ["--resume"]),
        ("train --resume GRAY", ["gray holds no config.json"]),
        ("train --resume FILE", ["file.txt is no folder"]),
        ("train --resume RUN --steps 5", ["--resume"]),
        ("train --resume RUN --dry-run", ["--resume"]),
        ("demo -o OUT --minutes 0", ["minutes=0"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_request_is_one_sentence(line, words, cli, gray, run, photos, tmp_path):
    """Fails if a mistake shows a traceback, more than a line, another exit code than 2, no way out, or leaves a file."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no model, no folder")
    (tmp_path / "cut.onnx").write_bytes((run / "model.onnx").read_bytes()[:-40])
    (tmp_path / "old.onnx").write_bytes(artefact.stamped(b"\x08\x08", {"contract": 1, "channels": 1, "alignment": 8}))
    places = {name: tmp_path / name.lower() for name in ("MISSING", "EMPTY", "GRAY", "OUT")}
    places |= {
        "FILE": tmp_path / "file.txt",
        "CUT": tmp_path / "cut.onnx",
        "OLD": tmp_path / "old.onnx",
        "NEW": tmp_path / "new.onnx",
        "PNG": tmp_path / "one.png",
    }
    places |= {"RUN": run, "PHOTOS": photos}
    before = digests(tmp_path)
    ended = cli(*(places.get(word, word) for word in line.split()))
    assert ended.code == 2
    assert ended.out == ""
    assert ended.sentence.startswith("unnoise: ")
    assert all(word in ended.sentence for word in words), ended.sentence
    assert digests(tmp_path) == before


@pytest.mark.parametrize(("at", "words"), [("settle.settled", ""), ("_run", "; go on with: unnoise train --resume RUN")])
def test_stopped_before_the_first_step(at, words, cli, photos, tmp_path, monkeypatch):
    """Fails if training that was stopped says that something is kept where nothing is, or not how to go on where it can."""

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"unnoise.run.{at}", stop)
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 2)
    assert (ended.code, ended.sentence) == (130, f"unnoise: stopped{words.replace('RUN', str(tmp_path / 'run'))}")
    assert (tmp_path / "run").exists() == bool(words)


def test_the_same_sentence_reaches_a_shell(child, tmp_path):
    """Fails if only `main()` called in a test keeps to one sentence, and the process itself does not."""
    ended = child("denoise", tmp_path / "missing", "-o", tmp_path / "out", "--model", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "does not exist" in ended.sentence


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred\x1b[0m.png", r"\x1b[31mred\x1b[0m.png"),
        ("bell\a.png", r"bell\x07.png"),
        ("two\nlines.png", r"two\nlines.png"),
    ],
)
def test_names_cannot_speak_to_the_terminal(name, shown, cli, tmp_path):
    """Fails if a file's name can colour, move or forge lines on the terminal; JSON must still hold the true name."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    ended = cli("corrupt", folder, "-o", tmp_path / "out", "--noise", "masking:0.1", "--json")
    assert ended.code == 1
    assert shown in ended.err
    assert ended.err.count("\n") == 2  # the failure, and the sum
    assert json.loads(ended.out)["failed"][0]["source"] == str(folder / name)
    ended = cli("corrupt", folder / ("no" + name), "-o", tmp_path / "out", "--noise", "masking:0.1")
    assert ended.code == 2
    assert "no" + shown in ended.sentence


# --- help ------------------------------------------------------------------------------------------------------------------


def test_help_answers_at_once(environment):
    """Fails if `--help` takes 0.3 s. Medians of 7, the bare interpreter's start taken off, in turns: so what else the
    machine does weighs on both alike; best of three tries, since a burst of other work can fall on one.
    """

    def seconds(*arguments):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
        return time.perf_counter() - began

    taken = []
    for _ in range(3):
        pairs = [(seconds("-m", "unnoise", "--help"), seconds("-c", "pass")) for _ in range(7)]
        taken.append(statistics.median(help for help, _ in pairs) - statistics.median(bare for _, bare in pairs))
        if taken[-1] < 0.3:
            return
    pytest.fail(f"--help takes {min(taken):.2f} s more than a bare interpreter")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_loads_nothing_heavy(verb, child):
    """Fails if help waits for torch, onnxruntime or numpy, however they came to be imported."""
    ended = child(*[verb] * bool(verb), "--help", python=["-X", "importtime"])
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.err.splitlines()}
    assert ended.code == 0
    assert "cyclopts" in loaded  # the list is what it is taken for
    assert not loaded & {"torch", "onnxruntime", "numpy", "PIL", "tifffile", "safetensors", "skimage"}


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_in_help_is_a_command(verb, child):
    """Fails if a verb has no example, or an option in it was renamed. It is read, not run."""
    helped = child(verb, "--help")
    assert (helped.code, helped.err) == (0, "")
    examples = re.findall(r"^\s*Example: unnoise (.+?)\s*$", helped.out, re.MULTILINE)
    assert len(examples) == 1
    words = shlex.split(examples[0])
    assert words[0] == verb
    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert command.__name__ == verb
    assert len(bound.arguments) >= len(words) // 3  # an option and its value, or a file, each went somewhere


def test_every_option_is_explained(child):
    """Fails if a setting of TrainConfig has no help: its name must be followed by words, not by its default alone."""
    helped = child("train", "--help").out
    for line in helped.splitlines():
        if match := re.match(r"│ --(\S+)(?: -o)?(?: [A-Z]+\S*)?(.*)│$", line):
            assert re.match(r"\s*[A-Z0-9].{10,}", match[2].partition("[default")[0]), match[1]
