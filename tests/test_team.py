"""Several processes under torchrun train one model as one process would: gloo, two of them, on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy
import torch

from unnoise import data
from unnoise.config import TrainConfig
from unnoise.team import Team
from unnoise.train import cost_of, new_trainee

SMALL = {
    "model": "unet:widths=8-16,blocks=1", "channels": "gray", "patch": 16, "batch": 4, "precision": "float32", "threads": 1,
    "noise": "gaussian:25/255",
}  # fmt: skip
OPTIONS = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this build of torch has no gloo")


@pytest.fixture
def torchrun(environment):
    """torchrun with two processes of what follows, as an argument list and its environment."""

    def line(*arguments, restarts=0):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "localhost"]
        line += ["--master-port", str(port), "--max-restarts", str(restarts), "--monitor-interval", "0.2", *map(str, arguments)]
        return line

    return line


def weights(run, kind="model.safetensors"):
    return safetensors.numpy.load_file(run / kind)


def farthest(one, other):
    return max(np.abs(one[name] - other[name]).max() for name in one)


GRADIENT = """
import sys, torch
from pathlib import Path
import safetensors.torch
from unnoise import data, team
from unnoise.config import TrainConfig
from unnoise.model import as_tensor
from unnoise.train import cost_of, new_trainee

config = TrainConfig(**eval(sys.argv[2]), steps=9)
pictures = data.load([Path(sys.argv[1])], config)
with team.joined() as ours:
    trainee = new_trainee(config)
    clean, noisy, _ = map(as_tensor, data.batch(pictures, data.noises_of(config), config, 5, ours.part(config.batch)))
    network = ours.together(trainee.model, noisy)
    cost_of(config)(network(noisy), clean).backward()
    if ours.leads:
        gradients = {name: weight.grad.contiguous() for name, weight in trainee.model.named_parameters()}
        safetensors.torch.save_file(gradients, sys.argv[3])
    del network
if Path("/proc/self/task").exists():
    threads = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    assert not [name for name in threads if "gloo" in name], threads
"""


def test_the_gradient_is_that_of_the_whole_batch(photos, torchrun, environment, tmp_path):
    """Fails if a process draws another part of the batch, or gradients are added instead of averaged. The control: half a batch.
    And if threads of the group outlive it, which may abort the process when Python ends.
    """
    (tmp_path / "gradient.py").write_text(GRADIENT)
    line = torchrun(tmp_path / "gradient.py", photos, repr(SMALL), tmp_path / "two.safetensors")
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    two = safetensors.numpy.load_file(tmp_path / "two.safetensors")
    config = TrainConfig(**SMALL, steps=9)
    pictures, noises = data.load([photos], config), data.noises_of(config)

    def gradient(part):
        trainee = new_trainee(config)
        clean, noisy, _ = map(torch.from_numpy, data.batch(pictures, noises, config, 5, part))
        cost_of(config)(trainee.model(noisy), clean).backward()
        return {name: weight.grad.numpy() for name, weight in trainee.model.named_parameters()}

    whole, half = gradient(None), gradient(range(2))
    size = max(np.abs(array).max() for array in whole.values())
    assert farthest(two, whole) < 1e-5 * size  # float32 sums in another order
    assert farthest(two, half) > 1e-3 * size


def test_two_processes_train_as_one_does(photos, child, torchrun, environment, tmp_path):
    """Fails if both write or speak, a part of the run stays with one of them, or the two drift apart."""
    line = torchrun("-m", "unnoise", "train", photos, "-o", tmp_path / "two", "--steps", 20, *OPTIONS)
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("20 steps in") == 1
    assert child("train", photos, "-o", tmp_path / "one", "--steps", 20, *OPTIONS).code == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert farthest(one, two) < 1e-4  # rounding, carried through twenty steps
    assert (tmp_path / "two" / "model.onnx").exists()
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == len(
        (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()
    )


THREE = """
import sys, torch
from pathlib import Path
from unnoise import data, team
from unnoise.config import TrainConfig
from unnoise.train import fit, new_trainee

torch.set_num_threads(1)
pictures = data.load([Path(sys.argv[1])], TrainConfig(**eval(sys.argv[2]), steps=9))
with team.joined() as ours:
    ends = []
    for parts in ((6,), (3, 6)):
        trainee = new_trainee(TrainConfig(**eval(sys.argv[2]), steps=6))
        for steps in parts:  # each part joins the processes anew, as a run that goes on does
            fit(trainee, pictures, TrainConfig(**eval(sys.argv[2]), steps=steps, schedule="constant"), ours=ours)
        ends.append(torch.cat([weight.detach().flatten() for weight in trainee.model.parameters()]))
    if ours.leads:
        print("EQUAL" if torch.equal(*ends) else (ends[0] - ends[1]).abs().max().item())
