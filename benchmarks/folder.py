"""A folder through `denoise` on the cores of one machine: one process with all threads, and one process a thread, by turns.

48 noisy photographs (Kodak24 at sigma 15 and 25, as PNG of 8 bits) by `auto`, and as many small ones, their middles of 128 pixels a side. Wall seconds
from the start of the command to its end; the outputs of all ways must be equal, byte for byte. Memory: the largest of all processes together.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
from PIL import Image

from unnoise import image
from unnoise.denoiser import physical_cores
from unnoise.image.picture import as_floats
from unnoise.keyed import keyed_rng
from unnoise.ledger import sha256
from unnoise.noise import Gaussian

SIGMAS = (15 / 255, 25 / 255)
SMALL = 128
LOOK_EVERY = 0.1  # seconds between looks at the memory


def written(folder: Path, side: int | None) -> float:
    """Write the noisy pictures; megapixels of all."""
    folder.mkdir()
    pixels = 0
    for index, file in enumerate(sorted((record.SHARED / "eval" / "Kodak24").glob("*.png"))):
        clean = as_floats(image.read(file).pixels).astype(np.float32)
        if side:
            clean = record.middle(clean, side)
        for number, sigma in enumerate(SIGMAS):
            noisy = Gaussian(sigma)(clean, keyed_rng(number, index=index))[0]
            Image.fromarray(np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)).save(folder / f"{file.stem}-{number}.png")
            pixels += clean.shape[0] * clean.shape[1]
    return pixels / 1e6


def run(folder: Path, out: Path, processes: int, threads: int) -> tuple[float, float]:
    """(seconds, megabytes that all processes of the command held at most)."""
    line = [sys.executable, "-m", "unnoise", "denoise", folder, "-o", out, "--processes", processes, "--threads", threads]
    began = time.monotonic()
    process = subprocess.Popen([*map(str, line)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held = [0.0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY):
            held.append(sum(memory(pid) for pid in [process.pid, *children(process.pid)]))

    watcher = threading.Thread(target=look)
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    assert code == 0, code
    return seconds, max(held)


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def memory(pid: int) -> float:
    """Megabytes of resident memory, what it shares with others divided by their number."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    cores = physical_cores() or 1
    ways = {"one process": (1, cores), "a process a core": (cores, cores)}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, side in (("photographs", None), ("small", SMALL)):
            folder = Path(place, name)
            megapixels = written(folder, side)
            every: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            outputs = set()
            for turn in range(given.turns):
                for number, (way, (processes, threads)) in enumerate(ways.items()):
                    out = Path(place, f"{name}-{turn}-{number}")
                    every[way].append(run(folder, out, processes, threads))
                    outputs.add(tuple(sha256(file) for file in sorted(out.glob("*.png"))))
                    print(name, way, every[way][-1], flush=True)
            assert len(outputs) == 1, "the outputs differ"
            found[name] = {
                "pictures": len(list(folder.glob("*.png"))),
                "megapixels": round(megapixels, 2),
                "ways": {way: told(each, megapixels) for way, each in every.items()},
            }
    record.save("folder", {"cores": cores, "turns": given.turns, "folders": found}, command_of(given.turns))


def told(every: list[tuple[float, float]], megapixels: float) -> dict[str, Any]:
    seconds = statistics.median(one for one, _ in every)
    return {
        "seconds": round(seconds, 2),
        "seconds_per_megapixel": round(seconds / megapixels, 3),
        "megabytes": round(max(held for _, held in every)),
        "every_seconds": [round(one, 2) for one, _ in every],
    }


def command_of(turns: int) -> str:
    return "python benchmarks/folder.py" + (f" --turns {turns}" if turns != 3 else "")


if __name__ == "__main__":
    main()
