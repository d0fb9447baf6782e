"""Megapixels a second and peak memory of denoising, from 0.25 to 100 megapixels: the default U-Net, gray, on onnxruntime and on
torch, in tiles of its own; at 0.25 and 4 megapixels beside DnCNN on the same onnxruntime, OpenCV's and scikit-image's non-local
means, and BM3D. Then 512 x 512 pixels by turns with DnCNN; and 4 and 100 megapixels in equal tiles, small enough that both
need several: whether the cost is linear in the pixels.

Each figure comes from a process of its own, with equal threads; scikit-image and BM3D choose their threads themselves. Speed and
memory do not depend on what a network has learned, so the U-Net has random weights. Peak memory is the process's, less what it held before the picture was made; picture (1 byte
a pixel, gray) and answer are in it, reading and writing files are not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import record

from unnoise import load
from unnoise.denoiser import Network, physical_cores
from unnoise.tiling import spans

SIZES = {0.25: (500, 500), 4: (2000, 2000), 24: (4000, 6000), 100: (10_000, 10_000)}
SMALL = (0.25, 4)  # the sizes at which the others are measured
OURS = ("onnxruntime", "torch")
THEIRS = ("DnCNN-S", "non-local means, OpenCV", "non-local means, scikit-image", "BM3D")
SIGMA, TURNS = 25 / 255, 15
ALIKE = 1024  # side of the tiles in which 4 and 100 megapixels are compared: both need several
Denoise = Callable[[np.ndarray], np.ndarray]


def network() -> Any:
    """The default U-Net for gray pictures."""
    import torch

    from unnoise.config import UNet
    from unnoise.model import Autoencoder

    torch.manual_seed(0)
    return Autoencoder(UNet(), 1).eval()


def written(folder: Path) -> None:
    """Put the models that are compared into `folder`, as model.onnx and dncnn.onnx."""
    import torch
    from networks import WEIGHTS, dncnn_network, to_onnx

    from unnoise import artefact, export

    net = network()
    (folder / "model.onnx").write_bytes(artefact.stamped(export.to_onnx(net), {"architecture": "unet", **export.contract(net)}))

    class Restored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = dncnn_network(WEIGHTS / "dncnn_saoyan" / "S25.pth", 17)

        def forward(self, noisy: torch.Tensor) -> torch.Tensor:
            return noisy - self.noise(noisy)

    (folder / "dncnn.onnx").write_bytes(to_onnx(Restored()))


def method(name: str, folder: Path, threads: int, tile: int | None = None) -> Denoise:
    """A function from (H, W) uint8 to (H, W), uint8 or floats. `tile`: of ours."""
    if name == "DnCNN-S":
        dncnn = Network((folder / "dncnn.onnx").read_bytes(), 1, threads)
        return lambda noisy: dncnn(_floats(noisy)[None, None])[0, 0]
    if name == "non-local means, OpenCV":
        import cv2

        cv2.setNumThreads(threads)  # patches of 5 x 5 among 13 x 13, as scikit-image's
        return lambda noisy: cv2.fastNlMeansDenoising(noisy, h=255 * SIGMA, templateWindowSize=5, searchWindowSize=13)
    if name == "non-local means, scikit-image":
        from unnoise.peers import non_local_means

        return lambda noisy: non_local_means(_floats(noisy), SIGMA)
    if name == "BM3D":
        import bm3d

        return lambda noisy: bm3d.bm3d(_floats(noisy), SIGMA)
    denoiser = load(folder / "model.onnx", threads)
    if name == "torch":
        import torch

        net = network()
        torch.set_num_threads(threads)

        def on_torch(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return net(torch.from_numpy(np.ascontiguousarray(batch)).contiguous(memory_format=torch.channels_last)).numpy()

        denoiser.network = on_torch
    return lambda noisy: denoiser.denoise(noisy, tile=tile)


def _floats(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / 255


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


def measure(name: str, megapixels: float, folder: Path, threads: int, tile: int | None) -> dict[str, float]:
    """Seconds (the best of up to five, within half a minute) and peak memory, in this process."""
    denoise = method(name, folder, threads, tile)
    before = peak_kb()
    picture = noise(*SIZES[megapixels])
    denoise(picture[:64, :64])  # what is set up once
    times: list[float] = []
    while not times or (len(times) < 5 and sum(times) < 30):
        times.append(seconds(denoise, picture))
    peak = peak_kb()
    return {
        "mpixel_per_s": round(picture.size / 1e6 / min(times), 4),
        "seconds": round(min(times), 3),
        "runs": len(times),
        "memory_mb": round((peak - before) / 1e3),
        "process_mb": round(peak / 1e3),
    }


def by_turns(folder: Path, threads: int, turns: int) -> dict[str, float]:
    """Ours and DnCNN on 512 x 512 pixels by turns: median milliseconds, and the median of the turns' ratios.

    A turn is one run of DnCNN and eight of ours, whose median counts: about equal time for both, and the first of ours after
    DnCNN is a fifth to a third slower than the others.
    """
    picture, found = noise(512, 512), []
    both = [(method("onnxruntime", folder, threads), 8), (method("DnCNN-S", folder, threads), 1)]
    for _ in range(turns + 1):
        found.append([median(seconds(denoise, picture) for _ in range(runs)) for denoise, runs in both])
    ours, dncnn = np.array(found[1:]).T  # the first turn sets up
    milliseconds = {"ours_ms": round(1e3 * median(ours), 1), "dncnn_ms": round(1e3 * median(dncnn), 1)}
    return {**milliseconds, "times_dncnn": round(median(dncnn / ours), 2), "turns": turns}


def seconds(denoise: Denoise, picture: np.ndarray) -> float:
    began = time.perf_counter()
    denoise(picture)
    return time.perf_counter() - began


def peak_kb() -> int:
    """The peak resident memory of this process (Linux); ru_maxrss would begin with that of the process it was forked from."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def overlap(card: dict[str, Any], megapixels: float, tile: int) -> float:
    """Pixels that the network computes for each pixel of the picture."""
    computed = pixels = 1
    for length in SIZES[megapixels]:
        computed *= sum(t.last - t.first for t in spans(length, tile, card["alignment"], card["overlap"]))
        pixels *= length
    return round(computed / pixels, 4)


