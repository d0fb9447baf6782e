"""Keeps a run's books beside the loop: scores on the validation crops, metrics.jsonl, checkpoints, and the wish to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import atomic, checkpoint
from .checkpoint import Trainee
from .config import TrainConfig
from .errors import Interrupted
from .evaluate import mean_psnr
from .model import as_function

SAVE_EVERY = 60.0  # seconds between checkpoints
LOOK_EVERY = 5.0  # seconds between scores on the validation crops


@dataclass(frozen=True)
class Progress:
    """Where a run stands: the mean cost since the last report, PSNR (dB) on the validation crops, crop pixels a second."""

    step: int
    steps: int
    loss: float
    psnr: float
    pixels_per_second: float
    seconds_left: float


Watch = Callable[[Progress], None]


class Keeper:
    """Keeps a run's books between steps: scores, metrics.jsonl, checkpoints, and the wish to stop."""

    def __init__(self, run: Path, trainee: Trainee, config: TrainConfig, pairs: list[Any], watch: Watch | None) -> None:
        self.run, self.trainee, self.config, self.pairs, self.watch = run, trainee, config, pairs, watch
        self.costs: list[float] = []
        self.saved = self.looked = time.monotonic()
        lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= trainee.step]  # a resumed run repeats the later ones
        atomic.write_bytes(run / "metrics.jsonl", "".join(line + "\n" for line in kept).encode())

    def after_step(self, cost: float, stop: threading.Event) -> None:
        self.costs.append(cost)
        now, last = time.monotonic(), self.trainee.step == self.config.steps
        if not last and now - self.looked > LOOK_EVERY:
            self.look()
        if stop.is_set() and not last:
            checkpoint.save(self.run, self.trainee, self.config)
            raise Interrupted(
                f"stopped after step {self.trainee.step} of {self.config.steps}, saved; go on with: unnoise train --resume {self.run}"
            )
        if now - self.saved > SAVE_EVERY:
            checkpoint.save(self.run, self.trainee, self.config)
            self.saved = time.monotonic()

    def look(self) -> float:
        """Score on the validation crops, write a line of metrics, tell the watcher."""
        steps, seconds = max(len(self.costs), 1), max(time.monotonic() - self.looked, 1e-9)
        psnr = mean_psnr(as_function(self.trainee.average), self.pairs)
        progress = Progress(
            step=self.trainee.step,
            steps=self.config.steps_or_raise,
            loss=statistics.fmean(self.costs) if self.costs else math.nan,
            psnr=psnr,
            pixels_per_second=steps * self.config.batch * self.config.patch**2 / seconds,
            seconds_left=(self.config.steps_or_raise - self.trainee.step) * seconds / steps,
        )
        if self.costs:
            with open(self.run / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(progress)) + "\n")
        if self.watch and self.costs:
            self.watch(progress)
        self.costs, self.looked = [], time.monotonic()
        return psnr


@contextlib.contextmanager
def until_asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that the step under way is finished first; the second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may listen to signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
