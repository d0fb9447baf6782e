"""What commands find out and say instead of doing it: `denoise --verify-tiling`, `train --dry-run`."""

from __future__ import annotations

import dataclasses
import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import TrainConfig
from .console import say, say_left_out, say_line
from .errors import BadSetting, ImageError

if TYPE_CHECKING:
    from .denoiser import Denoiser

TILING = 1e-5  # how far a picture in tiles may be from the same in one piece: float32 sums in another order


def verify_tiling(photos: Sequence[Path], denoiser: Denoiser, tile: int | None, limit: int, json: bool) -> int:
    """Denoise every page of every picture in tiles and in one piece, and say how far apart they are; 1 if any is above TILING."""
    from . import image
    from .collection import find

    found: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for source in [file for path in photos for file in find(path)]:
        try:
            if image.kind_of(source) is None and source not in photos:
                continue  # not a picture, and not asked for by name
            pages = [denoiser.tiling_difference(picture.pixels, tile) for picture in image.frames(source, limit)]
        except ImageError as error:
            failed.append({"source": str(source), "reason": str(error)})
            say_line(f"{source} {error}")
            continue
        difference, side, tiles = max(pages)
        found.append({"source": str(source), "difference": difference, "tile": side, "tiles": tiles})
        apart = f"{tiles} tiles of {side} pixels and one piece differ by {difference:.2g} at most"
        if not json:
            say_line(f"{source}: {apart if tiles > 1 else 'fits into one tile; there is nothing to compare'}", result=True)
    if not found + failed:
        raise BadSetting(
            f"{', '.join(map(str, photos))}: there is no picture to compare; give picture files, or folders of them."
        )
    if json:
        print(json_text.dumps({"verified": found, "failed": failed, "limit": TILING}))
    return int(bool(failed) or not all(one["difference"] <= TILING for one in found))


def dry_run_of_training(photos: Sequence[Path], config: TrainConfig, json: bool) -> int:
    """Say what a run would learn from, and the share of values that its noise touches, without torch."""
    from . import data

    noises, pictures = data.noises_of(config), data.load(photos, config)
    data.check(noises, pictures, config)
    share = data.share(noises, pictures, config)
    left_out = pictures.unreadable + pictures.small
    say(
        f"{len(pictures.arrays)} pictures, {len(left_out)} left out; noise {', '.join(map(str, noises))} touches {share:.1%} of the values of a crop"
    )
    say_left_out(left_out)
    if json:
        told = {"pictures": len(pictures.arrays), "left_out": len(left_out), "share": share}
        print(json_text.dumps({**told, "config": dataclasses.asdict(config)}))
    return 0
