"""Files that are whole or absent: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import BadSetting

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ENDING = ".unnoise-tmp"  # of a file that is being written; nobody else's ends so


def _link(aside: Path, path: Path) -> None:
    """Give the file its name unless that is taken, even by somebody who took it this moment."""
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(aside, path)


@contextlib.contextmanager
def writing(path: Path, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A file to write and seek in, that becomes `path` at the end, so that a reader, or a crash, never meets half of it.

    The folder is made if it is missing. Raises OSError (a full disk, a read-only folder), and FileExistsError when the
    file is there and `overwrite` is false; either way, and when the caller fails, the old file, if any, is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:48]}.{secrets.token_hex(4)}{ENDING}")  # at most 255 bytes, whatever the name
    try:
        with open(aside, "x+b") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                lock(file.fileno(), wait=True)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file; elsewhere the lock is held to the end
            if overwrite:
                os.replace(aside, path)
            else:
                _link(aside, path)
    except OSError as error:
        if str(error.filename) == str(aside):
            error.filename = str(path)  # the name that its reader knows
        raise
    finally:
        with contextlib.suppress(OSError):  # it has its name; or what went wrong before is what is told
            aside.unlink()


def write_bytes(path: Path, data: bytes, overwrite: bool = True) -> None:
    """Write `data` to `path`, whole or not at all: `writing` for what is in memory."""
    with writing(path, overwrite) as file:
        file.write(data)


def lock(file: int, wait: bool = False) -> None:
    """Hold an open file or folder until it is closed, or this process ends, however it ends.

    Raises BlockingIOError if another holds it, and OSError where the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def held(folder: Path, refusal: str) -> Iterator[None]:
    """Hold a folder for this process alone, until it ends, however it ends. Raises BadSetting(refusal) if another holds it.

    The lock is on the folder itself: a lock file would be one more file to leave behind.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a folder that cannot be read, a system or file system without such locks
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                lock(handle)
            except BlockingIOError:
                raise BadSetting(refusal) from None
        yield


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left in a folder; a file that is still being written is locked, and stays."""
    with contextlib.suppress(OSError):
        for stray in folder.glob(f".*{ENDING}"):
            if stray.is_file() and not stray.is_symlink():  # opening a pipe would hang
                with contextlib.suppress(OSError), open(stray, "rb") as file:
                    lock(file.fileno())
                    stray.unlink()
