"""What was found in a picture: the figures, each with its standard error, and the kinds of noise that they come to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from . import nlf
from .grid import Grid
from .level import WORTH, Estimate

RARE = 0.001  # share of pixels that counts: of extremes and missing ones
RARE_ANY = 0.005  # of impulses of other values, which details of clean photographs look like
LIKELY = (
    0.95  # likelihood of noise from which on it counts: of the training corpus, 98 % of the clean versions in colour are below
)
COLOURED = 0.15  # of noise's colour beside its brightness, below which what is not white may be texture
SURE = 3  # standard errors of the gain
GROWS = 1.0  # times the variance in the dark, from which on noise counts as growing with the light
ALIKE = 0.15  # correlation of neighbours from which on noise is not white
UNKNOWN = Estimate(0.0, 1.0)


@dataclass(frozen=True)
class Diagnosis:
    """The noise found in a picture, each figure with its standard error; sigma in image units, shares from 0 to 1."""

    sigma: Estimate
    """Standard deviation of the noise, impulses left out: the root mean square over the channels."""
    channels: tuple[Estimate, ...]
    """The same of each channel."""
    fine: Estimate
    """Of the part that is finer than about 3 pixels, which can be told from texture; for white noise, sigma again."""
    correlation: Estimate
    """Of noise in neighbouring pixels: 0 is white noise, 1 is smooth."""
    extremes: Estimate
    """Share of values that are salt or pepper: 0 or 1, unlike what is around them."""
    impulses: Estimate
    """Share of values that were replaced by others than 0 or 1."""
    missing: Estimate
    """Share of pixels that are 0 in all channels, one by one."""
    blocks: Estimate
    """Share of pixels in whole rectangles of 0."""
    gain: Estimate = UNKNOWN
    """Of the noise's variance at a brightness x, gain * x + read^2: what light adds to it."""
    read: Estimate = UNKNOWN
    """The standard deviation of the noise in the dark."""
    typical: Estimate = UNKNOWN
    """Standard deviation at the middle brightness of the picture, where it is noise; texture adds to it."""
    likelihood: float = 0.0
    """That there is noise worth removing at most brightnesses, be it coarse, and not texture: see `floors`."""
    colour: float = 1.0
    """How strong what may be noise is in colour, beside brightness: texture has little."""
    grid: Grid | None = None
    """JPEG's blocks, banding and the traces of a mosaic: told, not acted on."""
    drawn: bool = False
    """It holds flat colours, text or lines, and no photograph: its black and white are no impulses, and sigma is unknown."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is there beyond doubt, and worth removing; what is to be mended first comes first."""
        if self.drawn:
            return ()
        fine, white = self.fine.beyond(WORTH), self.correlation.value <= ALIKE
        everywhere = self.likelihood > LIKELY and self.typical.value > WORTH
        grows = self.gain.value > SURE * self.gain.error and self.gain.value > GROWS * self.read.value**2
        there = {
            "missing blocks": self.blocks.value > 0,
            "missing pixels": self.missing.beyond(RARE),
            "salt and pepper": self.extremes.beyond(RARE),
            "impulses": self.impulses.beyond(RARE_ANY),
            "correlated noise": not (fine and white) and (everywhere or (fine and self.colour > COLOURED)),
            "signal-dependent noise": fine and white and grows,
            "Gaussian noise": fine and white and not grows,
        }
        return tuple(kind for kind, found in there.items() if found)

    @property
    def grows(self) -> bool:
        """Whether the noise is white and grows with the light, so that gain and read tell it, and no sigma does."""
        return "signal-dependent noise" in self.kinds

    @property
    def level(self) -> Estimate:
        """Sigma of the noise: where that is told from all brightnesses, at the middle one; where it grows with the light, at 0.5."""
        if self.grows:
            value = math.sqrt(nlf.variance(0.5, self.gain.value, self.read.value))
            return Estimate(value, math.hypot(self.gain.error / 4, self.read.value * self.read.error) / value)
        return self.typical if self.likelihood > LIKELY and self.typical.value > self.sigma.value else self.sigma

    def __str__(self) -> str:
        if self.drawn:
            return "flat colours, text or lines, in which noise cannot be told"
        shares = {
            "missing blocks": self.blocks, "missing pixels": self.missing,
            "salt and pepper": self.extremes, "impulses": self.impulses,
        }  # fmt: skip
        words = [f"{kind} {100 * shares[kind].value:.2g} %" for kind in self.kinds if kind in shares]
        where = "" if self.kinds else " in its flattest parts"
        words.append(f"sigma {255 * self.sigma.value:.1f}/255 ± {255 * self.sigma.error:.1f}{where}")
        if "correlated noise" in self.kinds and self.likelihood > LIKELY:
            words.append(f"about {255 * self.typical.value:.1f}/255 at its middle brightness")
        if self.grows:
            words.append(f"variance {self.gain.value:.2g} x brightness + ({255 * self.read.value:.1f}/255)^2")
        if "correlated noise" in self.kinds and self.correlation.value > ALIKE:
            words.append(f"correlated by {self.correlation.value:.2f} between neighbours")
        return ", ".join(words + list(self.grid.words if self.grid else ()))

    def as_json(self) -> dict[str, Any]:
        """Each figure as {"value", "error"}, and the kinds."""
        told: dict[str, Any] = {name: figure._asdict() for name, figure in vars(self).items() if isinstance(figure, Estimate)}
        told |= {"channels": [figure._asdict() for figure in self.channels], "level": self.level._asdict()}
        told |= {"likelihood": self.likelihood, "colour": self.colour, "drawn": self.drawn}
        told["kinds"] = list(self.kinds)
        return told | {"grid": self.grid.as_json() if self.grid else None}
