"""The noise of one camera, as `unnoise profile` has measured it: its file, its text, and what it does to a picture, for `noise.Profile`.

A group holds the figures of one ISO. Noise of a group is Gaussian, of variance gain * value + read^2 in each channel (`nlf`), and correlated
between pixels and between channels as was measured: white noise goes through a filter of 7 x 7 pixels whose autocorrelation is that.
A text holds the figures, not the file's name, so that a run and a model tell their noise when the file is gone.
"""

from __future__ import annotations

import functools
import json
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BadSetting
from .image.picture import LUMA
from .keyed import BLOCK, normals
from .nlf import LevelFunction, variance

Array = npt.NDArray[Any]
FORMAT, VERSION = "unnoise camera profile", 1
REACH = 3  # pixels down and across over which correlation is told
SIDE = REACH + 1
LARGEST = 2**24  # bytes of a profile


@dataclass(frozen=True)
class Group:
    """The noise at one ISO: of each channel, one or three, the gain and the read noise, in image units.

    `correlation`: of pixels 0 to 3 down and 0 to 3 across, row by row, the first being 1; empty for white noise. `colours`: the
    correlation of red and green, red and blue, green and blue at a pixel; empty where there are none. Raises BadSetting.
    """

    gain: tuple[float, ...]
    read: tuple[float, ...]
    correlation: tuple[float, ...] = ()
    colours: tuple[float, ...] = ()
    iso: int | None = None

    def __post_init__(self) -> None:
        levels, shares = self.gain + self.read, self.correlation + self.colours
        if not (
            len(self.gain) == len(self.read) in (1, 3)
            and all(0 <= number <= 1 for number in levels)
            and len(self.correlation) in (0, SIDE**2)
            and len(self.colours) in ((0, 3) if len(self.gain) == 3 else (0,))
            and all(-1.001 <= number <= 1.001 for number in shares)
        ):
            raise BadSetting(
                f"{self}: expected gain and read of one channel or three, from 0 to 1, {SIDE**2} correlations of pixels or none, 3 of colours or none."
            )

    def __str__(self) -> str:
        return ",".join(
            f"{field.name}={_joined(value)}" for field in fields(self) if (value := getattr(self, field.name)) not in ((), None)
        )


def _joined(value: Any) -> str:
    return "x".join(f"{number:.5g}" for number in value) if isinstance(value, tuple) else str(value)


# --- as a text ---------------------------------------------------------------------------------------------------------------


def written(groups: tuple[Group, ...]) -> str:
    """The text that `parsed` takes back, to five digits: gain=0.001x0.001x0.002,read=...,iso=800, groups divided by |."""
    return "|".join(map(str, groups))


def parsed(text: str) -> tuple[Group, ...]:
    """The groups of a text that holds their figures. Raises BadSetting, also for a file's name: what a text names is not opened here."""
    found = []
    for group in text.split("|"):
        parts = [part.partition("=")[::2] for part in group.split(",")]
        try:
            values = {name: tuple(float(number) for number in value.split("x")) for name, value in parts}
            iso = values.pop("iso", None)
            found.append(Group(**values, iso=int(iso[0]) if iso else None))
        except (TypeError, ValueError) as error:
            if isinstance(error, BadSetting):
                raise
            raise BadSetting(
                f"noise 'profile:{text}': expected the figures of a profile, or on the command line and in train a file, as in profile:camera.json."
            ) from None
    return tuple(found)


def filled_in(text: str) -> str:
    """The text of a noise with the figures in place of each profile's file: of `profile:camera.json`, or `profile:camera.json,iso=800`.

    Raises BadSetting where such a file cannot be read.
    """
    return "+".join(_filled_in(part.strip()) for part in text.split("+"))


def _filled_in(part: str) -> str:
    kind, _, rest = part.partition(":")
    if kind != "profile" or not rest or re.match(r"(gain|read)=", rest):
        return part
    file, *more = (piece.strip() for piece in rest.split(","))
    isos = [piece.removeprefix("iso=") for piece in more]
    if len(more) > 1 or not all(piece.startswith("iso=") and iso.isdecimal() for piece, iso in zip(more, isos, strict=True)):
        raise BadSetting(
            f"noise {part!r}: expected profile:FILE or profile:FILE,iso=NUMBER, as in profile:camera.json,iso=800."
        )
    return f"{kind}:{written(load(Path(file.removeprefix('file=')), int(isos[0]) if isos else None))}"


# --- as a file ---------------------------------------------------------------------------------------------------------------


def load(path: Path, iso: int | None = None) -> tuple[Group, ...]:
    """The groups of a profile that `unnoise profile` has written, or those of one ISO. Raises BadSetting."""
    found = _read(path)
    try:
        groups = tuple(_group(one) for one in found["groups"])
    except (KeyError, TypeError, ValueError):
        groups = ()
    if not groups:
        raise BadSetting(f"{path} is a profile that is damaged; make it anew by unnoise profile.")
    there = sorted({group.iso for group in groups if group.iso is not None})
    if iso is None:
        return groups
    if iso not in there:
        listed = f"of ISO {', '.join(map(str, there))}" if there else "without ISO"
        raise BadSetting(f"iso={iso}: {path} is a profile {listed}; name one that is there, or leave iso out.")
    return tuple(group for group in groups if group.iso == iso)


