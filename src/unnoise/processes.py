"""A batch on several processes of one machine: an engine for `batch.for_each`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any

from .batch import DONE, Engine, Group, Outcome, Outcomes, Work
from .errors import UnnoiseError

PATIENCE = 3  # seconds that processes have to end tidily
ENDED = "ended the process that tried it, twice, the second time alone; give a smaller --tile, or leave it out."
UNBEGUN = "a process ended before it could begin, perhaps for want of memory; give --processes 1."
Begin = Callable[..., Work]


def engine(count: int, begin: Begin, *settings: Any) -> Engine:
    """Up to `count` processes, each of which works as `begin(*settings)` says: both are pickled.

    What a process leaves behind that ends, killed for want of memory for one, is done at last by one process alone; what ends that too has
    failed. Raises what the work raises, and UnnoiseError if no process can begin.
    """

    def run(groups: Sequence[Group]) -> Outcomes:
        left: list[Group] = []
        yield from _round(groups, min(count, len(groups)), left, begin, *settings)
        again, failed = {number: job for group in left for number, job in group}, list[Group]()
        for number, outcome in _round([[one] for one in again.items()], 1, failed, begin, *settings):
            if outcome.reason == DONE:  # a process had finished it, and ended before it told
                outcome = replace(outcome, fate="done", reason="", output=again[number][1])
            yield number, outcome
        yield from ((number, Outcome(source, "failed", ENDED)) for [(number, (source, *_))] in failed)

    return run


def _round(groups: Sequence[Group], count: int, left: list[Group], begin: Begin, *settings: Any) -> Outcomes:
    """What becomes of the groups; `left` takes those, or what remains of them, whose process has ended."""
    waiting, workers, begun = deque(groups), list[_Worker](), False
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                workers.append(_Worker(waiting.popleft(), begin, *settings))
                workers[-1].start()
            heard = wait([worker.pipe for worker in workers])
            for worker in [worker for worker in workers if worker.pipe in heard]:
                try:
                    told = worker.pipe.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    _end([worker])
                    if not begun:
                        raise UnnoiseError(UNBEGUN) from None
                    if not worker.begun:
                        count = max(count - 1, 1)  # there is no room for so many
                    left += [worker.group] if worker.group else []
                    continue
                if isinstance(told, Exception):
                    raise told
                begun = worker.begun = True  # None says so, and after that the end of a group
                if told is not None:
                    worker.group = [one for one in worker.group if one[0] != told[0]]
                    yield told
                elif not worker.group and waiting:
                    worker.take(waiting.popleft())
                elif not worker.group:
                    workers.remove(worker)
                    _end([worker])
    finally:
        _end(workers)


class _Worker:
    """A process, and what it has still to tell of its group. It ends with the process that started it, however that ends."""

    def __init__(self, group: Group, begin: Begin, *settings: Any) -> None:
        context = multiprocessing.get_context("spawn")  # the fork of a process with threads may never go on
        self.pipe, self.theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(self.theirs, begin, *settings), daemon=True)
        self.group, self.begun = group, False

    def start(self) -> None:
        with _held(), _deaf():
            self.process.start()
        self.theirs.close()  # so that its end is heard
        self.take(self.group)

    def take(self, group: Group) -> None:
        self.group = group
        with contextlib.suppress(OSError):  # it has ended, which is heard next
            self.pipe.send(group)


def _end(workers: Sequence[_Worker]) -> None:
    """End them all, tidily where they manage that in time."""
    workers = [worker for worker in workers if worker.process.pid]
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.process.join(max(deadline - time.monotonic(), 0))
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Ctrl-C and SIGTERM are answered when this is over, by the main thread, which alone hears them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in [number for number, handler in before.items() if callable(handler)]:
            signal.signal(number, lambda number, _: heard.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for again in heard:
        signal.raise_signal(again)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """What is started meanwhile never hears Ctrl-C, which reaches all processes of a terminal: the one that started it ends it."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # to start it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited, as handlers are not
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Any, begin: Begin, *settings: Any) -> None:
    """In the process: begin, say so, then tell of each job of one group after another, until there is nobody to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stopped)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        try:
            work = begin(*settings)
            pipe.send(None)
            while True:
                for told in work.do(pipe.recv()):
                    pipe.send(told)
                pipe.send(None)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise  # the one that started this is gone
        except Exception as error:  # of the command, not of one picture
            pipe.send(error)


def _stopped(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)  # unwinds, so that no half file stays


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)  # also in the middle of a picture: the next command may be at it
