"""Where one worker of a cluster works on some pictures: what of an object store it needs, on its own disk, and back."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import atomic, batch, image, store
from .batch import DONE, FULL, Engine, Group, Job, Made, Outcome
from .errors import BadSetting, ImageError
from .ledger import PARTS, Line, Part, noted
from .store import Url

if TYPE_CHECKING:
    from .cleaning import Request

EngineOf = Callable[[Any, Part], Engine]  # a request, and a part of its ledger
PREFIX = "unnoise-desk-"
QUIET, PATIENCE = 0.3, 4
LEFT = 60  # seconds after which a desk that nobody holds is one that a killed worker has left


@dataclass(frozen=True)
class Task:
    """A job by its number, what the ledger says of its output, and how large its source is, in bytes and megapixels."""

    number: int
    job: Job
    lines: Sequence[Line]
    size: int
    megapixels: float


@contextlib.contextmanager
def place(run: str) -> Iterator[Path]:
    """A folder for a desk of a command, held until it is removed. Raises OSError."""
    with (
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{run}-", ignore_cleanup_errors=True) as folder,
        atomic.held(Path(folder), ""),
    ):
        yield Path(folder)


def sweep(run: str = "") -> bool:
    """Remove the desks of workers of this machine that were killed: those of a command, or all that are old. Whether somebody works at one still."""
    held = False
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}{run}*"):
        with contextlib.suppress(OSError):
            if run or time.time() - left.stat().st_mtime > LEFT:
                try:
                    with atomic.held(left, ""):
                        shutil.rmtree(left)
                except BadSetting:
                    held = True
    return held


def left_by_all(run: str) -> None:
    """Wait until the workers of a command that are being ended have left their desks for QUIET seconds, at most PATIENCE; those of other machines end alike."""
    seen = began = time.monotonic()
    while (now := time.monotonic()) < min(seen + QUIET, began + PATIENCE):
        seen = now if sweep(run) else seen
        time.sleep(0.02)


class Desk:
    """Where a shard is worked on: `folder` takes copies of its sources and, for a store, the outputs before they are put there."""

    def __init__(self, request: Request, shard: str, folder: Path) -> None:
        self.request, self.out, self.folder = request, request.out, folder
        self.here = folder / "out" if isinstance(self.out, Url) else self.out
        self.shard = shard
        self.notes = f"{shard}/{secrets.token_hex(4)}"  # its own: another attempt may still be writing its own
        self.absent = set[int]()  # whose output was not in the store

    def outcomes(
        self, tasks: Sequence[Task], contents: Sequence[bytes | None], engine: EngineOf
    ) -> Iterator[tuple[int, Outcome]]:
        """What becomes of each task; `full` is the disk of this machine, not one that all share."""
        try:
            earlier = self._earlier()
        except (ImageError, BadSetting, OSError) as error:
            yield from ((task.number, failed(task, error)) for task in tasks)
            return
        group: Group = []
        for task, content in zip(tasks, contents, strict=True):
            try:
                group.append((task.number, self._job(task, content)))
            except (ImageError, OSError) as error:
                yield task.number, failed(task, error)
        jobs = {task.number: task.job for task in tasks}
        known = {job[0]: _known_as(jobs[number][0]) for number, job in group}
        part = Part(self.notes, [*(line for task in tasks for line in task.lines), *earlier], known)
        done = list(engine(replace(self.request, out=self.here), part)([group])) if group else []
        if isinstance(self.out, Url) and not self.request.dry_run:
            done = self._given(self.out, done, dict(group))
        choices = {line.output: line.choice for line in earlier}
        for number, outcome in done:
            yield number, self._named(jobs[number], outcome, choices)

    def _earlier(self) -> list[Line]:
        """What was noted of this shard by workers that have ended. Raises ImageError, BadSetting, OSError."""
        if isinstance(self.out, Url):
            with _of_the_store("be read", self.out / PARTS):
                store.fetch_parts(self.out, self.here, self.shard)
        return noted(self.here, self.shard)

    def _job(self, task: Task, content: bytes | None) -> Job:
        """The job with files of this machine. Raises ImageError for what cannot be had, OSError for what this machine cannot hold."""
        source, output = task.job
        ending = source.suffix if source.suffix.lower() in image.ENDINGS else ""
        copy, to = self.folder / "in" / f"{task.number}{ending}", self.here / output.relative_to(self.out)
        if isinstance(output, Url):
            with _of_the_store("be written to", output):
                if not store.fetch(output, to):
                    self.absent.add(task.number)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            copy.write_bytes(content)
        elif isinstance(source, Url):
            with _of_the_store("be read", source):
                if not store.fetch(source, copy):
                    raise ImageError("is no longer there.")
        else:
            copy = source
        return copy, to

    def _given(self, out: Url, done: list[tuple[int, Outcome]], jobs: dict[int, Job]) -> list[tuple[int, Outcome]]:
        """The same, with the outputs in the store, and what is noted of them before that; or why they are not."""
        notes = Path(PARTS, f"{self.notes}.jsonl")
        is_noted, told = False, []
        for number, outcome in done:
            if outcome.fate == "done":
                file = jobs[number][1]
                try:
                    if not is_noted:
                        with _of_the_store("be written to", out / notes):
                            store.put(self.here / notes, out / notes)
                        is_noted = True
                    place = out / file.relative_to(self.here)
                    with _of_the_store("be written to", place):
                        store.put(file, place, number not in self.absent or self.request.overwrite)
                except ImageError as error:
                    outcome = replace(outcome, fate="failed", reason=str(error))
            told.append((number, outcome))
        return told

    def _named(self, job: Job, outcome: Outcome, choices: dict[str, str]) -> Outcome:
        """The outcome in the words of who gave the job. What an earlier attempt of the same command has done, the command has done."""
        source, output = job
        name = output.relative_to(self.out).as_posix()
        if outcome.reason == DONE and name in choices:
            outcome = replace(outcome, fate="done", reason="", made=Made(told=choices[name]))
        full = outcome.full and self.here != self.out
        reason = _no_room() if full else outcome.reason.replace(str(self.here), str(self.out))
        return replace(outcome, source=source, output=output if outcome.fate == "done" else None, reason=reason, full=full)


def failed(task: Task, error: Exception) -> Outcome:
    """What has become of a task that could not be begun here."""
    full = isinstance(error, OSError) and error.errno in FULL
    if isinstance(error, OSError):
        error = ImageError(
            _no_room(error)
            if full
            else f"cannot be worked on in {tempfile.gettempdir()} of {socket.gethostname()} ({error.strerror}); check that disk."
        )
    return Outcome(task.job[0], "failed", str(error), full=full)


def _no_room(error: OSError | None = None) -> str:
    why = (error and error.strerror) or os.strerror(FULL[0])
    return f"{socket.gethostname()} has no room to work ({why}); free some space there, or set TMPDIR to a disk that has."


def _known_as(source: Path) -> str:
    """A source's one name on all machines."""
    return str(source if isinstance(source, Url) else batch.real(source))


@contextlib.contextmanager
def _of_the_store(what: str, place: Path) -> Iterator[None]:
    """What a store refuses is a matter of one picture; a disk here that is full is not."""
    try:
        yield
    except FileExistsError:
        raise ImageError(f"would be written to {place}, which exists already; give --overwrite to replace it.") from None
    except OSError as error:
        if error.errno in FULL:
            raise
        remedy = "give it a shorter name" if error.errno == errno.ENAMETOOLONG else "check what gives access to it"
        raise ImageError(f"cannot {what} ({place}: {error.strerror}); {remedy}.") from None
