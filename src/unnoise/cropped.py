"""What a noise that is meant for a picture is on a crop of it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .noise import EVERYWHERE, Block, BlockMasking, Noise, Sum, parts_of
from .ranges import draw_whole


def on_crop(
    noise: Noise, picture: tuple[int, ...], top: int, left: int, side: int, rng: np.random.Generator, gray: bool = False
) -> Noise | None:
    """What `noise`, meant for a picture of shape `picture`, is on its crop of `side` x `side` pixels at (top, left).

    `gray`: the crop has one channel, whatever the picture has.
    A count shrinks with the area, rounded up or down by a draw so that its mean is exact; predefined blocks move with the
    crop and are cut at its edge. None: nothing is left of it here.
    """
    if isinstance(noise, EVERYWHERE):
        return noise
    share = side * side / (picture[0] * picture[1])
    parts: list[Any] = []
    for part in parts_of(noise):
        if isinstance(part, BlockMasking) and part.blocks is not None:
            cut = [_cut(block, top, left, side) for block in part.blocks]
            if not any(cut):
                continue
            part = BlockMasking(blocks=tuple(block for block in cut if block))
        elif not isinstance(part, EVERYWHERE) and part.count is not None:
            fewer = picture[2] if gray and len(picture) == 3 and getattr(part, "per", "") == "channel" else 1
            wanted = draw_whole(part.count, rng) * share / fewer
            part = dataclasses.replace(part, count=math.floor(wanted) + int(rng.random() < wanted % 1))
        parts.append(part)
    return None if not parts else parts[0] if len(parts) == 1 else Sum(tuple(parts))


def _cut(block: Block, top: int, left: int, side: int) -> Block | None:
    rows = max(block[0] - top, 0), min(block[0] + block[2] - top, side)
    columns = max(block[1] - left, 0), min(block[1] + block[3] - left, side)
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        return None
    return rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0]
