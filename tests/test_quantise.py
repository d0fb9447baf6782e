"""Models in 8 bits: what they lose and gain is measured at export, stated in their card, and refused where it does not pay."""

import json
import shutil
import sys
import tempfile

import numpy as np
import onnx
import pytest
from conftest import refusal

from unnoise import artefact, data, export, load, parse, quantise
from unnoise.collection import gather
from unnoise.config import Dense
from unnoise.errors import MissingExtra, ModelError
from unnoise.metrics import psnr
from unnoise.model import Autoencoder
from unnoise.run import settings_of

LEVEL = "gaussian:sigma=25/255"  # of the small run


@pytest.fixture(scope="module")
def made(run):
    """The small run as ONNX bytes and their card: takes seconds, and is the same for every test."""
    return export.made(run)


@pytest.fixture
def quick(monkeypatch, made):
    """Exports that need not wait for the float32 model, nor for the clock, which finds 8 bits twice as fast."""
    monkeypatch.setattr(quantise, "made", lambda run: made)
    monkeypatch.setattr(quantise, "times_faster", lambda *networks: 2.0)


@pytest.fixture
def copied(run, tmp_path):
    """A function that copies the run with other words in its config.json."""

    def copy(photos=None, **settings):
        folder = shutil.copytree(run, tmp_path / "copy")
        record = json.loads((folder / "config.json").read_text())
        record["photos"] = record["photos"] if photos is None else [str(photos)]
        record["config"].update(settings)
        (folder / "config.json").write_text(json.dumps(record))
        return folder

    return copy


def test_the_card_says_what_8_bits_lose_and_gain(cli, run, made, quick, tmp_path, monkeypatch):
    """Fails if the card lacks a figure, states a loss that the written file does not have, or loses a word of the original's;
    if the file needs another Denoiser, or anything is left in the temporary folder or said beside the two lines."""
    temporary, out = tmp_path / "temporary", tmp_path / "m.onnx"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    ended = cli("export", run, "-o", out, "--int8")
    assert (ended.code, ended.out, list(temporary.iterdir())) == (0, "", [])
    first, second = ended.err.strip().splitlines()
    assert "a pixel sees" in first
    assert f"dB on {LEVEL}" in second
    assert "2.00 times as fast" in second
    small, original = load(out), load(run)
    figures = small.card.pop("int8")
    assert small.card.pop("precision") == "int8"
    assert {**small.card, "sha256": ""} == {**original.card, "sha256": ""}
    assert figures["times_faster"] == 2
    assert list(figures["loss_db"]) == [LEVEL]
    config, record = settings_of(run)
    pairs = data.validation(gather(record, config)[1], [parse(LEVEL)], config)
    scores = [[psnr(model.denoise(noisy).clip(0, 1), clean) for clean, noisy in pairs] for model in (original, small)]
    assert len(pairs) == 4
    assert figures["loss_db"][LEVEL] == pytest.approx(np.mean(scores[0]) - np.mean(scores[1]), abs=1e-3)
    assert figures["loss_db"][LEVEL] < 0.1
    apart = np.abs(small.denoise(pairs[0][1]) - original.denoise(pairs[0][1])).max()
    assert 1e-5 < apart < 0.02  # it computes otherwise, and not by much
    difference, _, tiles = small.tiling_difference(pairs[0][1])
    assert tiles > 1
    assert difference < 1 / 255  # one last bit of a float may become a step of 8 bits, and no more


