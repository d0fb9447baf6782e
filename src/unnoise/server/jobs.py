"""What is to be done: a queue with an end, the process that does it, and the folder where files are meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import BadSetting
from .guard import Refused, busy

PLACES = 32  # jobs that wait or are being done; one more is refused
STILL = 120  # seconds without a sign of life, after which a job is given up
FOLDER = "unnoise-serve-"

Told = dict[str, Any]


class Jobs:
    """Does one job after another, each in a process of its own kind, that is started again when it ends or is ended.

    settings: what `worker` reads first. One process alone: a picture takes all the threads, as on the command line.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.turn = asyncio.Lock()  # lets those who wait go on in the order they came in
        self.taken = 0
        self.progress: dict[str, Told] = {}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process. Raises BadSetting if it cannot work with the settings."""
        command = [sys.executable, "-P", "-m", "unnoise.server.worker"]  # -P: no module of the working directory
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=nowhere, start_new_session=True, limit=2**20
        )
        told = await self._ask(self.settings)
        if not told or "error" in told:
            raise BadSetting(told["error"] if told else "the process that does the work ended at once; install unnoise again.")

    def full(self) -> bool:
        return self.taken >= PLACES

    async def do(self, job: dict[str, Any], key: str = "") -> Told:
        """What came of a job. Raises Refused: 503 where there is no place, 422 where it cannot be done. Cancelled, it stops.

        `progress` tells meanwhile how far it is, if it has a key.
        """
        if self.full():
            raise busy("Too many pictures are waiting; send it again in a few seconds.")
        self.taken += 1
        self._is(key, "waiting")
        try:
            async with self.turn:
                self._is(key, "working")
                told = await self._done(job, key)
        finally:
            self.taken -= 1
            self.progress.pop(key, None)
        if "error" in told:
            raise busy(told["error"]) if told.get("full") else Refused(422, told["error"])
        done: Told = told["done"]
        return done

    async def end(self) -> None:
        """End the process at once, and wait until it writes no more, even if this is cancelled meanwhile."""
        if self.process is None:
            return
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        try:
            await self.process.wait()
        except asyncio.CancelledError:
            await self.process.wait()
            raise

    def _is(self, key: str, state: str, page: int = 1, share: float = 0.0) -> None:
        if key:
            self.progress[key] = {"state": state, "page": page, "share": share}

    async def _done(self, job: dict[str, Any], key: str) -> Told:
        for _ in range(2):  # a process that has ended while it had nothing to do is no fault of this job
            finished = False
            try:
                if self.process is None or self.process.returncode is not None:
                    await self.start()
                told = await self._ask(job)
                if not told:
                    continue
                while told and not {"done", "error"} & told.keys():
                    if "share" in told:
                        self._is(key, "working", **told)
                    told = await self._heard()
                finished = bool(told)
                return told or {"error": "The file could not be processed: it ended the process that tried."}
            except TimeoutError:
                return {"error": f"The file could not be processed: nothing has happened for {STILL} seconds."}
            finally:
                if not finished:
                    await self.end()
        return {"error": "The file could not be processed: the process that does it ends at once."}

    async def _ask(self, what: dict[str, Any]) -> Told | None:
        assert self.process
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
            await self.process.stdin.drain()
        return await self._heard()

    async def _heard(self) -> Told | None:
        """The next line; None if the process has ended. Raises TimeoutError."""
        assert self.process
        assert self.process.stdout
        async with asyncio.timeout(STILL):
            line = await self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        told: Told = json.loads(line)
        return told


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user may look into, gone at the end; what servers that were killed left behind goes first."""
    _sweep()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER))
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a system without such locks
                handle = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, handle)
                atomic.lock(handle)
            if not folder.exists():
                continue  # another server took it for an old one, before it was locked
            try:
                yield folder
            finally:
                remove(folder)
            return


def remove(folder: Path) -> None:
    """Remove a folder, also while a process that was killed a moment ago makes its last file there."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _sweep() -> None:
    """Remove the folders of servers that are no more: the lock of one that lives is held."""
    if not hasattr(os, "getuid"):
        return  # Windows has no such locks
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            stack.callback(os.close, handle)
            if os.fstat(handle).st_uid == os.getuid():
                atomic.lock(handle)
                shutil.rmtree(folder, ignore_errors=True)
