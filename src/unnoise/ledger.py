"""What this program wrote into a folder, so that a batch goes on where it was stopped, and replaces nothing but its own.

`FOLDER/.unnoise.jsonl` has one line of JSON for each output. A line is on the disk before its output gets its name: after a
crash between the two there is a line too many, never a file that nobody owns. Nothing in it depends on the time or the order of
the work, so a batch that was stopped and went on leaves the same bytes as one that was not.

Machines that share the work note what they write in files of their own, `FOLDER/.unnoise.parts/SHARD/*.jsonl`: nothing adds to one file from
two machines soundly. They belong to the ledger, and end in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

from . import atomic
from .errors import BadSetting

NAME = ".unnoise.jsonl"
PARTS = ".unnoise.parts"


@dataclass(frozen=True)
class Origin:
    """What an output is made from: a command, its settings, the source's bytes and where they lie (all but `verb` as SHA-256)."""

    verb: str
    settings: str
    source: str
    path: str  # a hash: enough to know the source again, nothing to read


@dataclass(frozen=True)
class Line(Origin):
    """An output, by its path below the folder, the SHA-256 of its bytes, and which model `auto` chose, and why."""

    output: str
    sha256: str
    choice: str = ""


@dataclass(frozen=True)
class Part:
    """What a machine that shares the work needs of a ledger: a name for its own notes, SHARD/NAME, which nobody else writes, and the lines of its outputs.

    sources: the real paths of copies that it works on.
    """

    name: str
    lines: Sequence[Line] = ()
    sources: Mapping[Path, str] = field(default_factory=dict)


class Ledger:
    """The ledger of one folder, or a part of it, in the hands of one command. Made by `kept`."""

    def __init__(self, folder: Path, verb: str, settings: dict[str, Any], part: Part | None = None) -> None:
        self.folder, self.verb, self.settings = folder, verb, _short(json.dumps(settings, sort_keys=True))
        self.file = folder / PARTS / f"{part.name}.jsonl" if part else folder / NAME
        self.lines = _by_output([*part.lines, *_read(self.file)]) if part else _lines(folder)
        self.is_part, self.sources = part is not None, part.sources if part else {}
        self.run = secrets.token_hex(8)  # with which the names of this command's parts begin, and of no other's

    def origin(self, source: Path, *others: Path) -> Origin:
        """What the command makes of a source, and of others with it, as they are now. Raises OSError."""
        content = [sha256(file) for file in (source, *others)]
        return self.origin_of(hashlib.sha256("".join(content).encode()).hexdigest() if others else content[0], source)

    def origin_of(self, content: str, path: Path) -> Origin:
        """The same, of a source whose SHA-256 is known."""
        return Origin(self.verb, self.settings, content, _short(self.sources.get(path) or os.path.realpath(path)))

    def standing(self, output: Path, origin: Origin) -> Literal["absent", "done", "own", "foreign"]:
        """What is at `output`: what `origin` gives; else what this command once made of that source; else somebody's file."""
        if not os.path.lexists(output):
            return "absent"
        true = self._of(origin, self.lines, output)
        if not true and self.is_part:
            true = self._of(origin, self._late, output)
        return "foreign" if not true else "done" if any(_made(line, origin) for line in true) else "own"

    @cached_property
    def _late(self) -> dict[str, list[Line]]:
        """All that is noted by now: a worker of a command that was killed may have gone on for a while."""
        with contextlib.suppress(BadSetting):
            return _lines(self.folder)
        return {}

    def _of(self, origin: Origin, lines: Mapping[str, Sequence[Line]], output: Path) -> list[Line]:
        """The lines that are true of an output, and of the same source."""
        place = (origin.verb, origin.path)
        ours = [line for line in lines.get(self._name(output), ()) if (line.verb, line.path) == place or _made(line, origin)]
        return _true(ours, output)

    def wrote(self, path: Path) -> bool:
        """Whether this command, with whatever settings, wrote the file as it is now."""
        inside, folder = Path(os.path.realpath(path)), Path(os.path.realpath(self.folder))
        lines = self.lines.get(inside.relative_to(folder).as_posix(), []) if folder in inside.parents else []
        return bool(_true([line for line in lines if line.verb == self.verb], inside))

    def note(self, output: Path, origin: Origin, file: BinaryIO, choice: str = "") -> None:
        """Note a complete file that is about to become `output`. Raises OSError."""
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]  # BinaryIO does not name readinto
        line = Line(**asdict(origin), output=self._name(output), sha256=digest.hexdigest(), choice=choice)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666), "wb") as ledger:
            ledger.write(f"\n{_text(line)}\n".encode())  # on a line of its own, also after one that was cut
            ledger.flush()
            os.fsync(ledger.fileno())
        self.lines.setdefault(line.output, []).append(line)

    def tidy(self, true: Callable[[str, Sequence[Line]], Sequence[Line]] | None = None) -> bool:
        """One line for each output that is there, in the order of their names; whether that is done. Where it fails, the longer ledger stays true.

        What other processes of the same command have noted is in the files, not in `lines`. `true`: which of an output's lines are.
        """
        with contextlib.suppress(OSError, BadSetting):
            # By another name first: who still works, and notes, makes a file anew, which the next command reads.
            parts = [part.rename(part.with_name(f"{secrets.token_hex(8)}.jsonl")) for part in _parts(self.folder)]
            found = sorted(_lines(self.folder).items())
            kept = [line for output, lines in found for line in (true or self._kept)(output, lines)[-1:]]
            data = "".join(_text(line) + "\n" for line in kept).encode()
            if not kept:
                self.file.unlink(missing_ok=True)
            elif not self.file.exists() or data != self.file.read_bytes():
                atomic.write_bytes(self.file, data)
            for part in parts:
                part.unlink()
            with contextlib.suppress(OSError):
                for emptied in [*{part.parent for part in parts}, *([self.folder / PARTS] if parts else [])]:
                    emptied.rmdir()
            return True
        return False

    def _kept(self, output: str, lines: Sequence[Line]) -> Sequence[Line]:
        only = len(set(lines)) == 1 and (self.folder / output).exists()  # no need to read all that lies there
        return lines if only else _true(lines, self.folder / output)

    def _name(self, output: Path) -> str:
        return output.relative_to(self.folder).as_posix()


