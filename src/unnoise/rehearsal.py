"""What commands find out and say: `inspect`, `profile`, `denoise --verify-tiling`, `train --dry-run`."""

from __future__ import annotations

import contextlib
import dataclasses
import json as json_text
import shlex
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
    from .grid import Stuck

NOT_A_LINE = 0.1  # share of sigma by which noise may lie beside gain and read, unless it is said
TILING = 1e-5  # how far a picture in tiles may be from the same in one piece: float32 sums in another order


def inspect(photos: Sequence[Path], limit: int, json: bool, drawn: Path | None = None) -> int:
    """Say what noise is in the first page of every picture, and what to do about it; 1 if any cannot be read.

    drawn: where a sheet for each is written: a PNG for one picture, or a folder.
    """
    from . import image
    from .collection import find
    from .grid import Stuck

    began = time.monotonic()
    found: list[dict[str, Any]] = []
    skipped: list[LeftOut] = []
    failed: list[LeftOut] = []
    files = [file for path in photos for file in find(path, skipped, failed)]
    sheets = _sheets(drawn, photos, files) if drawn else [None] * len(files)
    stuck = Stuck() if len(files) > 1 else None
    with picture_lines() as (each, _):
        for (source,), sheet in zip(each([(file,) for file in files]), sheets, strict=True):
            try:
                if image.kind_of(source) is None and source not in photos:
                    skipped.append((source, "is not a picture"))
                    continue
                looked, wrong = _looked(source, limit, stuck, sheet)
            except ImageError as error:
                failed.append((source, str(error)))
                continue
            except MemoryError:
                failed.append((source, "needs more memory than there is; use a smaller picture."))
                continue
            pages = f" (the first of {looked['frames']} pages or frames)" if looked["frames"] > 1 else ""
            found.append({"source": str(source), **looked})
            failed += [(source, wrong)] * bool(wrong)
            if not json:
                say_line(f"{source}{pages}: {looked['advice']}", result=True)
    if not found + failed:
        raise BadSetting(
            f"{', '.join(map(str, photos))}: there is no picture to inspect; give picture files, or folders of them."
        )
    return _tell_inspection(found, skipped, failed, time.monotonic() - began, json, stuck.found() if stuck else [])


def diagnosed(source: Path, limit: int) -> dict[str, Any]:
    """The noise in the first page of a file and what to do about it, as `inspect --json` tells it. Raises ImageError."""
    return _looked(source, limit)[0]


def _looked(source: Path, limit: int, stuck: Stuck | None = None, sheet: Path | None = None) -> tuple[dict[str, Any], str]:
    """`diagnosed`, and why there is no sheet, or "". `stuck` takes note of a picture that need not come in strips."""
    from . import bundled, chart, doctor, image, series

    with contextlib.closing(image.pages(source, limit)) as each_page:
        picture = next(each_page)
        sight = doctor.look(picture.pixels)
    noise = doctor.diagnose(sight)
    whole = sight.planes.shape[0] == picture.pixels.shape[0]
    if stuck and whole:
        stuck.add(sight.planes, noise.level.value)
    models, why = doctor.advice(noise, bundled.names() or doctor.MODELS)
    decibels = doctor.expected(noise, models)
    advice = f"Use {doctor.in_turn(models)} {why}." if models else f"Leave it, {why}."
    told = {"frames": picture.frames, "camera": series.camera_of(picture.keep.get("exif")), **noise.as_json()}
    told |= {"models": list(models), "gain_db": decibels and decibels._asdict(), "advice": advice}
    if sheet is None:
        return told, ""
    try:
        chart.write(sheet, source.name + ", strips of its rows" * (not whole), sight, noise, advice)
    except ImageError as error:
        return told | {"picture": None}, str(error)
    except MemoryError:
        return told | {"picture": None}, "was inspected, but to draw it needs more memory than there is."
    return told | {"picture": str(sheet)}, ""


def _sheets(drawn: Path, photos: Sequence[Path], files: Sequence[Path]) -> list[Path | None]:
    """Where the sheet of each file goes; None: it is no picture that can be read. Raises BadSetting before anything is measured."""
    from . import image

    def readable(file: Path) -> bool:
        with contextlib.suppress(ImageError):
            return image.kind_of(file) in image.READERS
        return False

    ending, pictures = drawn.suffix.lower(), [readable(file) for file in files]
    alone = ending == ".png" and not drawn.is_dir()
    if not alone and not drawn.is_dir() and (ending in image.ENDINGS or drawn.exists()):
        raise BadSetting(f"--picture {drawn}: expected the name of a file that ends in .png, or a folder; give one of these.")
    for folder in photos:
        if folder.is_dir() and drawn.resolve().is_relative_to(folder.resolve()):
            raise BadSetting(
                f"--picture {drawn}: in {folder}, sheets would be inspected the next time; give a place outside it."
            )
    if alone and sum(pictures) > 1:
        raise BadSetting(f"--picture {drawn}: one file cannot show {sum(pictures)} pictures; give a folder.")
    sheets: list[Path | None] = []
    for file, there in zip(files, pictures, strict=True):
        sheet = drawn if alone else _free(drawn / f"{file.name}.png", sheets)
        if there and sheet.exists():
            raise BadSetting(f"--picture {drawn}: {sheet} exists already; give another name, or remove it.")
        sheets.append(sheet if there else None)
    return sheets


