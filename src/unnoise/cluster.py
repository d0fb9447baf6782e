"""A batch on Ray: an engine for `batch.for_each` whose work is done by processes on one machine or many.

Ray Data carries the batch: jobs are put together to shards of about as many megapixels, a task reads the files of a shard, an actor with
the model loaded cleans them, and Ray does anew what a machine leaves behind that is gone. An output has its name at once and whole,
and a note in the ledger before that, as on one machine; so a shard that is done twice finds what it had done.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pickle
import re
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, atomic, processes, store
from .batch import Engine, Group, Outcome, Outcomes, Work
from .desk import Desk, Task
from .errors import BadSetting, ModelError, UnnoiseError, needed_by
from .ledger import Ledger, Part
from .store import Sizes, Url

if TYPE_CHECKING:
    from .cleaning import Request

Begin = Callable[[Any, Any, Part], Work]  # of a request, its models and a part of the ledger

SHARD = 8.0  # megapixels that are handed out together: some seconds of work
TURNS = 4  # at least, of every worker: so that they end at about the same time
EACH = 0.1  # megapixels that a picture costs beside its own, for its file and a look at its noise
CARRIED = 2**26  # bytes of a file that Ray carries to who cleans it; a larger one is fetched there
WAVE = 4096  # shards that Ray knows of at a time
PATIENCE = 10  # seconds for an address to answer
MEMORY = 2**29  # bytes of Ray's store of objects, where it is started for one command; beyond them it writes to the disk
READING = 0.1  # of a core, for a task that reads


@dataclass(frozen=True)
class Order:
    """What every worker is told once. `begin` gives the work of a part of the ledger; `identity`: of the model; `run`: a name that no other command has;
    `full`: machines that have no room."""

    request: Request
    begin: Begin
    identity: Any
    threads: int
    run: str
    full: frozenset[str] = frozenset()
    version: str = __version__


@contextlib.contextmanager
def joined(engine: str | None, threads: int) -> Iterator[list[int]]:
    """Ray, started here for `threads`, or joined at its address: the cores of each machine; none of no engine. Raises BadSetting, MissingExtra."""
    if not engine:
        yield []
        return
    name, _, address = engine.partition(":")
    if name != "ray" or address.startswith("/"):
        raise BadSetting(f"--engine {engine}: expected ray, ray:auto for one that runs on this machine, or ray:HOST:PORT.")
    _trust(address)
    with needed_by("--engine ray", "cluster"):
        import ray
        import ray.data
    if address and address != "auto":
        _answers(address)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # where Ray tells of what it does anew
        try:
            _begin(address, threads)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BadSetting(f"--engine {engine} cannot be joined ({_sentence(error)}); see docs/scale.md.") from None
        try:
            _check_versions()
            cores = [int(node["Resources"].get("CPU", 0)) for node in _machines()]
            if not any(cores):
                raise BadSetting(f"--engine {engine}: no machine of it has a core to work on; start one: ray start --address.")
            yield [count for count in cores if count]
        finally:
            ray.shutdown()


def _trust(address: str) -> None:
    """Who may use Ray, which reads this once: of one that is joined, who has the token that `ray start` takes; of our own, nobody else."""
    if not address:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _begin(address: str, threads: int) -> None:
    """Join Ray, or start it here, and keep it quiet: what matters of it is told in our words."""
    import ray
    from ray.data import DataContext

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    own: dict[str, Any] = {} if address else {"num_cpus": threads, "include_dashboard": False, "object_store_memory": MEMORY}
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with _silent():
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
    finally:
        with contextlib.suppress(ValueError):  # only the main thread may listen; Ray has changed who does
            for number, handler in before.items():
                signal.signal(number, handler)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = None  # a shard stays whole: its notes are one file
    context.execution_no_progress_timeout_s = 24 * 3600  # a picture of many megapixels may take long


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard error: Ray's core says there which of its lines it will not say."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise BadSetting(f"--engine ray:{address}: expected ray:HOST:PORT, as in ray:10.0.0.1:6379.")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadSetting(f"nobody answers at {address} ({why}); start Ray there: ray start --head --port {port}.") from None


def _machines() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _check_versions() -> None:
    """Raise BadSetting unless each machine has this version of unnoise."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    def version() -> str:  # carried there as it is: what that machine has may not know of it
        import importlib.metadata

        try:
            return importlib.metadata.version("unnoise")
        except ModuleNotFoundError:
            return "none"

    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in _machines()}
    asked = ray.remote(version)
    asking = [asked.options(num_cpus=0, scheduling_strategy=On(node, soft=False)).remote() for node in nodes]
    for place, found in zip(nodes.values(), ray.get(asking, timeout=120), strict=True):
        if found != __version__:
            raise BadSetting(f"{place} has unnoise {found}, and this command is of {__version__}; install the same on all.")


