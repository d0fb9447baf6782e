"""Which shape of network gives most for its time: PSNR on pictures kept out of the training corpus.

Every trial is a line of results/architectures.jsonl: the same steps, batches and noise (gaussian:0..55/255, blind) for each, scored
at sigma 15, 25 and 50 of 255 on every 24th picture of the corpus, as it is and at half size; never on a test set.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import keptout
import numpy as np
import record
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise import collection
from unnoise.config import TrainConfig
from unnoise.metrics import psnr
from unnoise.model import as_function
from unnoise.noise import parse, spoilt
from unnoise.train import fit, trainee_of

FILE = record.RESULTS / "architectures.jsonl"
RUNS = Path(__file__).parent / "runs" / "architectures"
SIGMAS = (15, 25, 50)
TRAINING = {"noise": "gaussian:0..55/255", "batch": 8, "patch": 64, "steps": 3000, "precision": "bfloat16", "threads": 1}
MUON = {"optimiser": "muon", "rate": 1e-3}
ACTIVATIONS = {"relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.1)}


@dataclass(frozen=True)
class Shape:
    """A U-Net: `blocks` has a number for each level of the encoder, the decoder's the same but for the last (the middle)."""

    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (2, 2, 2)
    fold: int = 2
    kind: str = "residual"  # or zero, depthwise, gated
    act: str = "relu"


