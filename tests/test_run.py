"""A run's folder beside the loop: made longer, what it says of itself, its device, the parts of its cost."""

import dataclasses
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import TINY, refusal
from test_train import SMALL, assert_same_bits, broken_at, state, steps_in_metrics

import unnoise
from unnoise import artefact, console, data, export, keeper, runs
from unnoise.config import TrainConfig, UNet
from unnoise.errors import BadSetting, ModelError, UnnoiseError
from unnoise.feed import batches
from unnoise.model import Autoencoder
from unnoise.run import Result
from unnoise.train import fit, new_trainee


def config_of(run):
    return json.loads((run / "config.json").read_text())["config"]


# --- made longer -------------------------------------------------------------------------------------------------------------


def test_a_finished_run_goes_on_with_a_fresh_schedule(photos, tmp_path, learning, monkeypatch, exported, cli):
    """Fails if the rate does not begin anew, what was learned is lost, or its records begin anew."""
    monkeypatch.setattr(keeper, "SCORE_EVERY", 0)
    monkeypatch.setattr(keeper, "SCORE_SHARE", math.inf)
    unnoise.train(photos, tmp_path / "run", steps=60, warmup=5, **SMALL)
    weights, rates, real = state(tmp_path / "run"), [], learning.rate_at

    def noted(step, config):
        if not rates:
            trained = [tensor.numpy() for tensor in exported[0].state_dict().values()]
            assert any(np.array_equal(trained[0], weight) for weight in weights.values())
        rates.append(real(step, config))
        return rates[-1]

    monkeypatch.setattr(learning, "rate_at", noted)
    assert cli("train", "--resume", tmp_path / "run", "--continue-for", "steps=40").code == 0
    assert (config_of(tmp_path / "run")["steps"], config_of(tmp_path / "run")["schedule_from"]) == (100, 60)
    assert len(rates) == 40
    assert rates[0] == pytest.approx(0.002 / 6)  # the warm-up, once more
    assert max(rates) > 0.0019
    assert rates[-1] < 0.002 * 0.002
    assert steps_in_metrics(tmp_path / "run") == list(range(1, 101))


def test_a_longer_run_that_was_killed_ends_in_the_same_bits(photos, tmp_path, learning, monkeypatch, exported):
    """Fails if the schedule of the second part is not remembered, or the part that was asked for is added twice."""
    for name in ("undisturbed", "killed"):
        unnoise.train(photos, tmp_path / name, steps=6, **SMALL)
    unnoise.resume(tmp_path / "undisturbed", continue_for="steps=8")
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "SAVE_EVERY", 0)
        broken_at(10, learning, patch)
        with pytest.raises(SystemError):
            unnoise.resume(tmp_path / "killed", continue_for="steps=8")
    words = refusal(lambda: unnoise.resume(tmp_path / "killed", continue_for="steps=8"))
    assert "step 10 of 14" in words
    assert unnoise.resume(tmp_path / "killed").steps == 14
    assert_same_bits(state(tmp_path / "killed"), state(tmp_path / "undisturbed"))


def test_it_goes_on_for_minutes_and_epochs(photos, tmp_path, exported):
    """Fails if a bare number is anything but minutes, or an epoch counts the steps before."""
    settings = {**SMALL, "patch": 64, "batch": 6}
    unnoise.train(photos, tmp_path / "run", steps=2, **settings)
    assert unnoise.resume(tmp_path / "run", continue_for="epochs=0.25").steps == 2 + 4  # see test_epochs_are_pixels
    result = unnoise.resume(tmp_path / "run", continue_for=0.02)
    assert result.steps > 6
    assert result.seconds < 6


@pytest.mark.parametrize(
    ("length", "says"), [("hours=2", "no.*minutes|minutes"), ("steps=0", "at least 1"), ("soon", "number"), ("-1", "above 0")]
)
def test_a_length_that_is_none(length, says, photos, tmp_path, exported, cli):
    """Fails if a mistake costs the run its settings."""
    unnoise.train(photos, tmp_path / "run", steps=2, **SMALL)
    before = config_of(tmp_path / "run")
    ended = cli("train", "--resume", tmp_path / "run", "--continue-for", length)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert any(word in ended.err for word in says.split("|"))
    assert config_of(tmp_path / "run") == before
    assert cli("train", photos, "-o", tmp_path / "new", "--continue-for", "2").code == 2


