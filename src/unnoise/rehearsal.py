"""What commands find out and say instead of doing it: `inspect`, `denoise --verify-tiling`, `train --dry-run`."""

from __future__ import annotations

import contextlib
import dataclasses
import json as json_text
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import TrainConfig
from .console import picture_lines, say, say_left_out, say_line
from .errors import BadSetting, ImageError

if TYPE_CHECKING:
    from .auto import Models
    from .collection import LeftOut

TILING = 1e-5  # how far a picture in tiles may be from the same in one piece: float32 sums in another order


def inspect(photos: Sequence[Path], limit: int, json: bool) -> int:
    """Say what noise is in the first page of every picture, and what to do about it; 1 if any cannot be read."""
    from . import image
    from .collection import find

    began = time.monotonic()
    found: list[dict[str, Any]] = []
    skipped: list[LeftOut] = []
    failed: list[LeftOut] = []
    files = [(file,) for path in photos for file in find(path, skipped, failed)]
    with picture_lines() as (each, _):
        for (source,) in each(files):
            try:
                if image.kind_of(source) is None and source not in photos:
                    skipped.append((source, "is not a picture"))
                    continue
                looked = diagnosed(source, limit)
            except ImageError as error:
                failed.append((source, str(error)))
                continue
            except MemoryError:
                failed.append((source, "needs more memory than there is; use a smaller picture."))
                continue
            pages = f" (the first of {looked['frames']} pages or frames)" if looked["frames"] > 1 else ""
            found.append({"source": str(source), **looked})
            if not json:
                say_line(f"{source}{pages}: {looked['advice']}", result=True)
    if not found + failed:
        raise BadSetting(
            f"{', '.join(map(str, photos))}: there is no picture to inspect; give picture files, or folders of them."
        )
    return _tell_inspection(found, skipped, failed, time.monotonic() - began, json)


def diagnosed(source: Path, limit: int) -> dict[str, Any]:
    """The noise in the first page of a file and what to do about it, as `inspect --json` tells it. Raises ImageError."""
    from . import bundled, doctor, image

    with contextlib.closing(image.pages(source, limit)) as each_page:
        picture = next(each_page)
        noise = doctor.examine(picture.pixels)
    models, why = doctor.advice(noise, bundled.names() or doctor.MODELS)
    advice = f"Use {doctor.in_turn(models)} {why}." if models else f"Leave it, {why}."
    return {"frames": picture.frames, **noise.as_json(), "models": list(models), "advice": advice}


def _tell_inspection(
    found: list[dict[str, Any]], skipped: list[LeftOut], failed: list[LeftOut], seconds: float, json: bool
) -> int:
    from . import doctor

    for source, reason in failed:
        say_line(f"{source} {reason}")
    models = Counter(doctor.in_turn(one["models"]) for one in found)
    leave = models.pop("", 0)
    fates = [f"{leave} to leave as {'it is' if leave == 1 else 'they are'}"] * bool(leave)
    fates += [f"{count} for {model}" for model, count in models.most_common()]
    fates += [f"{len(files)} {fate}" for files, fate in ((skipped, "skipped"), (failed, "failed")) if files]
    say(f"{len(found)} inspected: {', '.join(fates)} in {seconds:.1f} s")
    if json:
        from .collection import listed

        told = {"pictures": found, "skipped": listed(skipped), "failed": listed(failed), "seconds": round(seconds, 3)}
        print(json_text.dumps(told))
    return int(bool(failed))


def verify_tiling(photos: Sequence[Path], models: Models, tile: int | None, limit: int, json: bool) -> int:
    """Denoise every page of every picture in tiles and in one piece, and say how far apart they are; 1 if any is above TILING."""
    from . import image
    from .collection import find

    found: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for source in [file for path in photos for file in find(path)]:
        try:
            if image.kind_of(source) is None and source not in photos:
                continue  # not a picture, and not asked for by name
            pages = []
            for picture in image.frames(source, limit):
                pages.append(models.choose(picture.pixels).tiling_difference(picture.pixels, tile))
        except ImageError as error:
            failed.append({"source": str(source), "reason": str(error)})
            say_line(f"{source} {error}")
            continue
        difference, side, tiles = max(pages)
        found.append({"source": str(source), "difference": difference, "tile": side, "tiles": tiles})
        apart = f"{tiles} tiles of {side} pixels and one piece differ by {difference:.2g} at most"
        alone = "fits into one tile" if tiles else "stays as it is"
        if not json:
            say_line(f"{source}: {apart if tiles > 1 else f'{alone}; there is nothing to compare'}", result=True)
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
