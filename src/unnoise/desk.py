"""Where one worker of a cluster works on some pictures: what of an object store it needs, on its own disk, and back."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import batch, store
from .batch import DONE, Engine, Group, Job, Outcome
from .errors import ImageError
from .ledger import PARTS, Ledger, Line, Part
from .store import Url

if TYPE_CHECKING:
    from .cleaning import Request

EngineOf = Callable[[Any, Part], Engine]  # a request, and a part of its ledger


@dataclass(frozen=True)
class Task:
    """A job by its number, what the ledger says of its output, and how large its source is, in bytes and megapixels."""

    number: int
    job: Job
    lines: Sequence[Line]
    size: int
    megapixels: float


class Desk:
    """Where a shard is worked on: `folder` takes copies of its sources and, for a store, the outputs before they are put there."""

    def __init__(self, request: Request, shard: str, folder: Path) -> None:
        self.request, self.out, self.folder = request, request.out, folder
        self.here = folder / "out" if isinstance(self.out, Url) else self.out
        self.shard, self.notes = shard, Path(PARTS, f"{shard}.jsonl")
        self.absent = set[int]()  # whose output was not in the store

    def outcomes(
        self, tasks: Sequence[Task], contents: Sequence[bytes | None], engine: EngineOf
    ) -> Iterator[tuple[int, Outcome]]:
        """What becomes of each task. Raises OSError if there is no room for it here."""
        if isinstance(self.out, Url):
            store.fetch(self.out / self.notes, self.here / self.notes)
        earlier = Ledger(self.here, "denoise", {}, Part(self.shard)).lines  # of a worker that has ended
        group: Group = []
        for task, content in zip(tasks, contents, strict=True):
            try:
                group.append((task.number, self._job(task, content)))
            except ImageError as error:
                yield task.number, Outcome(task.job[0], "failed", str(error))
        jobs = {task.number: task.job for task in tasks}
        known = {job[0]: _known_as(jobs[number][0]) for number, job in group}
        part = Part(self.shard, [line for task in tasks for line in task.lines], known)
        done = list(engine(replace(self.request, out=self.here), part)([group])) if group else []
        if isinstance(self.out, Url) and not self.request.dry_run:
            done = self._given(self.out, done, dict(group))
        for number, outcome in done:
            yield number, self._named(jobs[number], outcome, earlier)

    def _job(self, task: Task, content: bytes | None) -> Job:
        """The job with files of this machine. Raises ImageError for what cannot be had, OSError if there is no room for it."""
        source, output = task.job
        copy, to = self.folder / "in" / str(task.number) / source.name, self.here / output.relative_to(self.out)
        if isinstance(output, Url):
            with _of_the_store("be written to", output):
                if not store.fetch(output, to):
                    self.absent.add(task.number)
        if content is not None:
            copy.parent.mkdir(parents=True)
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
        noted, told = False, []
        for number, outcome in done:
            if outcome.fate == "done":
                file = jobs[number][1]
                try:
                    if not noted:
                        with _of_the_store("be written to", out / self.notes):
                            store.put(self.here / self.notes, out / self.notes)
                        noted = True
                    place = out / file.relative_to(self.here)
                    with _of_the_store("be written to", place):
                        store.put(file, place, number not in self.absent or self.request.overwrite)
                except ImageError as error:
                    outcome = replace(outcome, fate="failed", reason=str(error))
            told.append((number, outcome))
        return told

    def _named(self, job: Job, outcome: Outcome, earlier: Mapping[str, object]) -> Outcome:
        """The outcome in the words of who gave the job. What an earlier attempt of the same command has done, the command has done."""
        source, output = job
        if outcome.reason == DONE and output.relative_to(self.out).as_posix() in earlier:
            outcome = replace(outcome, fate="done", reason="")
        reason = outcome.reason.replace(str(self.here), str(self.out))
        return replace(outcome, source=source, output=output if outcome.fate == "done" else None, reason=reason)


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
        if error.errno == errno.ENOSPC:
            raise
        raise ImageError(f"cannot {what} ({place}: {error.strerror}); check what gives access to it.") from None
