"""A batch on Ray: an engine for `batch.for_each` whose work is done by processes on one machine or many.

Ray Data carries the batch: jobs are put together to shards of about as many megapixels, a task reads the files of a shard, an actor with
the model loaded cleans them, and Ray does anew what a machine leaves behind that is gone. An output has its name at once and whole,
and a note in the ledger before that, as on one machine; so a shard that is done twice finds what it had done.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, atomic, auto, bundled, desk, processes, store
from .batch import Engine, Group, Job, Outcome, Outcomes, Work
from .desk import Task
from .errors import ModelError, UnnoiseError
from .joining import machines, sentence
from .ledger import Ledger, Part
from .store import Sizes, Url

if TYPE_CHECKING:
    from .cleaning import Request

Begin = Callable[[Any, Any, Part], Work]  # of a request, its models and a part of the ledger

SHARD = 8.0  # megapixels that are handed out together: some seconds of work
TURNS = 4  # at least, of every worker: so that they end at about the same time
EACH = 0.1  # megapixels that a picture costs beside its own, for its file and a look at its noise
CARRIED = 2**26  # bytes of a file that Ray carries to who cleans it; a larger one is fetched there
PATIENCE = 3  # seconds in which the workers of a command are known, to be ended
WAVE, WAVES = 4096, 64  # shards that Ray knows of at a time: so many, or so many of each worker
READING = 0.1  # of a core, for a task that reads


@dataclass(frozen=True)
class Order:
    """What every worker is told once, with whole paths. `begin` gives the work of a part of the ledger; `identity`: of the model; `roll`: see _Roll; `run`: a name that
    no other command has; `full`: machines that have no room."""

    request: Request
    begin: Begin
    identity: Any
    threads: int
    roll: Any
    run: str
    full: frozenset[str] = frozenset()
    version: str = __version__


def engine(request: Request, begin: Begin, identity: Any, ledger: Ledger, cores: Sequence[int], sizes: Sizes) -> Engine:
    """What the request asks for, on as many workers as there are cores, those of each machine, or as it says.

    ledger: the whole one, which is only read. sizes: in bytes and megapixels, of the sources that are not on this machine.

    What a full disk has stopped on one machine is done by the others. Ray is left at the end. Raises UnnoiseError where it gives up.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    named = request.model in (auto.AUTO, *bundled.names()) or not Path(request.model).exists()
    model = request.model if named else str(Path(request.model).absolute())
    whole = replace(request, photos=(), out=_whole(request.out), model=model)  # workers stand in other folders
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    roll = ray.remote(_Roll).options(num_cpus=0, scheduling_strategy=here).remote()

    def run(groups: Sequence[Group]) -> Outcomes:
        jobs = {number: job for group in groups for number, job in group}
        elsewhere = [[(number, tuple(map(_whole, job))) for number, job in group] for group in groups]
        try:
            with contextlib.closing(in_rounds(elsewhere)) as outcomes:
                for number, outcome in outcomes:
                    yield number, _as_given(outcome, jobs[number], request, whole)
        finally:  # nothing more is handed out, and
            _end(roll)
            ray.shutdown()
            desk.left_by_all(ledger.run)
            for folder in {output.parent for _, *outputs in jobs.values() for output in outputs} if not request.dry_run else ():
                atomic.sweep(folder)  # what a worker has left that was killed

    def in_rounds(groups: Sequence[Group]) -> Outcomes:
        count, left = min(request.processes or sum(cores), len(groups)), groups
        threads = max(min(sum(cores) // max(count, 1), *cores), 1)
        full: set[str] = set()
        while left:
            order = Order(whole, begin, identity, threads, roll, f"{ledger.run}-{len(full)}", frozenset(full))
            stopped: dict[int, Outcome] = {}
            with contextlib.closing(_done(left, order, ledger, count, sizes)) as done:
                for number, outcome, node in done:
                    if outcome.full:
                        full.add(node)
                        stopped[number] = outcome
                    else:
                        yield number, outcome
            if full >= {node["NodeID"] for node in machines() if node["Resources"].get("CPU")}:
                yield from stopped.items()
                return
            some = [[(number, job) for number, job in group if number in stopped] for group in left]
            left = [group for group in some if group]

    return run


class _Roll:
    """An actor that knows the workers of a command, to end them with it."""

    def __init__(self) -> None:
        self.workers: list[Any] = []

    def add(self, worker: Any) -> None:
        self.workers.append(worker)

    def all(self) -> list[Any]:
        return self.workers


def _end(roll: Any) -> None:
    """End the workers at once; by itself Ray lets them finish what they are at."""
    import ray

    with contextlib.suppress(ray.exceptions.RayError, RuntimeError):
        for worker in ray.get(roll.all.remote(), timeout=PATIENCE):
            with contextlib.suppress(ray.exceptions.RayError, RuntimeError):
                ray.kill(worker)


def _whole(path: Path) -> Path:
    return path if isinstance(path, Url) else path.absolute()


def _as_given(outcome: Outcome, job: Job, given: Request, whole: Request) -> Outcome:
    """With the paths as the command has them."""
    made = replace(outcome.made, by_channel=given.model) if outcome.made.by_channel == whole.model else outcome.made
    reason = outcome.reason.replace(str(whole.out), str(given.out))
    return replace(outcome, source=job[0], output=job[1] if outcome.output else None, reason=reason, made=made)


def _done(
    groups: Sequence[Group], order: Order, ledger: Ledger, count: int, sizes: Sizes
) -> Generator[tuple[int, Outcome, str], None, None]:
    """(number, outcome, the machine that tells of it) of every job."""
    import ray.data
    from ray.data import ActorPoolStrategy

    told = shards(groups, ledger, order.request.out, sizes, max(len(groups) // (TURNS * count), 1))
    at = 0
    while wave := list(islice(told, max(WAVE, WAVES * count))):
        rows = [{"shard": pickle.dumps((f"{order.run}-{at + index}", tasks))} for index, tasks in enumerate(wave)]
        at += len(wave)
        read = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _read, batch_size=1, batch_format="pyarrow", num_cpus=READING
        )
        workers = ActorPoolStrategy(min_size=1, max_size=count, initial_size=min(count, len(wave)))
        cleaned = read.map_batches(
            _Worker, fn_constructor_args=(order,), batch_size=None, batch_format="pyarrow", compute=workers,
            num_cpus=order.threads - READING,
            label_selector={"ray.io/node-id": f"!in({','.join(sorted(order.full))})"} if order.full else None,
        )  # fmt: skip
        try:
            table: Any
            for table in cleaned.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
                for outcome in table["outcome"].to_pylist():
                    yield pickle.loads(outcome)
        except Exception as error:  # Ray's own, around one of ours or not
            raise _ours(error) or UnnoiseError(f"Ray gave up ({sentence(error)}); the same command goes on.") from None


def shards(groups: Iterable[Group], ledger: Ledger, out: Path, sizes: Sizes, most: int) -> Iterator[list[Task]]:
    """The jobs in their order, as many as have SHARD megapixels together, or `most`; those of one group stay together."""
    shard: list[Task] = []
    waiting = iter(groups)
    while some := list(islice(waiting, 256)):
        jobs = [one for group in some for one in group]
        large = dict(zip([number for number, _ in jobs], _large([source for _, (source, *_) in jobs], sizes), strict=True))
        for group in some:
            for number, job in group:
                lines = ledger.lines.get(job[1].relative_to(out).as_posix(), ())
                shard.append(Task(number, job, tuple(lines), *large[number]))
            if len(shard) >= most or sum(task.megapixels + EACH for task in shard) >= SHARD:
                yield shard
                shard = []
    if shard:
        yield shard


def _large(files: Sequence[Path], sizes: Sizes) -> list[tuple[int, float]]:
    """(bytes, megapixels) of files by how they start; of those in `sizes`, all or none, that is known."""
    if sizes:
        return [sizes[file] for file in files]

    def measured(file: Path) -> tuple[int, float]:
        with contextlib.suppress(OSError), open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            return size, store.megapixels(opened.read(store.START), size)
        return 0, 0.0

    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(16) as threads:  # what Pillow thinks of large pictures
        return list(threads.map(measured, files))


def _read(table: Any) -> Any:
    """In a task: a row for each picture of a shard, with the bytes of its file; none of one that is large or cannot be read."""
    import pyarrow

    [(shard, tasks)] = [pickle.loads(one) for one in table["shard"].to_pylist()]
    contents = []
    for task in tasks:
        content = None
        if task.size <= CARRIED:
            with contextlib.suppress(OSError):
                content = _bytes(task.job[0])
        contents.append(content)
    return pyarrow.table(
        {
            "shard": pyarrow.array([shard] * len(tasks), pyarrow.string()),
            "task": pyarrow.array([pickle.dumps(task) for task in tasks], pyarrow.binary()),
            "bytes": pyarrow.array(contents, pyarrow.large_binary()),
        }
    )


def _bytes(source: Path) -> bytes:
    if not isinstance(source, Url):
        return source.read_bytes()
    with store.reached(source) as system:
        return bytes(system.cat_file(str(source)))


class _Worker:
    """In an actor: cleans the pictures of one shard after another, with one loaded model."""

    def __init__(self, order: Order) -> None:
        import ray

        if order.version != __version__:
            raise ModelError(
                f"a machine has unnoise {__version__}, and the command is of {order.version}; install the same on all."
            )
        desk.sweep()
        self.order, self.models = replace(order, roll=None), order.request.models(order.threads)  # others can hold no actor
        if self.models.identity != order.identity:
            raise ModelError(f"{order.request.model} is not on all machines the same; give a model that is, at the same path.")
        # Its process was killed, perhaps by a picture: the next shard is done in a process that may be.
        self.careful = ray.get_runtime_context().was_current_actor_reconstructed
        self.node = ray.get_runtime_context().get_node_id()
        order.roll.add.remote(ray.get_runtime_context().current_actor)

    def __call__(self, table: Any) -> Any:
        import pyarrow

        tasks = [pickle.loads(task) for task in table["task"].to_pylist()]
        try:
            with desk.place(self.order.run) as folder:
                place = desk.Desk(self.order.request, table["shard"][0].as_py(), folder)
                told = [(*one, self.node) for one in place.outcomes(tasks, table["bytes"].to_pylist(), self._engine)]
        except OSError as error:  # there is no folder to be had
            told = [(task.number, desk.failed(task, error), self.node) for task in tasks]
        self.careful = False
        return pyarrow.table({"outcome": pyarrow.array([pickle.dumps(one) for one in told], pyarrow.binary())})

    def _engine(self, request: Request, part: Part) -> Engine:
        if self.careful:
            return processes.engine(1, _begun, self.order, request, part)
        return self.order.begin(request, self.models, part).in_turn


def _begun(order: Order, request: Request, part: Part) -> Work:
    return order.begin(request, request.models(order.threads), part)


def _ours(error: BaseException) -> UnnoiseError | None:
    """The error of this package that a worker has raised; Ray carries its words alone."""
    found = re.search(r"^unnoise\.errors\.\w+: (.+)$", str(error), re.MULTILINE)
    return UnnoiseError(found[1]) if found else None
