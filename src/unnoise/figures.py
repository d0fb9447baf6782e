"""Pictures of pictures: crops at 1:1, side by side, and curves as SVG."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .image import encoded

Array = npt.NDArray[Any]
MARKED = 20  # points of a curve, at most, that are marked


def busiest(image: Array, side: int) -> tuple[int, int]:
    """(top, left) of the square of `side` pixels, or as much of one as fits, with the most detail: the greatest standard
    deviation, on a coarse grid.
    """
    height, width = image.shape[:2]
    tall, wide, step = min(side, height), min(side, width), max(side // 4, 1)
    places = [(top, left) for top in range(0, height - tall + 1, step) for left in range(0, width - wide + 1, step)]
    return max(places, key=lambda at: float(image[at[0] : at[0] + tall, at[1] : at[1] + wide].std()))


def side_by_side(pictures: Sequence[Array], gap: int = 6) -> Array:
    """Pictures of one height in a row, white between them: (H, W, 3) floats; gray ones become three equal channels."""
    colour = [np.broadcast_to(p.reshape(*p.shape[:2], -1), (*p.shape[:2], 3)) for p in pictures]
    white = np.ones((colour[0].shape[0], gap, 3), np.float32)
    row = [piece for picture in colour for piece in (white, picture)]
    return np.concatenate(row[1:], axis=1)


def rows(pictures: Sequence[Sequence[Array]], gap: int = 6) -> Array:
    """Rows of pictures below one another, white around the narrower ones: (H, W, 3) floats, clipped to [0, 1]."""
    across = [side_by_side(row, gap) for row in pictures]
    width = max(row.shape[1] for row in across)
    padded = [np.pad(row, ((0, gap), (0, width - row.shape[1]), (0, 0)), constant_values=1) for row in across]
    sheet: Array = np.clip(np.concatenate(padded)[:-gap], 0, 1)
    return sheet


def data_uri(image: Array, kind: str = "PNG") -> str:
    """The picture, clipped, as a PNG or JPEG inside a data: address."""
    return f"data:image/{kind.lower()};base64," + base64.b64encode(encoded(image, kind)).decode()


def png_uri(data: bytes) -> str:
    """The bytes of a PNG file inside a data: address."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def curve(points: Sequence[tuple[float, float]], name: str, across: str, width: int = 460, height: int = 220) -> str:
    """One curve as SVG, both axes labelled at their ends; few points are marked, as the line between them is not measured."""
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(max(ys), min(ys) + 1e-9)
    left, bottom = 64, height - 34

    def place(x: float, y: float) -> str:
        right = left + (width - left - 12) * (x - xs[0]) / max(xs[-1] - xs[0], 1e-9)
        return f"{right:.1f},{bottom - (bottom - 26) * (y - low) / (high - low):.1f}"

    places = [place(x, y) for x, y in points]
    dots = "".join('<circle cx="{}" cy="{}" r="3" fill="#06c"/>'.format(*at.split(",")) for at in places)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{name} over {across}">'
        f'<text x="{left}" y="14" font-weight="bold">{name}</text>'
        f'<path d="M{left} 20V{bottom}H{width - 8}" fill="none" stroke="#888"/>'
        f'<text x="{left - 6}" y="{bottom}" text-anchor="end">{low:.4g}</text>'
        f'<text x="{left - 6}" y="32" text-anchor="end">{high:.4g}</text>'
        f'<text x="{left}" y="{height - 14}">{xs[0]:g}</text>'
        f'<text x="{width - 8}" y="{height - 14}" text-anchor="end">{across} {xs[-1]:g}</text>'
        f'<polyline points="{" ".join(places)}" fill="none" stroke="#06c" stroke-width="2"/>'
        f"{dots if len(points) <= MARKED else ''}</svg>"
    )
