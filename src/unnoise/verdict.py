"""What scores say: means with an interval, and whether a model is better than what else there is.

A case is a dict as in report.json, its scores still floats: `pictures` with `scores` by method, `methods` with `kind`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .keyed import keyed_rng

Case = dict[str, Any]
RESAMPLES = 2000
SEED = 1993  # of the resampling: the same scores give the same interval


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of these pictures' values, by the bootstrap over pictures; None of fewer than two.

    Percentiles of the means of samples of the same size, drawn with replacement. Source: Efron & Tibshirani 1993, chapter 13.
    """
    if len(values) < 2:
        return None
    rng, count = keyed_rng(SEED), len(values)
    times = max(200, min(RESAMPLES, 20_000_000 // count))
    means = np.asarray(values, np.float64)[rng.integers(0, count, (times, count))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975), method="nearest")
    return float(low), float(high)


def means(case: Case, method: str, metrics: Sequence[str]) -> tuple[dict[str, float | None], dict[str, Any]]:
    """(mean, interval) of each metric over the pictures that have it."""
    mean: dict[str, float | None] = {}
    spread: dict[str, Any] = {}
    for metric in metrics:
        values = [v for picture in case["pictures"] if (v := picture["scores"][method][metric]) is not None]
        mean[metric], spread[metric] = (float(np.mean(values)) if values else None), interval(values)
    return mean, spread


def gains(case: Case, one: str, other: str) -> list[float]:
    """How many dB of PSNR `one` is above `other`, picture by picture."""
    pairs = [(picture["scores"][one]["psnr"], picture["scores"][other]["psnr"]) for picture in case["pictures"]]
    return [0.0 if a == b else a - b for a, b in pairs]  # two that are without error are equal


def is_better(case: Case, one: str, other: str) -> bool:
    """Whether the whole 95 % interval of the mean gain in PSNR is above 0; of a single picture, the gain."""
    found = gains(case, one, other)
    return (interval(found) or (found[0], found[0]))[0] > 0


def best(case: Case, kind: str) -> str | None:
    """The method of that kind with the highest mean PSNR."""
    there = [method for method in case["methods"] if method["kind"] == kind]
    return max(there, key=lambda method: float(method["mean"]["psnr"]))["name"] if there else None


def of_case(case: Case, absent: Sequence[str]) -> str:
    """Whether the best model beats the best classical method on these pictures, by how much, and where it loses; one sentence.

    `absent`: methods that would have been compared with, were they installed.
    """
    model, classical = best(case, "model"), best(case, "classical")
    missing = f"; {' and '.join(absent)} could not be compared with, not being installed" if absent else ""
    if model is None:
        return f"On {case['noise']}, {classical or 'nothing'} is the best of the classical methods; there was no model to judge{missing}."
    rival = classical or "noisy"
    found = gains(case, model, rival)
    gain, between = float(np.mean(found)), interval(found)
    low, high = between or (gain, gain)
    if high < 0 and between:
        between = -high, -low  # it loses by so much
    rest = f"{rival}, the best classical method here," if classical else "the noisy pictures; there was no classical method,"
    size = f"{abs(gain):.2f} dB PSNR ({_spread(between)}{_count(len(found))})"
    if low > 0 or high < 0:
        words = f"{model} {'beats' if low > 0 else 'loses to'} {rest} by {size}"
    else:
        words = f"{model} and {rest} cannot be told apart: {'+' if gain >= 0 else '-'}{size}"
    return f"On {case['noise']}, {words}{_where(case, model, found)}{missing}."


def over_all(cases: Sequence[Case], absent: Sequence[str]) -> str:
    """One sentence over all cases."""
    if len(cases) == 1:
        return str(cases[0]["verdict"])
    fates: dict[str, list[str]] = {}
    for case in cases:
        model, rival = best(case, "model"), best(case, "classical") or "noisy"
        if model is None:
            return "There was no model to judge; each case names its best classical method."
        found = gains(case, model, rival)
        low, high = interval(found) or (found[0], found[0])
        fate = "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"
        fates.setdefault(fate, []).append(f"{case['noise']}: {model} {np.mean(found):+.2f} dB to {rival}")
    told = [
        f"{fate} the best classical method in {len(each)} of {len(cases)} cases ({', '.join(each)})"
        for fate, each in fates.items()
    ]
    missing = f"; {' and '.join(absent)} could not be compared with, not being installed" if absent else ""
    return f"The best model {', '.join(told)}{missing}."


def _where(case: Case, model: str, found: list[float]) -> str:
    """Where a model loses, also against leaving the noise in."""
    losses = sum(gain < 0 for gain in found)
    worst = int(np.argmin(found))
    words = "; it is worse on no picture"
    if losses:
        words = (
            f"; it is worse on {losses} of {len(found)}, most on {case['pictures'][worst]['name']}, by {-found[worst]:.2f} dB"
        )
    spoils = sum(gain < 0 for gain in gains(case, model, "noisy"))
    return words + (f", and worse than the noisy picture itself on {spoils}" if spoils else "")


def _spread(between: tuple[float, float] | None) -> str:
    return f"95 % interval {between[0]:.2f} to {between[1]:.2f}, " if between else ""


def _count(pictures: int) -> str:
    return "one picture" if pictures == 1 else f"{pictures} pictures"


def plain(value: Any) -> Any:
    """The same for JSON, which has no infinity and no NaN: "inf" and None."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
