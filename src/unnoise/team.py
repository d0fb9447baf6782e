"""Several processes that train one model together, on one machine or many: torchrun starts them, torch's DDP joins gradients.

Each process draws an equal part of the batch that a single one would draw, so the mean of their gradients is the gradient of
that batch. The first, which leads, alone writes and speaks. Without torchrun there is one process, and nothing here costs it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import distributed, nn

from .errors import BadSetting

T = TypeVar("T")
Costs = dict[str, float]  # of a step, by what they are of, weighed: "pixel", and "perceptual" if there is such a cost


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
        if self.size == 1:
            return model
        # without it, gradients are put into another order after the first step, and a run that goes on would sum them otherwise
        warnings.filterwarnings("ignore", message="find_unused_parameters=True")
        return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)

    def agreed(self, costs: Costs, sound: bool) -> tuple[Costs, bool]:
        """(the means of the costs, whether the step is sound in all); and all stop if one has been asked to."""
        asked = self.asked.is_set()
        if self.size > 1:
            mine = [cost / self.size if sound else 0 for cost in costs.values()]
            told = torch.tensor([*mine, not sound, asked], dtype=torch.float64)
            distributed.all_reduce(told)
            *means, unsound, asked = told.tolist()
            costs, sound = dict(zip(costs, means, strict=True)), not unsound
        if asked:
            self.stop.set()
        return costs, sound

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
    with_gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    if with_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if with_gpus else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def on_this_machine() -> int:
    """How many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def may_restart() -> bool:
    """Whether torchrun starts all processes anew when one ends: then the same command goes on with what there is.

    Its count of restarts would not tell: each machine counts for itself, and not when another machine's process has ended.
    """
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0
