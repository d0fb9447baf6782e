"""What a training step costs beyond forward, backward and optimiser: data, noise, average, scores, checkpoints, logging.

The real loop runs through `unnoise.train`; the three parts are timed from outside, by hooks on the network, on
`Tensor.backward`, on the optimiser and on the clipping of gradients that belongs to it; the rest of the wall clock is overhead.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import record
import torch

from unnoise import keeper
from unnoise.model import Autoencoder

STEPS = 1000


class Clock:
    """Adds up the seconds spent inside the calls it wraps, once for nested ones."""

    def __init__(self) -> None:
        self.seconds, self.depth = 0.0, 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began, self.depth = time.perf_counter(), self.depth + 1
            try:
                return call(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - began

        return timed


@contextmanager
def replaced(where: Any, name: str, clock: Clock) -> Iterator[None]:
    before = getattr(where, name)
    setattr(where, name, clock.around(before))
    try:
        yield
    finally:
        setattr(where, name, before)


def overhead(channels: str, photos: Path) -> dict[str, float]:
    """Wall seconds of `fit` and the share of them outside the three parts; scoring forward passes count as overhead."""
    training = importlib.import_module("unnoise.train")
    parts, scoring, wall = Clock(), Clock(), Clock()
    with (
        tempfile.TemporaryDirectory() as folder,
        replaced(Autoencoder, "forward", parts),
        replaced(torch.Tensor, "backward", parts),
        replaced(torch.optim.AdamW, "step", parts),
        replaced(training, "clip_grad_norm_", parts),
        replaced(keeper, "mean_psnr", scoring),
        replaced(training, "fit", wall),
    ):
        training.train(photos, Path(folder, "run"), steps=STEPS, channels=channels)
    spent = parts.seconds - scoring.seconds  # the network's calls inside a score are overhead too
    return {"steps": STEPS, "wall_s": round(wall.seconds, 2), "overhead": round(1 - spent / wall.seconds, 4)}


def main() -> None:
    photos = record.SHARED / "train"
    record.save("step_time", {"goal": 0.10, **{channels: overhead(channels, photos) for channels in ("gray", "colour")}})


if __name__ == "__main__":
    main()
