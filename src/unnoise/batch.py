"""A job over files and folders: what goes where, each picture on its own, and a summary at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import image
from .data import find
from .errors import BadSetting, ImageError

Pair = tuple[Path, Path]  # source, output
Step = Callable[[Path, Path], str | None]  # source, output; returns a note on what the output lacks, or nothing


@dataclass
class Summary:
    """What became of each file; `failed` and `skipped` say why, `notes` what a finished one lacks, in one sentence each."""

    done: list[Pair] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    notes: dict[Path, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, list[dict[str, str]]]:
        return {
            "done": [
                {"source": str(source), "output": str(output)} | ({"note": self.notes[source]} if source in self.notes else {})
                for source, output in self.done
            ],
            "skipped": [{"source": str(source), "reason": reason} for source, reason in self.skipped],
            "failed": [{"source": str(source), "reason": reason} for source, reason in self.failed],
        }


def plan(photos: Sequence[Path], out: Path) -> list[Pair]:
    """(source, output) of each file: IN/a/b.png goes to OUT/a/b.png; of several folders, to OUT/<folder>/a/b.png.

    Raises BadSetting if a folder is missing or empty, or if `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise BadSetting(f"{out} is a file; give a folder for the output.")
    folders = sum(path.is_dir() for path in photos)
    pairs: list[Pair] = []
    for path in photos:
        inside = path.is_dir() and real(path) in real(out).parents
        files = [file for file in find(path) if not (inside and real(out) in real(file).parents)]
        if path.is_dir() and not any(_is_picture(file) for file in files):
            raise BadSetting(f"{path} holds no picture; expected PNG, JPEG, TIFF or other picture files in it or below it.")
        below = out / real(path).name if folders > 1 and path.is_dir() else out
        pairs += [(file, below / (file.relative_to(path) if path.is_dir() else file.name)) for file in files]
    return pairs


def for_each(
    pairs: Sequence[Pair], named: Sequence[Path], step: Step, progress: Callable[[Sequence[Pair]], Iterable[Pair]] = iter
) -> Summary:
    """Do `step(source, output)` for each; one bad file never stops the others.

    `named`: files that were asked for by name; others that are no pictures are skipped. `progress` may watch the going.
    """
    summary, taken = Summary(), {real(source) for source, _ in pairs}
    for source, output in progress(pairs):
        try:
            kind = image.kind_of(source)
            if kind is None and source not in named:
                summary.skipped.append((source, "is not a picture"))
                continue
            if real(output) in taken:
                raise ImageError(
                    f"would be written to {output}, which is one of the sources or another output; choose another -o."
                )
            note = step(source, output)
            if note:
                summary.notes[source] = note
            taken.add(real(output))
            summary.done.append((source, output))
        except FileExistsError as error:
            taken_name = Path(error.filename2 or error.filename or output)  # of a link, the second is the new name
            reason = f"{taken_name} exists already; give --overwrite to replace it."
            folder = taken_name.is_file() and taken_name in output.parents
            summary.failed.append((source, f"{taken_name} is a file; choose another -o." if folder else reason))
        except ImageError as error:
            summary.failed.append((source, str(error)))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            summary.failed.append((source, f"{output} cannot be written ({reason}); free some space or choose another -o."))
    return summary


def ending_in(ending: str, path: Path) -> Path:
    """The path with another ending; what is no ending of a picture file, as in scan.001, stays before it."""
    known = path.suffix.lower() in image.ENDINGS
    return path.with_suffix(ending) if known else path.with_name(path.name + ending)


def real(path: Path) -> Path:
    """The path without links; one that goes round in circles, where Path.resolve raises, as far as it leads."""
    return Path(os.path.realpath(path))


def _is_picture(file: Path) -> bool:
    try:
        return image.kind_of(file) is not None
    except ImageError:
        return True  # it will be named in the summary
