"""Several processes that train one model together, on one machine or many: torchrun starts them, torch's DDP joins gradients.

Each process draws an equal part of the batch that a single one would draw, so the mean of their gradients is the gradient of
that batch. The first, which leads, alone writes and speaks. Without torchrun there is one process, and nothing here costs it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import distributed, nn

from .errors import BadSetting

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process among `size`. Once any is `asked` to stop, `stop` is set in all, after the same step."""

    rank: int = 0
    size: int = 1
    asked: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part(self, batch: int) -> range:
        """Which of a batch are this process's. Raises BadSetting for a batch that does not go into equal parts."""
        if batch % self.size:
            raise BadSetting(f"batch={batch} with {self.size} processes: expected a multiple of {self.size}.")
        share = batch // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def together(self, model: nn.Module) -> nn.Module:
        """The model, its gradients averaged over all processes whenever they are computed."""
        return nn.parallel.DistributedDataParallel(model) if self.size > 1 else model

    def agreed(self, cost: float, sound: bool) -> tuple[float, bool]:
        """(the mean cost, whether the step is sound in all); and all stop if one has been asked to."""
        asked = self.asked.is_set()
        if self.size == 1:
            if asked:
                self.stop.set()
            return cost, sound
        told = torch.tensor([cost / self.size if sound else 0, not sound, asked], dtype=torch.float64)
        distributed.all_reduce(told)
        if told[2]:
            self.stop.set()
        return told[0].item(), not told[1]

    def any(self, mine: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return mine
        told = torch.tensor(int(mine))
        distributed.all_reduce(told)
        return bool(told)

    def told(self, value: T) -> T:
        """What the leading process has for `value`."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]


@contextlib.contextmanager
def joined() -> Iterator[Team]:
    """This process's place among those that torchrun started."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Team()
        return
    distributed.init_process_group("gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def leads() -> bool:
    """Whether this process is the one that speaks, also before it has joined the others."""
    return os.environ.get("RANK", "0") == "0"


def restarted() -> bool:
    """Whether torchrun has started this process anew, after one of them ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
