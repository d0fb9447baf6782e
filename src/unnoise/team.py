"""Several processes that train one model together, on one machine or many: torchrun starts them, torch's DDP joins gradients.

Each process draws an equal part of the batch that a single one would draw, so the mean of their gradients is the gradient of
that batch. The first, which leads, alone writes and speaks. Without torchrun there is one process, and nothing here costs it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from .errors import BadSetting

PATIENCE = 300  # seconds that a process waits for the first one, which may be on another machine
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

    def together(self, model: nn.Module, example: torch.Tensor) -> nn.Module:
        """The model, its gradients averaged over all processes whenever they are computed. `example`: what it takes."""
        if self.size == 1:
            return model
        together = nn.parallel.DistributedDataParallel(model)
        together(
            example
        ).sum().backward()  # after its first backward pass DDP sums in another order: so every real step sums alike
        model.zero_grad()
        return together

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
    backend = "cpu:gloo,cuda:nccl" if with_gpus else "gloo"
    importlib.import_module(
        "torch.distributed.nn.functional"
    )  # DDP imports it; later, it would keep the group and its threads for good
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = _store(rank)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield Team(rank, size)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    gone = store.add("gone", 1)  # the first one's store ends with it, so it goes last
    while rank == 0 and gone < size:
        time.sleep(0.01)
        gone = store.add("gone", 0)


def on_this_machine() -> int:
    """How many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _store(rank: int) -> Store:
    """Where the processes find one another: a store of the first one's own, which the others look up in torchrun's.

    torchrun's own store outlives a restart, and with it the addresses of processes that have ended, at which others would wait.
    An address that nobody answers at is not of this start, so it is looked up again.
    """
    place, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # started by other means than torchrun
        return TCPStore(place, port, is_master=rank == 0)
    of_torchrun = TCPStore(place, port, is_master=False)
    if rank == 0:
        own = TCPStore(place, 0, is_master=True, wait_for_workers=False)
        of_torchrun.set("unnoise", str(own.port))
        return own
    until = time.monotonic() + PATIENCE
    while True:
        try:
            found = TCPStore(place, int(of_torchrun.get("unnoise")), is_master=False, timeout=timedelta(seconds=5))
            found.set_timeout(timedelta(seconds=PATIENCE))
            return found
        except distributed.DistError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def may_restart() -> bool:
    """Whether torchrun starts all processes anew when one ends: then the same command goes on with what there is.

    Its count of restarts would not tell: each machine counts for itself, and not when another machine's process has ended.
    """
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0
