"""Dots for every value with the box of their quartiles, as SVG that keeps its letters' size at any width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .html import text

ROW, BAND = 50, 24  # height of a row, and of the dots in it, in pixels
Values = Sequence[tuple[float, str]]  # finite values, and the name of each


def dots(title: str, across: str, groups: Mapping[str, Values], zero: bool = False) -> str:
    """A row of dots for each group over one axis, with quartiles and median; `zero`: a line there. "" if there is no value.

    The same in words, for who cannot see it, is its label.
    """
    groups = {name: values for name, values in groups.items() if values}
    if not groups:
        return ""
    every = [value for values in groups.values() for value, _ in values] + [0.0] * zero
    marks = ticks(min(every), max(every))
    low, high = marks[0], marks[-1]

    def place(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    foot = ROW * len(groups) + 8
    lines = [
        f'<line class="grid" x1="{place(mark)}" x2="{place(mark)}" y1="0" y2="{foot}"/>'
        f'<text x="{place(mark)}" y="{foot + 16}" text-anchor="middle">{mark:.10g}</text>'
        for mark in marks
    ]
    if zero:
        lines.append(f'<line class="zero" x1="{place(0)}" x2="{place(0)}" y1="0" y2="{foot}"/>')
    rows = "".join(_row(name, values, place, ROW * index) for index, (name, values) in enumerate(groups.items()))
    words = "; ".join(_words(name, [value for value, _ in values]) for name, values in groups.items())
    return (
        f'<figure><figcaption>{text(title)}</figcaption><svg class="dots" role="img" height="{foot + 42}" aria-label="{text(title)}. {text(words)}.">'
        f'<svg x="4%" width="92%" y="4">{"".join(lines)}{rows}'
        f'<line class="axis" x1="0" x2="100%" y1="{foot}" y2="{foot}"/>'
        f'<text x="50%" y="{foot + 34}" text-anchor="middle">{text(across)}</text></svg></svg></figure>'
    )


def ticks(low: float, high: float) -> list[float]:
    """At most seven round numbers, evenly spaced, from at or below `low` to at or above `high`."""
    span = max(high - low, 1e-6)
    unit = 10 ** math.floor(math.log10(span / 5))
    for step in (unit, 2 * unit, 5 * unit, 10 * unit):
        first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
        if last - first <= 6:
            break
    return [index * step for index in range(first, last + 1)]


def _row(name: str, values: Values, place: Callable[[float], str], top: int) -> str:
    first, median, third = np.percentile([value for value, _ in values], [25, 50, 75])
    middle = top + 20 + BAND / 2
    circles = "".join(
        # by steps of the golden section, so that neighbours in the data lie apart
        f'<circle cx="{place(value)}" cy="{middle + (index * 0.618 % 1 - 0.5) * (BAND - 6):.1f}" r="3">'
        f"<title>{text(label)}: {value:.2f}</title></circle>"
        for index, (value, label) in enumerate(values)
    )
    width = float(place(third)[:-1]) - float(place(first)[:-1])
    return (
        f'<text x="0" y="{top + 14}">{text(_short(name))}</text>{circles}'
        f'<rect class="box" x="{place(first)}" width="{width:.2f}%" y="{middle - BAND / 2}" height="{BAND}"/>'
        f'<line class="median" x1="{place(median)}" x2="{place(median)}" y1="{middle - BAND / 2}" y2="{middle + BAND / 2}"/>'
    )


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _words(name: str, values: Sequence[float]) -> str:
    return f"{name}: from {min(values):.2f} to {max(values):.2f}, median {np.median(values):.2f}"
