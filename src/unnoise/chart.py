"""A sheet for each picture that was inspected: its noise over brightness, how alike noise is side by side, impulses, and where it was looked.

`inspect --picture` writes it. Drawn with Pillow alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import doctor, image, nlf
from .errors import ImageError
from .grid import sticking_out
from .image.picture import as_floats
from .level import FLANK, SIDE, Array, Points, autocorrelation

WIDE, MARGIN, GAP = 1240, 32, 28  # pixels of the sheet, of its border, and between panels
PANEL = (WIDE - 2 * MARGIN - GAP) // 2
HIGH = 420  # pixels of a panel, its title included
TITLE = 50  # pixels of it, and of the line below it
AXES = 52, 44  # pixels to the left of a plot and below it, for numbers and names
LAGS = 5  # pixels that autocorrelation is drawn for, to either hand
INK, SOFT, GRID, PAPER = (32, 33, 36), (110, 112, 118), (224, 226, 230), (255, 255, 255)
CHANNELS = {1: [(90, 92, 98)], 3: [(205, 60, 50), (40, 140, 70), (45, 95, 200)]}
PATCH, FIT, HIT = (255, 196, 0), (20, 20, 24), (255, 60, 120)
MOST = 1000  # patches and points that are drawn
NOTHING = "Nothing was measured: no even places that are not clipped."


def write(output: Path, name: str, sight: doctor.Sight, found: doctor.Diagnosis, words: str) -> None:
    """Write the sheet as a PNG. Raises ImageError if there is a file already, or the disk refuses."""
    if output.exists():
        raise ImageError(f"was inspected, but {output} exists already; give another --picture, or remove it.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        image.write(output, sheet(name, sight, found, words), kind="PNG")
    except OSError as error:
        raise ImageError(f"was inspected, but {output} cannot be written ({error.strerror}); give another --picture.") from None


def sheet(name: str, sight: doctor.Sight, found: doctor.Diagnosis, words: str) -> Array:
    """(H, W, 3) floats in [0, 1]. sight: what `doctor.look` saw; found: what `doctor.diagnose` says of it; words: what is said."""
    points = doctor.points_of(sight, found)
    lines = textwrap.wrap(words, 160)
    head = MARGIN + 34 + 20 * len(lines) + 14
    whole = Image.new("RGB", (WIDE, head + 2 * HIGH + GAP + MARGIN), PAPER)
    pen = ImageDraw.Draw(whole)
    pen.text((MARGIN, MARGIN - 8), name, INK, _font(22))
    pen.multiline_text((MARGIN, MARGIN + 28), "\n".join(lines), SOFT, _font(14), spacing=6)
    panels: list[tuple[str, str, Callable[[int, int], Image.Image]]] = [
        (
            "Flat patches that were measured",
            f"blocks of {SIDE} x {SIDE} pixels, the flattest of each brightness",
            lambda w, h: _patches(sight.planes, points, w, h),
        ),
        (
            "Noise over brightness",
            "of the flat patches: a point for each, in its channel's colour; the line is the fit, gray its error",
            lambda w, h: _level(points, sight.blocks.shape[1], found, w, h),
        ),
        (
            "Pixels unlike all around them",
            "of all pixels: those that stick out from all four beside them but one",
            lambda w, h: _impulses(sight.planes, found, w, h),
        ),
        (
            "How alike noise is, so many pixels apart",
            "of the flat patches, of all brightnesses; a correlation told above is of the flattest of all",
            lambda w, h: _alike(autocorrelation(sight.blocks, points), w, h),
        ),
    ]
    for number, (title, of, draw) in enumerate(panels):
        left, top = MARGIN + number % 2 * (PANEL + GAP), head + number // 2 * (HIGH + GAP)
        pen.text((left, top), title, INK, _font(16))
        pen.text((left, top + 24), of, SOFT, _font(12))
        whole.paste(draw(PANEL, HIGH - TITLE), (left, top + TITLE))
    return np.asarray(whole, np.float32) / np.float32(255)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _named(panel: Image.Image, across: str, down: str, bottom: float) -> None:
    """Write the names of the axes of a plot, which ends at `bottom`."""
    pen = ImageDraw.Draw(panel)
    pen.text((AXES[0], bottom + 24), across, SOFT, _font(12))
    size = pen.textbbox((0, 0), down, _font(12))
    upright = Image.new("RGB", (int(size[2]) + 2, int(size[3]) + 2), PAPER)
    ImageDraw.Draw(upright).text((0, 0), down, SOFT, _font(12))
    upright = upright.rotate(90, expand=True)
    panel.paste(upright, (0, max(round((bottom - upright.height) / 2), 0)))


def _nothing(wide: int, high: int) -> Image.Image:
    panel = Image.new("RGB", (wide, high), PAPER)
    ImageDraw.Draw(panel).text((0, 8), NOTHING, SOFT, _font(14))
    return panel


def _fitted(planes: Array, wide: int, high: int) -> tuple[Image.Image, float]:
    """The picture as large as fits, and by how much it was scaled."""
    scale = min(wide / planes.shape[1], high / planes.shape[0])
    thin = max(int(0.5 / scale), 1)  # before it is scaled with care
    pixels = np.rint(255 * np.clip(as_floats(planes[::thin, ::thin]), 0, 1)).astype(np.uint8)
    size = max(round(planes.shape[1] * scale), 1), max(round(planes.shape[0] * scale), 1)
    colour = pixels if pixels.shape[2] == 3 else np.repeat(pixels[..., :1], 3, 2)
    return Image.fromarray(colour).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST), scale


def _patches(planes: Array, points: Points, wide: int, high: int) -> Image.Image:
    panel = Image.new("RGB", (wide, high), PAPER)
    small, scale = _fitted(planes, wide, high)
    pen = ImageDraw.Draw(small)
    rows, columns = doctor.places(planes.shape)
    for at in _some(np.unique(points.at)):
        top, left = rows[at] * scale, (columns[at] + FLANK) * scale
        pen.rectangle((left, top, left + max(SIDE * scale, 3), top + max(SIDE * scale, 3)), outline=PATCH)
    panel.paste(small, (0, 0))
    return panel


def _some(numbers: Array) -> Array:
    return numbers[:: len(numbers) // MOST + 1]


def _level(points: Points, channels: int, found: doctor.Diagnosis, wide: int, high: int) -> Image.Image:
    """Points: single patches, in their channel's colour; the line: the fit, with its error as a band."""
    if not len(points.at):
        return _nothing(wide, high)
    panel = Image.new("RGB", (wide, high), PAPER)
    pen = ImageDraw.Draw(panel)
    left, right, top, bottom = AXES[0], wide - 8, 8, high - AXES[1]
    sigmas = 255 * np.sqrt(points.variances)
    brightness = np.linspace(0, 1, 101)
    gain, read = found.gain, found.read
    line, least, most = (
        255 * np.sqrt(nlf.variance(brightness, gain.value + off * gain.error, max(read.value + off * read.error, 0)).clip(0))
        for off in (0, -1, 1)
    )
    highest = 1.15 * max(float(np.quantile(sigmas, 0.95)), float(line.max()), 0.5)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x, bottom - (bottom - top) * min(y / highest, 1)

    for tick in _ticks(highest):
        pen.line((*place(0, tick), *place(1, tick)), GRID)
        pen.text((left - 8, place(0, tick)[1]), f"{tick:g}", SOFT, _font(12), anchor="rm")
    for tick in (0, 0.25, 0.5, 0.75, 1):
        pen.text((place(tick, 0)[0], bottom + 8), f"{tick:g}", SOFT, _font(12), anchor="mt")
    band = [place(x, y) for x, y in zip(brightness, most, strict=True)]
    band += [place(x, y) for x, y in zip(brightness[::-1], least[::-1], strict=True)]
    pen.polygon(band, fill=(236, 238, 242))
    for at in _some(np.arange(len(sigmas))):
        x, y = place(points.means[at], sigmas[at])
        colours = CHANNELS.get(channels, CHANNELS[1])
        pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colours[points.channels[at] % len(colours)])
    pen.line([place(x, y) for x, y in zip(brightness, line, strict=True)], FIT, 2)
    words = f"variance = ({gain.value:.2g} ± {gain.error:.1g}) x brightness + (({255 * read.value:.2g} ± {255 * read.error:.1g})/255)^2"
    pen.text((right, bottom + 24), words, INK, _font(12), anchor="ra")
    _named(panel, "brightness", "sigma, in 255ths", bottom)
    pen.line((left, top, left, bottom, right, bottom), SOFT)
    return panel


