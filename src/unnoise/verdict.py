"""What scores say: means with an interval, and whether a model is better than what else there is.

A case is a dict as in report.json, its scores still floats: `pictures` with `scores` by method, `methods` with `kind`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from .keyed import keyed_rng
from .noise import brief

Case = dict[str, Any]
RESAMPLES = 2000
FEW = 6  # pictures: with fewer no difference is the usual outcome, and is said to be for want of them
EXACT = 100.0  # dB that a result without error counts in a comparison
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


def decibels_over(case: Case, one: str, other: str) -> list[float]:
    """How many dB of PSNR `one` is above `other`, picture by picture; one without error counts as EXACT."""
    pairs = [(picture["scores"][one]["psnr"], picture["scores"][other]["psnr"]) for picture in case["pictures"]]
    return [min(a, EXACT) - min(b, EXACT) for a, b in pairs]


def mean_and_interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): the mean of differences and its 95 % interval by Student's t, without ends for a single one.

    A percentile bootstrap is too narrow for few: of two pictures, it would call half of all equal pairs unlike.
    """
    mean, count = float(np.mean(differences)), len(differences)
    if count < 2:
        return mean, -math.inf, math.inf
    reach = student(count - 1) * float(np.std(differences, ddof=1)) / math.sqrt(count)
    return mean, mean - reach, mean + reach


@cache
def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: of t = sqrt(freedom) tan(a), whose angle a has the density cos(a) ** (freedom - 1)."""
    if freedom > 1000:
        return NormalDist().inv_cdf(0.975)
    angles = np.linspace(0, math.pi / 2, 2**16)
    density = np.cos(angles) ** (freedom - 1)
    share = np.cumsum((density[1:] + density[:-1]) / 2)
    return math.sqrt(freedom) * math.tan(float(np.interp(0.95, share / share[-1], angles[1:])))


def is_better(case: Case, one: str, other: str) -> bool:
    """Whether the whole 95 % interval of the mean difference in PSNR is above 0; of a single picture, never."""
    return mean_and_interval(decibels_over(case, one, other))[1] > 0


def best(case: Case, kind: str) -> str | None:
    """The method of that kind with the highest mean PSNR."""
    there = [method for method in case["methods"] if method["kind"] == kind]
    return max(there, key=lambda method: float(method["mean"]["psnr"]))["name"] if there else None


def of_case(case: Case, absent: Sequence[str], unasked: Sequence[str] = ()) -> str:
    """Whether each model beats the best classical method on these pictures, by how much, and where it loses; a sentence each.

    `absent`: methods that would have been compared with, were they installed; `unasked`: those that are, and were left out.
    """
    models, without = of_kind(case, "model"), _without(absent, unasked)
    if not models:
        named = best(case, "classical") or "nothing"
        return f"On {brief(case['noise'])}, {named} is the best classical method of those compared; there was no model to judge{without}."
    sentences = [f"On {brief(case['noise'])}, {_of_model(case, model)}" for model in models]
    return f"{'. '.join(sentences)}{without}."


def over_all(cases: Sequence[Case], absent: Sequence[str], unasked: Sequence[str] = ()) -> str:
    """A sentence for each model over all cases."""
    if len(cases) == 1:
        return str(cases[0]["verdict"])
    models = of_kind(cases[0], "model")
    if not models:
        return "There was no model to judge; each case names its best classical method."
    return f"{'. '.join(_over_all(cases, model) for model in models)}{_without(absent, unasked)}."


def of_kind(case: Case, kind: str) -> list[str]:
    return [method["name"] for method in case["methods"] if method["kind"] == kind]


def _of_model(case: Case, model: str) -> str:
    classical = best(case, "classical")
    rival = classical or "noisy"
    found = decibels_over(case, model, rival)
    mean, low, high = mean_and_interval(found)
    between = (-high, -low) if high < 0 else (low, high)  # it loses by so much
    spread = f"95 % interval {between[0]:.2f} to {between[1]:.2f}, " if len(found) > 1 else ""
    rest = (
        f"{rival}, the best classical method of those compared"
        if classical
        else "the noisy pictures; there was no classical method"
    )
    size = f"{abs(mean):.2f} dB PSNR ({spread}{'one picture' if len(found) == 1 else f'{len(found)} pictures'})"
    if low > 0 or high < 0:
        words = f"{model} {'beats' if low > 0 else 'loses to'} {rest}, by {size}"
    else:
        few = f"{'one picture is' if len(found) == 1 else f'{len(found)} pictures are'} too few to tell {model} from {rest}"
        words = f"{few if len(found) < FEW else f'{model} cannot be told from {rest}'}: {'+' if mean >= 0 else '-'}{size}"
    return words + _where(case, model, found)


def _over_all(cases: Sequence[Case], model: str) -> str:
    fates: dict[str, list[str]] = {}
    for case in cases:
        rival = best(case, "classical") or "noisy"
        mean, low, high = mean_and_interval(decibels_over(case, model, rival))
        fate = "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"
        by = f"by {abs(mean):.2f} dB {'over' if low > 0 else 'to'}" if low > 0 or high < 0 else f"{mean:+.2f} dB to"
        fates.setdefault(fate, []).append(f"{brief(case['noise'])}: {by} {rival}")
    told = [f"{fate} it in {len(each)} ({', '.join(each)})" for fate, each in fates.items()]
    return f"{model}, beside the best classical method of those compared in each of {len(cases)} cases, {', '.join(told)}"


def _without(absent: Sequence[str], unasked: Sequence[str]) -> str:
    words = f"; {_and(absent)} could not be compared with, not being installed" if absent else ""
    return words + (f"; {_and(unasked)} {'was' if len(unasked) == 1 else 'were'} not asked for" if unasked else "")


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _where(case: Case, model: str, found: list[float]) -> str:
    """Where a model loses, also against leaving the noise in."""
    losses = sum(decibels < 0 for decibels in found)
    worst = int(np.argmin(found))
    words = "; it is worse on no picture"
    if losses:
        words = (
            f"; it is worse on {losses} of {len(found)}, most on {case['pictures'][worst]['name']}, by {-found[worst]:.2f} dB"
        )
    spoils = sum(decibels < 0 for decibels in decibels_over(case, model, "noisy"))
    return words + (f", and worse than the noisy picture itself on {spoils}" if spoils else "")


def plain(value: Any) -> Any:
    """The same for JSON, which has no infinity and no NaN: "inf" and None."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