"""


def test_three_processes_go_on_to_the_same_bits(photos, torchrun, environment, tmp_path):
    """Fails if gradients are summed in another order after the first step: of three, that gives other bits; of two, it does not."""
    (tmp_path / "three.py").write_text(THREE)
    settings = {**SMALL, "model": "unet:widths=32-64,blocks=1", "batch": 6}
    line = torchrun(tmp_path / "three.py", photos, repr(settings))
    line[line.index("--nproc-per-node") + 1] = "3"
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "EQUAL"


def test_a_batch_that_does_not_divide_leaves_nothing_behind(photos, torchrun, environment, tmp_path):
    """Fails if the corrected command is refused because of what the first one left."""
    options = [word if word != "4" else "3" for word in OPTIONS]
    line = torchrun("-m", "unnoise", "train", photos, "-o", tmp_path / "run", "--steps", 2, *options)
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode != 0
    assert "batch=3 with 2 processes" in ended.stderr
    assert not (tmp_path / "run").exists()


def children(pid):
    """The processes that a process has started."""
    tasks = f"/proc/{pid}/task/{pid}/children"
    return [int(child) for child in open(tasks).read().split()] if os.path.exists(tasks) else []


def wait_for_a_checkpoint(run, process):
    """Until a run has saved a step beyond the first, while its process lives."""
    deadline = time.monotonic() + 120
    while not any(int(path.name[11:18]) > 0 for path in run.glob("checkpoint-*.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
def test_a_killed_worker_is_started_anew_and_goes_on(photos, torchrun, environment, tmp_path):
    """Fails if a restart begins from nothing or refuses its own folder: the end must be that of an undisturbed run, bit for bit."""
    (tmp_path / "often.py").write_text("from unnoise import cli, keeper\nkeeper.SAVE_EVERY = 0.2\ncli.main()\n")
    options = [tmp_path / "often.py", "train", photos, "--steps", 400, *OPTIONS]
    undisturbed = torchrun(*options, "-o", tmp_path / "one")
    ended = subprocess.run(undisturbed, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    line = torchrun(*options, "-o", tmp_path / "two", restarts=2)
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_a_checkpoint(tmp_path / "two", process)
    assert process.poll() is None
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    _, words = process.communicate(timeout=240)
    assert process.returncode == 0, words
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert {name for name in one if one[name].tobytes() != two[name].tobytes()} == set()
    steps = [json.loads(line)["step"] for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("victim", [1])  # 0 takes as long, and was tried
def test_two_hosts_train_as_one(victim, photos, hosts, torchrun, environment, tmp_path):
    """Fails if the lines of docs/scale.md do not join two machines, a worker that is killed on one of them leaves the other waiting,
    or they end with another model than two processes on one machine.
    """
    (first, _), *_ = hosts.values()
    (tmp_path / "often.py").write_text("from unnoise import cli, keeper\nkeeper.SAVE_EVERY = 0.2\ncli.main()\n")
    options = [tmp_path / "often.py", "train", photos, "--steps", 300, *OPTIONS]
    started = []
    for name, (address, device) in hosts.items():
        line = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
        line += ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--monitor-interval", "0.2"]
        line += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first}:29400", "--rdzv-id", "run", "--local-addr", address]
        line += ["--rdzv-conf", f"is_host={int(address == first)}", *map(str, options), "-o", str(tmp_path / "two")]
        there = {**environment, "GLOO_SOCKET_IFNAME": device}
        started.append(subprocess.Popen(line, env=there, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    try:
        wait_for_a_checkpoint(tmp_path / "two", started[0])
        os.kill(children(started[victim].pid)[-1], signal.SIGKILL)
        words = [process.communicate(timeout=200)[0] for process in reversed(started)]  # the first waits for the other
        assert [process.returncode for process in started] == [0, 0], words
    finally:
        for process in started:
            process.kill()
    alone = subprocess.run(torchrun(*options, "-o", tmp_path / "one"), env=environment, capture_output=True, timeout=240)
    assert alone.returncode == 0
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-5


def test_a_batch_goes_into_equal_parts():
    """Fails if an image is drawn twice or by nobody, or an uneven batch passes in silence."""
    parts = [Team(rank, 3).part(12) for rank in range(3)]
    assert [index for part in parts for index in part] == list(range(12))
    with pytest.raises(ValueError, match="batch=8 with 3 processes: expected a multiple of 3"):
        Team(0, 3).part(8)