def _ticks(highest: float) -> Array:
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if highest / step <= 7 or step == 100)
    return np.arange(0, highest, step)


def _impulses(planes: Array, found: doctor.Diagnosis, wide: int, high: int) -> Image.Image:
    """Brighter ones are orange, darker ones blue."""
    panel = Image.new("RGB", (wide, high), PAPER)
    height, width = planes.shape[:2]
    scale = min(wide / width, (high - 24) / height)
    rows, columns = (max(int(length * min(scale, 1)), 1) for length in (height, width))
    canvas = np.full((rows, columns, 3), (28, 29, 32), np.uint8)
    brighter, darker = sticking_out(planes, found.level.value)
    for hits, colour in ((darker, (90, 150, 255)), (brighter, (255, 170, 60))):
        down, across = np.nonzero(hits)
        canvas[down * rows // height, across * columns // width] = colour
    size = max(int(width * scale), 1), max(int(height * scale), 1)
    drawn = Image.fromarray(canvas).resize(size, Image.Resampling.NEAREST)
    panel.paste(drawn, (0, 0))
    words = f"{brighter.sum():,} brighter, {darker.sum():,} darker"
    ImageDraw.Draw(panel).text((0, drawn.height + 5), words, SOFT, _font(12))
    return panel


def _alike(values: Array, wide: int, high: int) -> Image.Image:
    """Cells of the autocorrelation; blue: alike, red: opposite."""
    if not values.any():
        return _nothing(wide, high)
    panel = Image.new("RGB", (wide, high), PAPER)
    pen = ImageDraw.Draw(panel)
    side = (high - AXES[1]) // (2 * LAGS + 1)
    for down in range(-LAGS, LAGS + 1):
        for across in range(-LAGS, LAGS + 1):
            value = float(values[abs(down), abs(across)])
            full = (25, 70, 170) if value > 0 else (190, 45, 40)
            share = min(abs(value), 1) ** 0.7
            colour = tuple(round(255 + share * (part - 255)) for part in full)
            left, top = AXES[0] + (across + LAGS) * side, (down + LAGS) * side
            pen.rectangle((left, top, left + side - 2, top + side - 2), fill=colour, outline=GRID)
            if abs(value) >= 0.05:
                ink = PAPER if share > 0.5 else INK
                pen.text((left + side / 2, top + side / 2), f"{value:.2f}", ink, _font(10), anchor="mm")
    right, bottom = AXES[0] + (2 * LAGS + 1) * side, (2 * LAGS + 1) * side
    for lag in range(-LAGS, LAGS + 1):
        middle = (lag + LAGS + 0.5) * side
        pen.text((AXES[0] + middle, bottom + 6), f"{lag}", SOFT, _font(12), anchor="mt")
        pen.text((AXES[0] - 8, middle), f"{lag}", SOFT, _font(12), anchor="rm")
    _named(panel, "pixels across", "pixels down", bottom)
    words = "White noise has 0 around\nthe middle. What has more\nwas smoothed: by a sensor's\nmosaic, JPEG or scaling."
    pen.multiline_text((right + 14, 4), words, SOFT, _font(12), spacing=5)
    return panel
