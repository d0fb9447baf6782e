"""SGD with Nesterov momentum, the lecture's, against AdamW and Muon: a sweep of the learning rate for each, then equal time with the
best rates, three seeds.

Scored on pictures of the training corpus that are kept out. The sweep takes equal steps, one seed. In the comparison two train
at a time, on a thread each. Run it again to go on where it was stopped.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
from statistics import fmean
from typing import Any

import record
from keptout import NOISE, trained

RATES = {"adamw": (5e-4, 1e-3, 2e-3, 4e-3), "muon": (5e-4, 1e-3, 2e-3, 4e-3), "sgd": (0.02, 0.05, 0.1, 0.2, 0.5)}
SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500, help="of the sweep")
    parser.add_argument("--minutes", type=float, default=1, help="of the comparison")
    given = parser.parse_args()
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:

        def all_of(runs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
            return list(pool.map(trained, [f"optimisers-{name}" for name in runs], runs.values()))

        pairs = [(optimiser, rate) for optimiser, rates in RATES.items() for rate in rates]
        swept = all_of({f"{o}-{rate:g}": {"optimiser": o, "rate": rate, "steps": given.steps} for o, rate in pairs})
        sweep = {o: {f"{rate:g}": one for (name, rate), one in zip(pairs, swept, strict=True) if name == o} for o in RATES}
        best = {optimiser: max(found, key=lambda rate: found[rate].get("psnr", 0)) for optimiser, found in sweep.items()}
        arms = [(seed, optimiser) for seed in range(SEEDS) for optimiser in RATES]
        settings = [{"optimiser": o, "rate": float(best[o]), "seed": seed, "minutes": given.minutes} for seed, o in arms]
        compared = all_of({f"{o}-seed{seed}": one for (seed, o), one in zip(arms, settings, strict=True)})
    figures: dict[str, Any] = {
        "noise": NOISE,
        "sweep_steps": given.steps,
        "sweep": sweep,
        "best_rate": best,
        "minutes": given.minutes,
    }
    for optimiser in RATES:
        seeds = [{"psnr": float("nan"), **one} for (_, name), one in zip(arms, compared, strict=True) if name == optimiser]
        figures[optimiser] = {"mean_psnr": round(fmean(one["psnr"] for one in seeds), 3), "seeds": seeds}
    record.save("optimisers", figures)


if __name__ == "__main__":
    main()
