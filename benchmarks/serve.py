"""The server under load: 200 uploads by 16 clients, against the command line on the same files; and 500 connections that trickle.

None may be lost, and each answer must have the bytes of the command line's file. Server and command line take turns, so that
what else the computer does is the same for both. The command line's seconds are those it tells, without its start.
"""

from __future__ import annotations

import json
import os
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

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from serving import Server, memory, serving, slow, until, uploaded  # noqa: E402

from unnoise import image  # noqa: E402
from unnoise.denoiser import physical_cores  # noqa: E402

FILES, CLIENTS, SLOW, ROUNDS, ASKED = 200, 16, 500, 3, 15
SIDE, SEED = 256, 5
PHOTOS = ("astronaut.png", "coffee.png", "rocket.jpg", "chelsea.png", "motorcycle_left.png")
ENDINGS = (".png", ".jpg", ".tif", ".webp")
GOALS = {"throughput_share": 0.85, "slow_times": 2}
ENVIRONMENT = {**os.environ, "COLUMNS": "240"}


def pictures(folder: Path) -> list[Path]:
    """Crops of photographs of scikit-image with Gaussian noise of 10 to 40/255, of four kinds, every fifth in gray."""
    rng = np.random.default_rng(SEED)
    photos = [image.read(Path(skimage.__file__).parent / "data" / name).pixels for name in PHOTOS]
    folder.mkdir()
    for number in range(FILES):
        photo = photos[number % len(photos)]
        top, left = (int(rng.integers(length - SIDE + 1)) if length > SIDE else 0 for length in photo.shape[:2])
        crop = photo[top : top + SIDE, left : left + SIDE]
        crop = crop.mean(2) if number % 5 == 0 and ENDINGS[number % 4] != ".webp" else crop
        noisy = (crop + rng.normal(0, rng.uniform(10, 40) / 255, crop.shape)).clip(0, 1).astype(np.float32)
        image.write(folder / f"{number:03}{ENDINGS[number % 4]}", noisy)
    return sorted(folder.iterdir())


def command_line(folder: Path, out: Path) -> float:
    """Seconds that `unnoise denoise` tells for the folder."""
    line = [sys.executable, "-m", "unnoise", "denoise", str(folder), "-o", str(out), "--json"]
    ended = subprocess.run(line, capture_output=True, env=ENVIRONMENT, check=True)
    told = json.loads(ended.stdout)
    assert len(told["done"]) == FILES, told
    return float(told["seconds"])


def held(server: Server) -> float:
    """Megabytes of the server and of the process that does the work."""
    return memory(server.process.pid) + memory(server.worker())


def asked(server: Server, file: bytes) -> float:
    """Median seconds of a normal request."""
    times = []
    for _ in range(ASKED):
        began = time.perf_counter()
        assert server.post("denoise", file).status == 200
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def rounds(server: Server, files: list[Path], place: Path) -> dict[str, Any]:
    """Server and command line by turns, after a few uploads that are not counted."""
    contents, found = [file.read_bytes() for file in files], []
    uploaded(server, contents[:CLIENTS], CLIENTS)
    for number in range(ROUNDS):
        theirs = command_line(files[0].parent, place / f"out-{number}")
        expected = [(place / f"out-{number}" / file.name).read_bytes() for file in files]
        answers, ours = uploaded(server, contents, CLIENTS)
        found.append(
            {
                "server_s": round(ours, 2), "command_line_s": round(theirs, 2), "share": round(theirs / ours, 3),
                "lost": sum(answer.status != 200 for answer in answers),
                "wrong": sum(answer.status == 200 and answer.body != one for answer, one in zip(answers, expected, strict=True)),
                "memory_mb": round(held(server), 1),
            }
        )  # fmt: skip
        print(found[-1], file=sys.stderr, flush=True)
    return {"rounds": found, "throughput_share": statistics.median(one["share"] for one in found)}


def slow_ones(server: Server, file: bytes) -> dict[str, Any]:
    """A normal request alone, and among connections that trickle; alone again after."""
    before = asked(server, file)
    with slow(server, SLOW) as open_now:
        among, still = asked(server, file), open_now()
    after = asked(server, file)
    alone = statistics.fmean((before, after))
    return {
        "connections": SLOW,
        "open_at_the_end": still,
        "alone_ms": round(1e3 * alone, 1),
        "among_ms": round(1e3 * among, 1),
        "slow_times": round(among / alone, 2),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        place, threads = Path(name), physical_cores()
        files = pictures(place / "in")
        with serving(place / "tmp", ENVIRONMENT, threads=threads) as server:
            found = rounds(server, files, place)
            found |= slow_ones(server, files[0].read_bytes())
            until(lambda: server.kept() == [], "a file stays")
        about = {"files": FILES, "clients": CLIENTS, "side": SIDE, "threads": threads, "goals": GOALS}
        record.save("serve", {**about, **found})


if __name__ == "__main__":
    main()
