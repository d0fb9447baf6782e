"""Pixels a second of the same training on two cores, by turns: two threads, two processes, and two threads with a compiled network."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import record

from unnoise.runs import metrics

ONE = [sys.executable, "-m", "unnoise"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "unnoise"]
ARMS: dict[str, tuple[list[str], list[str]]] = {
    "one process, two threads": (ONE, ["--threads", "2"]),
    "two processes, one thread each": (TWO, ["--threads", "1"]),
    "one process, two threads, --compile": (ONE, ["--threads", "2", "--compile"]),
}
FIRST = 1  # lines of metrics that do not count: memory and kernels are set up


def speed(line: list[str], options: list[str], run: Path, steps: int, batch: int) -> float:
    """Median crop pixels a second, all processes together, over the scores of a run."""
    words = ["train", record.SHARED / "train", "-o", run, "--steps", steps, "--batch", batch, *options]
    done = subprocess.run(
        [*line, *map(str, words), "--channels", "gray", "--noise", "gaussian:25/255"],
        capture_output=True, text=True, env={**os.environ, "MASTER_ADDR": "localhost"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return statistics.median(one["pixels_per_second"] for one in metrics(run)[FIRST:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    speeds: dict[str, list[int]] = {name: [] for name in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(given.turns):
            for number, (name, (line, options)) in enumerate(ARMS.items()):
                speeds[name].append(round(speed(line, options, Path(folder, f"{turn}-{number}"), given.steps, given.batch)))
                print(name, speeds[name], flush=True)
    medians = {name: statistics.median(every) for name, every in speeds.items()}
    first = medians[next(iter(ARMS))]
    ratios = {name: round(median / first, 3) for name, median in medians.items()}
    told = {"turns": given.turns, "steps": given.steps, "batch": given.batch}
    record.save("processes", {**told, "pixels_per_second": medians, "ratios": ratios, "every": speeds})


if __name__ == "__main__":
    main()
