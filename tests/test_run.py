"""A run's folder beside the loop: made longer, what it says of itself, its device, the parts of its cost."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refusal
from test_train import SMALL, assert_same_bits, broken_at, state, steps_in_metrics

import unnoise
from unnoise import data, keeper, runs
from unnoise.config import TrainConfig
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
