"""A job over files and folders: what goes where, each picture on its own, and a summary at the end."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar

from . import atomic, image
from .collection import LeftOut, find, listed
from .errors import BadSetting, ImageError, remedy
from .ledger import Ledger

AnyPath = TypeVar("AnyPath", bound=PurePath)
Job = tuple[Path, ...]  # a source, and the outputs that are made of it
Group = list[tuple[int, Job]]  # jobs that one process does in this order, by their numbers
DONE = "is done already"
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Place:
    """Where an output goes, and what image.write and image.convert need to know for it."""

    path: Path
    overwrite: bool
    written: Callable[..., None]  # an image.Written; `choice` is noted beside it


@dataclass(frozen=True)
class Made:
    """What is worth saying of a finished file: what the output lacks; the models of its pages and why; a model for gray that took each colour alone."""

    note: str = ""
    models: tuple[dict[str, str | None], ...] = ()  # as JSON, for each page
    told: str = ""  # the same in words
    by_channel: str = ""


Step = Callable[..., Made]  # of a source, and a Place for each output


@dataclass(frozen=True)
class Outcome:
    """What became of one source, and why."""

    source: Path
    fate: Literal["done", "skipped", "failed"]
    reason: str = ""  # of what is not done, in one sentence
    output: Path | None = None  # of what is
    made: Made = Made()
    full: bool = False  # it failed for want of room on a disk


Outcomes = Generator[tuple[int, Outcome], None, None]  # of jobs by their numbers, in any order
Engine = Callable[[Sequence[Group]], Outcomes]


@dataclass
class Summary:
    """What became of each file; `failed` and `skipped` say why, in one sentence each."""

    done: list[tuple[Path, Path]] = field(default_factory=list)
    skipped: list[LeftOut] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)
    made: dict[Path, Made] = field(default_factory=dict)

    def take(self, outcome: Outcome) -> None:
        if outcome.fate == "done":
            assert outcome.output
            self.done.append((outcome.source, outcome.output))
            self.made[outcome.source] = outcome.made
        else:
            (self.skipped if outcome.fate == "skipped" else self.failed).append((outcome.source, outcome.reason))

    def as_json(self, dry_run: bool = False) -> dict[str, list[dict[str, Any]]]:
        told = []
        for source, output in self.done:
            made = self.made[source]
            more = {"note": made.note, "models": [*made.models]}
            told.append({"source": str(source), "output": str(output)} | {name: value for name, value in more.items() if value})
        return {
            "would_write" if dry_run else "done": told,
            "skipped": listed(self.skipped),
            "failed": listed(self.failed),
        }


def outside(out: Path, path: Path, passed: list[LeftOut], closed: list[LeftOut]) -> list[Path]:
    """The files at or below a path, as `find` gives them, but for those below `out`, if that is a folder in it."""
    inside = path.is_dir() and real(path) in real(out).parents
    return [file for file in find(path, passed, closed) if not (inside and real(out) in real(file).parents)]


def check_folder(out: Path) -> None:
    """Raise BadSetting for a name that asks for a picture file; not for a folder that has it."""
    if out.suffix.lower() in image.ENDINGS and not out.exists():
        raise BadSetting(f"-o {out}: expected a folder, in which each picture keeps its name; give -o cleaned, say.")


def plan(photos: Sequence[Path], out: Path, summary: Summary) -> list[Job]:
    """(source, output) of each file: IN/a/b.png goes to OUT/a/b.png; of several folders, to OUT/<folder>/a/b.png.

    `summary` takes the folders that are not gone into. Raises BadSetting if a folder is missing or empty, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise BadSetting(f"{out} is a file; give a folder for the output.")
    check_folder(out)
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


