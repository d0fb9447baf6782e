"""Batches that are stopped at random moments: 40 SIGKILLs, 20 Ctrl-C, 20 SIGTERM; training that is killed 30 times; and the
corpus of odd files as one batch.

After each stop every file that has its name must be whole. After each round of stops one quiet run must leave, ledger included,
the bytes of a run that was never stopped. Any of these failing ends the program with a traceback.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
import skimage
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from interruptions import Done, check_whole, killed_training, seconds_of_work, stopped, strays, training, tree  # noqa: E402

import unnoise  # noqa: E402

MAKE = ROOT.parent / "shared" / "badimages" / "make.py"
SEED, ROUND = 7, 5  # stops in a round: each finds what the ones before have left
SIGNALS = ((signal.SIGKILL, 40, -9), (signal.SIGINT, 20, 130), (signal.SIGTERM, 20, 143))  # how often, and the exit code
ENVIRONMENT = {**os.environ, "COLUMNS": "240"}


def pictures(folder: Path) -> None:
    """60 crops of photos, in three kinds and three folders, gray and colour, up to 400 pixels a side."""
    rng = np.random.default_rng(SEED)
    photos = [
        Image.open(Path(skimage.__file__).parent / "data" / name) for name in ("astronaut.png", "coffee.png", "rocket.jpg")
    ]
    for number in range(60):
        photo, (width, height) = photos[number % 3], rng.integers(100, 400, 2).tolist()
        path = folder / str(number // 20) / f"{number}{('.png', '.tif', '.jpg')[number % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        left, top = (int(rng.integers(side - wanted + 1)) for side, wanted in zip(photo.size, (width, height), strict=True))
        crop = photo.crop((left, top, left + width, top + height))
        (crop.convert("L") if number % 2 else crop).save(path)


def stops(line: Any, whole: dict[str, str], seconds: float, place: Path) -> dict[str, Any]:
    """Stop the batch again and again, look, and let it finish after each round."""
    found: dict[str, Any] = {}
    draw = random.Random(SEED)
    for number, count, expected in SIGNALS:
        taken, codes, left, done = [], [], 0, []
        for attempt in range(count):
            out = place / f"{number}-{attempt // ROUND}"
            while True:
                try:
                    code, ending, words = stopped(line(out), out, draw.uniform(0, seconds / 16), number, ENVIRONMENT)
                    break
                except Done:  # a busy machine was asked how long it takes, and has become faster: the round begins anew
                    seconds /= 2
                    shutil.rmtree(out)
            assert "Traceback" not in words, words
            codes.append(code)
            taken.append(ending)
            left += len(strays(out))
            done.append(check_whole(out, whole))
            if attempt % ROUND == ROUND - 1:
                seconds_of_work(line(out), place / "nothing", ENVIRONMENT)
                assert tree(out) == whole, f"{out} is not what an undisturbed run gives"
                shutil.rmtree(out)
        found[signal.Signals(number).name] = {
            "times": count, "as_expected": codes.count(expected), "exit_code": expected, "temporary_files_left": left,
            "longest_end_s": round(max(taken), 3), "median_end_s": round(statistics.median(taken), 3),
            "done_at_the_stop": done, "quiet_runs_equal": count // ROUND,
        }  # fmt: skip
        print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def kills_of_training(photos: Path, place: Path) -> dict[str, Any]:
    """Six runs, each killed five times and gone on with: the last checkpoint holds the bytes of an undisturbed run's."""
    begin, _ = training(place / "often.py", photos, place / "undisturbed", 2000)
    subprocess.run(begin, check=True, capture_output=True, env=ENVIRONMENT)
    draw, met, equal = random.Random(SEED), 0, 0
    last = "checkpoint-0002000.safetensors"
    for number in range(6):
        begin, go_on = training(place / "often.py", photos, place / f"killed{number}", 2000)
        delays = [draw.uniform(0, 1) for _ in range(5)]
        met += killed_training(begin, go_on, place / f"killed{number}", delays, ENVIRONMENT)
        equal += (place / f"killed{number}" / last).read_bytes() == (place / "undisturbed" / last).read_bytes()
        assert equal == number + 1, f"a run that was killed after {delays} s ends otherwise"
    return {"kills": 30, "met_it_at_work": met, "runs": 6, "equal_to_undisturbed": equal}


def corpus(model: Path, place: Path) -> dict[str, Any]:
    """The corpus as one batch, twice: every file is accounted for, and the second run only skips."""
    subprocess.run([sys.executable, MAKE, place / "corpus"], check=True, capture_output=True)
    paths = [path for path in (place / "corpus").rglob("*") if path.is_symlink() or not path.is_dir()]
    found = sum(not path.name.startswith(".") for path in paths)  # hidden files are passed over
    line = [sys.executable, "-m", "unnoise", "denoise", place / "corpus", "-o", place / "clean", "--model", model, "--json"]
    runs = []
    for _ in range(2):
        began = time.monotonic()
        ended = subprocess.run(line, capture_output=True, env=ENVIRONMENT, timeout=600)
        told, seconds = json.loads(ended.stdout), time.monotonic() - began
        counts = {fate: len(told[fate]) for fate in ("done", "skipped", "failed")}
        assert (ended.returncode, b"Traceback" in ended.stderr) == (1, False), ended.stderr
        assert sum(counts.values()) == found, counts
        runs.append({**counts, "seconds": round(seconds, 1)})
    assert all(real.is_relative_to(place.resolve() / "clean") for real in map(Path.resolve, (place / "clean").rglob("*")))
    return {"found": found, "first": runs[0], "second": runs[1], "temporary_files_left": len(strays(place / "clean"))}


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored, for all children too
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pictures(place / "in")
        sources = tree(place / "in")
        settings = {"model": "unet:widths=16-32,blocks=1", "channels": "gray", "precision": "float32", "threads": 1}
        unnoise.train(place / "in", place / "run", noise="gaussian:25/255", steps=250, **settings)

        def line(out: Path) -> list[str]:
            words = ["denoise", place / "in", "-o", out, "--model", place / "run", "--threads", "1"]
            return [sys.executable, "-m", "unnoise", *map(str, words)]

        seconds = seconds_of_work(line(place / "whole"), place / "whole", ENVIRONMENT)
        whole = tree(place / "whole")
        figures: dict[str, Any] = {"pictures": len(sources), "undisturbed_s": round(seconds, 2)}
        figures |= {"stops": stops(line, whole, seconds, place)}
        figures["training"] = kills_of_training(place / "in", place)
        assert tree(place / "in") == sources
        if MAKE.exists():
            figures["corpus"] = corpus(place / "run", place)
        record.save("soak", figures)


if __name__ == "__main__":
    main()
