"""A batch on several processes of one machine: an engine for `batch.for_each`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from .batch import DONE, Engine, Group, Outcome, Work
from .errors import UnnoiseError

TRIES = 2  # of a group whose process ends
PATIENCE = 4  # seconds that a process has to end tidily
Begin = Callable[..., Work]


def engine(count: int, begin: Begin, *settings: Any) -> Engine:
    """Up to `count` processes, each of which works as `begin(*settings)` says: both are pickled.

    A group whose process ends, killed for want of memory for one, is given to a new one, once; then its files have failed. Raises
    UnnoiseError if a process ends before it has begun.
    """

    def run(groups: Sequence[Group]) -> Iterator[tuple[int, Outcome]]:
        waiting = deque(groups)
        workers: list[_Worker] = []
        try:
            while waiting or any(worker.holds for worker in workers):
                while len(workers) < min(count, len(waiting) + sum(worker.holds is not None for worker in workers)):
                    workers.append(_Worker(begin, *settings))
                for worker in workers:
                    if waiting and not worker.holds:
                        worker.take(waiting.popleft())
                heard = wait([worker.pipe for worker in workers if worker.holds])
                for worker in [worker for worker in workers if worker.pipe in heard]:
                    assert worker.holds
                    group, tries = worker.holds
                    told = worker.answer()
                    if told is not None:
                        yield from (_seen_again(*one, group) for one in told) if tries > 1 else told
                        continue
                    workers.remove(worker)
                    if tries < TRIES:  # by a new one, which knows what the ledger says now
                        workers.append(_Worker(begin, *settings))
                        workers[-1].take(group, tries + 1)
                    else:
                        yield from ((number, Outcome(source, "failed", ENDED)) for number, (source, *_) in group)
        finally:
            for worker in workers:
                worker.end()

    return run


ENDED = "ended the process that tried it, twice; it may want more memory than there is: give fewer --processes, or a smaller --tile."


class _Worker:
    """A process, and the group that it is at work on, with how often that was tried. It ends with the process that started it, however that ends."""

    def __init__(self, begin: Begin, *settings: Any) -> None:
        context = multiprocessing.get_context("spawn")  # the fork of a process with threads may never go on
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, begin, *settings), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is heard
        self.ready = False
        self.holds: tuple[Group, int] | None = None

    def take(self, group: Group, tries: int = 1) -> None:
        self.holds = group, tries
        with contextlib.suppress(OSError):  # it has ended, which is heard next
            self.pipe.send(group)

    def answer(self) -> list[tuple[int, Outcome]] | None:
        """What it tells, nothing if that is only that it has begun; None if it has ended. Raises UnnoiseError if it never began."""
        try:
            told: list[tuple[int, Outcome]] = self.pipe.recv()
        except (EOFError, OSError):
            self.end()
            if not self.ready:
                raise UnnoiseError(
                    "a process ended before it could begin, perhaps for want of memory; give --processes 1."
                ) from None
            return None
        if self.ready:
            self.holds = None
        self.ready = True
        return told

    def end(self) -> None:
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _seen_again(number: int, outcome: Outcome, group: Group) -> tuple[int, Outcome]:
    """What a process had finished, but not told before it ended, is done, though the next one finds it so already."""
    output = dict(group)[number][1]
    return number, replace(outcome, fate="done", reason="", output=output) if outcome.reason == DONE else outcome


def _work(pipe: Any, begin: Begin, *settings: Any) -> None:
    """In the process: begin, then do one group after another until there is nobody to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the process that started this one then ends it
    signal.signal(signal.SIGTERM, _stopped)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        work = begin(*settings)
        pipe.send([])
        while True:
            pipe.send([*work.do(pipe.recv())])


def _stopped(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)  # unwinds, so that no half file stays


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)  # also in the middle of a picture: the next command may be at it
