"""What `unnoise export --int8` gives and costs, beside other choices of layers to put into 8 bits, on two models: gray, five minutes
on sigma 25/255; and colour, four minutes on all sigmas up to 55/255, which faintly noisy pictures try hardest.

Each choice is calibrated as the export does it. The loss is in mean PSNR against float32, gray on every fourth picture of BSD68,
colour on every second of Kodak's. Speed, of the gray model: the median ratio by turns, two threads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import record

from unnoise import Gaussian, artefact, data, export, image, quantise, train
from unnoise.denoiser import Network
from unnoise.metrics import score
from unnoise.noise import spoilt

RUNS = Path(__file__).parent / "runs"
GRAY, COLOUR = RUNS / "gray25-5min", RUNS / "colour-4min"
SIGMAS = {GRAY: (25,), COLOUR: (5, 15, 50)}  # in 255ths
SEED, THREADS, NUDGE = 25, 2, 1e-6
SHIPPED = "coarse residual blocks: `--int8`"
MEMORY = """
import pathlib, re, sys, numpy, unnoise

def peak():
    return int(re.search("VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

model, picture = unnoise.load(sys.argv[1], 2), numpy.zeros((2048, 2048), numpy.uint8)
before = peak()
model.denoise(picture)
print((peak() - before) // 1000)
"""


def names(model: Any, *kinds: str) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type in kinds]


def but_ends(model: Any, *kinds: str) -> list[str]:
    convolutions = names(model, "Conv")
    return [name for name in names(model, *kinds) if name not in (convolutions[0], convolutions[-1])]


def blocks(model: Any) -> list[str]:
    nodes = (node for node in model.graph.node if node.op_type == "Conv")
    return [node.name for node in nodes if quantise.BLOCK.fullmatch(node.input[1])]


ARMS: dict[str, Callable[[Any], list[str]]] = {
    "every layer": lambda model: names(model, "Conv", "ConvTranspose", "Add"),
    "all but the first and last": lambda model: but_ends(model, "Conv", "ConvTranspose", "Add"),
    "nor the additions": lambda model: but_ends(model, "Conv", "ConvTranspose"),
    "residual blocks": blocks,
    SHIPPED: quantise.coarse_layers,
}


def judged(run: Path) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """(clean, noisy) pairs of pictures for each sigma, none of which any model has seen."""
    files = sorted((record.SHARED / "eval" / ("BSD68" if run == GRAY else "Kodak24")).glob("*.png"))
    pictures = [(index, image.read(files[index]).pixels) for index in range(0, len(files), 4 if run == GRAY else 2)]
    return {s: [(clean, spoilt(clean, Gaussian(s / 255), SEED, index)) for index, clean in pictures] for s in SIGMAS[run]}


def restored(network: Network, noisy: np.ndarray) -> np.ndarray:
    batch = np.moveaxis(noisy[..., None] if noisy.ndim == 2 else noisy, 2, 0)[None].astype(np.float32)
    return np.moveaxis(network(batch)[0], 0, 2).reshape(noisy.shape)


def psnrs(network: Network, run: Path) -> dict[str, float]:
    return {
        f"{run.name}, sigma {sigma}/255": fmean(score(restored(network, noisy), clean)["psnr"] for clean, noisy in pairs)
        for sigma, pairs in judged(run).items()
    }


def exactness(network: Network, run: Path, overlap: int) -> dict[str, float]:
    """How far a tile of a picture's corner is from the whole, at most; and how far the answer moves, at most and in root mean
    square, when each value of a picture moves by NUDGE: as between processors that add floats in another order."""
    tile, nudged, squares = [], [], []
    for _, noisy in [pair for pairs in judged(run).values() for pair in pairs[:3]]:
        whole = restored(network, noisy)
        corner = restored(network, noisy[: 2 * overlap, : 2 * overlap])
        tile.append(np.abs(whole[:overlap, :overlap] - corner[:overlap, :overlap]).max())
        signs = np.random.default_rng(0).choice([-NUDGE, NUDGE], noisy.shape)
        moved = np.abs(whole - restored(network, noisy + signs))
        nudged.append(moved.max())
        squares.append(np.square(moved).mean())
    return {
        "tile_difference": float(max(tile)),
        "nudged_max": float(max(nudged)),
        "nudged_rms": fmean(map(float, squares)) ** 0.5,
    }


def megabytes(onnx: bytes, card: artefact.Card) -> int:
    """Peak memory of 2048 x 2048 pixels in one piece, beyond what the process held before."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(artefact.stamped(onnx, card))
        return int(subprocess.run([sys.executable, "-c", MEMORY, str(file)], capture_output=True, check=True, text=True).stdout)


def calibrated(run: Path) -> tuple[bytes, artefact.Card, list[np.ndarray]]:
    """The model of a run in float32, its card, and the crops that the export calibrates on."""
    onnx, card = export.made(run)
    config, learned, _ = quantise.photos_of(run)
    steps = range(quantise.FIRST_BATCH, quantise.FIRST_BATCH + quantise.BATCHES)
    return onnx, card, [data.batch(learned, data.noises_of(config), config, step)[1] for step in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dry", action="store_true", help="print the figures, write nothing")
    given = parser.parse_args()
    if not (COLOUR / "model.onnx").exists():
        train(record.SHARED / "train", COLOUR, noise=Gaussian((0, 55 / 255)), minutes=4)
    arms: dict[str, dict[str, Any]] = {"float32": {"loss_db": {}}, **{name: {"loss_db": {}} for name in ARMS}}
    base: dict[str, float] = {}
    for run in (GRAY, COLOUR):
        onnx, card, batches = calibrated(run)
        original = Network(onnx, card["alignment"], THREADS)
        base |= psnrs(original, run)
        if run == GRAY:
            arms["float32"] |= {**exactness(original, run, card["overlap"]), "memory_mb": megabytes(onnx, card)}
        for name, layers in ARMS.items():
            made = quantise.in_8_bits(onnx, batches, layers)
            network = Network(made, card["alignment"], THREADS)
            arms[name]["loss_db"] |= {noise: round(base[noise] - psnr, 3) for noise, psnr in psnrs(network, run).items()}
            if run == GRAY:
                for side, rounds in ((512, given.rounds), (2048, max(given.rounds // 5, 3))):
                    arms[name][f"times_faster_{side}"] = round(quantise.times_faster(network, original, 1, side, rounds), 2)
                arms[name] |= {**exactness(network, run, card["overlap"]), "memory_mb": megabytes(made, card)}
            print(run.name, name, arms[name], flush=True)
    steps = {run.name: json.loads((run / "config.json").read_text())["config"]["steps"] for run in (GRAY, COLOUR)}
    figures = {"threads": THREADS, "steps": steps, "most_lost_db": quantise.MOST_LOST, "least_gained": quantise.LEAST_GAINED}
    figures |= {"float32_psnr": {noise: round(psnr, 3) for noise, psnr in base.items()}, "nudge": NUDGE, "arms": arms}
    if given.dry:
        print(json.dumps(figures, indent=1))
    else:
        record.save("int8", figures)


if __name__ == "__main__":
    main()
