"""The noise of a camera, measured in its own pictures, for `unnoise profile`: of even surfaces, or of one scene taken several times.

A picture is looked at in blocks of 16 x 16 pixels, of which a plane is taken away: the fall of the light. What is left is noise, but
for texture, which lies above and is left out by the fit (`nlf`). Of frames of one scene the differences of two, over the root of 2, are
looked at instead, in which the scene cancels. What taking the plane away does to the variance and the correlation of noise is known,
and undone. Noise is told for each ISO, by EXIF, else for each folder.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import image, nlf
from .collection import LeftOut, find
from .errors import BadSetting, ImageError
from .image.metadata import taken_by
from .image.picture import Picture, without_alpha
from .profiles import REACH
from .profiles import SIDE as LAGS
from .suitable import shift

Array = npt.NDArray[Any]
BLOCK = 16  # pixels a side
PIXELS = BLOCK * BLOCK
PLANE = 3  # numbers that are taken away from a block
MOST = 8192  # blocks of a picture, evenly spread
FEWEST = 32  # blocks that a picture must have
ROOM = 3.0  # standard deviations of the noise that must lie between each quarter of a block and black or white
SCATTER = 3.0  # times chance, by which the variances of even blocks differ at most: on flats up to 2, on photographs 3 to 14
UNFIT = 0.5  # of sigma, by which noise may lie beside gain and read, or they say nothing of it
BINS = 16  # of brightness, in each of which the variances of even blocks are alike
WHITE = 0.03  # correlation that does not count
LIGHT = 0.1  # share by which two frames of one scene may differ in brightness
PARTS = 8
COLOURS = ((0, 1), (0, 2), (1, 2))


class _Blocks(NamedTuple):
    """Of blocks that noise can be measured in: which channels are usable and mean brightness, (N, C); sums of products of what is left.

    `lags`: (N, C, 16), of pixels so far down and across; `between`: (N, 3), of the channels, or (N, 0).
    """

    usable: Array
    means: Array
    lags: Array
    between: Array


@dataclass
class _Set:
    """The pictures of one ISO, or of one folder."""

    iso: int | None
    folder: str
    names: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    blocks: list[_Blocks] = field(default_factory=list)


def measured(paths: Sequence[Path], same_scene: bool, limit: int) -> dict[str, Any]:
    """What noise the pictures at or below `paths` have: {"camera", "groups", "left_out"} as a profile's file holds it.

    same_scene: those of one ISO in one folder are frames of one scene. limit: pixels of a picture. Raises BadSetting if the pictures do not
    make a profile, and ImageError for frames that do not fit each other.
    """
    left_out: list[LeftOut] = []
    sets: dict[tuple[int | None, str], _Set] = {}
    cameras: dict[str, Path] = {}
    scenes = _scenes(paths, limit, left_out) if same_scene else _singly(paths, limit, left_out)
    for files, pictures in scenes:
        camera, iso = taken_by(pictures[0].keep.get("exif"))
        if camera:
            cameras.setdefault(camera, files[0])
        folder = files[0].resolve().parent.name
        group = sets.setdefault((iso, "" if iso else str(files[0].parent)), _Set(iso, folder))
        try:
            blocks = _blocks(pictures)
        except ImageError as error:
            left_out.append((files[-1], str(error)))
            continue
        group.names += [str(file) for file in files if str(file) not in group.names]
        group.kinds |= {f"{picture.kind}, {picture.depth} bits" for picture in pictures}
        group.blocks.append(blocks)
    if len(cameras) > 1:
        both = " and ".join(f"{camera} ({file})" for camera, file in list(cameras.items())[:2])
        raise BadSetting(f"the pictures are of {len(cameras)} cameras, such as {both}; make a profile of each.")
    found = []
    for group in sets.values():
        figures = _group(group) if group.blocks else {"misfit": 0}
        if figures["misfit"] > UNFIT:
            why = f"has noise that lies {100 * figures['misfit']:.0f} % beside any gain and read; a black level that was not taken away does this."
            left_out.append((Path(group.names[0]), why))
        elif group.blocks:
            found.append(figures)
    if not found:
        why = (
            f"{left_out[0][0]} {left_out[0][1]}" if left_out else "there is no picture; give flats, pictures of even surfaces."
        )
        raise BadSetting(f"{why.rstrip('.')}, and no other picture tells the noise." if len(left_out) > 1 else why)
    found.sort(key=lambda group: (group["iso"] or 0, group["folder"]))
    told = [{"source": str(file), "reason": reason} for file, reason in left_out]
    return {"camera": next(iter(cameras), None), "same_scene": same_scene, "groups": found, "left_out": told}


# --- what is looked at -------------------------------------------------------------------------------------------------------


def _singly(paths: Sequence[Path], limit: int, left_out: list[LeftOut]) -> Iterator[tuple[list[Path], list[Picture[Array]]]]:
    for path in paths:
        for file in find(path, left_out, left_out):
            try:
                if image.kind_of(file) is not None or file in paths:
                    yield [file], [image.read(file, limit)]
            except ImageError as error:
                left_out.append((file, str(error)))


def _scenes(paths: Sequence[Path], limit: int, left_out: list[LeftOut]) -> Iterator[tuple[list[Path], list[Picture[Array]]]]:
    """Each two frames of a scene that follow one another; at most two pictures are held."""
    before: dict[tuple[Path, int | None], tuple[Path, Picture[Array]]] = {}
    alone: dict[tuple[Path, int | None], Path] = {}
    for (file,), (picture,) in _singly(paths, limit, left_out):
        key = file.parent, taken_by(picture.keep.get("exif"))[1]
        if key in before:
            first, other = before[key]
            _check_frames(first, other.pixels, file, picture.pixels)
            alone.pop(key, None)
            yield [first, file], [other, picture]
        else:
            alone[key] = file
        before = {**{kept: held for kept, held in before.items() if kept[0] == file.parent}, key: (file, picture)}
    left_out += [(file, "is the only frame of its scene; take another, from the same place.") for file in alone.values()]


def _check_frames(first: Path, one: Array, second: Path, other: Array) -> None:
    """Raise ImageError for two frames that cannot be of one scene, by their sizes, their light, or a shift."""
    names = f"{first} and {second}"
    if one.shape != other.shape:
        sizes = " and ".join("x".join(map(str, picture.shape)) for picture in (one, other))
        raise ImageError(f"{names} are of {sizes}: frames of one scene have one size; put each scene into a folder of its own.")
    if np.array_equal(one, other):
        raise ImageError(f"{names} are the same to the last bit, noise and all; give frames that were taken one after another.")
    lights = [float(without_alpha(picture).mean()) for picture in (one, other)]
    if abs(lights[0] - lights[1]) > LIGHT * max(lights):
        raise ImageError(
            f"{names} have a brightness of {lights[0]:.2f} and {lights[1]:.2f}: frames of one scene are exposed alike; put each scene into a folder of its own."
        )
    down, across = shift(without_alpha(one), without_alpha(other))
    if down or across:
        raise ImageError(
            f"{names} are shifted by {abs(down)} pixels {'down' if down > 0 else 'up'} and {abs(across)} {'right' if across > 0 else 'left'}; align the frames, or put the camera on a tripod."
        )


def _blocks(pictures: list[Picture[Array]]) -> _Blocks:
    """The blocks of a picture, or of the difference of two. Raises ImageError for a picture that tells nothing of noise."""
    planes = [without_alpha(picture.pixels) for picture in pictures]
    if min(planes[0].shape[:2]) < BLOCK:
        raise ImageError(f"is smaller than {BLOCK} pixels; give the whole picture.")
    tiles = [_tiles(plane) for plane in planes]
    means = np.mean([tile.mean(1) for tile in tiles], 0)
    rest = tiles[0] if len(tiles) == 1 else (tiles[0] - tiles[1]) * np.float32(math.sqrt(0.5))
    rest = rest - np.einsum("pk,qk,nqc->npc", _plane(), _plane(), rest, optimize=True)
    spreads = rest.std(1)
    parts = [tile.reshape(len(tile), 2, BLOCK // 2, 2, BLOCK // 2, -1).mean((2, 4)) for tile in tiles]
    room = np.min([np.minimum(part, 1 - part).min((1, 2)) for part in parts], 0)
    usable = (spreads > 0) & (room > ROOM * spreads)
    kept = usable.any(1)
    if usable.sum(0).min() < FEWEST:
        raise ImageError(
            f"is too dark, too light, too small or without noise: {int(usable.sum(0).min())} blocks of {BLOCK}x{BLOCK} pixels are clear of "
            f"black and white by {ROOM:g} sigma, and {FEWEST} are needed; expose it between, and save 16 bits."
        )
    found = _sums(usable[kept], means[kept], rest[kept])
    _check_even(found, len(pictures) > 1)
    return found


def _tiles(plane: Array) -> Array:
    """(N, 256, C): blocks from all over a picture, none of which overlap."""
    planes = plane[..., None] if plane.ndim == 2 else plane
    rows, columns = planes.shape[0] // BLOCK, planes.shape[1] // BLOCK
    chosen = np.unique(np.linspace(0, rows * columns - 1, min(MOST, rows * columns)).round().astype(int))
    windows = planes[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, -1).swapaxes(1, 2)
    down, across = np.divmod(chosen, columns)
    return windows[down, across].reshape(len(chosen), PIXELS, -1).astype(np.float32)


@functools.cache
def _plane() -> Array:
    """(256, 3) float32: an orthonormal basis of the planes over a block."""
    along = (np.arange(BLOCK) - (BLOCK - 1) / 2) / math.sqrt((BLOCK**2 - 1) / 12)
    flat = np.ones(BLOCK)
    return np.stack([np.outer(a, b).ravel() / BLOCK for a, b in ((flat, flat), (along, flat), (flat, along))], 1).astype(
        np.float32
    )


def _sums(usable: Array, means: Array, rest: Array) -> _Blocks:
    squares = rest.reshape(-1, BLOCK, BLOCK, rest.shape[2])
    lags = np.stack([_products(squares, *divmod(lag, LAGS)) for lag in range(LAGS**2)], 2)
    pairs = COLOURS if rest.shape[2] == 3 else ()
    between = np.array([np.einsum("np,np->n", rest[..., a], rest[..., b]) for a, b in pairs])
    return _Blocks(usable, means, lags, between.reshape(len(pairs), -1).T if pairs else np.empty((len(rest), 0)))


def _products(squares: Array, down: int, across: int) -> Array:
    """(N, C): sums over the block of products of pixels so far down, and across to either side."""
    above, below = squares[:, : BLOCK - down], squares[:, down:]
    left, right = slice(None, BLOCK - across), slice(across, None)
    found = np.asarray(np.einsum("nyxc,nyxc->nc", above[:, :, left], below[:, :, right], optimize=True))
    if down and across:
        found += np.einsum("nyxc,nyxc->nc", above[:, :, right], below[:, :, left], optimize=True)
    return found


def _check_even(blocks: _Blocks, difference: bool) -> None:
    """Raise ImageError where the variances of a picture differ by more than chance has it: there is texture everywhere."""
    if max(_scatter(*_of(blocks, channel, PIXELS - PLANE)) for channel in range(len(blocks.means.T))) <= SCATTER:
        return
    if difference:
        raise ImageError("and the frame before it differ by more than noise; keep camera, scene and light still.")
    raise ImageError(
        "is texture nearly everywhere, in which noise cannot be measured; take an even surface, or two frames of one scene and --same-scene."
    )


def _scatter(means: Array, variances: Array) -> float:
    """By how many times chance the variances of equal brightness differ, those below the median: above it texture may lie."""
    places = np.array_split(np.argsort(means, kind="stable"), max(min(len(means) // 32, BINS), 1))
    roots = [np.cbrt(variances[at] / max(float(np.median(variances[at])), 1e-30)) for at in places]
    below = np.concatenate([np.minimum(root - 1, 0) for root in roots])
    return math.sqrt(2 * float(np.square(below).mean()) / (2 / (9 * (PIXELS - PLANE))))


def _of(blocks: _Blocks, channel: int, counted: float) -> tuple[Array, Array]:
    """(means, variances) of the blocks that can be used in a channel; `counted`: what the sum of squares is of, in variances."""
    usable = blocks.usable[:, channel]
    return blocks.means[usable, channel], blocks.lags[usable, channel, 0] / counted


# --- the figures -------------------------------------------------------------------------------------------------------------


def _group(group: _Set) -> dict[str, Any]:
    """A group's figures, as a profile's file holds them."""
    if len({blocks.means.shape[1] for blocks in group.blocks}) > 1:
        raise BadSetting(f"{', '.join(group.names[:3])}: some are gray and some in colour; make a profile of each.")
    blocks = _Blocks(*(np.concatenate(parts) for parts in zip(*group.blocks, strict=True)))
    channels = blocks.means.shape[1]
    even = _even(blocks)
    correlation, error = _correlation(blocks, even)
    counted = float(_taken()[0] @ correlation.ravel())
    freedom = max(counted / float(np.square(_both(correlation)).sum()), 1.0)
    levels, misses = [], []
    for channel in range(channels):
        means, variances = _of(blocks, channel, counted)
        levels.append(nlf.fit(means, variances, freedom))
        misses.append(_missed(levels[-1], means, variances, freedom))
    white = abs(correlation).ravel()[1:].max() < max(WHITE, 3 * error)
    colours = _between_colours(blocks, even) if channels == 3 else None
    return {
        "iso": group.iso,
        "folder": group.folder,
        "pictures": sorted(group.names),
        "kinds": sorted(group.kinds),
        "pixels": int(blocks.usable.any(1).sum()) * PIXELS,
        "channels": [level.as_json() for level in levels],
        "correlation": None if white else {"table": np.round(correlation, 4).tolist(), "error": round(error, 4)},
        "colours": colours,
        "misfit": round(max(misses), 3),
    }


def _even(blocks: _Blocks) -> Array:
    """(N, C): the variance that each block has by a first fit; NaN where it cannot be used, or has texture."""
    found = np.full(blocks.means.shape, np.nan)
    for channel in range(len(found.T)):
        means, variances = _of(blocks, channel, PIXELS - PLANE)
        level = nlf.fit(means, variances, PIXELS - PLANE)
        off = nlf.deviations(level, means, variances, PIXELS - PLANE)
        near = np.abs(off) <= 3 * max(nlf.scatter(off), 1)
        found[blocks.usable[:, channel], channel] = np.where(near, np.square(level.sigma(means)), np.nan)
    found[found <= 0] = np.nan
    return found


def _correlation(blocks: _Blocks, even: Array) -> tuple[Array, float]:
    """((4, 4), its standard error) of pixels so far down and across: what is seen in the blocks, freed of what the plane took away."""
    shares = blocks.lags / even[..., None]
    shares[np.isnan(even)] = 0
    sums = [shares[part::PARTS].sum((0, 1)) for part in range(PARTS)]

    def of(total: Array) -> Array:
        power = np.linalg.solve(_taken(), total)
        return np.asarray(power / max(float(power[0]), 1e-30))

    parts = np.array([of(part) for part in sums])
    return of(np.sum(sums, 0)).reshape(LAGS, LAGS), float(parts.std(0, ddof=1).max()) / math.sqrt(PARTS)


@functools.cache
def _taken() -> Array:
    """(16, 16): the expected sums of products of a block at each lag, by the covariances of noise at each lag, its plane taken away."""
    rows, columns = np.divmod(np.arange(PIXELS), BLOCK)
    down, across = np.abs(np.subtract.outer(rows, rows)), np.abs(np.subtract.outer(columns, columns))
    basis = _plane().astype(np.float64)
    projection = np.eye(PIXELS) - basis @ basis.T
    lags = [(down == lag // LAGS) & (across == lag % LAGS) for lag in range(LAGS**2)]
    seen = [projection @ lag.astype(np.float64) @ projection for lag in lags]
    return np.array([[float(after[lag].sum()) / (1 if at == 0 else 2) for after in seen] for at, lag in enumerate(lags)])


def _both(correlation: Array) -> Array:
    """(7, 7): to all sides."""
    at = np.abs(np.arange(-REACH, REACH + 1))
    return np.asarray(correlation[np.ix_(at, at)])


def _between_colours(blocks: _Blocks, even: Array) -> dict[str, Any] | None:
    """The correlation of red and green, red and blue, green and blue, and its standard error; None where it does not count."""
    good = ~np.isnan(even).any(1)
    if good.sum() < PARTS:
        return None
    pairs = [(at, *pair) for at, pair in enumerate(COLOURS)]
    shares = [blocks.between[good, at] / np.sqrt(even[good, a] * even[good, b]) for at, a, b in pairs]
    own = blocks.lags[good, :, 0] / even[good]

    def of(part: slice) -> list[float]:
        return [
            float(share[part].sum() / math.sqrt(own[part, a].sum() * own[part, b].sum()))
            for share, (a, b) in zip(shares, COLOURS, strict=True)
        ]

    found = np.clip(of(slice(None)), -1, 1)
    error = float(np.std([of(slice(part, None, PARTS)) for part in range(PARTS)], 0, ddof=1).max()) / math.sqrt(PARTS)
    if np.abs(found).max() < max(WHITE, 3 * error):
        return None
    return {"table": np.round(found, 4).tolist(), "error": round(error, 4)}


def _missed(level: nlf.LevelFunction, means: Array, variances: Array, freedom: float) -> float:
    """By what share of sigma the noise of some brightness lies beside the function: the root mean square over eight of them."""
    ratios = variances / np.maximum(np.square(level.sigma(means)), 1e-30)
    places = np.array_split(np.argsort(means, kind="stable"), 8)
    typical = [float(np.median(ratios[at])) / (1 - 2 / (9 * freedom)) ** 3 for at in places if len(at)]
    return math.sqrt(float(np.mean(np.square(np.sqrt(typical) - 1))))
