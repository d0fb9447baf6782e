"""What the commands say: people's words and progress on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import json as json_text
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import Summary
    from .keeper import Progress
    from .train import Result


def say(text: str, result: bool = False) -> None:
    """Words on standard error, or a result on standard output, with nothing in them that a terminal would obey."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    print(shown.encode("utf-8", "backslashreplace").decode(), file=sys.stdout if result else sys.stderr, flush=True)


def say_line(text: str, result: bool = False) -> None:
    """One line, whatever the name of a file in it holds."""
    say(text.replace("\n", "\\n"), result)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        shown.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 110).print(shown)


@contextlib.contextmanager
def training_line() -> Iterator[Callable[[Progress], None]]:
    """A live line on a terminal, a line now and then elsewhere: step, cost, PSNR, pixels a second, time left."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)

    def text(p: Progress) -> str:
        left = f"{p.seconds_left // 60:.0f}:{p.seconds_left % 60:02.0f}"
        return (
            f"step {p.step}/{p.steps}  loss {p.loss:.5f}  PSNR {p.psnr:.2f} dB on validation crops  "
            f"{p.pixels_per_second / 1e3:.0f} kpixel/s  {left} left"
        )

    if not console.is_terminal:
        told = -math.inf

        def tell(progress: Progress) -> None:
            nonlocal told
            if time.monotonic() - told > 10 or progress.step == progress.steps:
                told = time.monotonic()
                say(text(progress))

        yield tell
        return
    with Live(console=console, transient=False, refresh_per_second=4) as live:
        live.update("calibrating")
        yield lambda progress: live.update(text(progress))


def say_left_out(files: Sequence[tuple[Path, str]]) -> None:
    for file, reason in files:
        say_line(f"left out: {file} {reason}")


def tell_summary(summary: Summary, json: bool, more: dict[str, Any]) -> int:
    for source, reason in summary.failed:
        say_line(f"{source} {reason}")
    for source, note in summary.notes.items():
        say_line(f"{source} {note}")
    say(f"{len(summary.done)} done, {len(summary.skipped)} skipped, {len(summary.failed)} failed in {more['seconds']:.1f} s")
    if json:
        print(json_text.dumps({**summary.as_json(), **more}))
    return 1 if summary.failed else 0


def tell_result(result: Result, json: bool) -> None:
    say_left_out(result.skipped)
    say(
        f"{result.steps} steps in {result.seconds:.0f} s, PSNR {result.psnr:.2f} dB on the validation crops, {len(result.skipped)} pictures left out"
    )
    say(f"The model is in {result.folder}; clean a picture with: unnoise denoise PHOTO --model {result.folder} -o clean")
    if json:
        skipped = [{"source": str(file), "reason": reason} for file, reason in result.skipped]
        print(json_text.dumps({**dataclasses.asdict(result), "folder": str(result.folder), "skipped": skipped}))
