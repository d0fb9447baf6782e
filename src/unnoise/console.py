"""What the commands say: people's words and progress on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import json as json_text
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import scored_on
from .runs import clock

if TYPE_CHECKING:
    from .batch import Summary
    from .keeper import Progress
    from .run import Result

    Each = Callable[..., Iterable[Any]]  # of the pictures, and how many they are if that cannot be seen

LEFT = ("settings unlike most", "for", "pictures", "quality", "licence")  # columns of words
FIRST = ("purpose", "licence", "channels", "quality", "invented", "data", "limits", "failures", "architecture")  # of a card
SHORT, DEEPEST = 60, 12  # characters: of words that share a line; by which a card's lines are indented at most
SAY_EVERY = 10  # seconds between lines that tell how far a long piece of work is, where there is no terminal


def say(text: str, result: bool = False) -> None:
    """Words on standard error, or a result on standard output, with nothing in them that a terminal would obey.

    Of several processes that torchrun has started, only the first speaks; for errors, see `say_error`.
    """
    if leads():
        print(_shown(text), file=sys.stdout if result else sys.stderr, flush=True)


def say_error(text: str) -> None:
    """Why a command cannot go on; of several processes each says so, as it may be true of one machine alone."""
    who = "" if leads() else f" (process {os.environ['RANK']})"
    line = f"unnoise{who}: {text}".replace("\n", " ")
    print(_shown(line), file=sys.stderr, flush=True)


def leads() -> bool:
    """Whether this process is the one that speaks: the only one, or the first that torchrun has started."""
    return int(os.environ.get("WORLD_SIZE", 1)) == 1 or os.environ.get("RANK") == "0"


def _shown(text: str) -> str:
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def say_line(text: str, result: bool = False) -> None:
    """One line, whatever the name of a file in it holds."""
    say(text.replace("\n", "\\n"), result)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        shown.add_column(column, justify="left" if index == 0 or column in LEFT else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_shown(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 110).print(shown)


@contextlib.contextmanager
def training_line() -> Iterator[Callable[[Progress], None]]:
    """A live line on a terminal, a line now and then elsewhere: step, cost, PSNR and of which step, pixels a second, time left."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)

    def text(p: Progress) -> str:
        of = " (" + " + ".join(f"{name} {part:.5f}" for name, part in p.parts.items()) + ")" if len(p.parts) > 1 else ""
        return (
            f"step {p.step}/{p.steps}  loss {p.loss:.5f}{of}  PSNR {p.psnr:.2f} dB on {p.scored_on} at step {p.scored_step}  "
            f"{p.pixels_per_second / 1e3:.0f} kpixel/s  {clock(p.seconds_left)} left"
            + (f"  {p.left_out} steps left out" if p.left_out else "")
        )

    if not console.is_terminal or not leads():
        told = -math.inf

        def tell(progress: Progress) -> None:
            nonlocal told
            if time.monotonic() - told > SAY_EVERY or progress.step == progress.steps:
                told = time.monotonic()
                say(text(progress))

        yield tell
        return
    with Live(console=console, transient=False, refresh_per_second=4) as live:
        live.update("calibrating")
        yield lambda progress: live.update(text(progress))