def test_whole_numbers_in_floats(photos, tmp_path, exported, cli):
    """Fails if 1e1 steps end in a traceback, and leave a run that nothing can go on with."""
    unnoise.train(photos, tmp_path / "run", steps=2.0, **SMALL)
    assert cli("train", "--resume", tmp_path / "run", "--continue-for", "steps=1e1").code == 0
    assert config_of(tmp_path / "run")["steps"] == 12
    before = config_of(tmp_path / "run")
    assert cli("train", "--resume", tmp_path / "run", "--continue-for", "steps=1.5").code == 2
    assert config_of(tmp_path / "run") == before
    for name in ("steps", "batch", "patch", "echo", "places", "warmup", "seed", "threads"):
        assert f"{name}=1.5: expected a whole number" in refusal(lambda name=name: TrainConfig(**{name: 1.5}))


def test_the_settings_of_a_run_that_was_made_longer_begin_anew(photos, tmp_path, exported, cli):
    """Fails if a new run by the config.json of such a run begins its schedule where that one's second part did."""
    unnoise.train(photos, tmp_path / "run", steps=6, **SMALL)
    unnoise.resume(tmp_path / "run", continue_for="steps=4")
    assert cli("train", photos, "-o", tmp_path / "new", "--config", tmp_path / "run" / "config.json", "--steps", 6).code == 0
    assert config_of(tmp_path / "new")["schedule_from"] == 0
    assert "schedule_from=6, steps=6" in refusal(lambda: TrainConfig(steps=6, schedule_from=6))


def test_a_kill_before_the_last_score(photos, tmp_path, exported):
    """Fails if a run that ended between its last checkpoint and its score is never told to be finished."""
    unnoise.train(photos, tmp_path / "run", steps=4, **SMALL)
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    unnoise.resume(tmp_path / "run")
    (tmp_path / "run" / "model.onnx").touch()
    assert [(run.step, run.finished) for run in runs.find(tmp_path)] == [(4, True)]
    unnoise.resume(tmp_path / "run")
    assert steps_in_metrics(tmp_path / "run") == [4]


# --- started from a model ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def piece(run, tmp_path_factory):
    """The model of the small run as a file of float16 weights, and those weights."""
    file = tmp_path_factory.mktemp("piece") / "piece.safetensors"
    export.export_again(run, file, float16=True)
    return file, artefact.read(file)[0]


def of_the_piece(**changed):
    """SMALL, but for what the piece decides, and its seed."""
    return {**{name: value for name, value in SMALL.items() if name not in ("model", "channels")}, "seed": 1, **changed}


def test_a_run_starts_from_the_weights_of_a_model(piece, run, photos, tmp_path, learning, monkeypatch, cli):
    """Fails if a weight is another at step 0, in the network or its average; the shape and channels are not the file's; the
    optimiser or the schedule is not fresh; or the books do not say which model it was."""
    cards, rates, real = [], [], learning.rate_at
    monkeypatch.setattr("unnoise.run.export", lambda model, card, *rest: cards.append(card))
    monkeypatch.setattr(learning, "rate_at", lambda step, config: (rates.append(real(step, config)), rates[-1])[1])
    words = [f"--{name}={value}" for name, value in of_the_piece(steps=3, warmup=9).items()]
    ended = cli("train", photos, "-o", tmp_path / "run", "--start-from", piece[0], *words)
    assert ended.code == 0, ended.err
    begun = safetensors.numpy.load_file(tmp_path / "run" / "checkpoint-0000000.safetensors")
    expected = {
        f"{part}.{name}": weight.astype(np.float32) for name, weight in piece[1].items() for part in ("model", "average")
    }
    assert_same_bits(begun, expected)  # and no moments of the optimiser
    assert rates == pytest.approx([0.0002, 0.002 * 2 / 10 * (1 + math.cos(math.pi / 3)) / 2, 0.002 * 3 / 10 / 4])
    settings, theirs = config_of(tmp_path / "run"), config_of(run)
    assert [settings[name] for name in ("model", "channels")] == [theirs[name] for name in ("model", "channels")]
    card = artefact.read(piece[0])[1]
    known = {"sha256": card["sha256"], "training": card["training"]}
    assert cards[0]["training"]["start_from"] == known
    assert json.loads((tmp_path / "run" / "config.json").read_text())["start_from"] == known
    assert known["training"]["steps"] == 250
    assert "drawn again" not in ended.err