def test_the_coarse_blocks_alone_are_in_8_bits(made):
    """Fails if a layer that carries the picture is rounded, or a coarse one is not: 16-32 widths have one block below the finest."""
    noisy = np.random.default_rng(0).random((2, 1, 48, 48), np.float32)
    model = onnx.load_from_string(quantise.in_8_bits(made[0], [noisy]))
    whole = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims}
    weights = {name.removesuffix("_quantized") for name in whole if name.endswith("weight_quantized")}
    assert weights == {f"model.encoder.levels.1.0.{conv}.weight" for conv in ("first", "second")}
    levels = [f"model.{side}.levels.{level}.{block}.{conv}.weight" for side in ("encoder", "decoder") for level in range(3) for block in (0, 1) for conv in ("first", "second")]  # fmt: skip
    nodes = [
        onnx.helper.make_node("Conv", ["x", name], [name], name=name) for name in [*levels[:20], "model.encoder.head.weight"]
    ]
    graph = onnx.helper.make_model(onnx.helper.make_graph(nodes, "three levels", [], []))
    assert quantise.coarse_layers(graph) == levels[4:16]  # encoder 1 and 2, decoder 0


@pytest.mark.parametrize("scale", [0.01, 100])
def test_a_corrupted_calibration_is_refused(run, quick, tmp_path, monkeypatch, scale):
    """Fails if a file is written though 8 bits are bad: calibrated on far too dark or too bright crops, all saturates, or
    everything falls into a few levels."""
    honest = data.batch
    monkeypatch.setattr(data, "batch", lambda *given: tuple(part * np.float32(scale) for part in honest(*given)))
    words = refusal(lambda: quantise.export_int8(run, tmp_path / "m.onnx"), ModelError)
    assert f"dB on {LEVEL}" in words
    assert "less than 0.1 is allowed" in words
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("losses", "named"),
    [([0.0, 0.25, 0.03], "0.25 dB on gaussian:sigma=30/255"), ([0.1, 0, 0], "0.10 dB on gaussian:sigma=5/255"), ([0, 0, np.nan], "nan dB")],
)  # fmt: skip
def test_the_worst_noise_of_a_range_decides(copied, quick, tmp_path, monkeypatch, losses, named):
    """Fails if a range is judged at one level alone, 0.1 dB passes, or the sentence names another noise than the worst."""
    answers = iter(losses)
    monkeypatch.setattr(quantise, "loss", lambda *given: next(answers))
    run = copied(noise=["gaussian:0..55/255"])
    assert named in refusal(lambda: quantise.export_int8(run, tmp_path / "m.onnx"), ModelError)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("gained", [1.3, 0.8, float("nan")])
def test_too_little_speed_is_refused(cli, run, quick, tmp_path, monkeypatch, gained):
    """Fails if 8 bits are written that are not more than 1.3 times as fast here."""
    monkeypatch.setattr(quantise, "times_faster", lambda *given: gained)
    ended = cli("export", run, "-o", tmp_path / "m.onnx", "--int8")
    assert ended.code == 2
    assert f"{gained:.2f} times as fast on this processor, and more than 1.3" in ended.sentence
    assert not (tmp_path / "m.onnx").exists()


def test_speed_is_a_median_of_ratios_by_turns(monkeypatch):
    """Fails if the first run, which sets up, counts, one disturbance decides, or the ratio stands on its head."""
    now, turns = [0.0], []

    def network(name, seconds):
        def call(tile):
            turns.append(name)
            now[0] += 100 if len(turns) in (1, 2, 7) else seconds

        return call

    monkeypatch.setattr(quantise.time, "perf_counter", lambda: now[0])
    assert quantise.times_faster(network("int8", 2.0), network("float32", 5.0), 1, side=8) == 2.5
    assert turns == ["float32", "int8"] * (1 + quantise.ROUNDS)


def test_calibration_keeps_off_the_pictures_it_is_judged_on(run, quick, tmp_path, monkeypatch):
    """Fails if scales are fitted to the pictures that are to judge them: of six, the first four judge."""
    seen, honest = [], data.batch
    monkeypatch.setattr(data, "batch", lambda pictures, *rest: (seen.append(pictures.names), honest(pictures, *rest))[1])
    quantise.export_int8(run, tmp_path / "m.onnx")
    assert len(seen) == quantise.BATCHES
    assert all(names == ["hubble_deep_field.jpg", "rocket.jpg"] for names in seen)


