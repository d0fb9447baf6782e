"""What single settings are worth: 4,000 steps from nothing with one setting changed, scored on pictures of the training corpus
that are kept out (every 24th), as they are and at half their size; never on a test set.

Gray, sigma 25/255, one run of one seed an arm, but for the defaults. Two runs at a time, on a thread each. The arm with a larger
batch takes fewer steps, for about equal time on a quiet machine. Run it again to go on where it was stopped.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import record

RUNS = Path(__file__).parent / "runs"
NOISE, STEPS = "gaussian:25/255", 4000
ARMS: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "the defaults, another seed": {"seed": 1},
    "crops from anywhere": {"places": 1},
    "no crops at half size": {"half_share": 0.0},
    "both of these": {"places": 1, "half_share": 0.0},
    "squared error": {"cost": "squared"},
    "rate 0.003": {"rate": 3e-3},
    "batch 16, rate 0.003, 2,400 steps": {"batch": 16, "rate": 3e-3, "steps": 2400},
}


def trained(arm: str) -> dict[str, Any]:
    """Train one arm and score it; kept in its run folder, so that it is done once."""
    from unnoise import data, image, load, parse, train
    from unnoise.evaluate import score, spoilt

    run = RUNS / f"tuning-{arm.replace(' ', '-').replace(',', '')}"
    if (run / "figures.json").exists():
        return dict(json.loads((run / "figures.json").read_text()))
    shutil.rmtree(run, ignore_errors=True)
    files = sorted((record.SHARED / "train").glob("*.webp"))
    kept_out, settings = files[::24], {"steps": STEPS, "precision": "bfloat16", "threads": 1, "channels": "gray", **ARMS[arm]}
    result = train([file for file in files if file not in kept_out], run, validation=kept_out, noise=NOISE, **settings)
    model, scores = load(run, threads=1), {}
    for kind in ("psnr", "psnr_half_size"):
        cleans = [image.read(file).pixels @ data.LUMA for file in kept_out]
        if kind == "psnr_half_size":
            cleans = [data.halved(clean[: len(clean) // 2 * 2, : clean.shape[1] // 2 * 2]) for clean in cleans]
        found = [score(model.denoise(spoilt(c, parse(NOISE), 1, i)), c)["psnr"] for i, c in enumerate(cleans)]
        scores[kind] = round(fmean(found), 3)
    figures = {**scores, "steps": result.steps}
    (run / "figures.json").write_text(json.dumps(figures))
    print(arm, figures, flush=True)
    return figures


def main() -> None:
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        figures = dict(zip(ARMS, pool.map(trained, ARMS), strict=True))
    record.save("tuning", {"noise": NOISE, "kept_out_pictures": "every 24th of the corpus", "arms": figures})


if __name__ == "__main__":
    main()
