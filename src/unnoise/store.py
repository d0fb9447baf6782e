"""Folders in object stores, by fsspec: s3://bucket/photos and the like, for batches on many machines.

An object is whole or absent, as its store promises. The ledger is the same file as on a disk; see `kept`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path, PosixPath
from typing import Any

from PIL import Image

from . import image
from .batch import Job, Summary, check_folder
from .errors import BadSetting, ImageError, needed_by
from .ledger import NAME, PARTS, Ledger, Line, sha256

STORES = ("s3", "gs", "az")  # what their addresses begin with
START = 2**14  # bytes of a file in which its size in pixels is looked for
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM")  # of Pillow
TOGETHER = 1024  # objects that are asked for at once
HANDS = 32  # objects that are fetched or removed at a time
Sizes = dict[Path, tuple[int, float]]  # bytes and megapixels of files that are elsewhere


class Url(PosixPath):
    """The address of an object, or of all that begin with it: joined and taken apart as paths are, and there is no such file."""

    @classmethod
    def of(cls, path: Path) -> Url | None:
        """The address that was given as a path; None of a path. Raises BadSetting for one that is in no object store."""
        found = re.match(r"([a-z][a-z0-9+.-]+):/", str(path))
        if found is None or path.exists():
            return None
        if found[1] not in STORES:
            raise BadSetting(
                f"{found[1]}://: expected a folder of this machine, or one in an object store: s3://, gs:// or az://."
            )
        return cls(path)

    def __str__(self) -> str:
        scheme, colon, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if colon else scheme


class Odd(Url):
    """The address of an object whose name is no path; only to be told."""

    address: str

    def __new__(cls, address: str) -> Odd:
        self = super().__new__(cls, address)
        self.address = address
        return self

    def __str__(self) -> str:
        return self.address


@contextlib.contextmanager
def reached(url: Url) -> Iterator[Any]:
    """The file system of fsspec that an address is in. Raises OSError whatever goes wrong with it, MissingExtra without fsspec."""
    scheme = str(url).partition(":")[0]
    with needed_by(f"{scheme}://", "cluster"):
        import fsspec
    try:
        yield fsspec.filesystem(scheme, use_listings_cache=False)
    except OSError as error:
        raise error if error.strerror else type(error)(error.errno or errno.EIO, _first_line(error)) from None
    except Exception as error:  # each store has errors of its own: no credentials, no answer, an unknown scheme
        raise OSError(errno.EIO, _first_line(error)) from None


def find(url: Url, prefix: str = "") -> dict[str, int]:
    """The objects at or below an address, by their addresses in order, and their sizes in bytes. prefix: of their names. Raises OSError."""
    with reached(url) as system:
        found = system.find(str(url), detail=True, **({"prefix": prefix} if prefix else {}))
    scheme = str(url).partition(":")[0]
    return {f"{scheme}://{name.lstrip('/')}": told["size"] for name, told in sorted(found.items()) if name[-1] != "/"}


def _hidden(file: Url, place: Url) -> bool:
    return any(part[0] == "." for part in file.relative_to(place).parts)


def _is_path(address: str) -> bool:
    """Whether an object can be told by a path, which some names cannot: a//b, a/./b, a/../b, a:/b; nor what s3fs takes for a version."""
    parts = address.split("/")[2:]
    odd = any(part in ("", ".", "..") or part.endswith(":") for part in parts) or "?versionId=" in address
    return not odd and str(Url(address)) == address


def _starts(sizes: Mapping[Url, int]) -> Iterator[tuple[Url, bytes | OSError]]:
    """The first START bytes of each object, by their sizes, or why they cannot be had."""
    yield from ((file, b"") for file, size in sizes.items() if not size)  # a store has no range of nothing
    waiting = iter([file for file, size in sizes.items() if size])
    while some := list(islice(waiting, TOGETHER)):
        with reached(some[0]) as system:
            found = system.cat_ranges([str(file) for file in some], 0, START, on_error="return")
        for file, one in zip(some, found, strict=True):
            yield file, one if isinstance(one, (bytes, OSError)) else OSError(errno.EIO, _first_line(one))


def plan(photos: Sequence[Path], out: Path, summary: Summary) -> tuple[list[Job], Callable[[Path], str | None], Sizes]:
    """As `batch.plan`, of addresses; what `batch.for_each` takes for `kind_of`; and their bytes and megapixels.

    Raises BadSetting for one that holds no picture.
    """
    check_folder(out)
    jobs: list[Job] = []
    within: list[tuple[Url, list[Url]]] = []
    kinds: dict[Path, str | ImageError | None] = {}
    sizes: Sizes = {}
    for place in photos:
        assert isinstance(place, Url)
        with _said(place, "read"):
            found = find(place)
        odd = {address for address in found if not _is_path(address)}
        pictures = [Odd(address) for address in sorted(odd) if Path(address).suffix.lower() in image.ENDINGS]
        summary.failed += [(name, "has a name that is no path; copy it to another name.") for name in pictures]
        named = {Url(address): size for address, size in found.items() if address not in odd}
        files = {file: size for file, size in named.items() if not _hidden(file, place) and not _below(file, out, place)}
        with warnings.catch_warnings(action="ignore"):  # what Pillow thinks of large pictures
            for file, start in _starts(files):
                kinds[file] = _kind(file, start)
                sizes[file] = files[file], megapixels(start if isinstance(start, bytes) else b"", files[file])
        if not pictures and not any(kinds[file] for file in files):
            raise BadSetting(f"{place} holds no picture; expected PNG, JPEG, TIFF or other picture files at or below it.")
        within.append((place, [*files]))
    folders = sum(those != [place] for place, those in within)
    for place, those in within:
        below = out / place.name if folders > 1 and those != [place] else out
        jobs += [(file, below / (file.relative_to(place) if file != place else file.name)) for file in those]

    def kind_of(file: Path) -> str | None:
        if isinstance(found := kinds[file], ImageError):
            raise found
        return found

    return jobs, kind_of, sizes