def test_photos_that_are_gone_or_too_few_are_named(copied, run, quick, photos, tmp_path):
    """Fails if the user is not told that 8 bits need the run's photos, which, and how many."""
    gone = copied(tmp_path / "gone")
    words = refusal(lambda: quantise.export_int8(gone, tmp_path / "m.onnx"), ModelError)
    assert f"{tmp_path / 'gone'} does not exist" in words
    assert "put them back" in words
    few = tmp_path / "few"
    few.mkdir()
    for photo in sorted(photos.iterdir())[:4]:
        shutil.copy(photo, few)
    shutil.rmtree(gone)
    other = copied(few)
    assert "6 gone, 4 new" in refusal(lambda: quantise.export_int8(other, tmp_path / "m.onnx"), ModelError)
    (other / "pictures.txt").unlink()  # as of a run of an older version
    assert "train on 5 or more" in refusal(lambda: quantise.export_int8(other, tmp_path / "m.onnx"), ModelError)
    file = run / "model.safetensors"
    assert "give the folder" in refusal(lambda: quantise.export_int8(file, tmp_path / "m.onnx"), ModelError)
    assert not (tmp_path / "m.onnx").exists()


def test_a_model_without_coarse_blocks_is_refused():
    """Fails if a fully connected model ends in a traceback, or as a float32 file that calls itself int8."""
    dense = export.to_onnx(Autoencoder(Dense(), 1).eval())
    assert "no residual blocks" in refusal(lambda: quantise.in_8_bits(dense, []), ModelError)


def test_a_missing_package_is_named(made, monkeypatch):
    """Fails if export --int8 without onnx ends in a traceback."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"needs onnx; install it with: pip install \"unnoise\[train\]\""):
        quantise.in_8_bits(made[0], [])


def test_a_file_is_replaced_only_when_asked(run, quick, tmp_path):
    """Fails if an export in 8 bits replaces a file unasked."""
    out = tmp_path / "m.onnx"
    out.write_text("old")
    with pytest.raises(FileExistsError):
        quantise.export_int8(run, out)
    assert out.read_text() == "old"
    quantise.export_int8(run, out, overwrite=True)
    assert artefact.read_onnx(out)[1]["precision"] == "int8"


@pytest.mark.parametrize(
    ("noise", "levels"),
    [
        ("gaussian:25/255", ["gaussian:sigma=25/255"]),
        ("gaussian:0..55/255", ["gaussian:sigma=5/255", "gaussian:sigma=30/255", "gaussian:sigma=55/255"]),
        ("gaussian:0.1..0.5", ["gaussian:sigma=0.1", "gaussian:sigma=0.3", "gaussian:sigma=0.5"]),
        ("camera:2/255..30/255,jpeg=70..95", [f"camera:sigma={s}/255,jpeg={q}" for s, q in ((2.727, 70), (16.364, 82), (30, 95))]),
        ("salt-and-pepper:count=0..200", [f"salt-and-pepper:count={count}" for count in (18, 109, 200)]),
        ("masking:0.2..0.4", [f"masking:fraction={share}" for share in (0.2, 0.3, 0.4)]),
        ("blocks:count=4..8,size=12", [f"blocks:count={count},size=12" for count in (4, 6, 8)]),
        ("blocks:blocks=8x8x32x32/40x0x16x16", ["blocks:blocks=8x8x32x32/40x0x16x16"]),
        ("profile:gain=0.1,read=0.2|gain=0.2,read=0.1", ["profile:gain=0.1,read=0.2", "profile:gain=0.2,read=0.1"]),
        ("gaussian:10/255..30/255+masking:0.1", [f"gaussian:sigma={s}/255+masking:fraction=0.1" for s in (10, 20, 30)]),
    ],
)  # fmt: skip
def test_a_range_is_judged_at_its_ends_and_middle(noise, levels):
    """Fails if a noise is judged where it is easy alone; a range from nothing begins at an eleventh of its end."""
    assert [str(level) for level in quantise.levels_of(parse(noise))] == levels
