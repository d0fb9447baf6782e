"""What single settings are worth: the same two minutes from nothing with one setting changed, scored on pictures of the
training corpus that are kept out (every 24th), never on a test set. Gray, sigma 25/255; one run of one seed an arm.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import record

from unnoise import train

RUNS = Path(__file__).parent / "runs"
ARMS: dict[str, dict[str, object]] = {
    "the defaults": {},
    "squared error": {"cost": "squared"},
    "batch 16, patch 64": {"batch": 16, "patch": 64},
    "rate 0.004": {"rate": 4e-3},
    "float32": {"precision": "float32"},
    "SGD with Nesterov momentum": {"optimiser": "sgd"},
}


def main() -> None:
    files = sorted((record.SHARED / "train").glob("*.webp"))
    kept_out = files[::24]
    learned = [file for file in files if file not in kept_out]
    figures = {}
    for arm, settings in ARMS.items():
        run = RUNS / f"tuning-{arm.replace(' ', '-')}"
        shutil.rmtree(run, ignore_errors=True)
        result = train(learned, run, validation=kept_out, noise="gaussian:25/255", channels="gray", minutes=2, **settings)
        curve = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        figures[arm] = {
            "psnr": round(result.psnr, 3),
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "curve": curve,
        }
        print(arm, result.psnr, flush=True)
    record.save("tuning", {"minutes": 2, "validation_pictures": len(kept_out), "arms": figures})


if __name__ == "__main__":
    main()
