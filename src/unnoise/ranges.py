"""A number, or a range `(low, high)` of numbers that is drawn from: what the strengths of noises are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .errors import BadSetting

Number = float | tuple[float, float]
Count = int | tuple[int, int]


def ends(value: Any) -> tuple[float, ...]:
    """The range's two, or the number alone."""
    return value if isinstance(value, tuple) else (value,)


def draw(value: Number, rng: np.random.Generator) -> float:
    """The number, or one drawn uniformly from the range."""
    return float(rng.uniform(*value)) if isinstance(value, tuple) else float(value)


def draw_whole(value: Count, rng: np.random.Generator) -> int:
    """The whole number, or one drawn from the range, both ends included."""
    return int(rng.integers(value[0], value[1], endpoint=True)) if isinstance(value, tuple) else int(value)


def check_sigma(value: Number) -> None:
    """Raise BadSetting unless `value` is a sigma in image units, or a range of them."""
    for sigma in ends(value):
        # most quotients, as 300/255, have more decimals, and were not meant in levels of 255
        if isinstance(sigma, int | float) and 1 < sigma <= 255 and round(sigma, 2) == sigma:
            raise BadSetting(f"sigma={sigma}: expected image units, 0 to 1; did you mean {sigma:g}/255?")
    check_range("sigma", value, 0, 1)


def check_range(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    """Raise BadSetting unless `value` is a number from low to high (whole, if asked for), or an ascending pair of them."""
    expected = f"expected {'a whole number' if whole else 'a number'} from {low:g}" + (
        f" to {high:g}" if high < math.inf else ""
    )
    pair = isinstance(value, tuple)
    try:
        right = all(not isinstance(v, str) and low <= v <= high and (not whole or int(v) == v) for v in ends(value))
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right or (pair and (len(value) != 2 or value[0] > value[1])):
        hint = "; for a number of pixels write count" if name == "fraction" and not right else ""
        raise BadSetting(f"{name}={value!r}: {expected}, or a range low..high of them{hint}.")