def _below(file: Url, out: Path, place: Url) -> bool:
    """Whether it is in an output folder that is a folder of `place`."""
    return place in out.parents and out in file.parents


def megapixels(start: bytes, size: int) -> float:
    """Those of a picture file of `size` bytes, by its first START bytes; of one that does not say so there, as if a pixel took a byte."""
    try:
        with Image.open(io.BytesIO(start), formats=FORMATS) as picture:
            return picture.width * picture.height / 1e6
    except Exception:  # whatever Pillow says of the half of a file
        return size / 1e6


def _kind(file: Path, start: bytes | OSError) -> str | ImageError | None:
    try:
        if isinstance(start, OSError):
            return ImageError(f"cannot be read ({start.strerror or start}); check what gives access to it.")
        return image.kind_in(start, file)
    except ImageError as error:
        return error


def fetch(url: Url, to: Path) -> bool:
    """Whether there is such an object; it is at `to` then. Raises OSError."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with reached(url) as system:
        try:
            system.get_file(str(url), str(to))
        except FileNotFoundError:
            return False
    return True


def put(file: Path, url: Url, overwrite: bool = True) -> None:
    """Give a file to the store; FileExistsError if it is there already and `overwrite` is false. Raises OSError."""
    with reached(url) as system:
        system.put_file(str(file), str(url), mode="overwrite" if overwrite else "create")


def _remove(url: Url) -> None:
    with contextlib.suppress(FileNotFoundError), reached(url) as system:
        system.rm_file(str(url))  # `rm` would take a * in the name for any


def fetch_parts(out: Url, to: Path, shard: str = "") -> list[Url]:
    """Fetch the parts of a ledger, or those of a shard; where they are. Raises OSError."""
    found = [Url(address) for address in find(out / PARTS, f"{shard}/" if shard else "") if address.endswith(".jsonl")]
    with ThreadPoolExecutor(HANDS) as hands:
        list(hands.map(lambda part: fetch(part, to / part.relative_to(out)), found))
    return found


@contextlib.contextmanager
def kept(out: Url, verb: str, settings: dict[str, Any], dry_run: bool = False) -> Iterator[Ledger]:
    """As `ledger.kept`; but no lock keeps two commands apart, as stores have none. Raises BadSetting if `out` cannot be written to.

    The parts of other commands that began meanwhile are left to these.
    """
    with tempfile.TemporaryDirectory(prefix="unnoise-") as folder:
        here = Path(folder)
        old = _take(out, here)
        ledger = Ledger(here, verb, settings)
        mark = out / PARTS / "begun"  # writing it shows that it can be written to
        if not dry_run:
            (here / "begun").touch()
            with _said(out, "written to"):
                put(here / "begun", mark)
        try:
            yield ledger
        finally:
            if not dry_run:
                with contextlib.suppress(OSError, BadSetting):  # the parts stay true
                    _tidy(out, here, ledger, old)
                with contextlib.suppress(OSError):
                    _remove(mark)


def _take(out: Url, here: Path) -> list[Url]:
    """Fetch the ledger and its parts; where the parts are."""
    with _said(out, "used"):
        fetch(out / NAME, here / NAME)
        return fetch_parts(out, here)


def _tidy(out: Url, here: Path, ledger: Ledger, old: Sequence[Url]) -> None:
    found, there = _take(out, here), {Url(address).relative_to(out).as_posix() for address in find(out) if _is_path(address)}

    def true(output: str, lines: Sequence[Line]) -> Sequence[Line]:
        if output not in there or len(set(lines)) == 1:
            return lines if output in there else []
        with tempfile.TemporaryDirectory(prefix="unnoise-") as folder:
            copy = Path(folder, "output")
            now = sha256(copy) if fetch(out / output, copy) else ""
        return [line for line in lines if line.sha256 == now]

    if not ledger.tidy(true):
        return
    if (here / NAME).exists():
        put(here / NAME, out / NAME)
    else:
        _remove(out / NAME)
    ours = [part for part in found if part in old or part.parent.name.startswith(ledger.run)]
    with ThreadPoolExecutor(HANDS) as hands:
        list(hands.map(_remove, ours))


@contextlib.contextmanager
def _said(url: Url, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if isinstance(error, FileNotFoundError) and error.errno else error.strerror
        raise BadSetting(f"{url} cannot be {what} ({why}); check its name, and what gives access to it.") from None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
