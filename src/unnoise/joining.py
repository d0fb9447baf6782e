"""Ray, started for one command or joined where it runs, for `cluster`: quiet, and of the same version everywhere."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import __version__
from .errors import BadSetting, needed_by

PATIENCE = 10  # seconds for an address to answer
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # what begins HTTP/2: RFC 9113, 3.4
MEMORY = 2**29  # bytes of Ray's store of objects, where it is started for one command; beyond them it writes to the disk
SHORT = "/tmp" if os.path.isdir("/tmp") else None  # where sockets have names that are short enough


def check(engine: str | None) -> None:
    """Raise BadSetting or MissingExtra for an engine that cannot be had, before anything is begun."""
    if not engine:
        return
    name, _, address = engine.partition(":")
    if name != "ray":
        raise BadSetting(f"--engine {engine}: expected ray, or ray:HOST:PORT for one that runs.")
    _trust(address)
    with needed_by("--engine ray", "cluster"):
        importlib.import_module("ray")
        importlib.import_module("ray.data")
    if address:
        _answers(address)


@contextlib.contextmanager
def joined(engine: str | None, threads: int) -> Iterator[list[int]]:
    """Ray, started here for `threads`, or joined at its address: the cores of each machine; none of no engine. `check` comes before. Raises BadSetting."""
    if not engine:
        yield []
        return
    import ray

    address = engine.partition(":")[2]
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),  # where Ray tells of what it does anew
        tempfile.TemporaryDirectory(prefix="unnoise-", dir=SHORT, ignore_cleanup_errors=True) as place,
    ):
        try:
            try:
                _begin(address, threads, place)
                versions = _versions()
            except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise BadSetting(
                    f"--engine {engine} cannot be joined ({sentence(error)}); it must be the same Ray, with the same token or none: see docs/scale.md."
                ) from None
            for where, version in versions:
                if version != __version__:
                    raise BadSetting(
                        f"{where} has unnoise {version}, and this command is of {__version__}; install the same on all."
                    )
            cores = [int(node["Resources"].get("CPU", 0)) for node in machines()]
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


def _begin(address: str, threads: int, place: str) -> None:
    """Join Ray, or start it here with its files at `place`, and keep it quiet: what matters of it is told in our words."""
    import ray
    from ray.data import DataContext

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    own: dict[str, Any] = {"num_cpus": threads, "include_dashboard": False, "object_store_memory": MEMORY, "_temp_dir": place}
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with _silent():
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else own))
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
    """Raise BadSetting unless something at the address speaks HTTP/2, as Ray does; with anything else, Ray would wait for ever."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise BadSetting(f"--engine ray:{address}: expected ray:HOST:PORT, as in ray:10.0.0.1:6379.")
    try:
        with socket.create_connection((host, int(port)), PATIENCE) as there:
            there.sendall(HELLO)
            settings = there.recv(9)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadSetting(f"nobody answers at {address} ({why}); start Ray there: ray start --head --port {port}.") from None
    if settings[3:4] != HELLO[27:28] and not os.environ.get("RAY_USE_TLS"):  # the kind of its first frame
        raise BadSetting(f"what answers at {address} is not Ray; give the port of its head: ray start --head --port 6379.")


def machines() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _versions() -> list[tuple[str, str]]:
    """The address of each machine, and the version of unnoise there. Raises RayError for one that cannot be asked, new ones given a little time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    def version() -> str:  # carried there as it is: what that machine has may not know of it
        import importlib.metadata

        try:
            return importlib.metadata.version("unnoise")
        except ModuleNotFoundError:
            return "none"

    asked, found, tries = ray.remote(version), dict[str, tuple[str, str]](), 20
    while missing := [node for node in machines() if node["NodeID"] not in found]:
        tries -= 1
        on = [asked.options(num_cpus=0, scheduling_strategy=On(node["NodeID"], soft=False)).remote() for node in missing]
        for node, answer in zip(missing, on, strict=True):
            try:
                found[node["NodeID"]] = str(node["NodeManagerAddress"]), str(ray.get(answer, timeout=120))
            except ray.exceptions.RayError:
                if not tries:
                    raise
                time.sleep(0.5)
    return [*found.values()]


def sentence(error: BaseException) -> str:
    """What an error of Ray says that is one line: of a worker's traceback, the error that it is about."""
    text = re.sub(r"\x1b\[\d+m", "", str(error)).strip() or type(error).__name__
    found: list[str] = re.findall(r"^[\w.]*(?:Error|Exception|BadSetting): .+$", text, re.MULTILINE)
    return (found or text.splitlines())[0].rstrip(".")
