"""Keeps a run's books beside the loop: scores on the validation crops, metrics.jsonl, TensorBoard, checkpoints, the wish to stop."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from . import atomic, checkpoint, figures, image, runs
from .checkpoint import Trainee
from .config import TrainConfig, scored_on
from .errors import Interrupted
from .metrics import mean_psnr
from .model import as_function
from .team import Costs

SAVE_EVERY = 60.0  # seconds between checkpoints
SCORE_EVERY = 10.0  # seconds between scores on the validation crops, each a line in metrics.jsonl; more where they are dear:
SCORE_SHARE = 0.015  # of the time, at most
# Of the time left: if it costs no more, the second is not kept waiting, as the first is too early to tell much.
SECOND_SHARE = 0.01
TELL_EVERY = 1.0  # seconds between reports to the watcher
RECENT = 200  # steps, at most, that the cost of a report or a line is the mean of


@dataclass(frozen=True)
class Progress:
    """Where a run stands: the mean cost, the PSNR (dB) on what it is `scored_on` and the step it was measured at, crop pixels a second.

    `loss`: of the last RECENT steps, or of those since the last score where these are fewer. `parts`: of the cost, each weighed:
    "pixel", and "perceptual" or "neighbours" if there is such a cost. `left_out`: steps that were left out since this process began, because
    their cost or gradient was not finite. `seconds`: of training, those before an interruption included.
    """

    step: int
    steps: int
    loss: float
    parts: Costs
    psnr: float
    pixels_per_second: float
    seconds_left: float
    left_out: int = 0
    seconds: float = 0.0
    scored_step: int = 0
    scored_on: str = "validation crops"


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Watching:
    """Who watches a run while it goes on, and how closely."""

    watch: Watch | None = None
    """Called now and then."""
    every: float = field(default_factory=lambda: SCORE_EVERY)
    """Seconds between scores on the validation crops; more where they are dear:"""
    share: float = field(default_factory=lambda: SCORE_SHARE)
    """of the time, at most."""
    shows_all: bool = False
    """Whether each score writes the crops, not those at ever longer intervals alone."""


class Keeper:
    """The books of one run. `after_step` is called with the parts of the cost of every step."""

    def __init__(
        self,
        run: Path,
        trainee: Trainee,
        config: TrainConfig,
        pairs: list[Any],
        watching: Watching,
    ) -> None:
        self.run, self.trainee, self.config, self.pairs = run, trainee, config, pairs
        self.watching, self.watch = watching, watching.watch
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=trainee.step)
        self.costs: list[Costs] = []  # since the last score
        self.left_out = 0
        self.psnr, self.pause, self.scores = math.nan, self.watching.every, 0
        self.began = self.saved = self.scored = self.told = time.monotonic()
        kept = [line for line in runs.metrics(run) if line["step"] <= trainee.step]
        self.scored_step = kept[-1]["step"] if kept else 0
        self.began -= kept[-1].get("seconds", 0) if kept else 0
        atomic.write_bytes(run / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept).encode())

    def after_step(self, costs: Costs, stop: threading.Event) -> None:
        """Score, report and save when it is time; raise Interrupted, once all is saved, when asked to stop."""
        self.costs.append(costs)
        self.left_out += math.isnan(sum(costs.values()))
        if self.trainee.step == self.config.steps:
            return
        now = time.monotonic()
        if stop.is_set():
            checkpoint.save(self.run, self.trainee, self.config)
            stopped(stop, self.run, self.trainee, self.config)
        if now - self.scored > self.pause or (math.isnan(self.psnr) and now - self.scored > TELL_EVERY):
            self.score()
        elif self.watch and now - self.told > TELL_EVERY:
            self.watch(self.progress())
            self.told = now
        if now - self.saved > SAVE_EVERY:
            checkpoint.save(self.run, self.trainee, self.config)
            self.saved = time.monotonic()

    def score(self) -> float:
        """Score on the validation crops, write a line of metrics, tell the watcher; the PSNR in dB."""
        began, first = time.monotonic(), math.isnan(self.psnr)
        seconds = began - self.scored
        self.psnr = mean_psnr(as_function(self.trainee.average), self.pairs)
        cost = time.monotonic() - began
        self.pause = max(self.watching.every, cost / self.watching.share)
        if self.costs or self.scored_step < self.trainee.step:  # stopped between the last checkpoint and its score
            self.scored_step = self.trainee.step
            progress = self.progress(seconds)
            if first and cost <= SECOND_SHARE * progress.seconds_left:
                self.pause = self.watching.every
            with open(self.run / "metrics.jsonl", "a", encoding="utf-8") as file:
                told = dataclasses.asdict(progress)
                del told["scored_step"], told["scored_on"]  # the step, and what the run's target says
                file.write(json.dumps(_without_nan(told)) + "\n")
            self.show(progress)
            if self.watch:
                self.watch(progress)
        self.costs, self.scored = [], time.monotonic()
        return self.psnr

    def close(self) -> tuple[float, float]:
        """The last score, and that of the noisy crops as they are: PSNR in dB."""
        psnr = self.score()
        self.board.close()
        return psnr, mean_psnr(lambda noisy: noisy, self.pairs)

    def show(self, progress: Progress) -> None:
        """The curves; and at ever longer intervals the validation crops: noisy, restored, clean, below one another."""
        rate = self.trainee.optimiser.param_groups[0]["lr"]
        curves = {
            "loss": progress.loss,
            "PSNR": progress.psnr,
            "learning rate": rate,
            "pixels a second": progress.pixels_per_second,
            **({f"loss of {name}s": part for name, part in progress.parts.items()} if len(progress.parts) > 1 else {}),
        }
        for name, value in curves.items():
            self.board.add_scalar(name, value, progress.step)
        self.scores += 1
        power_of_two = self.scores & (self.scores - 1) == 0
        if self.watching.shows_all or power_of_two or progress.step == progress.steps:
            denoise = as_function(self.trainee.average)
            sheet = figures.rows([[noisy, denoise(noisy), clean] for clean, noisy, *_ in self.pairs])
            self.board.add_image("noisy, restored, clean", sheet, progress.step, dataformats="HWC")
            atomic.write_bytes(self.run / "samples" / f"{progress.step:07d}.png", image.encoded(sheet, "PNG"))
        self.board.flush()

    def progress(self, seconds: float | None = None) -> Progress:
        """Where the run stands, over the `seconds` since the last score."""
        seconds = time.monotonic() - self.scored if seconds is None else seconds
        sound = [costs for costs in self.costs[-RECENT:] if not math.isnan(sum(costs.values()))]
        parts = {name: statistics.fmean(costs[name] for costs in sound) for name in sound[0]} if sound else {}
        return Progress(
            step=self.trainee.step,
            steps=self.config.steps_or_raise,
            loss=sum(parts.values()) if parts else math.nan,
            parts=parts,
            psnr=self.psnr,
            pixels_per_second=len(self.costs) * self.config.batch * self.config.crop**2 / max(seconds, 1e-9),
            seconds_left=(self.config.steps_or_raise - self.trainee.step) * seconds / max(len(self.costs), 1),
            left_out=self.left_out,
            seconds=round(time.monotonic() - self.began, 3),
            scored_step=self.scored_step,
            scored_on=scored_on(self.config.target),
        )


def _without_nan(told: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: None for what is not a number."""
    return {
        name: _without_nan(value) if isinstance(value, dict) else None if math.isnan(value) else value
        for name, value in told.items()
    }


def stopped(stop: threading.Event, run: Path, trainee: Trainee, config: TrainConfig) -> None:
    """Raise Interrupted if a run has been asked to stop before its end."""
    if stop.is_set() and trainee.step < config.steps_or_raise:
        raise Interrupted(
            f"stopped after step {trainee.step} of {config.steps}, saved; go on with: unnoise train --resume {run}"
        )


@contextlib.contextmanager
def until_asked_to_stop(asked: threading.Event) -> Iterator[None]:
    """Ctrl-C or SIGTERM sets `asked`, so that the step under way is finished first; the second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen to signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, ask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