@dataclass(frozen=True)
class Work:
    """One command's step over files, as each process that takes part does it. `step`: None only says what would be done, and writes nothing.

    `overwrite` concerns outputs that the ledger does not know. `beside`: a file that an output is made from too, such as a mask.
    """

    step: Step | None
    ledger: Ledger
    overwrite: bool = False
    beside: Callable[[Path], Path] | None = None

    def do(self, group: Group) -> Outcomes:
        """What became of each job of a group; one bad file never stops the others."""
        taken: set[Path] = set()
        for number, (source, *outputs) in group:
            outcome = self._attempt(source, outputs, taken)
            taken |= {real(output) for output in outputs if outcome.fate != "failed"}
            yield number, outcome

    def in_turn(self, groups: Sequence[Group]) -> Outcomes:
        """The engine that is this process."""
        for group in groups:
            yield from self.do(group)

    def _attempt(self, source: Path, outputs: Sequence[Path], taken: set[Path]) -> Outcome:
        try:
            check_free(outputs, taken)
            places = list(self._places(source, outputs))
            if not places:
                return Outcome(source, "skipped", DONE)
            made = self.step(source, *places) if self.step else Made()
            return Outcome(source, "done", output=outputs[0], made=made)
        except FileExistsError as error:
            taken_name = Path(error.filename2 or error.filename or outputs[0])  # of a link, the second is the new name
            reason = f"would be written to {taken_name}, which exists already; give --overwrite to replace it."
            if taken_name.is_file() and taken_name in outputs[0].parents:
                reason = f"would be written below {taken_name}, which is a file; choose another -o."
        except ImageError as error:
            reason = str(error)
        except MemoryError:
            reason = "needs more memory than there is; use a smaller picture, or a smaller --tile."
        except OSError as error:
            reason = f"cannot be written to {outputs[0]} ({error.strerror or type(error).__name__}){remedy(error)}"
            return Outcome(source, "failed", reason, full=error.errno in FULL)
        return Outcome(source, "failed", reason)

    def _places(self, source: Path, outputs: Sequence[Path]) -> Iterator[Place]:
        """Where the outputs go; nothing if all are done. Raises ImageError or FileExistsError where they may not go."""
        others = [self.beside(output) for output in outputs] if self.beside else []
        for other in others:
            if not other.is_file():
                raise ImageError(f"needs {other}, which is not there; write it, or leave this picture out.")
        try:
            origin = self.ledger.origin(source, *others)
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror}); check its disk and permissions.") from None
        standings = [self.ledger.standing(output, origin) for output in outputs]
        if set(standings) == {"done"}:
            return
        for output, standing in zip(outputs, standings, strict=True):
            if standing == "foreign" and not self.overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(output))
            yield Place(output, self.overwrite or standing != "absent", partial(self.ledger.note, output, origin))


def for_each(
    jobs: Sequence[Job],
    named: Sequence[Path],
    work: Work,
    summary: Summary,
    engine: Engine | None = None,
    progress: Callable[[Iterable[Outcome], int], Iterable[Outcome]] = lambda outcomes, total: outcomes,
    kind_of: Callable[[Path], str | None] = image.kind_of,
) -> None:
    """Do the work for each job that is not done already; what became of it goes into `summary`, in the order of the jobs.

    named: files that were asked for by name; of the others, those that are no pictures, or were written by an earlier run, are
    skipped. engine: who does it; by default this process. `progress(outcomes, how many)` may watch the going. kind_of: as `image.kind_of`,
    of files that are elsewhere.
    """
    if work.step:
        for folder in {output.parent for _, *outputs in jobs for output in outputs} | {work.ledger.folder}:
            atomic.sweep(folder)
    found, ready = _set_apart(jobs, set(named), work, kind_of)

    def noted(outcomes: Outcomes) -> Iterator[Outcome]:
        for number, outcome in outcomes:
            found[number] = outcome
            yield outcome

    try:
        with contextlib.closing((engine or work.in_turn)(_groups(ready))) as outcomes:  # nobody is at work when this is left
            for _ in progress(noted(outcomes), len(ready)):
                pass
    finally:
        for number in sorted(found):
            summary.take(found[number])


def _set_apart(
    jobs: Sequence[Job], asked: set[Path], work: Work, kind_of: Callable[[Path], str | None]
) -> tuple[dict[int, Outcome], Group]:
    """(what is skipped or fails before any work, the other jobs), by their numbers."""
    found: dict[int, Outcome] = {}
    ready: Group = []
    ours = {source for source, *_ in jobs if source not in asked and work.ledger.wrote(source)}
    taken = {real(source) for source, *_ in jobs if source not in ours}
    taken |= {real(work.beside(output)) for _, *outputs in jobs for output in outputs} if work.beside else set()
    for number, (source, *outputs) in enumerate(jobs):
        try:
            if source in ours:
                found[number] = Outcome(source, "skipped", "was written here by an earlier run")
            elif kind_of(source) is None and source not in asked:
                found[number] = Outcome(source, "skipped", "is not a picture")
            else:
                check_free(outputs, taken)
                ready.append((number, jobs[number]))
        except ImageError as error:
            found[number] = Outcome(source, "failed", str(error))
    return found, ready


def _groups(ready: Group) -> list[Group]:
    """Each job alone, but for those that share an output, which are done in their order, by one process."""
    by_output: dict[Path, Group] = {}
    for number, job in ready:
        met = {id(by_output[output]): by_output[output] for output in map(real, job[1:]) if output in by_output}
        group = sorted([*chain(*met.values()), (number, job)])
        by_output |= {real(output): group for _, (_, *outputs) in group for output in outputs}
    return [*{id(group): group for group in by_output.values()}.values()]


def check_free(outputs: Sequence[Path], taken: set[Path]) -> None:
    """Raise ImageError if an output is one of the files that are taken."""
    for output in outputs:
        if real(output) in taken:
            raise ImageError(f"would be written to {output}, which is one of the sources or another output; choose another -o.")


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
