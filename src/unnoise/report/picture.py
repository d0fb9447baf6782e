"""One picture of an evaluation: its crops at 1:1, and the comparison that the page's script fills from them."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import image
from ..figures import busiest, data_uri, png_uri
from .html import text

Array = npt.NDArray[Any]
Document = dict[str, Any]
SIDE, LEAST = 256, 128  # of a crop, in pixels: the largest that fits a phone, and the smallest that still shows texture


def shown(value: float | str | None, decimals: int | None = 2) -> str:
    """A score in words: scores may be None, where they are not defined, and "inf". decimals: None for three significant digits."""
    if value is None:
        return "n/a"
    number = float(value)
    if decimals is None and abs(number) < 999.5:
        return f"{number:#.3g}".rstrip(".")
    return f"{number:.{decimals or 0}f}".replace("inf", "∞")


def _sigma(value: float | str | None) -> str:
    """As people write it: 25/255, 25.3/255."""
    return "n/a" if value is None else f"{round(255 * float(value), 1):g}/255"


def with_crops(picture: Document, folder: Path) -> dict[str, Path]:
    """The crops whose files are there, by name, the clean one and the noisy one first; none without the clean one."""
    there = {name: folder / path for name, path in picture["crops"].items() if (folder / path).is_file()}
    ordered = {name: there.pop(name) for name in ("clean", "noisy") if name in there} | there
    return ordered if "clean" in ordered else {}


def fitting(pictures: Sequence[Document], folder: Path, budget: float) -> tuple[int, int]:
    """(side of the crops, number of pictures that get any), so that their files together stay below `budget` bytes."""
    bytes_of = [sum(path.stat().st_size for path in with_crops(picture, folder).values()) for picture in pictures]
    for side in range(SIDE, LEAST - 1, -16):
        shares = [math.prod(min(1, side / length) for length in picture["crop"][2:]) for picture in pictures]
        sums = list(accumulate((size * share for size, share in zip(bytes_of, shares, strict=True)), initial=0.0))
        if sums[-1] <= budget:
            return side, len(pictures)
    return LEAST, bisect(sums, budget) - 1


def section(picture: Document, label: str, words: str, first: Sequence[str], folder: Path, side: int, metrics: Document) -> str:
    """The picture's name, what is said of it, and its crops. label: of the section in the page; words: HTML.

    first: the two methods, or "clean", that the comparison starts with. metrics: what report.json says of each, by name.
    """
    files = with_crops(picture, folder)
    top, left, height, width = picture["crop"]
    crops = {name: image.read(path).pixels for name, path in files.items()}
    sources = {name: png_uri(path.read_bytes()) for name, path in files.items()}
    if crops and max(height, width) > side:
        down, right = busiest(crops["clean"], side)
        crops = {name: crop[down : down + side, right : right + side] for name, crop in crops.items()}
        sources = {name: data_uri(crop) for name, crop in crops.items()}
        top, left, (height, width) = top + down, left + right, crops["clean"].shape[:2]
    size = f"{picture['width']} by {picture['height']} pixels, {'gray' if picture['channels'] == 1 else 'colour'}"
    size += f"; sigma {_sigma(picture.get('estimated_noise'))} estimated"
    size += f"; the classical methods were told {_sigma(picture['sigma'])}" if "sigma" in picture else ""
    place = (
        f" Below, {width} by {height} of them, from column {left} and row {top}."
        if crops
        else " Its crops are not in the folder."
    )
    errors = {name: f"{float(np.abs(crop - crops['clean']).mean()):.4f}" for name, crop in crops.items()}
    figures = "".join(_figure(picture, name, crop, sources[name], errors[name], metrics) for name, crop in crops.items())
    compared = _comparison(picture, errors, first) if len(crops) > 1 else ""
    return (
        f'<section class="picture" aria-labelledby="{label}"><h4 id="{label}">{text(picture["name"])}</h4>'
        f'<p>{words}</p><p class="quiet">{size}.{place}</p><div class="crops">{compared}{figures}</div></section>'
    )


def _figure(picture: Document, name: str, crop: Array, source: str, error: str, metrics: Document) -> str:
    score = picture["scores"].get(name)
    under = "the picture as it should be" if name == "clean" else "no scores"
    if score:
        under = "<br>".join(
            text(f"{metric['title']} {shown(score.get(which), metric['decimals'])} {metric['unit']}".rstrip())
            for which, metric in metrics.items()
        )
    return (
        f'<figure><img class="crop" data-name="{text(name)}" data-error="{error}" width="{crop.shape[1]}" height="{crop.shape[0]}"'
        f' decoding="async" alt="{text(picture["name"])}, {text(name)}" src="{source}">'
        f"<figcaption><b>{text(name)}</b><br>{under}</figcaption></figure>\n"
    )


def _comparison(picture: Document, errors: dict[str, str], first: Sequence[str]) -> str:
    """Before and after with their slider, and the error map: its pictures come from the page's script. errors: by crop."""
    names = list(errors)
    chosen = [name if name in names else names[-1] for name in first]
    selects = [
        f"<label>{side}<select>"
        + "".join(f'<option value="{text(name)}"{" selected" * (name == choice)}>{text(name)}</option>' for name in names)
        + "</select></label>"
        for side, choice in zip(("left", "right"), chosen, strict=True)
    ]
    of = text(picture["name"])
    return (
        '<figure class="compare"><div class="stack slide"><img alt=""><img alt="">'
        f'<input type="range" min="0" max="100" value="50" aria-label="Boundary between left and right, {of}"></div>'
        f'<figcaption class="choose" role="group" aria-label="What is compared, {of}">{"".join(selects)}</figcaption></figure>\n'
        '<figure class="compare"><div class="stack error" role="img"><img alt=""><img alt=""></div>'
        f'<figcaption><b>error of <span class="said">{text(chosen[1])}</span></b><br>'
        f'mean <span class="said">{errors[chosen[1]]}</span><br>'
        '<span class="scale"><span>0</span><span>0.2 or more</span></span></figcaption></figure>\n'
    )
