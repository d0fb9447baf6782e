"""A self-contained page of what a model did: pictures at 1:1, figures under each, and the curves of its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from .evaluate import score
from .figures import busiest, data_uri

Array = npt.NDArray[Any]
CROP = 128  # side of the crop shown at 1:1, in pixels
WHOLE = "JPEG"  # whole pictures are looked at small; their crops stay exact

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1240px;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #8884}
td:first-child,th:first-child{text-align:left}
.row{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin:.4rem 0 1.6rem}
figure{margin:0;min-width:0}.whole{width:100%;height:auto;display:block}
.crop{display:block;margin-top:6px;image-rendering:pixelated}
figcaption{font-size:.85rem;margin-top:.3rem}svg text{font:12px system-ui,sans-serif;fill:currentColor}
"""


@dataclass(frozen=True)
class Example:
    """One photo with one noise: the pictures by the name of what made them, the clean one first."""

    photo: str
    noise: str
    pictures: dict[str, Array]

    def scores(self) -> dict[str, dict[str, float]]:
        """PSNR and SSIM of every picture but the clean one."""
        clean, *others = self.pictures.items()
        return {name: score(picture, clean[1]) for name, picture in others}


def page(
    title: str, words: str, columns: Sequence[str], rows: Sequence[Sequence[str]], curves: str, examples: Sequence[Example]
) -> str:
    """The HTML page; every picture is inside it."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(words)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<h2>Training</h2>{curves}{''.join(map(_section, examples))}</html>\n"
    )


def _section(example: Example) -> str:
    clean = next(iter(example.pictures.values()))
    side = min(CROP, *clean.shape[:2])
    top, left = busiest(clean, side)
    scores = example.scores()
    figures = []
    for name, picture in example.pictures.items():
        under = (
            f"PSNR {scores[name]['psnr']:.2f} dB, SSIM {scores[name]['ssim']:.3f}" if name in scores else "the photo as it is"
        )
        crop = picture[top : top + side, left : left + side]
        figures.append(
            f'<figure><img class="whole" alt="{escape(example.photo)}, {escape(name)}" src="{data_uri(picture, WHOLE)}">'
            f'<img class="crop" width="{side}" height="{side}" alt="its crop at 1:1" src="{data_uri(crop)}">'
            f"<figcaption><b>{escape(name)}</b><br>{under}</figcaption></figure>"
        )
    return f'<h2>{escape(example.photo)}, {escape(example.noise)}</h2><div class="row">{"".join(figures)}</div>'


def crops(example: Example, side: int) -> list[Array]:
    """The same crop, the one with the most detail, of each picture of an example."""
    clean = next(iter(example.pictures.values()))
    top, left = busiest(clean, side)
    return [np.clip(picture[top : top + side, left : left + side], 0, 1) for picture in example.pictures.values()]