def test_the_books_lead_back_to_the_first_piece(piece, photos, tmp_path, monkeypatch):
    """Fails if the card of a model that was trained in three pieces has lost the first, or a seed that comes again passes unsaid."""
    result = unnoise.train(photos, tmp_path / "second", start_from=str(piece[0]), steps=1, **of_the_piece())
    assert result.notes == ()
    settings = of_the_piece(seed=0, model=TINY["model"], channels=TINY["channels"])  # what it has, said once more
    result = unnoise.train(photos, tmp_path / "third", start_from=tmp_path / "second", steps=1, **settings)
    assert "seed=0 is that of a run it starts from" in result.notes[0]
    _, card = artefact.read_onnx(tmp_path / "third" / "model.onnx")
    second = card["training"]["start_from"]["training"]
    first = second["start_from"]["training"]
    assert [part["seed"] for part in (card["training"], second, first)] == [0, 1, 0]
    assert [part["steps"] for part in (card["training"], second, first)] == [1, 1, 250]
    assert first["start_from"] is None
    assert first["minutes"] > 0
    assert str(tmp_path) not in json.dumps(card)
    assert str(piece[0].parent) not in json.dumps(card)


def test_a_run_that_started_from_a_model_goes_on_without_it(piece, photos, tmp_path, learning, monkeypatch, exported):
    """Fails if going on takes the weights of the file once more, or needs it; or begins from another file in its place."""
    file = tmp_path / "piece.safetensors"
    shutil.copy(piece[0], file)
    settings = of_the_piece(start_from=str(file), steps=8)
    unnoise.train(photos, tmp_path / "undisturbed", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "SAVE_EVERY", 0)
        broken_at(5, learning, patch)
        with pytest.raises(SystemError):
            unnoise.train(photos, tmp_path / "killed", **settings)
    with monkeypatch.context() as patch:
        patch.setattr("unnoise.run.checkpoint.save", lambda *given: (_ for _ in ()).throw(SystemError("power cut")))
        with pytest.raises(SystemError):
            unnoise.train(photos, tmp_path / "barely", **settings)
    shutil.copytree(tmp_path / "barely", tmp_path / "restored")
    unnoise.resume(tmp_path / "restored")
    assert_same_bits(state(tmp_path / "restored"), state(tmp_path / "undisturbed"))
    artefact.write(file, piece[1], {"architecture": "unet:widths=16-32,blocks=1", "channels": 1})
    assert "is not the model that the run was to start from" in refusal(lambda: unnoise.resume(tmp_path / "barely"), ModelError)
    file.unlink()
    unnoise.resume(tmp_path / "killed")
    assert_same_bits(state(tmp_path / "killed"), state(tmp_path / "undisturbed"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "unet:widths=8-16"], "has unet:widths=16-32,blocks=1,fold=2; leave --model out"),
        (["--model", "dense"], "model=dense"),
        (["--model", "unet"], "model=unet:widths=32-64-128,blocks=2,fold=2"),
        (["--channels", "colour"], "has gray; leave --channels out"),
        (["--start-from", "MISSING"], "MISSING does not exist"),
        (["--start-from", "ONNX"], "cannot be read as safetensors"),
    ],
)
def test_a_start_that_cannot_be_made(options, says, piece, run, photos, tmp_path, cli):
    """Fails if another shape than the file's is trained in silence, be it the usual one, or a mistake leaves half a run."""
    options = [{"MISSING": tmp_path / "MISSING", "ONNX": run / "model.onnx"}.get(word, word) for word in options]
    start = [] if "--start-from" in options else ["--start-from", piece[0]]
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 2, *start, *options)
    assert (ended.code, says in ended.sentence) == (2, True), ended.err
    assert not (tmp_path / "run").exists()


def test_the_patch_is_that_of_the_model_to_start_from(piece):
    """Fails if a patch is checked against the default shape, which the run will not have."""
    TrainConfig(patch=20, start_from=piece[0])
    with pytest.raises(BadSetting, match="works on a grid of 8"):
        TrainConfig(patch=20, start_from=piece[0], model="unet:widths=8-16-16")