class Block(nn.Module):
    """x + conv(act(conv(x))); of kind "zero" the second convolution begins at 0, so that the block begins as the identity."""

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        if shape.kind == "zero":
            begin_at_zero(second)
        self.body = nn.Sequential(first, ACTIVATIONS[shape.act](), second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Depthwise(nn.Module):
    """x + a 5 x 5 convolution of each map by itself, twice as many maps by 1 x 1, ReLU, back (after Liu et al. 2022, arXiv:2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        alone, more, back = (
            nn.Conv2d(width, width, 5, padding=2, groups=width),
            nn.Conv2d(width, 2 * width, 1),
            nn.Conv2d(2 * width, width, 1),
        )
        self.body = nn.Sequential(alone, more, nn.ReLU(), back)
        begin_at_zero(back)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Gated(nn.Module):
    """Two halves of 1 x 1 and 3 x 3 of each map by itself, multiplied, then two of 1 x 1 (after NAFNet, Chen et al. 2022,
    arXiv:2204.04676, without its normalisation and its attention, which looks at the whole picture)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        one = lambda: nn.Conv2d(width, width, 1)  # noqa: E731
        alone = lambda: nn.Conv2d(width, width, 3, padding=1, groups=width)  # noqa: E731
        self.left, self.right = nn.Sequential(one(), alone()), nn.Sequential(one(), alone())
        self.up, self.gate, self.out, self.back = one(), one(), one(), one()
        begin_at_zero(self.out)
        begin_at_zero(self.back)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.out(self.left(x) * self.right(x))
        return x + self.back(self.up(x) * self.gate(x))


def begin_at_zero(layer: nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def block(width: int, shape: Shape) -> nn.Module:
    if shape.kind in ("depthwise", "gated"):
        return Depthwise(width) if shape.kind == "depthwise" else Gated(width)
    return Block(width, shape)


class Network(nn.Module):
    def __init__(self, shape: Shape, channels: int = 1) -> None:
        super().__init__()
        self.shape, widths = shape, shape.widths
        self.grid = shape.fold * 2 ** (len(widths) - 1)
        self.channels = channels
        level = lambda width, count: nn.Sequential(*(block(width, shape) for _ in range(count)))  # noqa: E731
        self.head = nn.Conv2d(channels * shape.fold**2, widths[0], 3, padding=1)
        self.before = nn.ModuleList(level(w, n) for w, n in zip(widths, shape.blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths))
        self.after = nn.ModuleList(level(w, n) for w, n in zip(widths[:-1], shape.blocks[:-1], strict=True))
        self.tail = nn.Conv2d(widths[0], channels * shape.fold**2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x, maps = self.head(F.pixel_unshuffle(image, self.shape.fold)), []
        for index, level in enumerate(self.before):
            x = level(x)
            if index < len(self.down):
                maps.append(x)
                x = self.down[index](x)
        for index in reversed(range(len(self.up))):
            x = self.after[index](self.up[index](x) + maps[index])
        return F.pixel_shuffle(self.tail(x), self.shape.fold)


TRIALS: dict[str, tuple[Shape, dict[str, Any]]] = {
    "base": (Shape(), {}),
    "1-2-4": (Shape(blocks=(1, 2, 4)), {}),
    "four levels 1-1-1-1": (Shape((32, 64, 96, 128), (1, 1, 1, 1)), {}),
    "3-2-1": (Shape(blocks=(3, 2, 1)), {}),
    "leaky": (Shape(act="leaky"), {}),
    "zero": (Shape(kind="zero"), {}),
    "3-2-1 muon": (Shape(blocks=(3, 2, 1), kind="zero"), MUON),
    "3-1-1 muon": (Shape(blocks=(3, 1, 1), kind="zero"), MUON),
    "32-64-96 3-2-1 muon": (Shape((32, 64, 96), (3, 2, 1), kind="zero"), MUON),
    "32-64-96 4-1-1 muon": (Shape((32, 64, 96), (4, 1, 1), kind="zero"), MUON),
    "32-64-96 3-2-3 muon": (Shape((32, 64, 96), (3, 2, 3), kind="zero"), MUON),
    "depthwise 48-96-128 4-2-2 muon": (Shape((48, 96, 128), (4, 2, 2), kind="depthwise"), MUON),
    "gated 48-64-96 2-2-1 muon": (Shape((48, 64, 96), (2, 2, 1), kind="gated"), MUON),
    "48-48-64 2-1-1 muon": (Shape((48, 48, 64), (2, 1, 1), kind="zero"), MUON),
}


def scores(denoise: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    whole, half = keptout.whole_and_half()
    for sigma in SIGMAS:
        noise = parse(f"gaussian:{sigma}/255")
        both = [psnr(np.clip(denoise(spoilt(c, noise, 1, i)), 0, 1), c) for i, c in enumerate([*whole, *half])]
        found[f"psnr_{sigma}"] = round(fmean(both), 3)
    return {**found, "psnr": round(fmean(found.values()), 3)}


def denoiser(net: nn.Module, grid: int) -> Any:
    function = as_function(net)

    def denoise(noisy: np.ndarray) -> np.ndarray:
        height, width = noisy.shape
        more = [(0, -side % grid) for side in (height, width)]
        return function(np.pad(noisy, more, "reflect")[..., None])[:height, :width, 0]

    return denoise


def trained(name: str, pictures: Any) -> dict[str, Any]:
    shape, settings = TRIALS[name]
    config = TrainConfig(**{**TRAINING, "channels": "gray", "echo": 1, **settings})
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    trainee, began = trainee_of(Network(shape), config), time.process_time()
    fit(trainee, pictures, config)
    seconds = time.process_time() - began
    RUNS.mkdir(parents=True, exist_ok=True)
    torch.save(trainee.average.state_dict(), RUNS / f"{name}.pt")
    parameters = sum(p.numel() for p in trainee.average.parameters())
    return {
        "trial": name,
        **asdict(shape),
        "settings": settings,
        "steps": config.steps,
        "parameters": parameters,
        "cpu_seconds": round(seconds),
        "command": f'python benchmarks/architectures.py "{name}"',
        **scores(denoiser(trainee.average.eval(), trainee.average.grid)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", nargs="*", help="Default: all that have no line yet.")
    given = parser.parse_args()
    lines = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
    done = {line["trial"] for line in lines}
    files, _ = keptout.split()
    config = TrainConfig(**{**TRAINING, "channels": "gray", "echo": 1})
    pictures = collection.load(files, config)
    for name in given.trials or TRIALS:
        if name in done:
            continue
        line = trained(name, pictures)
        print(json.dumps(line), flush=True)
        with open(FILE, "a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
