"""How a camera spoils a picture, for `noise.Camera`: light is counted, one colour a pixel, and what was counted is developed.

The picture is taken back to the light on the sensor, noise is drawn there, and the noise is developed:

1. The tone curve (sRGB's, with none to all of a smoothstep behind it), the colour matrix (a mixture of four cameras') and the
   white balance are undone; each is drawn, once a picture. Source: Brooks et al. 2019, arXiv:1811.11127.
2. Each photosite of a Bayer mosaic gets N(0, shot * x + read), x being its signal in [0, 1]: photons are counted, and reading
   the counter errs. Source: Foi et al. 2008, doi:10.1109/TIP.2008.2001399. log read = 2.18 log shot + 1.20, give or take 0.26,
   as in cameras (Brooks et al.). Near white the noise fades, for sensors overflow there.
3. Demosaicing (Malvar, He & Cutler 2004, doi:10.1109/ICASSP.2004.1326587), a little sharpening or smoothing, the colour matrix
   and the tone curve spread it over neighbours and colours. The picture becomes 8 bits, and JPEG where wanted, as in Guo et al.
   2019, arXiv:1807.04686. Mosaic and blocks begin anywhere, since a picture may be a crop.

The clean picture stays the target. Of real pairs the clean side is the mean of many shots that went through the same camera, so
what demosaicing does to the picture itself is on both sides. Everything before the tone curve f is linear: it is enough to send
the noise n through it. Behind the curve it is (f(x + n) - f(x - n)) / 2, f being odd, whose mean is 0: so here too the mean of
many shots is the clean picture, but for what 8 bits cut off at 0 and 1.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import JpegImagePlugin

from .errors import ImageError
from .keyed import normals

Array = npt.NDArray[Any]
Site = tuple[int, tuple[slice, slice]]  # a colour, and where in a plane its photosites are

FROM_XYZ = [  # of the four cameras of Brooks et al.
    [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
    [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
    [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
    [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
]
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]  # of sRGB
CAMERAS = (np.array(FROM_XYZ) @ np.array(TO_XYZ)).reshape(4, 9)
BRIGHTER = 1 / 0.8  # what a camera multiplies all colours by, and the ranges for red and blue (Brooks et al.)
REDDER, BLUER = (1.9, 2.4), (1.5, 1.9)
FULL = 0.9  # signal, white being 1, from which noise fades (Brooks et al., for the gains)
SOFTER = (-0.5, 0.5)  # share by which brightness is moved to its mean over 3 x 3, colour by 0 to 1: no source, our choice
CONTRASTS = 17  # tone curves: so many shares of the smoothstep, from none to all
ROOM = 3  # pixels around a pixel that reach into it: 2 through demosaicing, 1 through the mean
BAND = 1 << 14  # pixels at a time: so they stay in the processor's cache, and memory does not follow the picture
LEVELS = 1024  # of a picture's values that are told apart in how much light they were
STEPS = 2048  # of tone curves: over the square root of light, in which they are nearly straight, up to a light of 4
LIGHT = (np.arange(2 * STEPS + 1) / STEPS) ** 2
LONGEST = 65500  # pixels a side of a JPEG, by libjpeg


def srgb(light: Array) -> Array:
    """sRGB's curve, IEC 61966-2-1: light from 0 to a picture's values; 1 to 1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


PLAIN = srgb(LIGHT)
STEEP = 3 * np.minimum(PLAIN, 1) ** 2 - 2 * np.minimum(PLAIN, 1) ** 3
MIDDLE = ((0.5 + 0.055) / 1.055) ** 2.4  # the light of a value of 0.5, whatever the contrast
SLOPE = 1.055 / 2.4 * MIDDLE ** (1 / 2.4 - 1)  # of sRGB's curve there