@contextlib.contextmanager
def picture_lines() -> Iterator[tuple[Each, Callable[[str, int], Callable[[int], None]]]]:
    """How far a batch is, and how far its present picture, with the time left; without a terminal, a line now and then of a large one.

    Gives (a way through the pictures, (name, pixels) -> what to tell how many more of these pixels are done).
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    pictures, picture = bars.add_task("pictures"), bars.add_task("", visible=False)

    def watching(name: str, pixels: int) -> Callable[[int], None]:
        began = told = time.monotonic()
        done = 0
        bars.reset(picture, total=pixels, description=_shown(name), visible=False)

        def watch(more: int) -> None:
            nonlocal told, done
            done += more
            bars.update(picture, completed=done, visible=done < pixels)
            now = time.monotonic()
            if bars.disable and done < pixels and now - told > SAY_EVERY:
                told, left = now, (now - began) * (pixels - done) / done
                say_line(f"{name}: {done / pixels:.0%}, about {clock(left)} left")

        return watch

    def way(each: Iterable[Any], total: int | None = None) -> Iterator[Any]:
        told = time.monotonic()
        for number, one in enumerate(bars.track(each, total, task_id=pictures), 1):
            yield one
            if bars.disable and total and number < total and time.monotonic() - told > SAY_EVERY:
                told = time.monotonic()
                say(f"{number} of {total} pictures")

    with bars:
        yield way, watching


def say_left_out(files: Sequence[tuple[Path, str]]) -> None:
    for file, reason in files:
        say_line(f"left out: {file} {reason}")


def tell_summary(summary: Summary, json: bool, more: dict[str, Any], dry_run: bool = False) -> int:
    """What became of the files, or would; 1 if any failed. What is skipped for one reason is one line."""
    if dry_run and not json:
        for source, output in summary.done:
            say_line(f"would write {source} -> {output}", result=True)
    for source, reason in summary.failed:
        say_line(f"{source} {reason}")
    for source, made in summary.made.items():
        if made.note:
            say_line(f"{source} {made.note}")
    for model, count in Counter(made.by_channel for made in summary.made.values() if made.by_channel).items():
        pictures = "1 colour picture" if count == 1 else f"{count} colour pictures"
        say_line(f"{model} is a model for gray, so each channel of {pictures} went through it alone.")
    reasons: dict[str, list[Path]] = {}
    for source, reason in summary.skipped:
        reasons.setdefault(reason, []).append(source)
    for reason, (first, *others) in reasons.items():
        say_line(f"skipped: {first} {reason}" + (f"; {len(others)} more like it" if others else ""))
    fates = ("would be written", "skipped", "would fail") if dry_run else ("done", "skipped", "failed")
    counts = (len(files) for files in (summary.done, summary.skipped, summary.failed))
    say(", ".join(f"{count} {fate}" for count, fate in zip(counts, fates, strict=True)) + f" in {more['seconds']:.1f} s")
    if json:
        print(json_text.dumps({**summary.as_json(dry_run), **more}))
    return 1 if summary.failed else 0


def tell_result(result: Result, json: bool) -> None:
    """How a training run ended; of several processes, the first tells it."""
    if not leads():
        return
    say_left_out(result.skipped)
    for note in result.notes:
        say_line(note)
    scored = f"the {scored_on(result.target)}"
    if not result.held_out:
        scored = f"{scored.replace('validation crops', 'crops')} of what it learned from, as there are fewer than ten pictures"
        scored = scored.removeprefix("the ") if result.target == "clean" else scored
    unknown = "" if result.target == "clean" else "; their own noise is part of that, as no truth is known"
    say(
        f"{result.steps} steps in {result.seconds:.0f} s, PSNR {result.psnr:.2f} dB on {scored}{unknown}, {len(result.skipped)} pictures left out"
    )
    if result.warning:
        say(result.warning)
    say(f"The model is in {result.folder}; clean a picture with: unnoise denoise PHOTO --model {result.folder} -o clean")
    if json:
        from .collection import listed
        from .verdict import plain

        told = {**dataclasses.asdict(result), "folder": str(result.folder), "skipped": listed(result.skipped)}
        print(json_text.dumps(plain(told)))


def tell_models(found: Sequence[dict[str, Any]], whole: bool, json: bool) -> None:
    """Model files by their cards (see `bundled.described`): a table of them, or the whole card of each."""
    from .artefact import pieces

    if json:
        print(json_text.dumps({"models": found}))
    elif whole:
        for one in found:
            card = {name: one["card"][name] for name in FIRST if name in one["card"]} | one["card"]
            if len(trained := pieces(card.get("training"))) > 1:
                card["training"] = [{**piece, "start_from": None} for piece in trained]
            say_line(f"{one['file']}: {one['bytes'] / 1e6:.1f} MB", result=True)
            for line in _of_card(card):
                say_line(line, result=True)
    elif found:
        rows = [[one["name"], *_summed_up(one["card"]), f"{one['bytes'] / 1e6:.1f}"] for one in found]
        table("", ["model", "for", "pictures", "quality", "invents", "licence", "MB"], rows)
    else:
        say("No model is bundled in this version; train one: unnoise train PHOTOS -o RUN")


def tell_method(found: dict[str, Any], json: bool) -> None:
    """A classical method, see `classical.described`: what it is, what it needs, and what takes it."""
    if json:
        print(json_text.dumps({"models": [], "methods": [found]}))
        return
    name, needs = found["name"], " and ".join(found["needs"])
    there = f": {found['install']}" if found["install"] else " (installed)"
    say_line(f"{name}: {found['method']} A classical method, told each picture's noise. It needs {needs}{there}.", result=True)
    say_line(f"To use it: unnoise denoise PHOTOS -o clean --model {name}", result=True)


def _summed_up(card: dict[str, Any]) -> list[str]:
    quality = card.get("quality", {})
    measured = next(
        iter(quality.get("measured", [])),
        {"pictures": f"its {quality.get('scored_on', scored_on())}", "psnr": quality.get("validation_psnr")},
    )
    where = ", ".join(str(measured[name]) for name in ("pictures", "noise") if name in measured)
    channels = "colour" if card["channels"] == 3 else "gray"
    scored = f"{measured.get('psnr', '?')} dB on {where}"
    left = card.get("invented", {}).get("left")  # which older cards do not have
    return [card.get("purpose", ""), channels, scored, "" if left is None else f"{left:.2f}/255", card["licence"]]


def _of_card(value: Any, indent: str = "") -> Iterator[str]:
    """Whatever a card holds, as lines to read: what is short on one, what is deep below its name; what is empty, left out."""
    for name, inner in value.items() if isinstance(value, dict) else ((None, one) for one in value):
        label = indent + ("- " if name is None else f"{name.replace('_', ' ')}: ")
        if (flat := _flat(inner)) is not None:
            yield label + flat
        elif len(indent) > DEEPEST:
            yield label + json_text.dumps(inner)
        elif inner:
            yield label.rstrip()
            yield from _of_card(inner, indent + "  ")


def _flat(value: Any) -> str | None:
    """A word, a number, short words in a row or a dictionary of such, as one line; None for what is deeper, or empty."""
    if isinstance(value, dict):
        parts = {name: inner for name, inner in value.items() if inner not in (None, "", [], {})}
        words = {name: None if isinstance(inner, dict) else _flat(inner) for name, inner in parts.items()}
        return (
            ", ".join(f"{name.replace('_', ' ')} {part}" for name, part in words.items())
            if words and all(words.values())
            else None
        )
    if isinstance(value, list):
        short = all(not isinstance(one, dict | list) and len(str(one)) < SHORT for one in value)
        return ", ".join(map(str, value)) if value and short else None
    return None if value is None or value == "" else str(value)


def tell_evaluation(document: dict[str, Any], out: Path, json: bool) -> int:
    """The table of each case, what to know of it, and the verdict, last; 1 if a picture failed or a requirement is not met."""
    from .noise import brief

    for case in document["cases"] if not json else ():
        rows = [
            [
                method["name"],
                f"{method['mean']['psnr']:.2f}",
                " to ".join(f"{end:.2f}" for end in method["interval"]["psnr"] or ()),
                *("" if value is None else f"{value:.4f}" for name, value in method["mean"].items() if name != "psnr"),
                f"{method['seconds_per_megapixel']:.2f}",
            ]
            for method in sorted(case["methods"], key=lambda method: -method["mean"]["psnr"])
        ]
        _, *further = (
            metric["title"] + ", lower is better" * (metric["better"] == "lower") for metric in document["metrics"].values()
        )
        columns = ["method", "PSNR, dB", "95 % interval", *further, "s/Mpixel"]
        table(f"{brief(case['noise'])}, {len(case['pictures'])} pictures", columns, rows)
    several = len(document["settings"]["noise"]) + bool(document["settings"]["pairs"]) > 1
    for failed in document["left_out"]:
        titles = [brief(title) for title in failed["cases"]] if several else ()
        say_line(f"left out: {failed['source']} {failed['reason']}" + (f" ({', '.join(titles)})" if titles else ""))
    for absent in document["absent"]:
        say_line(f"not compared with: {absent['method']} ({absent['reason']})")
    for note in document["notes"]:
        say_line(note)
    say_line(f"Look at {out / 'report.html'}")
    if json:
        from .verdict import plain

        print(json_text.dumps(plain(document)))
    required = document["required"]
    if required and not required["met"]:
        say_line(f"not better than {required['better_than']}: {', '.join(required['not_better'])}")
    say_line(document["verdict"], result=not json)
    return int(bool(document["left_out"]) or bool(required and not required["met"]))