def test_a_colour_model_is_no_start_for_a_gray_run(photos, tmp_path):
    """Fails if --channels gray is forgotten for a file of a colour model."""
    net = Autoencoder(UNet((8, 16), (1,)), 3)
    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    artefact.write(tmp_path / "a.safetensors", tensors, {"architecture": "unet:widths=8-16,blocks=1", "channels": 3})
    start = {"start_from": str(tmp_path / "a.safetensors"), "steps": 1}
    words = refusal(lambda: unnoise.train(photos, tmp_path / "run", channels="gray", **start))
    assert "channels=gray" in words
    assert "has colour" in words


# --- what a run says of itself -----------------------------------------------------------------------------------------------


def test_versions_and_commit(photos, tmp_path, exported):
    """Fails if config.json lacks a version, or the commit is that of a repository in which unnoise is merely installed."""
    unnoise.train(photos, tmp_path / "run", steps=1, **SMALL)
    versions = json.loads((tmp_path / "run" / "config.json").read_text())["versions"]
    assert {name: versions[name] for name in ("unnoise", "torch", "numpy")} == {
        "unnoise": unnoise.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    source = Path(unnoise.__file__).parent
    tracked = subprocess.run(["git", "-C", source, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True)
    if tracked.returncode == 0:
        head = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert versions["commit"].removesuffix("-dirty") == head.stdout.strip()
    else:
        assert "commit" not in versions or len(versions["commit"]) == 40


def test_both_parts_of_the_cost_are_told(photos, tmp_path, exported, cli):
    """Fails if a part is missing from the live line or from metrics.jsonl, or the two are not the whole."""
    words = [f"--{name}={value}" for name, value in {**SMALL, "patch": 48}.items()]
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 4, "--perceptual", "0.1", *words)
    assert ended.code == 0
    assert re.search(r"loss [\d.]+ \(pixel [\d.]+ \+ perceptual [\d.]+\)  PSNR", ended.err)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["parts"].keys() == {"pixel", "perceptual"}
    assert last["loss"] == pytest.approx(sum(last["parts"].values()))
    assert min(last["parts"].values()) > 0


def test_the_live_line_is_of_now(photos, tmp_path, exported, monkeypatch, cli):
    """Fails if a PSNR passes for one of a later step, or the cost of the first steps for that of the last."""
    monkeypatch.setattr(keeper, "TELL_EVERY", 0)  # the first score after the first step, the next at the end
    monkeypatch.setattr(keeper, "SCORE_EVERY", 1e9)
    monkeypatch.setattr(keeper, "RECENT", 2)
    monkeypatch.setattr(console, "SAY_EVERY", 0)
    costs, real = [], keeper.Keeper.after_step

    def noted(self, parts, stop):
        costs.append(sum(parts.values()))
        real(self, parts, stop)

    monkeypatch.setattr(keeper.Keeper, "after_step", noted)
    words = [f"--{name}={value}" for name, value in SMALL.items()]
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 5, *words)
    found = re.findall(r"step (\d)/5  loss ([\d.]+)  PSNR ([\d.]+) dB on validation crops at step (\d)  ", ended.err)
    first, last = runs.metrics(tmp_path / "run")
    assert [(int(step), int(scored)) for step, _, _, scored in found] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 5)]
    assert [psnr for _, _, psnr, _ in found] == [f"{first['psnr']:.2f}"] * 4 + [f"{last['psnr']:.2f}"]
    means = [costs[0], costs[1], *map(np.mean, (costs[1:3], costs[2:4], costs[3:5]))]
    assert [float(loss) for _, loss, _, _ in found] == pytest.approx(means, abs=1e-5)


@pytest.mark.parametrize(("gb", "echo"), [(1, 1), (0, 128)])
def test_pictures_that_must_be_decoded_are_used_more_than_once(gb, echo, photos, tmp_path, exported):
    """Fails if a run beyond its cache decodes eight pictures a step, or one within it learns from fewer pictures than it could."""
    unnoise.train(photos, tmp_path / "run", steps=1, cache_gb=gb, cache=str(tmp_path / "cache"), **SMALL)
    assert config_of(tmp_path / "run")["echo"] == echo


def test_running_out_of_memory_is_one_sentence(photos, tmp_path, learning, monkeypatch, cli):
    """Fails if torch's own words for it, or a traceback, are what a user gets for a batch that is too large."""

    def full(*arguments):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(learning.losses, "emphasis", full)
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 2, *[f"--{n}={v}" for n, v in SMALL.items()])
    assert ended.code == 2
    assert "needs more memory than there is" in ended.err


