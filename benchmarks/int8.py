"""What 8 bits would give and cost: the default gray U-Net after 5 minutes of training, statically quantised by onnxruntime, beside
its float32 original. Speed ratios by turns in one process, two threads; PSNR on every fourth picture of BSD68 at sigma 25/255.

Scales of the activations come from noisy crops of the training corpus, those of the weights are per channel. The rule, set
before: 8 bits are offered only if they lose less than 0.1 dB and are more than 1.3 times as fast.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import onnx
import record
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from unnoise import Gaussian, data, export, image, load_autoencoder
from unnoise.denoiser import Network
from unnoise.evaluate import score, spoilt

SIGMA, SEED, THREADS, CROP = 25 / 255, 25, 2, 256
RUN = Path(__file__).parent / "runs" / "gray25-5min"
GOAL = {"loss_db": 0.1, "times_faster": 1.3}
LAYERS = {"every layer": (), "first and last layer in float": ("Conv",), "those and the additions in float": ("Conv", "Add")}
TYPES = {"U8S8": QuantType.QUInt8, "S8S8": QuantType.QInt8}
ARMS = [*((layers, "U8S8") for layers in LAYERS), ("every layer", "S8S8")]


class NoisyCrops(CalibrationDataReader):
    """Noisy crops from the middles of pictures that the model was trained on."""

    def __init__(self, count: int) -> None:
        files = sorted((record.SHARED / "train").glob("*.webp"))
        self.crops = iter([self.crop(file, index) for index, file in enumerate(files[:: -(-len(files) // count)])])

    def crop(self, file: Path, index: int) -> dict[str, np.ndarray]:
        pixels = image.read(file).pixels
        top, left = ((length - CROP) // 2 for length in pixels.shape[:2])
        clean = pixels[top : top + CROP, left : left + CROP] @ data.LUMA
        return {"noisy": spoilt(clean, Gaussian(SIGMA), 1, index).astype(np.float32)[None, None]}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.crops, None)


def quantised(original: bytes, layers: str, activations: str, crops: int) -> bytes:
    """The model in 8 bits but for what `layers` leaves in float."""
    model = onnx.load_from_string(original)  # anew each time: the quantiser changes what it is given
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    kept = [convolutions[0], convolutions[-1]] if "Conv" in LAYERS[layers] else []
    kinds = ["Conv", "ConvTranspose", *([] if "Add" in LAYERS[layers] else ["Add"])]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantize_static(
            model, out, NoisyCrops(crops), per_channel=True, activation_type=TYPES[activations], weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax, op_types_to_quantize=kinds, nodes_to_exclude=kept,
        )  # fmt: skip
        return out.read_bytes()


def seconds(networks: dict[str, Network], side: int, rounds: int) -> dict[str, list[float]]:
    """Of each network the times on one picture, by turns."""
    picture = np.random.default_rng(0).random((1, 1, side, side), np.float32)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for turn, (name, network) in itertools.product(range(rounds + 1), networks.items()):
        began = time.perf_counter()
        network(picture)
        if turn:  # the first sets up
            times[name].append(time.perf_counter() - began)
    return times


def quality(network: Network, original: Network, overlap: int) -> dict[str, float]:
    """Mean PSNR over every fourth picture of BSD68; the root mean square difference from the original; and how far a tile of a
    picture's corner is from the whole, at most."""
    files = sorted((record.SHARED / "eval" / "BSD68").glob("*.png"))
    found, squares, apart, side = [], [], 0.0, 2 * overlap
    for index in range(0, len(files), 4):
        clean = image.read(files[index]).pixels
        noisy = spoilt(clean, Gaussian(SIGMA), SEED, index).astype(np.float32)[None, None]
        whole, tile = network(noisy)[0, 0], network(noisy[:, :, :side, :side])[0, 0]
        apart = max(apart, float(np.abs(whole[:overlap, :overlap] - tile[:overlap, :overlap]).max()))
        found.append(score(whole, clean)["psnr"])
        squares.append(float(np.square(whole - original(noisy)[0, 0]).mean()))
    return {"psnr": round(fmean(found), 3), "rms_to_float32": round(fmean(squares) ** 0.5, 5), "tile_difference": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=RUN, help="a trained gray model")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--crops", type=int, default=24)
    parser.add_argument("--dry", action="store_true", help="print the figures, write nothing")
    given = parser.parse_args()
    net = load_autoencoder(given.run)
    onnx_bytes = export.to_onnx(net)
    original = Network(onnx_bytes, net.grid, THREADS)
    overlap = export.contract(net)["overlap"]
    arms: dict[str, dict[str, Any]] = {"float32": quality(original, original, overlap)}
    for layers, activations in ARMS:
        made = quantised(onnx_bytes, layers, activations, given.crops)
        network, name = Network(made, net.grid, THREADS), f"{layers}, {activations}"
        arms[name] = quality(network, original, overlap)
        arms[name]["loss_db"] = round(arms["float32"]["psnr"] - arms[name]["psnr"], 3)
        for side, rounds in ((512, given.rounds), (2048, max(given.rounds // 3, 3))):
            times = seconds({"float32": original, name: network}, side, rounds)
            arms[name][f"times_faster_{side}"] = round(float(np.median(np.divide(times["float32"], times[name]))), 3)
        print(name, arms[name], flush=True)
    figures = {"sigma": "25/255", "threads": THREADS, "goal": GOAL, "arms": arms}
    if given.dry:
        print(json.dumps(figures, indent=1))
    else:
        record.save("int8", figures)


if __name__ == "__main__":
    main()
