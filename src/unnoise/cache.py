"""Decoded pictures on the disk, so that a second run over the same files neither opens nor decodes them.

A cache is a folder of stores. A store is what one run decoded: NAME.pixels, the pictures one after another as they lie in memory,
and NAME.jsonl, a line for each file, which says what the file was (size, time of change) and where its pictures are. Pixels are on
the disk before the line that speaks of them, and half a line, as a killed run leaves it, is passed over. A store that does not
change any more is read by any number of runs; one run at a time adds a new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import __version__, atomic, image
from .errors import ImageError
from .image.picture import LUMA, WHOLE, as_floats, without_alpha

Array = npt.NDArray[Any]
LAYOUT = 1  # of the stores, and of how files become pictures: another number, and all is decoded anew
SPARE = 2 * 10**9  # bytes of the disk that the cache leaves free
PASSING = ("cannot be opened", "needs more memory")  # reasons of the moment, not of the file: not kept
SYNC_EVERY = 2.0  # seconds of decoding that a power cut may cost
GRID = 64  # bytes: pictures begin on multiples of it


class Stored(NamedTuple):
    """A picture's shape and type, and where its pixels are; `store` is empty if they lie in no store."""

    shape: list[int]
    kind: str
    store: str = ""
    offset: int = 0

    @property
    def size(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.kind).itemsize


class Line(NamedTuple):
    """What became of a file: its pages and the SHA-256 of their pixels, or why it was refused.

    `reader`: the version and the limit of pixels under which it was refused. `picture`: whether its first bytes are a picture's.
    """

    path: str
    size: int
    changed: int
    pages: list[Stored]
    sha256: str = ""
    refused: str = ""
    reader: str = ""
    picture: bool = True


def decoded(file: Path, channels: str, limit: int) -> Iterator[Array]:
    """The pages or frames of a file as a model of `channels` learns from them: (H, W) or (H, W, 3), uint8 or uint16.

    Alpha is dropped; in gray if the model is. Raises ImageError, also for floats outside [0, 1].
    """
    with contextlib.closing(image.pages(file, limit)) as pages:
        for page in pages:
            pixels = page.pixels.whole()
            if page.floating and not (pixels.min() >= 0 and pixels.max() <= 1):
                raise ImageError(
                    f"holds values from {pixels.min():g} to {pixels.max():g}; scale them to 0..1 to learn from it."
                )
            pixels = without_alpha(pixels)
            kind = np.dtype(np.uint8 if page.depth <= 8 else np.uint16)
            if pixels.ndim == 3 and channels == "gray":
                pixels = as_floats(pixels) @ LUMA
            if pixels.dtype != kind:
                pixels = np.rint(as_floats(pixels) * WHOLE[kind]).astype(kind)
            yield np.ascontiguousarray(pixels)


def content(file: Path, channels: str, limit: int) -> str:
    """The SHA-256 of all that a file shows to a model of `channels`. Raises ImageError."""
    digest = hashlib.sha256()
    for pixels in decoded(file, channels, limit):
        note(digest, pixels)
    return digest.hexdigest()


def note(digest: Any, pixels: Array) -> None:
    """Add a page to the SHA-256 of its file's content."""
    digest.update(f"{pixels.shape} {pixels.dtype.str}".encode())
    digest.update(pixels.data)


@dataclass(frozen=True, eq=False)
class Streamed:
    """A picture that did not fit into the cache: decoded whenever it is drawn."""

    file: Path
    page: int
    line: Line
    channels: str
    limit: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.line.pages[self.page].shape)

    def read(self) -> Array:
        """Its pixels. Raises ImageError if they can no longer be had, or are not those of before."""
        if _stamp(self.file) != (self.line.size, self.line.changed):
            raise ImageError("has changed since the run began, or is gone; restore it.")
        for index, pixels in enumerate(decoded(self.file, self.channels, self.limit)):
            if index == self.page:
                return pixels
        raise ImageError("has fewer pages than before; restore it.")


