"""How long a run takes to know its pictures: 200,000 small PNGs, decoded into a new cache, and found there by a second run.

Each start is a process of its own, from its first import to the first batch; the files have just been written or read, so the
disk's own speed is not in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
from PIL import Image

SIDE = 48


def write(folder: Path, count: int) -> None:
    """Pictures of random values, a thousand in a folder."""
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index // 1000:04}" / f"{index:07}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).save(path, compress_level=0)


def start(photos: str, cache: str) -> None:
    """What a run does before its first step, apart from torch; the seconds of it on standard output."""
    began = time.perf_counter()
    from unnoise import collection, data
    from unnoise.config import TrainConfig

    config = TrainConfig(cache=cache, channels="gray")
    pictures, held_out = collection.gather({"photos": [photos], "validation": []}, config)
    collection.keep(Path(cache), pictures, held_out)
    data.check(data.noises_of(config), pictures, config)
    data.batch(pictures, data.noises_of(config), config, 0)
    resident = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    told = {"seconds": round(time.perf_counter() - began, 2), "peak_mb": int(resident.split()[1]) // 1000}
    print(json.dumps({**told, "pictures": len(pictures.arrays), "sha256": collection.fingerprint(pictures)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--dry", action="store_true", help="print the figures, write nothing")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # in the process that is measured
    given = parser.parse_args()
    if given.one:
        start(*given.one)
        return
    figures: dict[str, Any] = {"files": given.count, "side": SIDE}
    with tempfile.TemporaryDirectory() as folder:
        photos, cache = Path(folder, "photos"), Path(folder, "cache")
        photos.mkdir()
        write(photos, given.count)
        for run in ("first", "second"):
            command = [sys.executable, __file__, "--one", str(photos), str(cache)]
            figures[run] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        figures["stored_mb"] = sum(path.stat().st_size for path in cache.rglob("*.pixels")) // 10**6
        figures["index_mb"] = sum(path.stat().st_size for path in cache.rglob("*.jsonl")) // 10**6
    if given.dry:
        print(json.dumps(figures, indent=1))
    else:
        record.save("cache", figures)


if __name__ == "__main__":
    main()