def alone(folder: str, threads: int, *options: str) -> Any:
    """What this script prints in a process of its own."""
    command = [sys.executable, __file__, "--one", folder, "--threads", str(threads), *options]
    done = subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.PIPE)
    print(*options, done.stdout.decode().strip(), file=sys.stderr, flush=True)
    return json.loads(done.stdout)


def measured(given: argparse.Namespace, folder: str, threads: int) -> dict[str, Any]:
    """All figures."""
    written(Path(folder))
    card = load(Path(folder) / "model.onnx").card
    found: dict[str, dict[str, Any]] = {}
    for name in given.methods:
        for size in [size for size in given.megapixels if name in OURS or size in SMALL]:
            found.setdefault(name, {})[f"{size:g}"] = alone(folder, threads, "--methods", name, "--megapixels", str(size))
    tiles, sizes = sorted({512, ALIKE, card["tile"]}), given.megapixels
    return {
        "threads": threads,
        "model": "unet, gray, float32",
        "picture": "gray, uint8, noise",
        "methods": found,
        **{name: card[name] for name in ("receptive_field", "overlap", "tile")},
        "overlap_work": {f"{tile}": {f"{size:g}": overlap(card, size, tile) for size in sizes} for tile in tiles},
        "by_turns_512": alone(folder, threads, "--turns", str(given.turns)),
        "linear": linear(card, folder, threads) if {4, 100} <= set(sizes) else None,
    }


def linear(card: dict[str, Any], folder: str, threads: int) -> dict[str, Any]:
    """What a pixel costs at 100 megapixels, by what it costs at 4, both in tiles of one side: of the picture, and of those
    that the network computes, overlap included."""
    options = ("--methods", "onnxruntime", "--tile", str(ALIKE), "--megapixels")
    small, large = (alone(folder, threads, *options, size) for size in ("4", "100"))
    cost = small["mpixel_per_s"] / large["mpixel_per_s"]
    computed = cost * overlap(card, 4, ALIKE) / overlap(card, 100, ALIKE)
    return {"tile": ALIKE, "4": small, "100": large, "cost_100_to_4": round(cost, 3), "per_computed_pixel": round(computed, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="0: one a physical core")
    parser.add_argument("--megapixels", type=float, nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--methods", nargs="+", default=[*OURS, *THEIRS], choices=[*OURS, *THEIRS])
    parser.add_argument("--turns", type=int, default=TURNS, help="of the comparison at 512 x 512")
    parser.add_argument("--tile", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="print the figures, write nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # in the process that is measured: the folder of the models
    given = parser.parse_args()
    threads = given.threads or physical_cores() or os.cpu_count() or 1
    if given.one:
        folder, one = Path(given.one), len(given.methods) == len(given.megapixels) == 1
        figures = (
            measure(given.methods[0], given.megapixels[0], folder, threads, given.tile)
            if one
            else by_turns(folder, threads, given.turns)
        )
        print(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory() as folder_of_models:
        figures = measured(given, folder_of_models, threads)
    if given.dry:
        print(json.dumps(figures, indent=1))
    else:
        record.save("denoise", figures)


if __name__ == "__main__":
    main()
