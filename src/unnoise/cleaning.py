"""`unnoise denoise`: what was asked for, in order: the files, the model, where wanted learned from them first, and each picture through it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import auto, batch, image
from . import preview as sheet
from .console import picture_lines, say, say_line, tell_summary, training_line
from .denoiser import Quality, check_shares
from .errors import BadSetting, needed_by
from .ledger import Ledger, kept
from .mask import Masks
from .shell import going_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .referee import Outcome


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


def clean(asked: Request, json: bool) -> int:
    """Do it, say what was done, and return the exit code. Raises BadSetting, ModelError, Interrupted."""
    began, summary = time.monotonic(), batch.Summary()
    planned = batch.plan(asked.photos, asked.out, summary)
    jobs = [(source, batch.ending_in(asked.ending, to) if asked.ending else to) for source, to in planned]
    learned = _learned(asked, [source for source, _ in jobs]) if asked.learn is not None else None
    model = learned.model if learned else asked.model
    models = auto.Models(model, asked.threads, asked.tile, asked.quality)
    masks = Masks(asked.mask, asked.out) if asked.mask else None
    among = masks.among(jobs) if masks else set()
    summary.skipped += [(source, "is a mask") for source in sorted(among)]
    _each([job for job in jobs if job[0] not in among], asked, models, masks, summary)
    more: dict[str, Any] = {"seconds": round(time.monotonic() - began, 3), "model": model}
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


def _each(jobs: list[batch.Job], asked: Request, models: auto.Models, masks: Masks | None, summary: batch.Summary) -> None:
    """Every picture through its models, or only the sheet of a preview."""
    settings = {"model": models.identity, "strength": asked.strength, "grain": asked.grain, "tile": models.tile}
    settings |= {"first": asked.first_frame, "quality": asked.quality, "mask": bool(masks), "kind": asked.kind}
    filling = [models.filling()] if masks else []

    def restored(watching: Any, source: Path, to: batch.Place) -> str:
        choices = filling or models.choices(source, asked.limit, asked.first_frame)
        if why := auto.told(choices):
            summary.choices[source] = choices
            say_line(f"{source} {why}")

        def change(choice: auto.Choice, pixels: image.Bands) -> image.Bands:
            watch = watching(source.name, pixels.shape[0] * pixels.shape[1])
            if choice.splits(pixels.shape):
                summary.by_channel[source] = str(choice.name)
            lost = masks.read(to.path, pixels.shape[:2], asked.limit) if masks else None
            return choice.in_bands(pixels, asked.strength, models.tile, asked.grain, watch, lost)

        written = partial(to.written, choice=why)
        kind, limit = asked.kind, asked.limit
        return auto.write(source, to.path, choices, change, kind, to.overwrite, limit, asked.first_frame, written)

    with (
        going_on(),
        kept(asked.out, "denoise", settings, asked.dry_run) as ledger,
        picture_lines() as (each, watching),
    ):
        if asked.preview:
            shares = asked.strength, asked.grain, models.tile
            sheet.write(jobs, models, ledger, summary, *shares, asked.limit, asked.overwrite)
            for source, choices in summary.choices.items():
                say_line(f"{source} {auto.told(choices)}")
            say(f"Look at {asked.out / sheet.NAME}: before | after | what was taken away, {sheet.GAIN} times as strong")
            return
        step, beside = None if asked.dry_run else partial(restored, watching), masks.of if masks else None
        batch.for_each(jobs, asked.photos, step, ledger, summary, asked.overwrite, each, beside)
