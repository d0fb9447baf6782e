"""`denoise --engine ray` beside the folder command alone: seconds a picture of a megapixel, and ten thousand small ones of which one in a hundred is bad.

The photographs are the training corpus', noisy, of 1,024 pixels a side, in gray by `photo`; for what a core costs, in colour and by other models too. What a picture takes is the difference between many
and few of them, so that the start of Ray and of its workers is told apart; the outputs of all ways must be equal, byte for byte. The
small ones, of 64 pixels a side, go through `photo-fast`, and memory is that of all processes of the command together, looked at as the work goes on.
Then they are done once more, while workers are killed, and the command itself: given again, it must leave the same bytes, its ledger included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import record
from folder import children, memory
from PIL import Image

from unnoise import image
from unnoise.image.picture import LUMA, as_floats
from unnoise.keyed import keyed_rng
from unnoise.ledger import sha256
from unnoise.noise import Gaussian

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from interruptions import tree

SIDE, SMALL = 1024, 64
FEW, MANY = 4, 20
COSTS = (("photo-fast", False), ("photo", False), ("photo-fast", True), ("photo", True), ("auto", True))  # model, colour
COUNT, BAD_ONE_IN = 10_000, 100
LARGE, STORE = 60, 2**27  # pictures of four megapixels; bytes of Ray's store, a quarter of the usual
KILLS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9)  # of the pictures that are done when a worker is killed
END = 0.6  # when the command is
WAYS = {
    "one process": ["--processes", 1, "--threads", 1],
    "ray, one worker": ["--engine", "ray", "--threads", 1],
    "two processes": ["--processes", 2, "--threads", 2],
    "ray, two workers": ["--engine", "ray", "--threads", 2],
}


def photographs(folder: Path, count: int, colour: bool = False, side: int = SIDE) -> None:
    folder.mkdir()
    for index, file in enumerate(sorted((record.SHARED / "train").glob("*.webp"))[:count]):
        pixels = as_floats(image.read(file).pixels)
        channels = pixels[..., :3] if colour else (pixels[..., :3] @ LUMA)[..., None]
        times = -(-side // min(channels.shape[:2]))
        square = np.tile(channels.astype(np.float32), (times, times, 1))[:side, :side].squeeze()
        noisy = Gaussian(25 / 255)(square, keyed_rng(0, index=index))[0]
        Image.fromarray(np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)).save(folder / f"{index:03}.png")


def small(folder: Path) -> None:
    """Ten thousand crops; one in a hundred ends in its middle."""
    source = folder.parent / "crops"
    photographs(source, MANY)
    pages = [np.asarray(Image.open(file)) for file in sorted(source.iterdir())]
    folder.mkdir()
    for index in range(COUNT):
        rng = keyed_rng(1, index=index)
        top, left = rng.integers(0, SIDE - SMALL, 2)
        file = folder / f"{index:05}.png"
        Image.fromarray(pages[index % len(pages)][top : top + SMALL, left : left + SMALL]).save(file)
        if index % BAD_ONE_IN == 0:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def line(folder: Path, out: Path, way: list[Any], model: str) -> list[str]:
    return [sys.executable, "-m", "unnoise", "denoise", *map(str, [folder, "-o", out, "--model", model, "--json", *way])]


def seconds(folder: Path, out: Path, way: list[Any], model: str = "photo") -> float:
    began = time.monotonic()
    subprocess.run(line(folder, out, way, model), check=True, capture_output=True)
    return time.monotonic() - began


def costs(place: Path, turns: int) -> dict[str, dict[str, Any]]:
    """Seconds of a core for each megapixel, with all cores at work."""
    for colour in (False, True):
        for count in (FEW, MANY):
            photographs(place / f"{colour}{count}", count, colour)
    every: dict[str, list[float]] = {f"{model}, {'colour' if colour else 'gray'}": [] for model, colour in COSTS}
    for turn in range(turns):
        for (model, colour), found in zip(COSTS, every.values(), strict=True):
            outs = [(place / f"{colour}{count}", place / f"{turn}-{model}-{colour}-{count}") for count in (FEW, MANY)]
            few, many = (seconds(folder, out, WAYS["ray, two workers"], model) for folder, out in outs)
            found.append(2 * (many - few) / (MANY - FEW) / (SIDE * SIDE / 1e6))
            print(model, colour, found, flush=True)
    return {
        name: {"core_seconds": round(median(found), 2), "every": [round(x, 2) for x in found]} for name, found in every.items()
    }


def throughput(place: Path, turns: int) -> dict[str, Any]:
    for count in (FEW, MANY):
        photographs(place / str(count), count)
    every: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    outputs = set()
    for turn in range(turns):
        for name, way in WAYS.items():
            outs = {count: place / f"{turn}-{name}-{count}" for count in (FEW, MANY)}
            few, many = (seconds(place / str(count), out, way) for count, out in outs.items())
            every[name].append((few, many))
            outputs.add(tuple(sha256(file) for file in sorted(outs[MANY].glob("*.png"))))
            print(name, few, many, flush=True)
    assert len(outputs) == 1, "the outputs differ"
    found = {}
    for name, each in every.items():
        one = median((many - few) / (MANY - FEW) for few, many in each)
        start = median(few - FEW * (many - few) / (MANY - FEW) for few, many in each)
        found[name] = {
            "seconds_a_picture": round(one, 3),
            "start_seconds": round(start, 1),
            "every_seconds": [[round(x, 2) for x in pair] for pair in each],
        }
    overhead = found["ray, one worker"]["seconds_a_picture"] / found["one process"]["seconds_a_picture"] - 1
    return {"ways": found, "overhead": round(overhead, 3)}


def below(pid: int) -> list[int]:
    """A process and all that it has started, and these in turn."""
    return [pid, *(each for child in children(pid) for each in below(child))]


def ten_thousand(folder: Path, out: Path) -> dict[str, Any]:
    began = time.monotonic()
    process = subprocess.Popen(
        line(folder, out, WAYS["ray, two workers"], "photo-fast"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    held: dict[int, float] = {}  # megabytes by tenths of the work
    told = ""
    while process.poll() is None:
        done = len(list(out.glob("*.png"))) if out.exists() else 0
        tenth = 10 * done // COUNT
        held[tenth] = max(held.get(tenth, 0), sum(memory(pid) for pid in below(process.pid)))
        try:
            told = process.communicate(timeout=1)[0]
        except subprocess.TimeoutExpired:
            continue
    took = time.monotonic() - began
    document = json.loads(told)
    return {
        "pictures": COUNT,
        "done": len(document["done"]),
        "failed": len(document["failed"]),
        "seconds": round(took, 1),
        "megabytes_by_tenths": {str(tenth): round(most) for tenth, most in sorted(held.items())},
    }


def read_ahead(place: Path) -> dict[str, Any]:
    """What Ray writes to the disk at most, of files that are together larger than its store of objects."""
    folder, out, ours = place / "large", place / "large-out", place / "ours"
    photographs(folder, LARGE, side=2 * SIDE)
    ours.mkdir()
    (ours / "sitecustomize.py").write_text(f"from unnoise import joining\njoining.MEMORY = {STORE}\n")
    command = line(folder, out, WAYS["ray, two workers"], "photo-fast")
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ours)}, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        files = [file for place in Path("/tmp").glob("unnoise-*") for file in place.rglob("ray_spilled_objects*/*")]
        with contextlib.suppress(FileNotFoundError):
            most = max(most, sum(file.stat().st_size for file in files))
        time.sleep(0.1)
    assert process.returncode == 0
    found = {"files": sum(file.stat().st_size for file in folder.iterdir()), "store": STORE, "spilled_at_most": most}
    return {name: round(size / 1e6) for name, size in found.items()}


def workers(pid: int) -> list[int]:
    """Those processes of a command that clean."""
    found = []
    for each in below(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if b"MapWorker(MapBatches(_Worker))" in Path(f"/proc/{each}/cmdline").read_bytes():
                found.append(each)
    return found


def killed(folder: Path, out: Path, whole: Path) -> dict[str, Any]:
    """The same, with a worker killed after each of KILLS, and the command after END, which is given again then."""
    command, met, commands, left = line(folder, out, WAYS["ray, two workers"], "photo-fast"), 0, 0, sorted((*KILLS, END))
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while process.poll() is None and left:
            if out.exists() and len(list(out.glob("*.png"))) >= left[0] * COUNT:
                if left.pop(0) == END:
                    process.kill()
                    commands += 1
                elif at_work := workers(process.pid):
                    os.kill(at_work[0], signal.SIGKILL)
                    met += 1
            time.sleep(0.05)
        told = process.communicate()[0]
        if process.returncode != -signal.SIGKILL:
            break
    document = json.loads(told)
    equal = tree(out) == tree(whole)
    assert equal, "what was killed and gone on with is not what an undisturbed run leaves"
    counts = {fate: len(document[fate]) for fate in ("done", "skipped", "failed")}
    return {"workers_killed": met, "commands_killed": commands, **counts, "equal": equal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--read-ahead", action="store_true", help="only that, into the results that there are")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if given.read_ahead:
            figures = json.loads((record.RESULTS / "cluster.json").read_text())
            figures["read_ahead"] = read_ahead(place)
            (record.RESULTS / "cluster.json").write_text(json.dumps(figures, indent=1) + "\n")
            return
        for name in ("large", "costs"):
            (place / name).mkdir()
        small(place / "small")
        figures = {"turns": given.turns, **throughput(place / "large", given.turns)}
        figures["costs"] = costs(place / "costs", given.turns)
        figures["small"] = ten_thousand(place / "small", place / "out")
        figures["killed"] = killed(place / "small", place / "killed", place / "out")
        (place / "ahead").mkdir()
        figures["read_ahead"] = read_ahead(place / "ahead")
    record.save("cluster", figures, "python benchmarks/cluster.py" + (f" --turns {given.turns}" if given.turns != 3 else ""))


if __name__ == "__main__":
    main()
