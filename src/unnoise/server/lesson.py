"""The one model that is being trained for the page, or was last: its process, what it tells, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from .. import runs
from .guard import Refused
from .jobs import Told, remove

FILES, LONGEST = 16, 10.0  # pictures, and minutes, that a training may have
KEPT = 16  # models that are kept, until the server ends
SPARE = 120  # seconds that a training may take beyond its minutes, for its start and end; and to end, once it is asked to
BUSY = ("starting", "learning", "stopping")


class Lesson:
    """Trains one model at a time. folder: where everything lies. models: path by name; each model that is done is added."""

    def __init__(self, folder: Path, threads: int, models: dict[str, str]) -> None:
        self.folder, self.models, self.number = folder, models, 0
        self.done: dict[str, Path] = {}  # the files of the models that were trained here
        self.threads = threads or max((os.cpu_count() or 1) - 1, 1)
        self.run = folder / "none"
        self.told: Told = {"state": "none", "words": absent()}
        self.process: asyncio.subprocess.Process | None = None
        self.asked = False  # it, to stop
        self.task: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raises Refused unless a model may be trained now."""
        if words := absent():
            raise Refused(501, words)
        if self.told["state"] in BUSY:
            raise Refused(409, "A model is being trained; stop it first.")
        if len(self.done) >= KEPT:
            raise Refused(409, f"{KEPT} models have been trained; download those that you need, and start unnoise again.")

    def begin(self, place: Path, settings: dict[str, Any]) -> None:
        """Train as the settings say on the files `in`, `in1`, ... of a folder, which becomes the training's own. Raises Refused."""
        self.check()
        self.number += 1
        while f"trained-{self.number}" in self.models:  # one of the user's own
            self.number += 1
        ours, self.run = self.folder / f"lesson-{self.number}", self.folder / f"trained-{self.number}"
        place.rename(ours)
        files = sorted(map(str, ours.glob("in*")), key=lambda name: (len(name), name))
        task = {"files": files, "place": str(ours), "run": str(self.run), "threads": self.threads, **settings}
        self.told, self.process, self.asked = {"state": "starting", "words": ""}, None, False
        self.task = asyncio.create_task(self._train(task))

    def state(self) -> Told:
        """How far it is: see `openapi`. The points of the curves are the lines of the run's metrics of which there is a crop."""
        newest = max((int(path.stem) for path in self._samples()), default=0)
        lines = [line for line in runs.metrics(self.run) if line["step"] <= newest]
        points = [{key: _finite(line.get(key)) for key in ("step", "seconds", "loss", "psnr")} for line in lines]
        return {"model": "", "step": 0, "steps": 0, "seconds_left": None, "noisy_psnr": None, **self.told, "points": points}

    def sample(self) -> bytes:
        """The newest crop, noisy, restored and clean, as a PNG. Raises Refused if there is none yet."""
        with contextlib.suppress(OSError):
            if found := self._samples():
                return found[-1].read_bytes()
        raise Refused(404, "There is no crop yet; ask again in a few seconds.")

    def _samples(self) -> list[Path]:
        """The crops, oldest first; each is named after its step."""
        return sorted((self.run / "samples").glob("[0-9]*.png"))

    def stop(self) -> None:
        """Ask it to keep the model as it stands. Raises Refused if nothing is being trained."""
        if self.told["state"] not in BUSY:
            raise Refused(409, "No model is being trained.")
        self.told |= {"state": "stopping"}
        if self.process and self.process.stdin and not self.asked:  # else it is asked once it is there
            self.asked = True
            with contextlib.suppress(OSError, RuntimeError):
                self.process.stdin.write(b"stop\n")
            asyncio.get_running_loop().call_later(SPARE, self._kill, self.process)

    async def end(self) -> None:
        """End it at once, with nothing kept."""
        if self.task and not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})

    async def _train(self, task: dict[str, Any]) -> None:
        timer = asyncio.get_running_loop().call_later(60 * task["minutes"] + SPARE, self.stop)
        try:
            told = await self._told(task)
        except OSError as error:
            told = {"error": f"this computer cannot start the process that trains ({error.strerror})."}
        except Exception as error:
            told = {"error": f"training ended by a fault ({type(error).__name__})."}
        finally:
            timer.cancel()
            if self.process:
                self._kill(self.process)
                await self.process.wait()
            await run_in_threadpool(remove, Path(task["place"]))
        if "done" in told:
            await run_in_threadpool(_without_rest, self.run)
            self.models[self.run.name], self.done[self.run.name] = str(self.run), self.run / "model.onnx"
            done = told["done"]
            self.told |= {"state": "done", "model": self.run.name, "noisy_psnr": _finite(done["noisy_psnr"])}
            self.told |= {"step": done["steps"], "steps": done["steps"], "seconds_left": 0}
        else:
            await run_in_threadpool(remove, self.run)
            words = str(told.get("error", "the process that trained has ended before its time."))
            self.told |= {"state": "failed", "words": words[:1].upper() + words[1:]}

    async def _told(self, task: dict[str, Any]) -> Told:
        """The last that a process tells of the task, nothing if it says nothing; how far it is, is told on."""
        command = [sys.executable, "-P", "-m", "unnoise.server.learner"]  # -P: no module of the working directory
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        ours = {**os.environ, "TMPDIR": task["place"]}  # torch leaves folders there
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=nowhere, start_new_session=True, env=ours, limit=2**20
        )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(task).encode() + b"\n")
        if self.told["state"] == "stopping":
            self.stop()
        told: Told = {}
        while line := await self.process.stdout.readline():
            told = json.loads(line)
            if "step" in told:
                self.told |= told | {"state": self.told["state"].replace("starting", "learning")}
        return told

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def absent() -> str:
    """A sentence if what training needs is not installed."""
    if importlib.util.find_spec("torch"):
        return ""
    return 'Training a model needs torch; install it with: pip install "unnoise[train]".'


def _finite(value: Any) -> Any:
    """A number as JSON has it: None for what is not finite."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _without_rest(run: Path) -> None:
    """Of a run, leave the model and what it shows."""
    shutil.rmtree(run / "tensorboard", ignore_errors=True)
    for checkpoint in run.glob("checkpoint-*"):
        checkpoint.unlink()
