"""What the shapes of benchmarks/architectures.py, and of photo-fast, take of DnCNN's time, and their quality beside it: docs/architectures.svg.

By onnxruntime, gray, 512 x 512, all by turns: processor time on one thread, and the clock's on two, for which the machine must be
quiet; `--draw` only draws what was measured. DnCNN has 17 layers
where it is made for one sigma, 20 where it is blind, its weights here are random and its batch norm is folded in.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import networks
import numpy as np
import record
import torch
from architectures import FILE, Network, Shape

from unnoise import denoiser, export
from unnoise.config import UNet
from unnoise.model import Autoencoder

SIDE, TURNS = 512, 15
REST = 0.1  # seconds until the threads of the network before no longer spin
BUNDLED = "32-64-96 3-2-3 muon"  # the shape of photo
FAST = UNet((32, 64, 96), (1, 1, 2))
PICTURE = record.RESULTS.parents[1] / "docs" / "architectures.svg"


def trials() -> list[dict[str, Any]]:
    """Those of shapes that the product has; its only activation is ReLU."""
    return [trial for trial in map(json.loads, FILE.read_text().splitlines()) if trial["act"] == "relu"]


def shape(trial: dict[str, Any]) -> UNet:
    return UNet(tuple(trial["widths"]), tuple(trial["blocks"]), trial["fold"])


def network(trial: dict[str, Any]) -> bytes:
    """As ONNX: the product's shape, or of another kind of block the benchmark's own, for pictures of the side that is measured."""
    if trial["kind"] in ("residual", "zero"):
        return export.to_onnx(Autoencoder(shape(trial), 1).eval())
    net = Network(Shape(tuple(trial["widths"]), tuple(trial["blocks"]), trial["fold"], trial["kind"]))
    return networks.to_onnx(net, SIDE)


def times(threads: int) -> dict[str, float]:
    """Milliseconds of each trial's shape, of photo-fast's, and of DnCNN with 17 and 20 layers: of the processor on one thread.

    On several, by the clock, and of the trials' shapes only the bundled one.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    nets: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for depth in (17, 20):
        nets[f"DnCNN-{depth}"] = denoiser.Network(networks.to_onnx(networks.dncnn_layers(depth, norm=False)), 1, threads)
    found: dict[tuple[UNet, bool], list[str]] = {}
    for trial in trials():
        if threads == 1 or trial["trial"] == BUNDLED:
            key = shape(trial), trial["kind"] in ("residual", "zero")
            if key not in found:
                nets[trial["trial"]] = denoiser.Network(network(trial), 1, threads)
            found.setdefault(key, []).append(trial["trial"])
    nets["photo-fast"] = denoiser.Network(export.to_onnx(Autoencoder(FAST, 1).eval()), 1, threads)
    taken: dict[str, list[float]] = {name: [] for name in nets}
    noisy = np.random.default_rng(0).random((1, 1, SIDE, SIDE), np.float32)
    for _ in range(TURNS):
        for name, net in nets.items():
            time.sleep(REST if threads > 1 else 0)
            began = clock()
            net(noisy)
            taken[name].append(clock() - began)
    milliseconds = {name: round(1e3 * median(each), 1) for name, each in taken.items()}
    return milliseconds | {name: milliseconds[names[0]] for names in found.values() for name in names}


def draw(milliseconds: dict[str, float]) -> None:
    plt.rcParams |= {"svg.hashsalt": "unnoise", "svg.fonttype": "none", "font.size": 9}
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    best = -np.inf
    for trial in sorted(trials(), key=lambda trial: milliseconds[trial["trial"]]):
        at = (milliseconds[trial["trial"]] / milliseconds["DnCNN-17"], trial["psnr"])
        front, best = at[1] > best, max(best, at[1])
        axes.plot(*at, "o" if "optimiser" in trial["settings"] else "s", color="C0" if front else "0.6")
        left = milliseconds[trial["trial"]] > 0.08 * milliseconds["DnCNN-17"]
        color, side = "black" if front else "0.4", "right" if left else "left"
        axes.annotate(trial["trial"], at, xytext=(-5 if left else 5, 3), textcoords="offset points", ha=side, color=color)
    axes.axvline(0.1, color="C3", linewidth=1, linestyle=":")
    axes.set(xlabel="time, of DnCNN with 17 layers", ylabel="PSNR after 3,000 steps, dB")
    axes.margins(x=0.2)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--two", action="store_true", help="Measure on two threads alone.")
    given, file = parser.parse_args(), record.RESULTS / "pareto.json"
    torch.manual_seed(0)
    if not given.draw:
        one = json.loads(file.read_text())["milliseconds"] if given.two else times(1)
        figures = {"milliseconds": one, "milliseconds_two_threads": times(2)}
        record.save("pareto", {"side": SIDE, "turns": TURNS, **figures})
    draw(json.loads(file.read_text())["milliseconds"])


if __name__ == "__main__":
    main()
