"""`unnoise denoise`: what was asked for, in order: the files, the model, where wanted learned from them first, and each picture through it."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import auto, batch, cluster, image, joining, processes, store
from . import preview as sheet
from .console import picture_lines, say, say_line, tell_summary, training_line
from .denoiser import Quality, Watch, check_shares, physical_cores
from .errors import BadSetting, ModelError, needed_by
from .ledger import Ledger, Part, kept
from .mask import Masks
from .shell import going_on
from .store import Sizes, Url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .referee import Outcome

FEW = 4  # pictures for each process, below which one process with all the threads is as fast: to start another takes a second
EACH = 2**30  # bytes for a process; a large picture that is not decoded in bands may take more


@dataclass(frozen=True)
class Request:
    """The options of `denoise`, as `unnoise denoise --help` has them; `limit` in pixels. Raises BadSetting for what does not go together."""

    photos: Sequence[Path]
    out: Path
    model: str
    strength: float
    grain: float
    quality: Quality
    mask: Path | None
    learn: float | None
    fallback: bool
    kind: str | None  # that --format means, with the ending of its files
    ending: str | None
    first_frame: bool
    limit: int
    tile: int | None
    threads: int
    processes: int  # 0: see `usual`
    engine: str | None  # ray, with where it is; None: this machine alone
    preview: bool
    dry_run: bool
    overwrite: bool

    def __post_init__(self) -> None:
        check_shares(strength=self.strength, grain=self.grain)
        if not self.fallback and self.learn is None:
            raise BadSetting("--no-fallback belongs to --learn; a model that is named is used as it is.")
        if self.learn is not None and (self.model != auto.AUTO or self.mask or self.preview or self.dry_run):
            raise BadSetting(
                "--learn makes a model of these pictures: leave out --model, --mask, --preview, --dry-run and --verify-tiling."
            )
        if self.learn is not None and (self.quality != "normal" or self.tile is not None):
            raise BadSetting("--learn compares models and methods as they are by themselves: leave out --quality and --tile.")
        if self.preview and (self.dry_run or self.kind):
            raise BadSetting("--preview writes one sheet as PNG: leave out --dry-run and --format.")
        if self.mask and (self.preview or self.strength != 1 or self.grain):
            raise BadSetting("--mask fills in what is missing, and nothing else: leave out --preview, --strength and --grain.")
        if not 0 <= self.processes <= 1024:
            raise BadSetting(f"processes={self.processes}: expected 1 to 1024, or 0 for one a thread.")
        if self.engine and (self.learn is not None or self.mask or self.preview):
            raise BadSetting("--engine does not go with --learn, --mask or --preview; leave them out, or --engine.")
        places = *self.photos, self.out
        elsewhere = [place for place in places if isinstance(place, Url)]
        if elsewhere and not self.engine:
            raise BadSetting(f"{elsewhere[0]} is not on this machine; give --engine ray, or a folder.")
        if here := [place for place in places if elsewhere and not isinstance(place, Url)]:
            raise BadSetting(f"expected photos and -o all in object stores, or none; {here[0]} is not, and {elsewhere[0]} is.")

    def models(self, threads: int) -> auto.Models:
        return auto.Models(self.model, threads, self.tile, self.quality)

    def masks(self) -> Masks | None:
        return Masks(self.mask, self.out) if self.mask else None

    def settings(self, models: auto.Models) -> dict[str, Any]:
        """What an output depends on besides its source."""
        settings = {"model": models.identity, "strength": self.strength, "grain": self.grain, "tile": models.tile}
        return settings | {"first": self.first_frame, "quality": self.quality, "mask": bool(self.mask), "kind": self.kind}


def clean(asked: Request, json: bool) -> int:
    """Do it, say what was done, and return the exit code. Raises BadSetting, ModelError, Interrupted."""
    began, summary = time.monotonic(), batch.Summary()
    kind_of: Callable[[Path], str | None] = image.kind_of
    sizes: Sizes = {}
    if isinstance(asked.out, Url):
        planned, kind_of, sizes = store.plan(asked.photos, asked.out, summary)
    else:
        planned = batch.plan(asked.photos, asked.out, summary)
    jobs: list[batch.Job] = [(source, batch.ending_in(asked.ending, to) if asked.ending else to) for source, to in planned]
    learned = _learned(asked, [source for source, _ in jobs]) if asked.learn is not None else None
    if learned:
        asked = replace(asked, model=learned.model, learn=None, fallback=True)
    if masks := asked.masks():
        among = masks.among(jobs)
        summary.skipped += [(source, "is a mask") for source in sorted(among)]
        jobs = [job for job in jobs if job[0] not in among]
    _each(jobs, asked, summary, kind_of, sizes)
    more: dict[str, Any] = {"seconds": round(time.monotonic() - began, 3), "model": asked.model}
    code = tell_summary(summary, json, {**more, "learned": learned.as_json()} if learned else more, asked.dry_run)
    if learned:
        say(learned.words)
    return code


def _learned(asked: Request, sources: Sequence[Path]) -> Outcome:
    """What was learned from the pictures, but for those that an earlier command has written."""
    assert asked.learn is not None
    with needed_by("learning", "train"):
        from . import ownnoise, run  # noqa: F401, torch is there
    with going_on(), training_line() as watch:
        earlier = Ledger(asked.out, "denoise", {})
        theirs = [source for source in sources if not earlier.wrote(source)]
        return ownnoise.learn(theirs, asked.out, asked.learn, asked.fallback, asked.limit, asked.threads, watch)


def _each(
    jobs: list[batch.Job], asked: Request, summary: batch.Summary, kind_of: Callable[[Path], str | None], sizes: Sizes
) -> None:
    """Every picture through its models, or only the sheet of a preview."""
    joining.check(asked.engine)
    models, out = asked.models(asked.threads), asked.out
    keeping: Callable[..., Any] = store.kept if isinstance(out, Url) else kept
    with (
        going_on(),
        keeping(out, "denoise", asked.settings(models), asked.dry_run) as ledger,
        joining.joined(asked.engine, _threads(asked)) as cores,  # nobody works when the ledger is tidied
        picture_lines() as (each, watching),
    ):
        if asked.preview:
            shares = asked.strength, asked.grain, models.tile
            sheet.write(jobs, models, ledger, summary, *shares, asked.limit, asked.overwrite)
            for source, made in summary.made.items():
                if made.told:
                    say_line(f"{source} {made.told}")
            say(f"Look at {asked.out / sheet.NAME}: before | after | what was taken away, {sheet.AMPLIFIED} times as strong")
            return

        def told(outcomes: Iterable[batch.Outcome], total: int) -> Iterator[batch.Outcome]:
            for outcome in each(outcomes, total):
                if outcome.made.told:
                    say_line(f"{outcome.source} {outcome.made.told}")
                yield outcome

        doing = work(asked, models, ledger, watching)
        ours = cluster.engine(asked, share, models.identity, ledger, cores, sizes) if cores else _engine(asked, models, doing)
        batch.for_each(jobs, asked.photos, doing, summary, ours, told, kind_of)


def _engine(asked: Request, models: auto.Models, doing: batch.Work) -> batch.Engine:
    """This process with all the threads, or several that share them where there are pictures enough, and memory."""

    def run(groups: Sequence[batch.Group]) -> batch.Outcomes:
        threads = _threads(asked)
        count = min(asked.processes or usual(threads, len(groups)), len(groups))
        if asked.dry_run or count < 2:
            return doing.in_turn(groups)
        return processes.engine(count, begun, asked, max(threads // count, 1), models.identity)(groups)

    return run


def _threads(asked: Request) -> int:
    return min(asked.threads or physical_cores() or 1, os.cpu_count() or 1)  # more would only be in each other's way


def usual(threads: int, groups: int) -> int:
    """How many processes are worth starting: one a thread, if there are FEW pictures for each, and EACH bytes of memory that is free."""
    if os.name == "nt":  # where two processes that add to one ledger may lose a line
        return 1
    try:
        [free] = re.findall(r"^MemAvailable: *(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        free = EACH * threads  # not told here
    return threads if groups >= FEW * threads and int(free) * 1024 >= EACH * threads else 1


def begun(asked: Request, threads: int, identity: Any) -> batch.Work:
    """The work of a request, in a process that shares it with others. Raises ModelError if its model is no longer the one it was."""
    models = asked.models(threads)
    if models.identity != identity:
        raise ModelError(f"{asked.model} has changed since the command began; give the same command again.")
    return share(asked, models)


def share(asked: Request, models: auto.Models, part: Part | None = None) -> batch.Work:
    """The work of a request, or of a part of it, for one of those that share it."""
    return work(asked, models, Ledger(asked.out, "denoise", asked.settings(models), part))


def work(
    asked: Request, models: auto.Models, ledger: Ledger, watching: Callable[[str, int], Watch] | None = None
) -> batch.Work:
    """What is done with each picture. `watching`: see `console.picture_lines`."""
    masks = asked.masks()
    filling = [models.filling()] if masks else []

    def restored(source: Path, to: batch.Place) -> batch.Made:
        choices = filling or models.choices(source, asked.limit, asked.first_frame)
        by_channel = ""

        def change(choice: auto.Choice, pixels: image.Bands) -> image.Bands:
            nonlocal by_channel
            watch = watching(source.name, pixels.shape[0] * pixels.shape[1]) if watching else lambda more: None
            if choice.splits(pixels.shape):
                by_channel = str(choice.name)
            lost = masks.read(to.path, pixels.shape[:2], asked.limit) if masks else None
            return choice.in_bands(pixels, asked.strength, models.tile, asked.grain, watch, lost)

        written = partial(to.written, choice=auto.told(choices))
        kind, limit = asked.kind, asked.limit
        note = auto.write(source, to.path, choices, change, kind, to.overwrite, limit, asked.first_frame, written)
        return auto.made(choices, note, by_channel)

    return batch.Work(None if asked.dry_run else restored, ledger, asked.overwrite, masks.of if masks else None)
