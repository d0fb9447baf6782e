"""Stopping a batch, or training, at any moment: what the tests try a few times, and benchmarks/soak.py many times."""

import hashlib
import signal
import subprocess
import sys
import time

from unnoise.atomic import ENDING


def tree(folder):
    """SHA-256 of every file below a folder, hidden ones too, by its path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Done(AssertionError):
    """What was to be stopped had ended before."""


def stopped(line, out, delay, number, environment):
    """Start a command that writes to `out`, send it a signal `delay` seconds after it has begun to.

    Returns (exit code, seconds from the signal to the end, what it said on standard error). Raises Done if it ends before the signal.
    """
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    before, ledger = (out / ".unnoise.jsonl").exists() and (out / ".unnoise.jsonl").stat().st_mtime_ns, out / ".unnoise.jsonl"
    while not (ledger.exists() and ledger.stat().st_mtime_ns != before) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    if process.poll() is not None:
        raise Done(f"it was done in {delay:.2f} s: {process.communicate()[1].decode()}")
    process.send_signal(number)
    began = time.monotonic()
    words = process.communicate(timeout=60)[1].decode()
    return process.returncode, time.monotonic() - began, words


def begun(line, out, environment):
    """A command that has begun to write to `out`, or has ended."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    while not (out / ".unnoise.jsonl").exists() and process.poll() is None:
        time.sleep(0.002)
    return process


def seconds_of_work(line, out, environment):
    """How long a command works after it has begun to write to `out`, start and imports left out; it must succeed."""
    process = begun(line, out, environment)
    began = time.monotonic()
    words = process.communicate(timeout=600)[1].decode()
    assert process.returncode == 0, words
    return time.monotonic() - began


def strays(folder):
    return [path.name for path in folder.rglob(f"*{ENDING}")]


def check_whole(out, whole):
    """Every file that has its name has all its bytes: those of an undisturbed run; but for strays and the ledger, which grow."""
    there = {name: digest for name, digest in tree(out).items() if not name.endswith(ENDING) and ".unnoise.jsonl" not in name}
    assert there.items() <= whole.items()
    return len(there)


def killed(line, out, delays, whole, environment):
    """Start a command once for each of `delays`, and kill it so many seconds after it has begun to write; what has a name is whole each time."""
    for delay in delays:
        code, _, _ = stopped(line(out), out, delay, signal.SIGKILL, environment)
        assert code == -signal.SIGKILL
        check_whole(out, whole)


OFTEN = "from unnoise import cli, keeper\nkeeper.SAVE_EVERY = 0.1\ncli.main()\n"  # training that saves ten times a second


def training(script, photos, run, steps):
    """The commands that begin a small training run, and that go on with it; `script` is made, and holds OFTEN."""
    script.write_text(OFTEN)
    shape = [
        "--model",
        "unet:widths=8-16,blocks=1",
        "--channels",
        "gray",
        "--patch",
        "16",
        "--batch",
        "2",
        "--precision",
        "float32",
    ]
    begin = [sys.executable, script, "train", photos, "-o", run, "--steps", str(steps), "--threads", "1", *shape]
    return begin, [sys.executable, script, "train", "--resume", run]


def killed_training(begin, go_on, run, delays, environment):
    """Begin a run, and kill it after each of `delays` seconds from its first sign of life; then let it finish.

    Returns how many of the kills met it at work. Fails if it cannot go on.
    """
    met = 0
    for delay in delays:
        line = go_on if (run / "config.json").exists() else begin
        before = {path.name for path in run.glob("*")}
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        while not ({path.name for path in run.glob("*")} - before) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        met += process.poll() is None
        process.kill()
        words = process.communicate()[1].decode()
        assert "Traceback" not in words, words
    done = subprocess.run(go_on, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return met