def _free(output: Path, taken: Sequence[Path | None]) -> Path:
    """That name, or one with a number for a picture of the same name from another folder."""
    number, free = 2, output
    while free in taken:
        free, number = output.with_stem(f"{output.stem}-{number}"), number + 1
    return free


def _tell_inspection(
    found: list[dict[str, Any]],
    skipped: list[LeftOut],
    failed: list[LeftOut],
    seconds: float,
    json: bool,
    stuck: list[dict[str, Any]],
) -> int:
    from . import doctor, series

    for source, reason in failed:
        say_line(f"{source} {reason}")
    noisy = [series.Noisy(one["source"], one["kinds"], one["level"]["value"], one["camera"]) for one in found]
    groups = series.groups(noisy)
    models = Counter(doctor.in_turn(one["models"]) for one in found)
    leave = models.pop("", 0)
    fates = [f"{leave} to leave as {'it is' if leave == 1 else 'they are'}"] * bool(leave)
    fates += [f"{count} for {model}" for model, count in models.most_common()]
    undrawn = sum(one.get("picture", "") is None for one in found)
    counts = {"skipped": len(skipped), "failed": len(failed) - undrawn, "not drawn": undrawn}
    fates += [f"{count} {fate}" for fate, count in counts.items() if count]
    say(f"{len(found)} inspected: {', '.join(fates)} in {seconds:.1f} s")
    if len(found) > 1:
        say(series.summary(noisy))
    for fixed in stuck:
        say(series.stuck_in_words(fixed))
    if groups:
        say(f"They fall into {len(groups)} groups of different noise; learn from each by itself:")
        for group in groups:
            say(f"- {series.in_words(group)}")
    if json:
        from .collection import listed

        told = {"pictures": found, "skipped": listed(skipped), "failed": listed(failed), "seconds": round(seconds, 3)}
        told |= {"groups": groups, "stuck": stuck}
        print(json_text.dumps(told))
    return int(bool(failed))


def profile(flats: Sequence[Path], out: Path, same_scene: bool, limit: int, overwrite: bool, json: bool) -> int:
    """Write the noise that the pictures have to the file `out`, and say it; 1 if any picture tells nothing of it."""
    from . import __version__, atomic
    from .flats import measured
    from .profiles import FORMAT, VERSION

    if out.suffix.lower() != ".json":
        raise BadSetting(f"--out {out}: expected the name of a file that ends in .json, such as camera.json.")
    if any(letter in str(out) for letter in "+,|"):
        raise BadSetting(
            f"--out {out}: a noise is written with + , and |, so its file has none of them in its name or folders."
        )
    if out.exists() and not overwrite:
        raise BadSetting(f"{out} exists already; give --overwrite to replace it, or another name.")
    found = measured(flats, same_scene, limit)
    command = shlex.join(["unnoise", "profile", *map(str, flats), "-o", str(out), *["--same-scene"] * same_scene])
    told = {"format": FORMAT, "version": VERSION, "command": command, "unnoise": __version__, **found}
    atomic.write_bytes(out, (json_text.dumps(told, indent=1) + "\n").encode(), overwrite)
    for one in found["left_out"]:
        say_line(f"{one['source']} {one['reason']}")
    for group in found["groups"]:
        say_line(_of_group(group), result=not json)
    say(f"{out}: put this noise on clean pictures by --noise profile:{out}")
    if json:
        print(json_text.dumps(told))
    return int(bool(found["left_out"]))


def _of_group(group: dict[str, Any]) -> str:
    from .nlf import LevelFunction

    name = f"ISO {group['iso']}" if group["iso"] else group["folder"]
    levels = [LevelFunction.from_json(channel) for channel in group["channels"]]
    figures = [
        f"gain {level.gain.value:.3g} ± {level.gain.error:.1g}, read {255 * level.read.value:.2f}/255 ± {255 * level.read.error:.2f}"
        for level in levels
    ]
    named = ("red", "green", "blue") if len(levels) == 3 else ("",)
    gray = 255 * max(float(level.sigma(0.5)) for level in levels)
    words = [f"{colour} {text}".strip() for colour, text in zip(named, figures, strict=True)]
    table = group["correlation"]
    alike = f"correlated by {(table['table'][0][1] + table['table'][1][0]) / 2:.2f} between neighbours" if table else "white"
    off = f", {100 * group['misfit']:.0f} % beside the line" if group["misfit"] > NOT_A_LINE else ""
    if any(level.gain.error > float(level.sigma(1.0)) ** 2 / 4 for level in levels):
        off += "; gain and read are not told apart, for which other exposures are needed too"
    count = len(group["pictures"])
    pictures = f"{count} picture{'s' * (count > 1)}, {group['pixels'] / 1e6:.2g} megapixels"
    return f"{name}: {pictures}: {'; '.join(words)}; up to {gray:.1f}/255 at mid-gray, {alike}{off}"


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
    from . import data, profiles

    config = dataclasses.replace(config, noise=tuple(map(profiles.filled_in, config.noise)))
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
