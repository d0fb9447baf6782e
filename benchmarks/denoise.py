"""Megapixels a second and peak memory of denoising, from 0.25 to 100 megapixels: the default U-Net, gray, on onnxruntime and on
torch, in tiles of its own; at 0.25 and 4 megapixels beside DnCNN on the same onnxruntime, non-local means and BM3D.

Each figure comes from a process of its own, with equal threads. Speed and memory do not depend on what a network has learned,
so the U-Net has random weights. Peak memory is the process's, less what it held before the picture was made; picture (1 byte
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
from typing import Any

import numpy as np
import record

from unnoise import load
from unnoise.denoiser import Network, physical_cores
from unnoise.tiling import spans

SIZES = {0.25: (500, 500), 4: (2000, 2000), 24: (4000, 6000), 100: (10_000, 10_000)}
SMALL = (0.25, 4)  # the sizes at which the others are measured
OURS, THEIRS = ("onnxruntime", "torch"), ("DnCNN-S", "non-local means", "BM3D")
SIGMA = 25 / 255
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
    from bsd68 import dncnn_network

    from unnoise import artefact, export

    net = network()
    (folder / "model.onnx").write_bytes(artefact.stamped(export.to_onnx(net), {"architecture": "unet", **export.contract(net)}))

    class Restored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = dncnn_network(record.SHARED / "weights" / "dncnn_saoyan" / "S25.pth", 17)

        def forward(self, noisy: torch.Tensor) -> torch.Tensor:
            return noisy - self.noise(noisy)

    sides = {2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    program = torch.onnx.export(
        Restored().eval(), (torch.zeros(1, 1, 64, 64),), dynamo=True, dynamic_shapes=[sides], input_names=["noisy"],
        output_names=["restored"], verbose=False,
    )  # fmt: skip
    program.save(str(folder / "dncnn.onnx"))


def method(name: str, folder: Path, threads: int) -> Denoise:
    """A function from (H, W) uint8 to (H, W), uint8 or floats."""
    if name == "DnCNN-S":
        dncnn = Network((folder / "dncnn.onnx").read_bytes(), 1, threads)
        return lambda noisy: dncnn(_floats(noisy)[None, None])[0, 0]
    if name == "non-local means":
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
    return denoiser.denoise


def _floats(picture: np.ndarray) -> np.ndarray:
    return picture.astype(np.float32) / 255


def measure(name: str, megapixels: float, folder: Path, threads: int) -> dict[str, float]:
    """Seconds (the best of up to five, within half a minute) and peak memory, in this process."""
    denoise = method(name, folder, threads)
    before = peak_kb()
    picture = np.random.default_rng(0).integers(0, 256, SIZES[megapixels], np.uint8)
    denoise(picture[:64, :64])  # what is set up once
    times: list[float] = []
    while not times or (len(times) < 5 and sum(times) < 30):
        began = time.perf_counter()
        denoise(picture)
        times.append(time.perf_counter() - began)
    peak = peak_kb()
    return {
        "mpixel_per_s": round(picture.size / 1e6 / min(times), 4),
        "seconds": round(min(times), 3),
        "runs": len(times),
        "memory_mb": round((peak - before) / 1e3),
        "process_mb": round(peak / 1e3),
    }


def peak_kb() -> int:
    """The peak resident memory of this process (Linux); ru_maxrss would begin with that of the process it was forked from."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def overlap(card: dict[str, Any], megapixels: float) -> float:
    """Pixels that the network computes for each pixel of the picture."""
    computed = pixels = 1
    for length in SIZES[megapixels]:
        computed *= sum(t.last - t.first for t in spans(length, card["tile"], card["alignment"], card["overlap"]))
        pixels *= length
    return round(computed / pixels, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="0: one a physical core")
    parser.add_argument("--megapixels", type=float, nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--methods", nargs="+", default=[*OURS, *THEIRS], choices=[*OURS, *THEIRS])
    parser.add_argument("--dry", action="store_true", help="print the figures, write nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # in the process that is measured: the folder of the models
    given = parser.parse_args()
    threads = given.threads or physical_cores() or os.cpu_count() or 1
    if given.one:
        print(json.dumps(measure(given.methods[0], given.megapixels[0], Path(given.one), threads)))
        return
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder))
        card = load(Path(folder) / "model.onnx").card
        for name in given.methods:
            for megapixels in [size for size in given.megapixels if name in OURS or size in SMALL]:
                options = ["--one", folder, "--methods", name, "--megapixels", str(megapixels), "--threads", str(threads)]
                environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
                done = subprocess.run([sys.executable, __file__, *options], check=True, env=environment, stdout=subprocess.PIPE)
                found.setdefault(name, {})[f"{megapixels:g}"] = json.loads(done.stdout)
                print(name, f"{megapixels:g}", found[name][f"{megapixels:g}"], file=sys.stderr, flush=True)
    figures = {"threads": threads, "model": "unet, gray, float32", "picture": "gray, uint8, noise", "methods": found}
    figures |= {name: card[name] for name in ("receptive_field", "overlap", "tile")}
    figures["overlap_work"] = {f"{size:g}": overlap(card, size) for size in given.megapixels}
    figures |= ratios(found, figures["overlap_work"])
    if given.dry:
        print(json.dumps(figures, indent=1))
    else:
        record.save("denoise", figures)


def ratios(found: dict[str, dict[str, Any]], work: dict[str, float]) -> dict[str, Any]:
    """How many times DnCNN's pixels a second; and what a pixel costs at 100 megapixels, by what it costs at 4."""
    ours, dncnn = found.get("onnxruntime", {}), found.get("DnCNN-S", {})
    both = [size for size in ours if size in dncnn]
    times = {size: round(ours[size]["mpixel_per_s"] / dncnn[size]["mpixel_per_s"], 2) for size in both}
    if not {"4", "100"} <= ours.keys():
        return {"times_dncnn": times}
    cost = ours["4"]["mpixel_per_s"] / ours["100"]["mpixel_per_s"]
    alike = cost / (work["100"] / work["4"])  # for each pixel that the network computes, overlap included
    return {"times_dncnn": times, "cost_100_to_4": round(cost, 3), "cost_100_to_4_per_computed_pixel": round(alike, 3)}


if __name__ == "__main__":
    main()
