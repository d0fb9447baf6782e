"""A sheet to choose settings by: of each picture a crop at 1:1, as it is, denoised, and what was taken away."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import partial

from . import atomic, image
from .auto import Choice, Models, made
from .batch import Job, Outcome, Summary, real
from .denoiser import Array
from .errors import BadSetting, ImageError
from .figures import busiest, rows
from .image.picture import without_alpha
from .ledger import Ledger, sha256
from .tiling import padded

NAME = "preview.png"
MOST = 6  # pictures on the sheet
SIDE = 256  # of a crop, in pixels
AMPLIFIED = 4  # what was taken away is shown so many times as strong, around middle gray


def write(
    jobs: Sequence[Job], models: Models, ledger: Ledger, summary: Summary, strength: float, grain: float, tile: int | None,
    max_pixels: int, overwrite: bool,
) -> None:  # fmt: skip
    """Write the sheet of the first pictures into the ledger's folder. Only a sheet of ours is replaced, unless `overwrite`.

    `summary` takes the pictures on it, the models chosen for them, which of these are for gray though the picture is not, and
    the pictures before them that cannot be read. Raises BadSetting if there is none.
    """
    output = ledger.folder / NAME
    if real(output) in {real(source) for source, *_ in jobs if not ledger.wrote(source)}:
        raise BadSetting(f"the preview would be written to {output}, which is one of the sources; choose another -o.")
    pairs: list[tuple[Array, Array]] = []
    for source, *_ in jobs:
        if len(pairs) == MOST:
            break
        try:
            if image.kind_of(source) is not None and not ledger.wrote(source):
                pixels = image.read(source, max_pixels).pixels
                choice = models.choose(pixels)
                pairs.append(crops(choice, pixels, strength, tile, grain))
                by_channel = str(choice.name) if choice.splits(pixels.shape) else ""
                summary.take(Outcome(source, "done", output=output, made=made([choice], by_channel=by_channel)))
        except ImageError as error:
            summary.failed.append((source, str(error)))
    if not pairs:
        raise BadSetting("there is no picture to preview that can be read; give others.")
    content = "".join(sha256(source) for source, _ in summary.done)
    origin = ledger.origin_of(hashlib.sha256(content.encode()).hexdigest(), output)
    if ledger.standing(output, origin) == "foreign" and not overwrite:
        raise BadSetting(f"{output} exists already; give --overwrite to replace it, or another -o.")
    atomic.sweep(output.parent)
    image.write(output, sheet(pairs), overwrite=True, written=partial(ledger.note, output, origin))


def crops(
    choice: Choice, pixels: Array, strength: float = 1.0, tile: int | None = None, grain: float = 0.0
) -> tuple[Array, Array]:
    """The crop with the most detail, before and after: what denoising the whole picture gives there, at a crop's cost.

    pixels: (H, W) or (H, W, C) floats in [0, 1]. Both crops have at most SIDE pixels a side, and no alpha. Without a pass,
    both are the same.
    """
    thin = max(min(pixels.shape[:2]) // 512, 1)  # of a large picture, every so many pixels show where to look
    at = busiest(pixels[::thin, ::thin], max(SIDE // thin, 1))
    corner = [min(place * thin, max(length - SIDE, 0)) for place, length in zip(at, pixels.shape, strict=False)]
    ends = [min(place + SIDE, length) for place, length in zip(corner, pixels.shape, strict=False)]
    # as for a tile: on the grid, and with the overlap around it, or as much as the picture has
    grid = math.lcm(*(one.grid for one in choice.passes))
    overlap = padded(sum(one.overlap for one in choice.passes), grid)
    starts = [max(place // grid * grid - overlap, 0) for place in corner]
    stops = [padded(end, grid) + overlap for end in ends]
    seen = pixels[starts[0] : stops[0], starts[1] : stops[1]]
    inner = tuple(slice(place - start, end - start) for place, end, start in zip(corner, ends, starts, strict=True))
    restored = choice.denoise(seen, strength, tile, grain)
    return without_alpha(seen)[inner], without_alpha(restored)[inner]


def sheet(pairs: Sequence[tuple[Array, Array]]) -> Array:
    """(before, after) crops as (H, W, 3) floats: before | after | what was taken away, a row for each."""
    return rows([[before, after, 0.5 + AMPLIFIED * (before - after)] for before, after in pairs])
