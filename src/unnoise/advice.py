"""What to do about the noise that was found: the models for it, one after another, and why; or to leave the picture as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .diagnosis import Diagnosis
from .level import Estimate

FILLS = "missing"
MODELS = ("photo", "photo-fast", "impulse", FILLS, "real")  # those that the advice can be
RULE = 3  # raised with each change of what is advised, so that what `auto` did by another rule is done again

FITS = {  # the models that fit a kind of noise, best first; those for one sort of it are better than none for the other
    "missing blocks": (FILLS,),
    "missing pixels": (FILLS,),
    "salt and pepper": ("impulse",),
    "impulses": ("impulse",),
    "correlated noise": ("real", "photo", "photo-fast"),
    "signal-dependent noise": ("photo", "photo-fast", "real"),  # in gray, see GRAY
    "Gaussian noise": ("photo", "photo-fast", "real"),
}


GRAY = {"signal-dependent noise": ("real", "photo", "photo-fast")}  # where that is better (benchmarks/growing.py)
EXPECTED: dict[str, tuple[tuple[float, float, float], ...]] = {  # (strength, dB, standard deviation in dB), by benchmarks/gains.py
    "photo": ((3.75, 3.0, 0.9), (6.08, 5.4, 1.1), (10.7, 7.8, 1.6), (15.5, 9.2, 1.9), (25.4, 11.0, 2.2), (35.7, 12.2, 2.4), (51.4, 13.4, 2.5)),
    "photo-fast": ((3.75, 2.6, 0.9), (6.08, 5.1, 1.1), (10.7, 7.5, 1.6), (15.5, 8.9, 1.9), (25.4, 10.7, 2.2), (35.7, 11.9, 2.3), (51.4, 13.0, 2.4)),
    "real": ((2.12, 0.2, 1.1), (5.2, 2.3, 1.3), (8.67, 4.2, 1.7), (12.7, 5.9, 1.9), (17.7, 7.3, 2.1), (25.4, 8.7, 2.3)),
    "impulse": ((0.0018, 20.4, 7.6), (0.00961, 24.5, 6.0), (0.0501, 26.1, 4.7), (0.1, 26.3, 4.5), (0.3, 25.4, 4.2), (0.501, 24.0, 4.0)),
    "missing": ((0.00194, 26.6, 5.2), (0.00991, 26.4, 4.7), (0.05, 25.9, 4.9), (0.101, 25.7, 4.9), (0.299, 24.5, 4.9), (0.5, 23.1, 4.7)),
}  # fmt: skip
MEASURED = {  # on which kind
    "photo": "Gaussian noise", "photo-fast": "Gaussian noise", "real": "correlated noise", "impulse": "salt and pepper",
    FILLS: "missing pixels",
}  # fmt: skip
NOISE = ("correlated noise", "signal-dependent noise", "Gaussian noise")  # what is everywhere, not in some pixels


def advice(found: Diagnosis, names: Sequence[str] = MODELS) -> tuple[tuple[str, ...], str]:
    """(the models among `names` to go through, one after another, or none: leave the picture as it is; and why, as the end of a sentence).

    What is missing goes before impulses, and noise comes last: the next model can only work on what the first has mended
    (benchmarks/passes.py). Of missing pixels and impulses only the first are mended, since black pixels may be either, and noise stays then,
    for impulses that it smears cannot be mended any more. What no model here is for is passed over.
    """
    if not found.kinds:
        return (), f"as no noise worth removing was found ({found})"
    fits = FITS | (GRAY if len(found.channels) == 1 else {})
    fitting = {kind: next((name for name in fits[kind] if name in names), None) for kind in found.kinds}
    treated = [kind for kind in found.kinds if fitting[kind]]
    without = [kind for kind in found.kinds if not fitting[kind]]
    if not treated:
        return (), f"as no model here is for {' and '.join(without)} ({found})"
    mended = [kind for kind in treated if kind not in NOISE and fitting[kind] == fitting[treated[0]]]
    others = [kind for kind in treated if kind not in mended]
    alone = not mended or all(kind in NOISE for kind in others + without)  # the noise that is left
    noise = [kind for kind in others if kind in NOISE and alone]
    later = [kind for kind in others if kind not in noise]
    left = [f"{' and '.join(later)} for another pass"] if later else []
    left += [f"{' and '.join(without)}, which no model here is for"] if without else []
    leaving = f", leaving {' and '.join(left)}" if left else ""
    kinds = " and then ".join(" and ".join(part) for part in (mended, noise) if part)
    models = tuple(dict.fromkeys(str(fitting[kind]) for kind in mended + noise))
    decibels = expected(found, models)
    worth = f", which gains about {decibels.value:.1f} dB (give or take {decibels.error:.1f})" if decibels else ""
    return models, f"for {kinds}{leaving} ({found}){worth}"


def in_turn(names: Sequence[str]) -> str:
    """The models of an `advice` in words; empty for none."""
    return ", then ".join(names)


def expected(found: Diagnosis, models: Sequence[str]) -> Estimate | None:
    """PSNR that one model adds, in dB, on photographs with as much of the noise that it is for, and how far these differ.

    None for several models or kinds of noise, and for another kind than it was measured on.
    """
    if len(models) != 1 or found.kinds != (MEASURED.get(models[0]),):
        return None
    strengths, decibels, spreads = zip(*EXPECTED[models[0]], strict=True)
    seen = strength(found, models[0])
    return Estimate(float(np.interp(seen, strengths, decibels)), float(np.interp(seen, strengths, spreads)))


def strength(found: Diagnosis, model: str) -> float:
    """Of the noise that a model is for, as `EXPECTED` has it: the share of the pixels for those that mend, else sigma in 255ths."""
    if model == FILLS:
        return found.missing.value + found.blocks.value
    if model == "impulse":
        return found.extremes.value + found.impulses.value
    return 255 * found.level.value
