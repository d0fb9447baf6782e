"""What pictures that were inspected together have in common: one line for all, and groups whose noise is clearly not the same."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .image.metadata import taken_by

Told = dict[str, Any]
APART = 1.7  # times the sigma of the one before, from which on a picture's noise is another: about what two steps of ISO make
NAMED = 3  # pictures of a group


class Noisy(NamedTuple):
    """A picture that was looked at: its name, the kinds of its noise, sigma, and what `camera_of` tells, or ""."""

    source: str
    kinds: Sequence[str]
    sigma: float
    camera: str = ""


def summary(found: Sequence[Noisy]) -> str:
    """Kinds, counted, and the range of sigma."""
    kinds = Counter(kind for one in found for kind in one.kinds)
    without = sum(not one.kinds for one in found)
    words = [f"{kind} in {count}" for kind, count in kinds.most_common()] + [f"no noise worth removing in {without}"] * bool(
        without
    )
    sigmas = sorted(255 * one.sigma for one in found)
    middle = statistics.median(sigmas)
    return f"{', '.join(words)}; sigma {sigmas[0]:.1f} to {sigmas[-1]:.1f}/255, half of them up to {middle:.1f}"


def groups(found: Iterable[Noisy]) -> list[Told]:
    """Of noisy pictures, those alike: the same kinds, and no gap between their sigmas; the largest first. Fewer than two: []."""
    alike: dict[tuple[str, ...], list[Noisy]] = {}
    for one in sorted(found, key=lambda one: one.sigma):
        if one.kinds:  # that it grows with the light is told of some alone
            alike.setdefault(tuple(kind.replace("signal-dependent", "Gaussian") for kind in one.kinds), []).append(one)
    parts: list[list[Noisy]] = []
    for pictures in alike.values():
        parts.append(pictures[:1])
        for before, one in itertools.pairwise(pictures):
            if one.sigma > APART * before.sigma:
                parts.append([])
            parts[-1].append(one)
    told = [_group(part) for part in sorted(parts, key=len, reverse=True)]
    return told if len(told) > 1 else []


def _group(pictures: Sequence[Noisy]) -> Told:
    cameras = Counter(one.camera for one in pictures if one.camera)
    return {
        "kinds": pictures[0].kinds, "sigma": [pictures[0].sigma, pictures[-1].sigma], "cameras": [name for name, _ in cameras.most_common()],
        "pictures": [one.source for one in pictures],
    }  # fmt: skip


def in_words(group: Told) -> str:
    """A group in a line: what noise, of which cameras, and the first of its pictures."""
    low, high = (255 * sigma for sigma in group["sigma"])
    sigma = f"sigma {low:.1f}/255" if high < 1.05 * low else f"sigma {low:.1f} to {high:.1f}/255"
    cameras = f", {' and '.join(group['cameras'][:NAMED])}" if group["cameras"] else ""
    names, more = group["pictures"][:NAMED], len(group["pictures"]) - NAMED
    return f"{' and '.join(group['kinds'])}, {sigma}{cameras}: {', '.join(names)}{f' and {more} more' if more > 0 else ''}"


def stuck_in_words(fixed: Told) -> str:
    """What `grid.Stuck` found of one size, in a line."""
    count = round(fixed["share"] * fixed["height"] * fixed["width"])
    at = ", ".join(f"({row}, {column})" for row, column in fixed["first"][:NAMED])
    which = f"{count} pixels stick out" if count > 1 else "1 pixel sticks out"
    more = " and more" if count > NAMED else ""
    return (
        f"In most of {fixed['photos']} photos of {fixed['width']}x{fixed['height']}, {which} at the same place "
        f"({100 * fixed['share']:.2g} %), as dead and hot ones do: row and column {at}{more}"
    )


def camera_of(exif: bytes | None) -> str:
    """The camera and its sensitivity by EXIF as given in `Picture.keep`, such as "NIKON D800, ISO 3200"; "" where it does not say."""
    camera, iso = taken_by(exif)
    return ", ".join([camera] * bool(camera) + [f"ISO {iso}"] * bool(iso))