@contextlib.contextmanager
def kept(folder: Path, verb: str, settings: dict[str, Any], dry_run: bool = False) -> Iterator[Ledger]:
    """The ledger of a folder, which is made if it is missing and is nobody else's until the end; `dry_run` only reads.

    settings: what an output depends on besides its source, as JSON. Raises BadSetting if another process is at work in it.
    """
    if dry_run:
        yield Ledger(folder, verb, settings)
        return
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.held(folder, f"another unnoise is writing to {folder}; wait until it has finished, or choose another -o."):
        ledger = Ledger(folder, verb, settings)
        try:
            yield ledger
        finally:
            ledger.tidy()
            if new:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # if nothing came of it


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(line: Line, origin: Origin) -> bool:
    return (line.verb, line.settings, line.source) == (origin.verb, origin.settings, origin.source)


def _true(lines: Sequence[Line], output: Path) -> list[Line]:
    """Those of an output's lines that say what its bytes are now."""
    try:
        if not lines or not stat.S_ISREG(output.lstat().st_mode):
            return []
        now = sha256(output)
    except (OSError, ValueError):  # a name that cannot be one
        return []
    return [line for line in lines if line.sha256 == now]


def _lines(folder: Path) -> dict[str, list[Line]]:
    """Of each output every line that may be true: a stopped batch may have noted what it did not write. Raises BadSetting."""
    return _by_output(line for file in (folder / NAME, *_parts(folder)) for line in _read(file))


def _by_output(every: Iterable[Line]) -> dict[str, list[Line]]:
    lines: dict[str, list[Line]] = {}
    for line in every:
        lines.setdefault(line.output, []).append(line)
    return lines


def noted(folder: Path, shard: str) -> list[Line]:
    """What the parts of a shard say. Raises BadSetting."""
    return [line for file in _parts(folder, shard) for line in _read(file)]


def _parts(folder: Path, shard: str = "*") -> list[Path]:
    return sorted((folder / PARTS).glob(f"{shard}/*.jsonl"))


def _read(file: Path) -> Iterator[Line]:
    """The lines that are whole; anything else in the file is passed over."""
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise BadSetting(f"{file} is no regular file, and unnoise keeps its notes there; move it, or choose another -o.")
        with open(file, "rb") as lines:
            for text in lines:
                with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
                    found = json.loads(text)
                    if all(isinstance(value, str) for value in found.values()):
                        yield Line(**found)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadSetting(f"{file} cannot be read ({error.strerror}); check its permissions, or choose another -o.") from None


def _text(line: Line) -> str:
    told = {field.name: getattr(line, field.name) for field in sorted(fields(line), key=lambda field: field.name)}
    return json.dumps({name: value for name, value in told.items() if value})


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
