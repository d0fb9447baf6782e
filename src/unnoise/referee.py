"""Which model to use where nobody knows the truth: what was learned, the bundled ones, or a classical method; by Stein's estimate.

Each is looked at on the same middles of noisy pictures, see `heldout`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy.typing as npt

from . import auto, bundled, classical, doctor, heldout, image, nlf, preview, series
from .level import Estimate

Array = npt.NDArray[Any]
LEAST = 0.1 / 255  # sigma; below, nothing can be told
SHOWN, REMOVED = 3, "removed.png"  # pictures on the sheet of what is taken away, and its name in the run


@dataclass(frozen=True)
class Looked:
    """The middle of a noisy picture, (H, W) or (H, W, C) floats of 16 pixels a side or more, and the noise that the whole picture has."""

    name: str
    noisy: Array
    found: doctor.Diagnosis

    @property
    def read(self) -> float:
        """The standard deviation of the noise in the dark, image units."""
        return max((self.found.read if self.found.grows else self.found.level).value, LEAST)

    @property
    def gain(self) -> float:
        """What the variance grows by with the light."""
        return self.found.gain.value if self.found.grows else 0.0

    @property
    def power(self) -> float:
        """The variance of the noise, over the picture."""
        return float(nlf.variance(self.noisy.clip(0, 1).mean(), self.gain, self.read))


@dataclass(frozen=True)
class Outcome:
    """The model to denoise with, a run folder, auto or a classical method, and in a sentence why.

    better_by: of the learned model over the best of the others, `against`, see `heldout.better_by`. whiteness: of what the model takes away, which the
    sheet `removed` shows; blind_error: for hidden pixels, noise included, image units.
    mixed: that the pictures' noise is of several sorts, empty where it is not.
    """

    model: str
    sentence: str
    better_by: tuple[float, float, float] | None = None
    against: str | None = None
    whiteness: Estimate | None = None
    removed: Path | None = None
    blind_error: float | None = None
    mixed: str = ""

    @property
    def words(self) -> str:
        """All that is to be said at the end."""
        if self.whiteness is None:
            return self.sentence + self.mixed
        return (
            f"{self.sentence}{self.mixed}\nWhat it takes away correlates by {self.whiteness.value:.3f} ± {self.whiteness.error:.3f} between neighbours, "
            f"where white noise has 0, and for hidden pixels it errs by {255 * (self.blind_error or 0):.2f}/255, noise included; look at {self.removed}: before | after | what was taken away, {preview.AMPLIFIED} times as strong"
        )

    def as_json(self) -> dict[str, Any]:
        mean, low, high = self.better_by or (None, None, None)
        told: dict[str, Any] = {
            "model": self.model,
            "sentence": self.sentence,
            "lower_error_by": mean,
            "interval": self.better_by and [low, high],
        }
        white = self.whiteness and self.whiteness._asdict()
        told |= {"against": self.against, "whiteness": white, "blind_error": self.blind_error}
        told["mixed"] = self.mixed.strip()
        return {**told, "removed": self.removed and str(self.removed)}


def choose(run: str, looked: Sequence[Looked], fallback: bool, threads: int = 0) -> Outcome:
    """Between the model in a run folder, the bundled ones by auto, and the classical methods that are installed.

    The run gets a sheet of what is taken away. Without `fallback` it is the run's model, whatever is found.
    """
    there, absent = classical.installed()
    others = [auto.AUTO] * bool(bundled.names()) + there
    lacking = f"; nothing is said of {' and '.join(absent)}, not installed" if absent else ""
    if not looked or not others:
        why = "the pictures looked at are too small to compare it on" if others else "nothing is here to compare it with"
        return Outcome(run, f"The learned model {run} is used; {why}{lacking if looked else ''}.")
    models = {name: auto.Models(name, threads) for name in (run, *others)}
    tried = [{name: model.choose(one.noisy, one.found).denoise for name, model in models.items()} for one in looked]
    found = [heldout.risks(methods, one.noisy, one.read, one.gain) for methods, one in zip(tried, looked, strict=True)]
    risks = {name: [parts[name] for parts, _ in found] for name in models}
    power = [one.power for one in looked]
    best = max(others, key=lambda name: heldout.better_by(risks[name], risks[run], power)[0])
    outcome = _told(run, best, heldout.better_by(risks[run], risks[best], power), len(looked), fallback, lacking)
    shown = [(one.noisy, answers[outcome.model]) for one, (_, answers) in zip(looked, found, strict=True)][:SHOWN]
    hidden = [heldout.blind_error(methods[outcome.model], noisy) for methods, (noisy, _) in zip(tried, shown, strict=False)]
    return dataclasses.replace(_seen(outcome, shown, hidden, Path(run) / REMOVED), mixed=_mixed(looked))


def _told(run: str, best: str, better_by: tuple[float, float, float], pictures: int, fallback: bool, lacking: str) -> Outcome:
    """The choice between the learned model and the best of the others, in a sentence."""
    mean, low, high = better_by
    other = "the bundled models" if best == auto.AUTO else best
    ends = sorted(math.copysign(100, mean) * end for end in (low, high))  # of what the sentence says
    sure = f"95 % interval {ends[0]:.2f} to {ends[1]:.2f} %" if math.isfinite(low) else "one part"
    clear = "" if low > 0 or high < 0 else ", which may be chance"
    figures = (
        f"by Stein's estimate on {pictures} of the pictures its squared error is {'lower' if mean > 0 else 'higher'} than that of "
        f"{other}, the best of the others, by {abs(100 * mean):.2f} % of the noise's power ({sure}){clear}{lacking}"
    )
    if mean > 0 or not fallback:
        return Outcome(run, f"The learned model {run} is used: {figures}.", better_by, best)
    one = f"{other[0].upper()}{other[1:]} are" if best == auto.AUTO else f"The classical {best} is"
    return Outcome(best, f"{one} used, not the learned model: {figures}; --no-fallback uses it all the same.", better_by, best)


def _mixed(looked: Sequence[Looked]) -> str:
    """Which pictures have clearly unlike noise, as a line to be added; a model of all of them is one of neither."""
    unlike = series.groups(series.Noisy(one.name, one.found.kinds, one.found.level.value) for one in looked)
    words = "".join(f"\n- {series.in_words(group)}" for group in unlike)
    return f"\nThe noise of the pictures looked at is of {len(unlike)} sorts; learn each by itself:{words}" if unlike else ""


def _seen(outcome: Outcome, shown: Sequence[tuple[Array, Array]], hidden: Sequence[float], sheet: Path) -> Outcome:
    """The outcome with what the chosen model takes away from some pictures, drawn and measured. shown: before and after; hidden: `blind_error`."""
    image.write(sheet, preview.sheet(shown), overwrite=True)
    whites = [heldout.whiteness(before - after) for before, after in shown]
    return dataclasses.replace(
        outcome,
        removed=sheet,
        whiteness=Estimate(fmean(one.value for one in whites), math.hypot(*(one.error for one in whites)) / len(whites)),
        blind_error=math.sqrt(fmean(one**2 for one in hidden)),
    )
