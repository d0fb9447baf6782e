"""Batches as the loop takes them: tensors, for a CUDA card from processes that make them ahead."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from . import data
from .config import TrainConfig
from .errors import UnnoiseError
from .model import as_tensor
from .noise import Noise
from .team import on_this_machine

MAKERS, AHEAD = 8, 2  # processes that make batches for a card, at most, and the batches of each that wait


def batches(
    pictures: data.Pictures, noises: Sequence[Noise], config: TrainConfig, first: int, part: range | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """`data.batches` as tensors. For a CUDA card, which takes them faster than one core makes them, processes do it ahead.

    Not where pictures are decoded as they are drawn: each process would decode them for itself.
    """
    if config.device != "cuda" or pictures.streamed or "fork" not in torch.multiprocessing.get_all_start_methods():
        yield from (tensors(batch) for batch in data.batches(pictures, noises, config, first, part))
        return
    cores = len(os.sched_getaffinity(0))
    makers = min(config.threads or cores, max(cores // on_this_machine(), 1), MAKERS)
    loader = DataLoader(
        Steps(pictures, noises, config, part), None, sampler=range(first, config.steps_or_raise), num_workers=makers,
        prefetch_factor=AHEAD, multiprocessing_context="fork", worker_init_fn=left_to_the_run,
    )  # fmt: skip
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UnnoiseError(
            "a process that makes batches has ended, perhaps for want of memory; go on from the newest checkpoint, with fewer --threads."
        ) from None


@dataclass(frozen=True)
class Steps(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The batch of each step, for torch's loader."""

    pictures: data.Pictures
    noises: Sequence[Noise]
    config: TrainConfig
    part: range | None

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        return tensors(data.batch(self.pictures, self.noises, self.config, step, self.part))


def tensors(batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    clean, noisy, mask = map(as_tensor, batch)
    return clean, noisy, mask


def left_to_the_run(worker: int) -> None:
    """A process that makes batches: Ctrl-C and SIGTERM are for the run, which ends its processes when it has finished the step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
