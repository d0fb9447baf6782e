"""What a training step costs beyond forward, backward and optimiser: data, noise, cost, average, logging; wall clock, by turns.

The real loop, `train.fit` with its books, is stopped every few steps for as many bare ones: the same network on one fixed batch,
forward, backward, clipping, optimiser and nothing else. Both are timed by the clock on the wall, so what a thread does beside a
step counts as far as it delays it. Overhead is the share of a real step by which it is longer than a bare one, medians of both.
Scores and checkpoints are not in the median: scores take at most 1.5 percent of the time, checkpoints come once a minute.

Pictures beyond the cache are decoded once in many steps, so there the mean counts; of 40 JPEGs only eight are held in memory, as of a
collection of many.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from PIL import Image
from torch.nn.utils import clip_grad_norm_

from unnoise import collection, data, settle
from unnoise.checkpoint import Trainee
from unnoise.config import TrainConfig
from unnoise.keeper import Keeper, Watching
from unnoise.model import as_tensor
from unnoise.team import Costs, Team
from unnoise.train import GRADIENT_LIMIT, arithmetic, cost_of, fit, new_trainee

MODELS = {"photo model": "unet", "a tenth of it": "unet:widths=10-20-40"}
GOALS = {("photo model", "gray"): 0.05, ("photo model", "colour"): 0.05, ("a tenth of it", "gray"): 0.15, ("a tenth of it", "colour"): 0.25}  # fmt: skip
TURN = 100  # steps of one kind before the other kind's turn
FIRST = 10  # steps of a turn that do not count: they may find their batches made during the other's turn


def bare_steps(trainee: Trainee, batch: tuple[torch.Tensor, ...], config: TrainConfig) -> list[float]:
    """Seconds of each of a turn of bare steps."""
    clean, noisy, _ = batch
    cost, times = cost_of(config), []
    for _ in range(TURN):
        began = time.perf_counter()
        with arithmetic(config):
            restored = trainee.model(noisy).float()
        before = time.perf_counter()
        loss = cost(restored, clean)  # the cost is no part of a bare step, its gradient is
        after = time.perf_counter()
        trainee.optimiser.zero_grad()
        loss.backward()
        clip_grad_norm_(list(trainee.model.parameters()), GRADIENT_LIMIT)
        trainee.optimiser.step()
        times.append(time.perf_counter() - began - (after - before))
    return times[FIRST:]


def overhead(
    pictures: data.Pictures, held_out: data.Pictures, turns: int, middle: Callable[[list[float]], float], **settings: Any
) -> dict[str, float]:
    """Milliseconds of real and bare steps, median or mean, and the overhead."""
    config = settle.settled(TrainConfig(steps=TURN * turns, **settings), pictures, Team())
    noises = data.noises_of(config)
    trainee, twin = new_trainee(config), new_trainee(config)
    batch = tuple(map(as_tensor, data.batch(pictures, noises, config, 0)))
    real: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as run:
        keeper = Keeper(Path(run), trainee, config, data.validation(held_out, noises, config), Watching())
        stop, last = threading.Event(), time.perf_counter()

        def each_step(costs: Costs) -> None:
            nonlocal last
            keeper.after_step(costs, stop)
            if trainee.step % TURN >= FIRST or trainee.step % TURN == 0:
                real.append(time.perf_counter() - last)
            if trainee.step % TURN == 0:
                bare.extend(bare_steps(twin, batch, config))
            last = time.perf_counter()

        fit(trainee, pictures, config, each_step)
    warm = len(real) // 10
    ms = {name: 1e3 * middle(times[warm:]) for name, times in (("real_ms", real), ("bare_ms", bare))}
    return {**{name: round(value, 3) for name, value in ms.items()}, "overhead": round(1 - ms["bare_ms"] / ms["real_ms"], 4)}


def large_photos(folder: Path, count: int) -> Path:
    """JPEGs of 12 megapixels: noise at several scales, which packs about as photos do."""
    rng = np.random.default_rng(0)
    for index in range(count):
        layers = [Image.fromarray(rng.integers(0, 256, (3000 // s, 4000 // s, 3), np.uint8)) for s in (4, 40, 400)]
        arrays = [np.asarray(layer.resize((4000, 3000), Image.Resampling.BILINEAR), np.float32) for layer in layers]
        Image.fromarray(np.mean(arrays, 0).astype(np.uint8)).save(folder / f"{index}.jpg", quality=90)
    return folder


def gathered(photos: Path, **settings: Any) -> tuple[data.Pictures, data.Pictures]:
    return collection.gather({"photos": [str(photos)], "validation": []}, TrainConfig(**settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=12, help=f"of {TURN} steps each")
    parser.add_argument("--large", type=int, default=40, help="JPEGs of 12 megapixels; 0: none")
    parser.add_argument("--photos", type=Path, default=record.SHARED / "train")
    parser.add_argument("--dry", action="store_true", help="print the figures, write nothing")
    given = parser.parse_args()
    found: dict[str, Any] = {"turns": given.turns, "steps_in_a_turn": TURN}
    for channels in ("gray", "colour"):
        pictures, held_out = gathered(given.photos, channels=channels)
        for name, model in MODELS.items():
            told = overhead(pictures, held_out, given.turns, statistics.median, model=model, channels=channels)
            found.setdefault(name, {})[channels] = {"goal": GOALS[name, channels], **told}
            print(name, channels, told, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cached = {"cache": f"{folder}/cache", "channels": "colour"}
        for (name, gb), _ in itertools.product({"cached": 20, "streamed": 0}.items(), [0] if given.large else []):
            Path(folder, "photos").mkdir(exist_ok=True)
            photos = large_photos(Path(folder, "photos"), given.large) if name == "cached" else Path(folder, "photos")
            sets = gathered(photos, **cached, cache_gb=gb)
            collection.MEMORY = 8 * 36 * 10**6
            middle = statistics.median if gb else statistics.fmean
            told = overhead(*sets, given.turns, middle, **cached, cache_gb=gb)
            found.setdefault("12 megapixel JPEGs, photo model, colour", {})[name] = {"pictures": given.large, **told}
            print("12 megapixels", name, told, flush=True)
    if given.dry:
        print(json.dumps(found, indent=1))
    else:
        record.save("step_time", found)


if __name__ == "__main__":
    main()
