"""Trials on the training corpus: gray, sigma 25/255, scored on every 24th of its pictures, which are kept out; never on a test set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import record

RUNS = Path(__file__).parent / "runs"
NOISE, ONE_IN = "gaussian:25/255", 24


def trained(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train on the rest of the corpus, on one thread unless told; the scores of the pictures kept out, as they are and at half their size.

    Kept in the run folder `name`, so that it is done once.
    """
    from unnoise import data, image, load, parse, train
    from unnoise.errors import Diverged
    from unnoise.metrics import score
    from unnoise.noise import spoilt

    run = RUNS / name
    if (run / "figures.json").exists():
        return dict(json.loads((run / "figures.json").read_text()))
    shutil.rmtree(run, ignore_errors=True)
    files = sorted((record.SHARED / "train").glob("*.webp"))
    kept_out, settings = files[::ONE_IN], {"precision": "bfloat16", "threads": 1, "channels": "gray", **settings}
    try:
        result = train([file for file in files if file not in kept_out], run, validation=kept_out, noise=NOISE, **settings)
    except Diverged as error:
        return kept(run, {"diverged": str(error)})
    model, scores = load(run, threads=1), {}
    for kind in ("psnr", "psnr_half_size"):
        cleans = [image.read(file).pixels @ data.LUMA for file in kept_out]
        if kind == "psnr_half_size":
            cleans = [data.halved(clean[: len(clean) // 2 * 2, : clean.shape[1] // 2 * 2]) for clean in cleans]
        found = [score(model.denoise(spoilt(c, parse(NOISE), 1, i)), c)["psnr"] for i, c in enumerate(cleans)]
        scores[kind] = round(fmean(found), 3)
    return kept(run, {**scores, "steps": result.steps})


def kept(run: Path, figures: dict[str, Any]) -> dict[str, Any]:
    (run / "figures.json").write_text(json.dumps(figures))
    print(run.name, figures, flush=True)
    return figures
