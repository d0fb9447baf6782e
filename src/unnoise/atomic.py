"""Files that are whole or absent: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


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
    aside = path.with_name(f".{path.name[:64]}.{os.getpid()}.tmp")
    try:
        with open(aside, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(aside, path)
        else:
            _link(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()


def write_bytes(path: Path, data: bytes, overwrite: bool = True) -> None:
    """Write `data` to `path`, whole or not at all: `writing` for what is in memory."""
    with writing(path, overwrite) as file:
        file.write(data)
