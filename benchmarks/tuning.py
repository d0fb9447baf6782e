"""What single settings are worth: 4,000 steps from nothing with one setting changed, scored on pictures of the training corpus
that are kept out, as they are and at half their size; never on a test set.

One run of one seed an arm, but for the defaults. Two runs at a time, on a thread each. The arm with a larger batch takes fewer
steps, for about equal time on a quiet machine. Run it again to go on where it was stopped.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from typing import Any

import record
from keptout import NOISE, ONE_IN, trained

STEPS = 4000
ARMS: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "the defaults, another seed": {"seed": 1},
    "crops from anywhere": {"places": 1},
    "no crops at half size": {"half_share": 0.0},
    "both of these": {"places": 1, "half_share": 0.0},
    "squared error": {"cost": "squared"},
    "rate 0.003": {"rate": 3e-3},
    "batch 16, rate 0.003, 2,400 steps": {"batch": 16, "rate": 3e-3, "steps": 2400},
    "each picture for 128 steps": {"echo": 128},
}


def main() -> None:
    names = [f"tuning-{arm.replace(' ', '-').replace(',', '')}" for arm in ARMS]
    settings = [{"steps": STEPS, **changed} for changed in ARMS.values()]
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        figures = dict(zip(ARMS, pool.map(trained, names, settings), strict=True))
    record.save("tuning", {"noise": NOISE, "kept_out_pictures": f"one in {ONE_IN} of the corpus", "arms": figures})


if __name__ == "__main__":
    main()