# --- devices -----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a graphics card here")
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device, photos, tmp_path, cli):
    """Fails if torch's own error, or half a run, is what a user without a card gets."""
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 2, "--device", device)
    assert ended.code == 2
    assert f"device={device}: torch finds none for 1 processes here" in ended.err
    assert not (tmp_path / "run").exists()


def test_auto_is_settled(photos, tmp_path, exported):
    """Fails if a run does not remember the device that it was begun on."""
    unnoise.train(photos, tmp_path / "run", steps=1, **SMALL)
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert config_of(tmp_path / "run")["device"] == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA card here")
def test_a_card_learns_what_the_processor_learns(photos, tmp_path):
    """Fails if a part of the loop stays on another device, or a checkpoint of one cannot be read on the other."""
    for device in ("cpu", "cuda"):
        unnoise.train(photos, tmp_path / device, steps=20, device=device, **SMALL)
    one, other = state(tmp_path / "cpu"), state(tmp_path / "cuda")
    assert max(np.abs(one[name] - other[name]).max() for name in one if name.startswith("model.")) < 1e-3


def interrupted(photos, run, learning, monkeypatch, **settings):
    """A run that a power cut ended before its step 7, with a checkpoint after 5; all else is as it was."""
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "SAVE_EVERY", 0)
        broken_at(7, learning, patch)
        with pytest.raises(SystemError):
            unnoise.train(photos, run, steps=10, **SMALL | settings)
    return int(sorted(run.glob("checkpoint-*"))[-1].stem[-7:])


def test_a_run_goes_on_where_there_is_no_card(photos, tmp_path, learning, monkeypatch, cli):
    """Fails if what a card began cannot be finished without one, begins anew, or does not say where it was before."""
    run = tmp_path / "run"
    interrupted(photos, run, learning, monkeypatch)
    record = json.loads((run / "config.json").read_text())
    record["config"]["device"] = "cuda"
    (run / "config.json").write_text(json.dumps(record))
    if not torch.cuda.is_available():
        assert "say --device cpu" in cli("train", "--resume", run).err
    assert cli("train", "--resume", run, "--device", "cpu", "--threads", 1).code == 0
    record = json.loads((run / "config.json").read_text())
    assert (record["config"]["device"], record["config"]["threads"], record["device_before"]) == ("cpu", 1, ["cuda"])
    training = artefact.read(run / "model.safetensors")[1]["training"]
    assert (training["device"], training["device_before"]) == ("cpu", ["cuda"])
    unnoise.train(photos, tmp_path / "whole", steps=10, **SMALL)
    assert_same_bits(state(run), state(tmp_path / "whole"))


def test_other_settings_are_refused_with_resume(tmp_path, cli):
    """Fails if a setting that belongs to the run is taken and silently left."""
    said = cli("train", "--resume", tmp_path, "--device", "cpu", "--batch", 4)
    assert said.code == 2
    assert "leave all but --device and --threads out" in said.err


def test_a_run_that_was_stopped_is_finished(photos, tmp_path, learning, monkeypatch, cli):
    """Fails if steps are taken after the newest checkpoint, or its averaged weights are not the model."""
    run = tmp_path / "run"
    step = interrupted(photos, run, learning, monkeypatch)
    learned, _ = artefact.read(sorted(run.glob("checkpoint-*"))[-1])
    assert cli("train", "--resume", run, "--finish").code == 0
    assert config_of(run)["steps"] == step < 10
    model, _ = artefact.read(run / "model.safetensors")
    assert model.keys() == {name.removeprefix("average.") for name in learned if name.startswith("average.")}
    for name, weights in model.items():
        np.testing.assert_array_equal(weights, learned[f"average.{name}"])