def _read(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(LARGEST))
    except OSError as error:
        raise BadSetting(
            f"{path} cannot be opened ({error.strerror}); give a profile that unnoise profile has written."
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BadSetting(f"{path} is no profile of a camera; make one from flats by unnoise profile.")
    if found.get("version") != VERSION:
        raise BadSetting(
            f"{path} is a profile of version {found.get('version')}, and this unnoise reads {VERSION}; write it anew."
        )
    return found


def _group(one: Any) -> Group:
    levels = [LevelFunction.from_json(channel) for channel in one["channels"]]
    table, colours, iso = one["correlation"], one["colours"], one["iso"]
    return Group(
        tuple(level.gain.value for level in levels),
        tuple(level.read.value for level in levels),
        tuple(float(number) for row in table["table"] for number in row) if table else (),
        tuple(float(number) for number in colours["table"]) if colours else (),
        None if iso is None else int(iso),
    )


# --- on a picture ------------------------------------------------------------------------------------------------------------


def disturbed(image: Array, group: Group, rng: np.random.Generator) -> Array:
    """The picture, (H, W), (H, W, 1) or (H, W, 3) floats, with noise of a group, in the same shape and type; nothing is clipped.

    A gray picture gets the brightness of a three-channel group's noise; a coloured one gets that of a gray group in each channel by itself.
    """
    if len(group.gain) == 3 and (image.ndim == 2 or image.shape[2] == 1):
        gray = image if image.ndim == 2 else image[..., 0]
        noisy: Array = disturbed(np.repeat(gray[..., None], 3, 2), group, rng) @ LUMA.astype(image.dtype)
        return noisy.reshape(image.shape)
    planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    room = REACH if group.correlation else 0
    height, width = planes.shape[1:]
    white = normals((len(planes), height + 2 * room, width + 2 * room), rng)
    if group.colours:
        white = (_mixture(group.colours) @ white.reshape(3, -1)).reshape(white.shape)
    noise = _filtered(white, group.correlation) if room else white
    for plane, clean, gain, read in zip(
        noise, planes, *(_each(part, len(planes)) for part in (group.gain, group.read)), strict=True
    ):
        plane *= np.sqrt(variance(clean, gain, read))
        plane += clean
    return np.ascontiguousarray(np.moveaxis(noise, 0, 2), image.dtype).reshape(image.shape)


def _each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) == channels else values * channels


def _filtered(white: Array, correlation: tuple[float, ...]) -> Array:
    """White noise (C, H + 6, W + 6) through the filter: (C, H, W). In one dimension, where each tap is a shift; what runs over is cut off."""
    wide, room = white.shape[2], 2 * REACH
    flat = white.reshape(-1)
    noise = np.zeros_like(flat)
    taps = [(down * wide + across, tap) for (down, across), tap in np.ndenumerate(filter_of(correlation)) if abs(tap) > 1e-4]
    part = np.empty(BLOCK, white.dtype)
    for start in range(0, len(flat) - room * (wide + 1), BLOCK):
        stop = min(start + BLOCK, len(flat) - room * (wide + 1))
        for shift, tap in taps:
            np.multiply(flat[start + shift : stop + shift], tap, out=part[: stop - start])
            noise[start:stop] += part[: stop - start]
    return noise.reshape(white.shape)[:, :-room, :-room]


@functools.lru_cache(64)
def _mixture(colours: tuple[float, ...]) -> Array:
    """(3, 3) float32: what makes three independent channels as correlated as these, the variance of each staying 1."""
    wanted = np.eye(3)
    wanted[np.triu_indices(3, 1)] = wanted[np.triu_indices(3, 1)[::-1]] = colours
    powers, vectors = np.linalg.eigh(wanted)
    root = vectors * np.sqrt(np.maximum(powers, 0))
    return np.asarray(root / np.linalg.norm(root, axis=1, keepdims=True), np.float32)


@functools.lru_cache(64)
def filter_of(correlation: tuple[float, ...]) -> Array:
    """(7, 7) float32: the filter, of sum of squares 1, that gives white noise this autocorrelation, as nearly as one of its size can.

    It begins as the root of the spectrum, cut to its size, and is bettered by Gauss and Newton's steps.
    """
    side = 2 * REACH + 1
    folded = np.abs(np.arange(-2 * REACH, 2 * REACH + 1))
    wanted = np.zeros((4 * REACH + 1, 4 * REACH + 1))
    inside = folded <= REACH
    weights = np.where(np.outer(inside, inside), 1, 0.1).reshape(-1, 1)  # beyond, nothing was measured
    wanted[np.ix_(inside, inside)] = np.array(correlation).reshape(SIDE, SIDE)[np.ix_(folded[inside], folded[inside])]
    spectrum = np.fft.fft2(np.fft.ifftshift(np.pad(wanted, 10)))
    root = np.fft.fftshift(np.fft.ifft2(np.sqrt(np.maximum(spectrum.real, 0))).real)
    middle = len(root) // 2
    taps = root[middle - REACH : middle + REACH + 1, middle - REACH : middle + REACH + 1]
    rows, columns = np.indices((SIDE, SIDE)).reshape(2, -1)
    shapes = np.zeros((SIDE**2, side, side))  # a filter is alike up and down, left and right: 16 numbers
    for row_sign in (-1, 1):
        for column_sign in (-1, 1):
            shapes[np.arange(SIDE**2), REACH + row_sign * rows, REACH + column_sign * columns] = 1
    size = 2 * side - 1
    spectra = np.fft.rfft2(shapes, (size, size))
    numbers = taps[REACH:, REACH:].ravel()
    for _ in range(20):
        own = np.tensordot(numbers, spectra, 1)
        got, slopes = (
            np.fft.fftshift(np.fft.irfft2(part, (size, size)), (-2, -1))
            for part in (own * own.conj(), 2 * spectra * own.conj())
        )
        step = np.linalg.lstsq(slopes.reshape(SIDE**2, -1).T * weights, ((wanted - got).ravel() * weights[:, 0]), rcond=1e-6)[0]
        numbers = numbers + 0.5 * step
    taps = np.tensordot(numbers, shapes, 1)
    return np.asarray(taps / math.sqrt(float(np.square(taps).sum())), np.float32)