class Cache:
    """The stores of a folder, for pictures as a model of `channels` learns from them, of at most `limit` pixels each.

    All stores together take at most `room` bytes: those that no run has used for longest make way.
    """

    def __init__(self, folder: Path, channels: str, limit: int, room: int) -> None:
        self.folder, self.channels, self.limit, self.room = folder, channels, limit, room
        self.lines: dict[str, Line] = {}  # by path
        self.twins: dict[str, list[Stored]] = {}  # pages by their SHA-256: a copy of a picture is stored once
        self.sizes: dict[str, int] = {}  # of the stores in bytes, the one that was used longest ago first
        self.used: set[str] = set()
        self.maps: dict[str, Array] = {}
        self.writer: _Writer | None = None
        self.closed = False  # nothing more can be stored

    def look(self, files: Sequence[Path]) -> list[Line]:
        """What is known of each file; those that are new or changed are decoded, and stored where there is room."""
        self._index()
        found = [self._known(file) for file in files]
        if None in found:
            with _alone(self.folder):
                self._index()  # what another run has done meanwhile need not be done again
                found = [self._known(file) for file in files]
                self.used = {page.store for line in found if line for page in line.pages}
                try:
                    found = [line or self._taken(file) for line, file in zip(found, files, strict=True)]
                finally:
                    self._finish()
        lines = [line for line in found if line]
        for store in {page.store for line in lines for page in line.pages if page.store}:
            with contextlib.suppress(OSError):
                os.utime(self._at(store, "jsonl"))
        return lines

    def pictures(self, file: Path, line: Line) -> list[Array | Streamed]:
        """The pages of a file: views of a store, or what decodes them when they are drawn."""
        return [self._picture(page, file, index, line) for index, page in enumerate(line.pages)]

    def _picture(self, page: Stored, file: Path, index: int, line: Line) -> Array | Streamed:
        if self._held([page]):
            with contextlib.suppress(OSError):  # another run may just have made room by this store
                return self._view(page)
        return Streamed(file, index, line, self.channels, self.limit)

    def _view(self, page: Stored) -> Array:
        if page.store not in self.maps:
            self.maps[page.store] = np.asarray(np.memmap(self._at(page.store, "pixels"), np.uint8, "r"))
        pixels = self.maps[page.store][page.offset : page.offset + page.size]
        return pixels.view(page.kind).reshape(page.shape)

    # --- what is known -------------------------------------------------------------------------------------------------------

    def _index(self) -> None:
        """Read the lines of all stores; of several about one file, the newest counts."""
        self.lines, self.sizes, stores = {}, {}, []
        for pixels in self.folder.glob("*-*/*.pixels"):
            with contextlib.suppress(OSError):  # another run may be removing it
                index = pixels.with_suffix(".jsonl")
                stores.append((_stamp(index)[1], pixels.stat().st_size, index))
        for _, size, index in sorted(stores):
            self.sizes[f"{index.parent.name}/{index.stem}"] = size
            if index.parent.name == self._kind:
                self.lines |= {line.path: line for line in _lines(index)}
        self.twins = {line.sha256: line.pages for line in self.lines.values() if line.pages and self._held(line.pages)}

    def _known(self, file: Path) -> Line | None:
        """The line about a file, if it still holds, and the file's pixels are stored or would not fit."""
        line = self.lines.get(os.path.abspath(file))
        if line is None or (line.size, line.changed) != _stamp(file):
            return None
        if line.refused:
            return line if line.reader == self._reader else None
        if any(page.shape[0] * page.shape[1] > self.limit for page in line.pages):
            return None
        return line if self._held(line.pages) or not self._fits(sum(page.size for page in line.pages)) else None

    def _held(self, pages: list[Stored]) -> bool:
        return all(page.offset + page.size <= self.sizes.get(page.store, -1) for page in pages)

    @property
    def _kind(self) -> str:
        return f"{self.channels}-{LAYOUT}"

    @property
    def _reader(self) -> str:
        return f"{__version__} {self.limit}"

    def _at(self, store: str, ending: str) -> Path:
        return self.folder / f"{store}.{ending}"

    # --- what is new ---------------------------------------------------------------------------------------------------------

    def _taken(self, file: Path) -> Line:
        """Decode a file, its pages going into the store one by one, and let them go again unless all of them fit."""
        size, changed = _stamp(file)
        line, pages, digest = Line(os.path.abspath(file), size, changed, []), [], hashlib.sha256()
        start = self.writer.end if self.writer else 0
        try:
            line = line._replace(picture=image.kind_of(file) is not None)
            for pixels in decoded(file, self.channels, self.limit):
                note(digest, pixels)
                pages.append(self._put(pixels))
            line = line._replace(sha256=digest.hexdigest())
        except ImageError as error:
            line, pages = line._replace(refused=str(error), reader=self._reader), []
            if any(words in str(error) for words in PASSING):
                return line
        twin, stored = self.twins.get(line.sha256), bool(pages) and all(page.store for page in pages)
        if stored and not twin:
            self.twins[line.sha256] = pages
        else:
            pages = twin or [page._replace(store="", offset=0) for page in pages]
            if self.writer:
                self.writer.end = start
        line = line._replace(pages=pages)
        if size >= 0 and self._opened():
            assert self.writer is not None
            try:
                self.writer.add(line)
            except OSError:
                self.closed = True
        return line

    def _put(self, pixels: Array) -> Stored:
        """Write a picture into the store, if there is room for it."""
        nowhere = Stored(list(pixels.shape), pixels.dtype.str)
        if self.closed or not self._opened() or not self._has_room(pixels.nbytes):
            return nowhere
        assert self.writer is not None
        try:
            return nowhere._replace(store=self.writer.name, offset=self.writer.put(pixels))
        except OSError:  # the disk is full, say: the picture will be streamed
            self.closed = True
            return nowhere

    def _has_room(self, count: int) -> bool:
        """Whether so many bytes more may be stored, once stores that this run does not need have made way."""
        old = (store for store, size in list(self.sizes.items()) if size and store not in self.used)
        while not self._fits(count):
            store = next(old, None)
            if store is None:
                return False
            for ending in ("jsonl", "pixels"):
                with contextlib.suppress(OSError):
                    self._at(store, ending).unlink()
            del self.sizes[store]
            self.twins = {sha256: pages for sha256, pages in self.twins.items() if self._held(pages)}
        return True

    def _fits(self, count: int) -> bool:
        here = sum(self.sizes.values()) + (self.writer.end if self.writer else 0)
        return here + count <= self.room and shutil.disk_usage(self.folder).free >= SPARE + count

    def _opened(self) -> bool:
        if self.writer is None and not self.closed:
            try:
                self.writer = _Writer(self.folder, f"{self._kind}/{secrets.token_hex(8)}")
            except OSError:  # no place to write to: all is streamed
                self.closed = True
        return self.writer is not None

    def _finish(self) -> None:
        if self.writer is None:
            return
        with contextlib.suppress(OSError):  # what did not reach the disk is streamed
            self.writer.close()
            self.sizes[self.writer.name] = self.writer.end
        self.writer = None


