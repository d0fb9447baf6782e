"""What was found in a picture: the figures, each with its standard error, and the kinds of noise that they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .level import WORTH, Estimate

RARE = 0.001  # share of pixels that counts: of extremes and missing ones
RARE_ANY = 0.005  # of impulses of other values, which details of clean photographs look like
ALIKE = 0.15  # correlation of neighbours from which on noise is not white


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

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is there beyond doubt, and worth removing; what is to be mended first comes first."""
        noisy, white = self.fine.beyond(WORTH), self.correlation.value <= ALIKE
        there = {
            "missing blocks": self.blocks.value > 0,
            "missing pixels": self.missing.beyond(RARE),
            "salt and pepper": self.extremes.beyond(RARE),
            "impulses": self.impulses.beyond(RARE_ANY),
            "correlated noise": noisy and not white,
            "Gaussian noise": noisy and white,
        }
        return tuple(kind for kind, found in there.items() if found)

    def __str__(self) -> str:
        shares = {
            "missing blocks": self.blocks, "missing pixels": self.missing,
            "salt and pepper": self.extremes, "impulses": self.impulses,
        }  # fmt: skip
        words = [f"{kind} {100 * shares[kind].value:.2g} %" for kind in self.kinds if kind in shares]
        words.append(f"sigma {255 * self.sigma.value:.1f}/255 ± {255 * self.sigma.error:.1f}")
        if "correlated noise" in self.kinds:
            words.append(f"correlated by {self.correlation.value:.2f} between neighbours")
        return ", ".join(words)

    def as_json(self) -> dict[str, Any]:
        """Each figure as {"value", "error"}, and the kinds."""
        figures = {name: figure._asdict() for name, figure in vars(self).items() if name != "channels"}
        return {**figures, "channels": [figure._asdict() for figure in self.channels], "kinds": list(self.kinds)}
