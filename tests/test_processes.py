"""Several processes do what one does, and nothing is lost when one of them, or all, are killed."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from interruptions import begun, killed, seconds_of_work, strays, tree
from PIL import Image

from unnoise import batch, cleaning, processes
from unnoise.errors import ModelError, UnnoiseError
from unnoise.ledger import Ledger


def put(path, seed=0, size=(96, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def many(tmp_path):
    """Twelve pictures in two folders, one that is broken and a file that is no picture."""
    for number in range(12):
        put(
            tmp_path
            / "in"
            / "ab"[number % 2]
            / f"{number}{'.jpg' if number in (3, 4) else '.tif' if number in (6, 7) else '.png'}",
            number,
        )
    (tmp_path / "in" / "broken.png").write_bytes((tmp_path / "in" / "a" / "0.png").read_bytes()[:500])
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


def without_times(text):
    return {name: value for name, value in json.loads(text).items() if name != "seconds"}


def test_two_processes_do_what_one_does(cli, run, many, tmp_path):
    """Fails if the files, the ledger, or what is told of them depends on how many processes took part, or on their order."""
    told = []
    for count in (1, 2):
        out = tmp_path / "out"
        ended = cli("denoise", many, "-o", out, "--model", run, "--processes", count, "--json")
        assert ended.code == 1
        told.append((without_times(ended.out), tree(out), sorted(ended.err.splitlines()[:-1])))
        again = cli("denoise", many, "-o", out, "--model", run, "--processes", count, "--json")
        assert {one["reason"] for one in json.loads(again.out)["skipped"]} == {batch.DONE, "is not a picture"}
        (tmp_path / "out").rename(tmp_path / f"out{count}")
    assert len(told[0][0]["done"]) == 12
    assert len(told[0][0]["failed"]) == 1
    assert told[0] == told[1]


def test_auto_is_told_of_every_picture(cli, many, tmp_path):
    """Fails if what the models were chosen for does not come back from the processes."""
    ended = cli("denoise", many, "-o", tmp_path / "out", "--processes", 2, "--json")
    assert all(one["models"][0]["why"] for one in json.loads(ended.out)["done"])
    assert ended.err.count("unchanged") + ended.err.count("through") == 12


@pytest.mark.parametrize(
    ("threads", "pictures", "count"), [(2, 7, 1), (2, 8, 2), (1, 30, 1), (4, 16, 4), (4, 15, 1), (2**20, 2**30, 1)]
)
def test_processes_start_where_there_are_pictures_enough(threads, pictures, count):
    """Fails if a few pictures wait for processes to start, many do not get them, --threads is passed over, or the memory."""
    assert cleaning.usual(threads, pictures) == count


def test_a_number_that_cannot_be(cli, many, tmp_path):
    assert "processes=-1: expected" in cli("denoise", many, "-o", tmp_path / "out", "--processes", "-1").sentence


# --- processes that end -------------------------------------------------------------------------------------------------------


def begin(folder, what):
    """Work of which some ends its process: before it has written, after, whenever it is tried, or before it begins."""
    if what == "begin":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "refused":
        raise ModelError("there is no such model; give another.")

    def step(source, to):
        first = not (folder / "tried").exists()
        hit = source.name == "5.png" and (first or what == "always")
        if hit:
            (folder / "tried").touch()
        if hit and what != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        from unnoise import atomic

        with atomic.writing(to.path, to.overwrite) as file:
            file.write(source.read_bytes())
            to.written(file)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch.Made("made")

    return batch.Work(step, Ledger(folder / "out", "denoise", {}))


def all_of_it(many, folder, what):
    (folder / "out").mkdir()
    jobs = [(file, folder / "out" / file.name) for file in sorted(many.rglob("?*.png")) if file.name != "broken.png"]
    summary = batch.Summary()
    engine = processes.engine(2, begin, folder, what)
    batch.for_each(jobs, [], batch.Work(print, Ledger(folder / "out", "denoise", {})), summary, engine)
    return jobs, summary


@pytest.mark.parametrize("what", ["before", "after"])
def test_a_killed_process_loses_nothing(what, many, tmp_path):
    """Fails if what a killed process held is lost, or told as anything but done once; also what it had finished, but not told."""
    jobs, summary = all_of_it(many, tmp_path, what)
    assert (tmp_path / "tried").exists()
    assert summary.done == jobs
    assert (summary.failed, summary.skipped) == ([], [])
    assert {output.read_bytes() for _, output in jobs} == {source.read_bytes() for source, _ in jobs}


def test_a_picture_that_kills_every_process_fails_alone(many, tmp_path):
    """Fails if such a picture is tried for ever, takes others with it, or is not named."""
    jobs, summary = all_of_it(many, tmp_path, "always")
    assert summary.failed == [(many / "b" / "5.png", processes.ENDED)]
    assert len(summary.done) == len(jobs) - 1


def test_a_process_that_cannot_begin_is_an_error(many, tmp_path):
    """Fails if processes that end at once are started for ever."""
    with pytest.raises(UnnoiseError, match="ended before it could begin"):
        all_of_it(many, tmp_path, "begin")


def test_an_error_of_the_command_is_told_as_it_is(many, tmp_path):
    """Fails if what is wrong with the command, not with a picture, is taken for want of memory, or done with the rest."""
    with pytest.raises(ModelError, match="there is no such model"):
        all_of_it(many, tmp_path, "refused")


def test_nobody_is_at_work_when_the_batch_is_left(many, tmp_path):
    """Fails if processes still write when an error of the watcher has left the batch, and the ledger is put in order."""

    def failing(outcomes, total):
        for outcome in outcomes:
            yield outcome
            raise BrokenPipeError

    (tmp_path / "out").mkdir()
    jobs = [(file, tmp_path / "out" / file.name) for file in sorted(many.rglob("?*.png"))]
    work = batch.Work(print, Ledger(tmp_path / "out", "denoise", {}))
    summary = batch.Summary()
    with pytest.raises(BrokenPipeError) as caught:
        batch.for_each(jobs, [], work, summary, processes.engine(2, begin, tmp_path, ""), failing)
    assert caught.value.__traceback__  # which would keep the engine alive
    assert multiprocessing.active_children() == []
    assert len(summary.done) >= 1


def test_groups_are_of_jobs_that_share_an_output():
    """Fails if jobs without a common output wait for one another, or those with one, through a third even, do not."""
    jobs = [(Path(f"s{number}"), *map(Path, outputs)) for number, outputs in enumerate(["a", "bc", "d", "ce", "a", "f", "eg"])]
    groups = [[number for number, _ in group] for group in batch._groups([*enumerate(jobs)])]
    assert sorted(groups) == [[0, 4], [1, 3, 6], [2], [5]]


def test_files_of_one_output_stay_in_their_order(cli, run, tmp_path):
    """Fails if two sources of one output are done at once, or the second takes the place of the first."""
    for number in range(8):
        put(tmp_path / "in" / f"{number}.png", number)
        put(tmp_path / "in" / f"{number}.tif", number + 100)
    told = [
        without_times(
            cli("denoise", tmp_path / "in", "-o", tmp_path / str(count), "--model", run, "--format", "png", "--processes", count, "--json").out.replace(f"/{count}/", "/out/")
        )
        for count in (1, 2)
    ]  # fmt: skip
    assert len(told[0]["failed"]) == 8
    assert told[0] == told[1]


@pytest.fixture(scope="module")
def work(command, environment, run, tmp_path_factory):
    """(command line into a folder, the files of an undisturbed run, how long that works), with two processes."""
    place = tmp_path_factory.mktemp("work")
    for number in range(40):
        put(place / "in" / f"{number}.png", number, (160, 160 + number))

    def line(out):
        return command("denoise", place / "in", "-o", out, "--model", run, "--processes", "2")

    seconds = seconds_of_work(line(place / "whole"), place / "whole", environment)
    return line, tree(place / "whole"), seconds


def children_of(process):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in found]


def test_killed_with_its_processes_and_gone_on(work, environment, tmp_path):
    """Fails if the processes of a killed command go on without it, or what is made after three kills is not what one quiet run makes."""
    (line, whole, seconds), out, draw = work, tmp_path / "out", random.Random(1)
    killed(line, out, [draw.uniform(0, seconds / 5) for _ in range(3)], whole, environment)
    seconds_of_work(line(out), tmp_path / "none", environment)
    assert tree(out) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_process_is_left_behind(number, code, work, environment, tmp_path):
    """Fails if a process outlives the command by 5 s, or a command that was asked to stop leaves a temporary file or a traceback."""
    (line, _, seconds), out = work, tmp_path / "out"
    process = begun(line(out), out, environment)
    time.sleep(seconds / 8)
    started = children_of(process.pid)
    assert len(started) >= 3  # and one that python keeps beside them
    process.send_signal(number)
    began = time.monotonic()
    assert process.wait(timeout=60) == code
    while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() - began < 5:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    words = process.communicate()[1].decode()
    if number != signal.SIGKILL:
        assert words == "unnoise: stopped; the same command goes on\n"
        assert strays(out) == []


def test_ctrl_c_while_the_processes_start(work, environment, tmp_path):
    """Fails if Ctrl-C, which reaches all processes of a terminal, is lost, or answered by a traceback of one that has hardly begun."""
    line, _, _ = work
    for delay in (0, 0.01, 0.15, 0.3):
        process = subprocess.Popen(
            line(tmp_path / str(delay)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        while len(children_of(process.pid)) < 2 and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60)[1].decode() == "unnoise: stopped; the same command goes on\n"
        assert process.returncode == 130