class _Writer:
    """A store in the making: `put` pixels, `add` the line that speaks of them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.end, self.waiting, self.synced = name, 0, list[str](), time.monotonic()
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
        self.pixels, self.index = (os.open(folder / f"{name}.{ending}", flags, 0o600) for ending in ("pixels", "jsonl"))

    def put(self, pixels: Array) -> int:
        """Where the picture was put. Raises OSError."""
        offset = -(-self.end // GRID) * GRID
        os.lseek(self.pixels, offset, os.SEEK_SET)
        _write(self.pixels, pixels.data.cast("B"))
        self.end = offset + pixels.nbytes
        return offset

    def add(self, line: Line) -> None:
        self.waiting.append(json.dumps(line) + "\n")
        if time.monotonic() - self.synced > SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Pixels to the disk, then the lines that speak of them. Raises OSError."""
        os.fsync(self.pixels)
        _write(self.index, memoryview("".join(self.waiting).encode()))
        os.fsync(self.index)
        self.waiting, self.synced = [], time.monotonic()

    def close(self) -> None:
        try:
            os.ftruncate(self.pixels, self.end)
            self.sync()
        finally:
            os.close(self.pixels)
            os.close(self.index)


def _write(file: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(file, rest) :]


def place(given: str) -> Path:
    """The folder of the cache: the given one, or unnoise in the user's folder of caches."""
    return Path(given or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "unnoise"))


def _stamp(file: Path) -> tuple[int, int]:
    """(size, time of change in nanoseconds); (-1, -1) if there is no such file."""
    try:
        status = os.stat(file)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _lines(index: Path) -> Iterator[Line]:
    """The lines of a store; what is no whole line, as a killed run leaves at the end, is passed over."""
    with contextlib.suppress(OSError), open(index, "rb") as file:
        for text in file:
            with contextlib.suppress(ValueError, TypeError):
                line = Line(*json.loads(text))
                yield line._replace(pages=[Stored(*page) for page in line.pages])


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time adds a store; the next one waits, and finds what this one has decoded.

    Where there are no locks, two that begin at once on the same new pictures store them twice.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:  # nothing can be added there anyhow
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            atomic.lock(lock, wait=True)
        yield
    finally:
        os.close(lock)
