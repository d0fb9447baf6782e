"""Throughput of the noises beside `skimage.util.random_noise`, in one process, in turn: 512 x 512 x 3 float32.

scikit-image draws for every value (its noise hits channels apart); ours counts pixels, all channels at once, and is also
timed with per="channel", which does as scikit-image does.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import record
from skimage.util import random_noise

from unnoise import Gaussian, Masking, SaltAndPepper

ROUNDS, CALLS = 15, 7
GOALS = {"salt-and-pepper 5 %": 5.0, "salt-and-pepper 50 %": 2.5, "masking 5 %": 5.0, "masking 50 %": 2.5, "gaussian": 1.7}


def ratios(ours: Callable[[], object], theirs: Callable[[], object]) -> dict[str, float]:
    """Median milliseconds of both, and the median of their ratio, measured in two ways.

    In blocks: several calls of the one, then several of the other, the first of each not counted, as in a loop over pictures. In
    turn: one call each, so that each finds the processor's caches full of the other's pictures, and its memory given back.
    """
    blocks = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    turns, faults = [], []
    for _ in range(ROUNDS * CALLS):
        before = page_faults()
        mine = timed(ours)
        faults.append(page_faults() - before)
        turns.append((mine, timed(theirs)))
    return {
        "ms": round(1e3 * statistics.median(mine for mine, _ in blocks), 3),
        "skimage_ms": round(1e3 * statistics.median(other for _, other in blocks), 3),
        "times_faster": round(statistics.median(other / mine for mine, other in blocks), 2),
        "in_turn_ms": round(1e3 * statistics.median(mine for mine, _ in turns), 3),
        "in_turn_times_faster": round(statistics.median(other / mine for mine, other in turns), 2),
        "in_turn_page_faults": statistics.median(faults),
    }


def seconds(call: Callable[[], object]) -> float:
    """The median of several calls, after one that is not counted."""
    return statistics.median([timed(call) for _ in range(CALLS + 1)][1:])


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    rng = np.random.default_rng(7)
    image = rng.random((512, 512, 3), np.float32)
    figures = {}
    for share in (0.05, 0.5):
        for per in ("pixel", "channel"):
            also = "" if per == "pixel" else ", per channel"
            for name, noise, mode in (
                ("salt-and-pepper", SaltAndPepper(fraction=share, per=per), "s&p"),
                ("masking", Masking(fraction=share, per=per), "pepper"),
            ):
                figures[f"{name} {share:.0%}".replace("%", " %") + also] = ratios(
                    lambda noise=noise: noise(image, rng),
                    lambda mode=mode, share=share: random_noise(image, mode, rng=rng, amount=share),
                )
    figures["gaussian"] = ratios(
        lambda: Gaussian(25 / 255)(image, rng), lambda: random_noise(image, "gaussian", rng=rng, var=(25 / 255) ** 2)
    )
    for name, goal in GOALS.items():
        figures[name]["goal"] = goal
    record.save("noise", {"rounds": ROUNDS, "calls": CALLS, "noises": figures})


if __name__ == "__main__":
    main()
