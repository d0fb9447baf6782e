"""Files that are whole or absent: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_bytes(path: Path, data: bytes, overwrite: bool = True) -> None:
    """Write `data` to `path` so that a reader, or a crash, never meets half a file.

    The folder is made if it is missing. Raises OSError (a full disk, a read-only folder), and FileExistsError when the
    file is there and `overwrite` is false; either way the old file, if any, is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:64]}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(aside, path)
        else:
            os.link(aside, path)  # unlike a rename, fails when the name is taken meanwhile
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