def test_nothing_can_be_finished_before_it_has_begun(photos, tmp_path, learning, monkeypatch, cli):
    """Fails if weights drawn at random are passed off as a model, or --finish stands alone."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        broken_at(0, learning, patch)
        with pytest.raises(SystemError):
            unnoise.train(photos, run, steps=10, **SMALL)
    said = cli("train", "--resume", run, "--finish")
    assert said.code != 0
    assert "has no checkpoint after its first step" in said.err
    assert not (run / "model.safetensors").exists()
    assert "--finish ends a run that was stopped" in cli("train", photos, "-o", tmp_path / "new", "--finish").err


def test_processes_make_the_batches_for_a_card(photos, tmp_path):
    """Fails if one that a card is given is another than the processor gets, or out of its turn, or laid out otherwise."""
    here = TrainConfig(**SMALL | {"steps": 9, "threads": 3, "cache": str(tmp_path / "cache")})
    pictures, noises = data.load([photos], here), data.noises_of(here)
    expected = [data.batch(pictures, noises, here, step, range(1, 2)) for step in range(4, 9)]
    for device in ("cpu", "cuda"):
        found = list(batches(pictures, noises, dataclasses.replace(here, device=device), 4, range(1, 2)))
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one.numpy(), other)
                assert one.is_contiguous(memory_format=torch.channels_last)


def test_a_process_that_fails_ends_the_run(photos, tmp_path, monkeypatch):
    """Fails if the run hangs when a batch cannot be made, or its error is lost."""
    here = TrainConfig(**SMALL | {"steps": 9, "threads": 2, "device": "cuda", "cache": str(tmp_path / "cache")})
    pictures = data.load([photos], here)
    monkeypatch.setattr(data, "batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(batches(pictures, data.noises_of(here), here, 0))


def test_without_a_compiler(photos, tmp_path, monkeypatch, cli):
    """Fails if torch.compile's own error, or a folder that the next try is refused for, is what a user without a compiler gets."""

    def broken(model):
        def call(*arguments):
            raise RuntimeError("InductorError: No working C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    ended = cli("train", photos, "-o", tmp_path / "run", "--steps", 2, "--compile", *[f"--{n}={v}" for n, v in SMALL.items()])
    assert ended.code == 2
    assert "install a C++ compiler" in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler here, which torch.compile needs")
def test_a_compiled_network_learns_the_same(photos):
    """Fails if --compile changes what is learned by more than rounding. The control: another seed is far away."""
    ends = []
    for changed in ({}, {"compile": True}, {"seed": 1}):
        config = TrainConfig(steps=4, **SMALL, **changed)
        trainee = new_trainee(config)
        fit(trainee, data.load([photos], config), config)
        ends.append(torch.cat([weight.detach().flatten() for weight in trainee.model.parameters()]))
    plain, compiled, control = ends
    assert (plain - compiled).abs().max() < 1e-3
    assert (plain - control).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("psnr", "noisy", "says"),
    [
        (18.86, 20.53, "this is worse than the noisy pictures (18.86 against 20.53 dB); train longer"),
        (20.54, 20.53, ""),
        (28.0, math.inf, ""),  # of blocks, some crops have none
        (math.nan, math.nan, ""),  # a process of several that does not score
    ],
)
def test_a_model_that_is_worse_than_noise_is_said(psnr, noisy, says):
    """Fails if a useless model ends its training as if all were well, or a good one is called useless."""
    assert Result(Path("run"), 1, psnr, 1.0, [], noisy_psnr=noisy).warning == says


def test_a_longer_run_is_finished_where_it_was(photos, tmp_path, learning, monkeypatch, exported):
    """Fails if a schedule that has begun nothing yet, or a checkpoint that is torn, is in the way of --finish."""
    run = tmp_path / "run"
    unnoise.train(photos, run, steps=6, **SMALL)
    with monkeypatch.context() as patch:
        broken_at(6, learning, patch)
        with pytest.raises(SystemError):
            unnoise.resume(run, continue_for="steps=4")
    assert unnoise.resume(run, finish=True).steps == 6
    torn = run / "checkpoint-0000009.safetensors"
    torn.write_bytes((run / "checkpoint-0000006.safetensors").read_bytes()[:1000])
    with monkeypatch.context() as patch:
        patch.setattr(learning.data, "batch", lambda *_: pytest.fail("it goes on"))
        assert unnoise.resume(run, finish=True).steps == 6


def test_processes_are_left_to_the_run(photos, tmp_path):
    """Fails if a SIGTERM to all processes ends those that make batches before the run has saved, or one that is killed ends it with a traceback."""
    here = TrainConfig(**SMALL | {"steps": 200, "threads": 2, "device": "cuda", "cache": str(tmp_path / "cache")})
    pictures = data.load([photos], here)
    found = batches(pictures, data.noises_of(here), here, 0)
    next(found)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGTERM)
    assert len(list(found)) == 199
    found = batches(pictures, data.noises_of(here), here, 0)
    next(found)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(UnnoiseError, match=r"^a process that makes batches has ended, .*fewer --threads\.$"):
        list(found)
