"""Two processes on two cores against one process with two threads: pixels a second of the same training, by turns."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import record

ONE = [sys.executable, "-m", "unnoise"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "unnoise"]
ARMS = {"one process, two threads": (ONE, 2), "two processes, one thread each": (TWO, 1)}
FIRST = 2  # lines of metrics that do not count: memory and kernels are set up


def speed(line: list[str], threads: int, run: Path, steps: int, batch: int) -> float:
    """Median crop pixels a second, all processes together, over the scores of a run."""
    words = ["train", record.SHARED / "train", "-o", run, "--steps", steps, "--threads", threads, "--batch", batch]
    done = subprocess.run(
        [*line, *map(str, words), "--channels", "gray", "--noise", "gaussian:25/255"],
        capture_output=True, text=True, env={**os.environ, "MASTER_ADDR": "localhost"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(one["pixels_per_second"] for one in lines[FIRST:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for batch in (8, 32):
        speeds: dict[str, list[float]] = {name: [] for name in ARMS}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(given.turns):
                for name, (line, threads) in ARMS.items():
                    run = Path(folder, f"{turn}-{threads}")
                    speeds[name].append(round(speed(line, threads, run, given.steps * 8 // batch, batch)))
                    print(batch, name, speeds[name], flush=True)
        medians = {name: statistics.median(every) for name, every in speeds.items()}
        one, two = medians.values()
        found[f"batch {batch}"] = {"pixels_per_second": medians, "every": speeds, "ratio": round(two / one, 3)}
    record.save("processes", {"turns": given.turns, **found})


if __name__ == "__main__":
    main()
