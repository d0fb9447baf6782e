"""A job over files and folders: what goes where, each picture on its own, and a summary at the end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from . import atomic, image
from .collection import LeftOut, find, listed
from .errors import BadSetting, ImageError, remedy
from .ledger import Ledger

if TYPE_CHECKING:
    from .auto import Choice

AnyPath = TypeVar("AnyPath", bound=PurePath)
Job = tuple[Path, ...]  # a source, and the outputs that are made of it


@dataclass(frozen=True)
class Place:
    """Where an output goes, and what image.write and image.convert need to know for it."""

    path: Path
    overwrite: bool
    written: Callable[..., None]  # an image.Written; `choice` is noted beside it


Step = Callable[..., str | None]  # source, a Place for each output; returns a note on what the output lacks, or nothing


@dataclass
class Summary:
    """What became of each file; `failed` and `skipped` say why, `notes` what a finished one lacks, in one sentence each."""

    done: list[tuple[Path, Path]] = field(default_factory=list)
    skipped: list[LeftOut] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)
    notes: dict[Path, str] = field(default_factory=dict)
    choices: dict[Path, Sequence[Choice]] = field(default_factory=dict)  # of models, for each page of a picture
    by_channel: dict[Path, str] = field(default_factory=dict)  # a model for gray that a colour picture went through

    def as_json(self, dry_run: bool = False) -> dict[str, list[dict[str, Any]]]:
        return {
            "would_write" if dry_run else "done": [
                {"source": str(source), "output": str(output)}
                | ({"note": self.notes[source]} if source in self.notes else {})
                | ({"models": [one.as_json() for one in self.choices[source]]} if source in self.choices else {})
                for source, output in self.done
            ],
            "skipped": listed(self.skipped),
            "failed": listed(self.failed),
        }


def outside(out: Path, path: Path, passed: list[LeftOut], closed: list[LeftOut]) -> list[Path]:
    """The files at or below a path, as `find` gives them, but for those below `out`, if that is a folder in it."""
    inside = path.is_dir() and real(path) in real(out).parents
    return [file for file in find(path, passed, closed) if not (inside and real(out) in real(file).parents)]


def plan(photos: Sequence[Path], out: Path, summary: Summary) -> list[Job]:
    """(source, output) of each file: IN/a/b.png goes to OUT/a/b.png; of several folders, to OUT/<folder>/a/b.png.

    `summary` takes the folders that are not gone into. Raises BadSetting if a folder is missing or empty, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise BadSetting(f"{out} is a file; give a folder for the output.")
    folders = sum(path.is_dir() for path in photos)
    jobs: list[Job] = []
    for path in photos:
        closed = len(summary.failed)
        files = outside(out, path, summary.skipped, summary.failed)
        if path.is_dir() and len(summary.failed) == closed and not any(holds_pixels(file) for file in files):
            raise BadSetting(f"{path} holds no picture; expected PNG, JPEG, TIFF or other picture files in it or below it.")
        below = out / real(path).name if folders > 1 and path.is_dir() else out
        jobs += [(file, below / (file.relative_to(path) if path.is_dir() else file.name)) for file in files]
    return jobs


def for_each(
    jobs: Sequence[Job],
    named: Sequence[Path],
    step: Step | None,
    ledger: Ledger,
    summary: Summary,
    overwrite: bool = False,
    progress: Callable[[Sequence[Job]], Iterable[Job]] = iter,
    beside: Callable[[Path], Path] | None = None,
) -> None:
    """Do `step(source, *places)` for each that is not done already; one bad file never stops the others.

    step: None only says what would be done, and writes nothing. named: files that were asked for by name; of the others, those
    that are no pictures, or were written by an earlier run, are skipped. `overwrite` concerns outputs that the ledger does not
    know. `progress` may watch the going. `beside`: a file that an output is made from too, such as a mask. What became of each goes into `summary`.
    """
    asked = set(named)
    if step:
        for folder in {output.parent for _, *outputs in jobs for output in outputs} | {ledger.folder}:
            atomic.sweep(folder)
    ours = {source for source, *_ in jobs if source not in asked and ledger.wrote(source)}
    taken = {real(source) for source, *_ in jobs if source not in ours}
    taken |= {real(beside(output)) for _, *outputs in jobs for output in outputs} if beside else set()
    for source, *outputs in progress(jobs):
        try:
            if source in ours:
                summary.skipped.append((source, "was written here by an earlier run"))
                continue
            if image.kind_of(source) is None and source not in asked:
                summary.skipped.append((source, "is not a picture"))
                continue
            places = list(_places(source, outputs, taken, ledger, overwrite, beside))
            note = step(source, *places) if step and places else None
            taken |= {real(output) for output in outputs}
            if note:
                summary.notes[source] = note
            if places:
                summary.done.append((source, outputs[0]))
            else:
                summary.skipped.append((source, "is done already"))
        except FileExistsError as error:
            taken_name = Path(error.filename2 or error.filename or outputs[0])  # of a link, the second is the new name
            reason = f"would be written to {taken_name}, which exists already; give --overwrite to replace it."
            if taken_name.is_file() and taken_name in outputs[0].parents:
                reason = f"would be written below {taken_name}, which is a file; choose another -o."
            summary.failed.append((source, reason))
        except ImageError as error:
            summary.failed.append((source, str(error)))
        except MemoryError:
            summary.failed.append((source, "needs more memory than there is; use a smaller picture, or a smaller --tile."))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            summary.failed.append((source, f"cannot be written to {outputs[0]} ({reason}){remedy(error)}"))


def _places(
    source: Path,
    outputs: Sequence[Path],
    taken: set[Path],
    ledger: Ledger,
    overwrite: bool,
    beside: Callable[[Path], Path] | None,
) -> Iterator[Place]:
    """Where the outputs go; nothing if all are done. Raises ImageError or FileExistsError where they may not go."""
    others = [beside(output) for output in outputs] if beside else []
    for other in others:
        if not other.is_file():
            raise ImageError(f"needs {other}, which is not there; write it, or leave this picture out.")
    for output in outputs:
        if real(output) in taken:
            raise ImageError(f"would be written to {output}, which is one of the sources or another output; choose another -o.")
    try:
        origin = ledger.origin(source, *others)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror}); check its disk and permissions.") from None
    standings = [ledger.standing(output, origin) for output in outputs]
    if set(standings) == {"done"}:
        return
    for output, standing in zip(outputs, standings, strict=True):
        if standing == "foreign" and not overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(output))
        yield Place(output, overwrite or standing != "absent", partial(ledger.note, output, origin))


def ending_in(ending: str, path: AnyPath) -> AnyPath:
    """The path with another ending; what is no ending of a picture file, as in scan.001, stays before it."""
    known = path.suffix.lower() in image.ENDINGS
    return path.with_suffix(ending) if known else path.with_name(path.name + ending)


def real(path: Path) -> Path:
    """The path without links; one that goes round in circles, where Path.resolve raises, as far as it leads."""
    return Path(os.path.realpath(path))


def holds_pixels(file: Path) -> bool:
    """Whether it is a picture, or one that cannot be read."""
    try:
        return image.kind_of(file) is not None
    except ImageError:
        return True  # it will be named in the summary