def engine(request: Request, begin: Begin, identity: Any, ledger: Ledger, cores: Sequence[int], sizes: Sizes) -> Engine:
    """What the request asks for, on as many workers as there are cores, those of each machine, or as it says.

    ledger: the whole one, which is only read. sizes: in bytes and megapixels, of the sources that are not on this machine.

    What a full disk has stopped on one machine is done by the others. Raises UnnoiseError where Ray gives up, or all disks are full.
    """

    def run(groups: Sequence[Group]) -> Outcomes:
        count, left = min(request.processes or sum(cores), len(groups)), groups
        threads = max(min(sum(cores) // max(count, 1), *cores), 1)
        full: set[str] = set()
        while left:
            order = Order(replace(request, photos=()), begin, identity, threads, secrets.token_hex(8), frozenset(full))
            stopped: dict[int, str] = {}
            for number, outcome, where in _done(left, order, ledger, count, sizes):
                if where:
                    full.add(where)
                    stopped[number] = outcome.reason
                else:
                    yield number, outcome
            left = [group for group in left if any(number in stopped for number, _ in group)]
            if left and full >= {node["NodeID"] for node in _machines() if node["Resources"].get("CPU")}:
                raise UnnoiseError(next(iter(stopped.values())))
        for folder in {output.parent for group in groups for _, (_, *outputs) in group for output in outputs}:
            atomic.sweep(folder)  # what a worker has left that was killed

    return run


def _done(
    groups: Sequence[Group], order: Order, ledger: Ledger, count: int, sizes: Sizes
) -> Iterator[tuple[int, Outcome, str]]:
    """(number, outcome, the machine whose full disk is why) of every job."""
    import ray.data
    from ray.data import ActorPoolStrategy

    told = shards(groups, ledger, order.request.out, sizes, max(len(groups) // (TURNS * count), 1))
    at = 0
    while wave := list(islice(told, WAVE)):
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
            raise _ours(error) or UnnoiseError(f"Ray gave up ({_sentence(error)}); the same command goes on.") from None


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
    """(bytes, megapixels) of files by how they start."""

    def measured(file: Path) -> tuple[int, float]:
        with contextlib.suppress(OSError), open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            return size, store.megapixels(opened.read(store.START), size)
        return 0, 0.0

    with ThreadPoolExecutor(16) as threads:
        return [sizes[file] for file in files] if sizes else list(threads.map(measured, files))


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
        self.order, self.models = order, order.request.models(order.threads)
        if self.models.identity != order.identity:
            raise ModelError(f"{order.request.model} is not on all machines the same; give a model that is, at the same path.")
        # Its process was killed, perhaps by a picture: the next shard is done in a process that may be.
        self.careful = ray.get_runtime_context().was_current_actor_reconstructed

    def __call__(self, table: Any) -> Any:
        import pyarrow
        import ray

        tasks = [pickle.loads(task) for task in table["task"].to_pylist()]
        try:
            with tempfile.TemporaryDirectory(prefix="unnoise-") as folder:
                desk = Desk(self.order.request, table["shard"][0].as_py(), Path(folder))
                told = [(*one, "") for one in desk.outcomes(tasks, table["bytes"].to_pylist(), self._engine)]
                if any(_full(outcome.reason) for _, outcome, _ in told) and desk.here != desk.out:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            node = ray.get_runtime_context().get_node_id()
            reason = f"{socket.gethostname()} has no room to work ({error.strerror}); free some space there, or set TMPDIR to a disk that has."
            told = [(task.number, Outcome(task.job[0], "failed", reason), node) for task in tasks]
        self.careful = False
        return pyarrow.table({"outcome": pyarrow.array([pickle.dumps(one) for one in told], pyarrow.binary())})

    def _engine(self, request: Request, part: Part) -> Engine:
        if self.careful:
            return processes.engine(1, _begun, self.order, request, part)
        return self.order.begin(request, self.models, part).in_turn


def _full(reason: str) -> bool:
    return os.strerror(errno.ENOSPC) in reason


def _begun(order: Order, request: Request, part: Part) -> Work:
    return order.begin(request, request.models(order.threads), part)


def _sentence(error: BaseException) -> str:
    """What an error of Ray says that is one line: of a worker's traceback, the error that it is about."""
    text = re.sub(r"\x1b\[\d+m", "", str(error)).strip() or type(error).__name__
    found: list[str] = re.findall(r"^[\w.]*(?:Error|Exception|BadSetting): .+$", text, re.MULTILINE)
    return (found or text.splitlines())[0].rstrip(".")


def _ours(error: BaseException) -> UnnoiseError | None:
    """The error of this package that a worker has raised; Ray carries its words alone."""
    found = re.search(r"^unnoise\.errors\.\w+: (.+)$", str(error), re.MULTILINE)
    return UnnoiseError(found[1]) if found else None