@dataclass(frozen=True)
class _Body:
    """A camera, and the exposure of one picture; see `_gray_body` and `_colour_body`."""

    tones: Array  # values over the square root of light, STEPS to 1
    lights: Array  # light of the values k / (LEVELS - 1)
    shot: float
    read: float
    sites: tuple[Site, ...]
    gains: Array  # (C, 1, 1) float32
    to_camera: Array  # (C, C) float32, from the picture's colours, in light
    from_differences: Array  # (3, 3) float32: from (red - green, green, blue - green) of the camera to the picture's colours
    shares: Array  # (3, 1, 1) float32: how far each of these is moved to its mean over 3 x 3

    @property
    def room(self) -> int:
        return ROOM if len(self.gains) == 3 else 0


def photographed(image: Array, sigma: float, quality: int, rng: np.random.Generator) -> Array:
    """The picture as a camera would have brought it home: (H, W), (H, W, 1) or (H, W, 3) floats to the same, in 255ths.

    sigma, image units: the standard deviation of the noise where the picture is 0.5, over all channels, before 8 bits and JPEG.
    quality: of the JPEG, 1 to 100, by libjpeg's scale; 0: none. Raises ImageError for a picture too long for a JPEG.
    """
    if quality and max(image.shape[:2]) > LONGEST - 15:
        raise ImageError(
            f"a picture of {image.shape[0]}x{image.shape[1]}: a JPEG has at most {LONGEST} pixels a side; use jpeg=0."
        )
    planes = np.moveaxis(image, 2, 0) if image.ndim == 3 else image[None]
    body = (_colour_body if len(planes) == 3 else _gray_body)(sigma, rng)
    height, width = image.shape[:2]
    noise = normals((height + 2 * body.room, width + 2 * body.room), rng)
    levels = np.empty((height, width, len(planes)), np.uint8)
    rows = max(BAND // width // 2, 1) * 2  # even, so that every band begins alike in the mosaic
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        values = planes[:, band] + _developed_noise(planes, band, noise, body)
        levels[band] = np.moveaxis(np.clip(255 * values + 0.5, 0, 255), 0, 2)
    if quality:
        levels = _through_jpeg(levels, quality, rng)
    return (levels * np.float32(1 / 255)).astype(image.dtype).reshape(image.shape)


def _developed_noise(planes: Array, band: slice, noise: Array, body: _Body) -> Array:
    """What is added to some rows, (C, rows, W), given N(0, 1) for every photosite of the picture and around it."""
    room, (height, width) = body.room, planes.shape[1:]
    rows = np.arange(band.start - room, band.stop + room).clip(0, height - 1)
    columns = np.arange(-room, width + room).clip(0, width - 1)
    steps = planes[:, rows].take(columns, 2).clip(0, 1) * (LEVELS - 1) + 0.5
    light = body.lights.take(steps.astype(np.intp))
    deviation = _deviation((body.to_camera @ light.reshape(len(light), -1)).reshape(light.shape), body)
    noise = noise[band.start : band.stop + 2 * room].copy()
    for colour, at in body.sites:
        noise[at] *= deviation[colour][at]
    if not room:
        return _toned(light, noise[None], body.tones)
    sharp, soft = _sharp_and_soft(noise, body.sites)
    soft -= sharp
    soft *= body.shares
    soft += sharp
    spread = (body.from_differences @ soft.reshape(3, -1)).reshape(soft.shape)
    return _toned(light[:, room:-room, room:-room], spread, body.tones)


def _deviation(signal: Array, body: _Body) -> Array:
    """Standard deviation of the noise for the signal in each colour of the camera, both white-balanced: (C, H, W)."""
    found = np.maximum(signal, 0)
    found *= body.shot * body.gains
    found += body.read * body.gains**2
    np.sqrt(found, out=found)
    overflow = np.maximum(signal - FULL, 0)
    overflow *= overflow
    overflow /= -((1 - FULL) ** 2)
    overflow += 1
    found *= np.maximum(overflow, 0, out=overflow)
    return found


def _toned(light: Array, noise: Array, tones: Array) -> Array:
    """The noise behind the tone curve f: (f(light + noise) - f(light - noise)) / 2, f being odd."""
    ends: Array = np.empty((2, *noise.shape), np.float32)
    np.add(noise, light, out=ends[0])
    np.subtract(noise, light, out=ends[1])
    found: Array = np.abs(ends)
    np.sqrt(found, out=found)
    found *= STEPS
    tones.take(found.astype(np.intp), out=found, mode="clip")
    np.copysign(found, ends, out=found)
    half: Array = (found[0] + found[1]) / 2
    return half


# --- the camera --------------------------------------------------------------------------------------------------------------


def _gray_body(sigma: float, rng: np.random.Generator) -> _Body:
    """Without a mosaic."""
    tones, lights, slope = _curve(int(rng.integers(CONTRASTS)))
    shot, read = _exposure(sigma / slope, MIDDLE * BRIGHTER, BRIGHTER**2, rng)
    gains, one = np.full((1, 1, 1), BRIGHTER, np.float32), np.ones((1, 1), np.float32)
    return _Body(tones, lights, shot, read, ((0, (slice(None), slice(None))),), gains, one, one, one)


def _colour_body(sigma: float, rng: np.random.Generator) -> _Body:
    contrast, row, column, redder, bluer, brightness, colour, *mixture = rng.random(11).tolist()
    tones, lights, slope = _curve(int(CONTRASTS * contrast))
    to_camera = (mixture @ CAMERAS).reshape(3, 3)
    to_camera /= to_camera.sum(1, keepdims=True)  # gray stays gray
    matrix = np.linalg.inv(to_camera)
    from_differences = matrix.astype(np.float32)
    from_differences[:, 1] = 1  # the matrix's rows add up to 1
    gains = BRIGHTER * np.array([_between(REDDER, redder), 1, _between(BLUER, bluer)])
    shares = np.array([colour, _between(SOFTER, brightness), colour], np.float32)[:, None, None]
    sharp, soft = _impulses()
    spread = from_differences @ (sharp + shares * (soft - sharp)).reshape(3, -1)
    each = np.square(spread).reshape(3, 4, -1).sum((0, 2)) / 12  # what each of four sites adds to 3 channels of 4 pixels
    by_site = gains[[0, 1, 1, 2]]
    shot, read = _exposure(sigma / slope, MIDDLE * float(each @ by_site), float(each @ by_site**2), rng)
    sites, by_colour = _sites(int(2 * row), int(2 * column)), gains.astype(np.float32)[:, None, None]
    return _Body(tones, lights, shot, read, sites, by_colour, to_camera.astype(np.float32), from_differences, shares)


def _between(ends: tuple[float, float], draw: float) -> float:
    return ends[0] + draw * (ends[1] - ends[0])


@functools.cache
def _curve(contrast: int) -> tuple[Array, Array, float]:
    """(tones, lights, slope at a value of 0.5) of a tone curve: sRGB's, with a share of a smoothstep behind it."""
    share = contrast / (CONTRASTS - 1)
    tones = (1 - share) * PLAIN + share * STEEP
    lights = np.interp(np.arange(LEVELS) / (LEVELS - 1), tones[: STEPS + 1], LIGHT[: STEPS + 1])
    return tones.astype(np.float32), lights.astype(np.float32), SLOPE * (1 + share / 2)


def _exposure(sigma: float, by_shot: float, by_read: float, rng: np.random.Generator) -> tuple[float, float]:
    """(shot, read) of a sensor such that by_shot * shot + by_read * read is sigma^2, in the proportion that cameras have."""
    spread = rng.standard_normal()
    ratio = float(np.exp(1.20 + 0.26 * spread) * (sigma**2 / by_shot) ** 1.18)  # as log read = 2.18 log shot + 1.20
    shot = sigma**2 / (by_shot + by_read * ratio)
    return shot, shot * ratio


# --- the mosaic --------------------------------------------------------------------------------------------------------------


def _sites(row: int, column: int) -> tuple[Site, ...]:
    """Red, green of the red rows, green of the blue rows, blue; the first red site is at (row, column), each 0 or 1."""
    red_rows, blue_rows, red_columns, blue_columns = (slice(at, None, 2) for at in (row, 1 - row, column, 1 - column))
    return (
        (0, (red_rows, red_columns)),
        (1, (red_rows, blue_columns)),
        (1, (blue_rows, red_columns)),
        (2, (blue_rows, blue_columns)),
    )


def _sharp_and_soft(mosaic: Array, sites: tuple[Site, ...]) -> tuple[Array, Array]:
    """A mosaic (H, W) as (red - green, green, blue - green) of all pixels that have ROOM, and its means over 3 x 3 pixels."""
    planes = demosaiced(mosaic, sites)
    planes[::2] -= planes[1]
    rows = planes[:, :-2] + planes[:, 1:-1]
    rows += planes[:, 2:]
    means = rows[:, :, :-2] + rows[:, :, 1:-1]
    means += rows[:, :, 2:]
    means /= 9
    return planes[:, 1:-1, 1:-1], means


def demosaiced(mosaic: Array, sites: tuple[Site, ...]) -> Array:
    """(red, green, blue), each (H - 4, W - 4), of a white-balanced Bayer mosaic (H, W): the 5 x 5 filters of Malvar et al."""
    own = mosaic[2:-2, 2:-2]
    above, beside = mosaic[1:-3] + mosaic[3:-1], mosaic[2:-2, 1:-3] + mosaic[2:-2, 3:-1]
    diagonal, above = above[:, 1:-3] + above[:, 3:-1], above[:, 2:-2]
    far_above, far_beside = mosaic[:-4, 2:-2] + mosaic[4:, 2:-2], mosaic[2:-2, :-4] + mosaic[2:-2, 4:]
    far = far_above + far_beside
    other = (4 * own + 2 * (above + beside) - far) / 8  # green where red or blue is
    across = (6 * own + 2 * diagonal - 1.5 * far) / 8  # red where blue is, and the reverse
    in_row = (5 * own + 4 * beside - far_beside - diagonal + far_above / 2) / 8  # red or blue where green is, between two of it
    in_column = (5 * own + 4 * above - far_above - diagonal + far_beside / 2) / 8
    red, green, blue = found = np.empty((3, *own.shape), mosaic.dtype)
    (_, at_red), (_, in_red), (_, in_blue), (_, at_blue) = sites
    for plane, there, opposite, row, column in (
        (red, at_red, at_blue, in_red, in_blue),
        (blue, at_blue, at_red, in_blue, in_red),
    ):
        plane[there], plane[opposite], plane[row], plane[column] = own[there], across[opposite], in_row[row], in_column[column]
    green[in_red], green[in_blue], green[at_red], green[at_blue] = own[in_red], own[in_blue], other[at_red], other[at_blue]
    return found


@functools.cache
def _impulses() -> tuple[Array, Array]:
    """What a 1 at a red, green, green and blue site becomes, sharp and soft: (3, 4, 49), in squares of 7 x 7 around it."""
    mosaic = np.zeros((14 + 2 * ROOM, 14 + 2 * ROOM), np.float32)
    first = ROOM + 3
    mosaic[first::7, first::7] = 1  # 7 is odd, so each of the four lies on a site of another kind
    found = _sharp_and_soft(mosaic, _sites(first % 2, first % 2))
    sharp, soft = (part.reshape(3, 2, 7, 2, 7).swapaxes(2, 3).reshape(3, 4, 49) for part in found)
    return sharp, soft


# --- the file ----------------------------------------------------------------------------------------------------------------


def _through_jpeg(levels: Array, quality: int, rng: np.random.Generator) -> Array:
    """(H, W, C) uint8, coded and decoded; the grid of blocks lies anywhere, colour is at full, half or quarter size."""
    height, width, channels = levels.shape
    top, left, sampling = int(rng.integers(16)), int(rng.integers(16)), int(rng.integers(3))
    padded = np.empty((top + height, left + width, channels), np.uint8)
    padded[top:, left:], padded[:top, left:] = levels, levels[0]
    padded[:, :left] = padded[:, left : left + 1]
    file = io.BytesIO()
    picture = Pillow.fromarray(padded[..., 0] if channels == 1 else padded)
    picture.save(file, "JPEG", quality=quality, subsampling=sampling)
    file.seek(0)  # the class, not Pillow.open: its limit on pixels is for strangers' files
    return np.asarray(JpegImagePlugin.JpegImageFile(file))[top:, left:].reshape(levels.shape)
