"""What pictures that were inspected together have in common: one line for all, and groups whose noise is clearly not the same.

A picture is here what `rehearsal.diagnosed` tells of it, with its `source`.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .image.metadata import taken_by

Told = dict[str, Any]
APART = 1.7  # times the sigma of the one before, from which on a picture's noise is another: about what two steps of ISO make
NAMED = 3  # pictures of a group


def summary(found: Sequence[Told]) -> str:
    """Kinds, counted, and the range of sigma."""
    kinds = Counter(kind for one in found for kind in one["kinds"])
    without = sum(not one["kinds"] for one in found)
    words = [f"{kind} in {count}" for kind, count in kinds.most_common()] + [f"no noise worth removing in {without}"] * bool(
        without
    )
    sigmas = sorted(255 * one["level"]["value"] for one in found)
    middle = statistics.median(sigmas)
    return f"{', '.join(words)}; sigma {sigmas[0]:.1f} to {sigmas[-1]:.1f}/255, half of them up to {middle:.1f}"


def groups(found: Sequence[Told]) -> list[Told]:
    """Of noisy pictures, those alike: the same kinds, and no gap between their sigmas; the largest first. Fewer than two: []."""
    alike: dict[tuple[str, ...], list[Told]] = {}
    for one in sorted(found, key=lambda one: float(one["level"]["value"])):
        if one["kinds"]:
            kinds = (
                kind.replace("signal-dependent", "Gaussian") for kind in one["kinds"]
            )  # that it grows is told of some alone
            alike.setdefault(tuple(kinds), []).append(one)
    parts: list[list[Told]] = []
    for pictures in alike.values():
        parts.append(pictures[:1])
        for before, one in itertools.pairwise(pictures):
            if one["level"]["value"] > APART * before["level"]["value"]:
                parts.append([])
            parts[-1].append(one)
    told = [_group(part) for part in sorted(parts, key=len, reverse=True)]
    return told if len(told) > 1 else []


def _group(pictures: Sequence[Told]) -> Told:
    levels = [one["level"]["value"] for one in pictures]
    cameras = Counter(one["camera"] for one in pictures if one.get("camera"))
    return {
        "kinds": pictures[0]["kinds"], "sigma": [min(levels), max(levels)], "cameras": [name for name, _ in cameras.most_common()],
        "pictures": [one["source"] for one in pictures],
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
