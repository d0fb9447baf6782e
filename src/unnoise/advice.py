"""What to do about the noise that was found: the models for it, one after another, and why; or to leave the picture as it is."""

from __future__ import annotations

from collections.abc import Sequence

from .diagnosis import Diagnosis

FILLS = "missing"
MODELS = ("photo", "photo-fast", "impulse", FILLS, "real")  # those that the advice can be
RULE = 2  # raised with each change of what is advised, so that what `auto` did by another rule is done again

FITS = {  # the models that fit a kind of noise, best first; those for one sort of it are better than none for the other
    "missing blocks": (FILLS,),
    "missing pixels": (FILLS,),
    "salt and pepper": ("impulse",),
    "impulses": ("impulse",),
    "correlated noise": ("real", "photo", "photo-fast"),
    "Gaussian noise": ("photo", "photo-fast", "real"),
}


NOISE = ("correlated noise", "Gaussian noise")  # what is everywhere, not in some pixels


def advice(found: Diagnosis, names: Sequence[str] = MODELS) -> tuple[tuple[str, ...], str]:
    """(the models among `names` to go through, one after another, or none: leave the picture as it is; and why, as the end of a sentence).

    What is missing goes before impulses, and noise comes last: the next model can only work on what the first has mended
    (benchmarks/passes.py). Of missing pixels and impulses only the first are mended, since black pixels may be either, and noise stays then,
    for impulses that it smears cannot be mended any more. What no model here is for is passed over.
    """
    if not found.kinds:
        return (), f"as no noise worth removing was found ({found} in its flattest parts)"
    fitting = {kind: next((name for name in FITS[kind] if name in names), None) for kind in found.kinds}
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
    return tuple(dict.fromkeys(str(fitting[kind]) for kind in mended + noise)), f"for {kinds}{leaving} ({found})"


def in_turn(names: Sequence[str]) -> str:
    """The models of an `advice` in words; empty for none."""
    return ", then ".join(names)
