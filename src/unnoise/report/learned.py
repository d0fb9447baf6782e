"""The demo's page of what a model did: pictures at 1:1, figures under each, and the curves of its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..figures import busiest, data_uri
from ..metrics import score
from .html import document, table, text

Array = npt.NDArray[Any]
CROP = 128  # side of the crop shown at 1:1, in pixels
WHOLE = "JPEG"  # whole pictures are looked at small; their crops stay exact


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
    shown = table(
        "Mean over the photos below, PSNR in dB", [text(c) for c in columns], [[text(c) for c in row] for row in rows]
    )
    training = f'<h2>Training</h2><div class="curves">{curves}</div>' if curves else ""
    body = f"<h1>{text(title)}</h1><p>{text(words)}</p>{shown}{training}{''.join(map(_section, examples))}"
    return document(title, body)


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
            f'<figure><img class="whole" alt="{text(example.photo)}, {text(name)}" src="{data_uri(picture, WHOLE)}">'
            f'<img class="crop" width="{side}" height="{side}" alt="its crop at 1:1" src="{data_uri(crop)}">'
            f"<figcaption><b>{text(name)}</b><br>{under}</figcaption></figure>"
        )
    return f'<h2>{text(example.photo)}, {text(example.noise)}</h2><div class="row">{"".join(figures)}</div>'


def crops(example: Example, side: int) -> list[Array]:
    """The same crop, the one with the most detail, of each picture of an example."""
    clean = next(iter(example.pictures.values()))
    top, left = busiest(clean, side)
    return [np.clip(picture[top : top + side, left : left + side], 0, 1) for picture in example.pictures.values()]
