"""Trials on the training corpus: gray, sigma 25/255, scored on every 24th of its pictures, which are kept out; never on a test set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import record

from unnoise import data, image

RUNS = Path(__file__).parent / "runs"
NOISE, ONE_IN = "gaussian:25/255", 24


def split() -> tuple[list[Path], list[Path]]:
    """The files of the corpus to learn from, and those that are kept out."""
    files = sorted((record.SHARED / "train").glob("*.webp"))
    kept_out = files[::ONE_IN]
    return [file for file in files if file not in kept_out], kept_out


def whole_and_half() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The pictures kept out, gray, as they are and at half size."""
    whole = [image.read(file).pixels @ data.LUMA for file in split()[1]]
    return whole, [data.halved(clean[: len(clean) // 2 * 2, : clean.shape[1] // 2 * 2]) for clean in whole]


def trained(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train on the rest of the corpus, on one thread unless told; the scores of the pictures kept out, as they are and at half their size.

    Kept in the run folder `name`, so that it is done once.
    """
    from unnoise import load, parse, train
    from unnoise.errors import Diverged
    from unnoise.metrics import score
    from unnoise.noise import spoilt

    run = RUNS / name
    if (run / "figures.json").exists():
        return dict(json.loads((run / "figures.json").read_text()))
    shutil.rmtree(run, ignore_errors=True)
    files, kept_out = split()
    settings = {"precision": "bfloat16", "threads": 1, "channels": "gray", **settings}
    try:
        result = train(files, run, validation=kept_out, noise=NOISE, **settings)
    except Diverged as error:
        return kept(run, {"diverged": str(error)})
    model, scores = load(run, threads=1), {}
    for kind, cleans in zip(("psnr", "psnr_half_size"), whole_and_half(), strict=True):
        found = [score(model.denoise(spoilt(c, parse(NOISE), 1, i)), c)["psnr"] for i, c in enumerate(cleans)]
        scores[kind] = round(fmean(found), 3)
    return kept(run, {**scores, "steps": result.steps})


def kept(run: Path, figures: dict[str, Any]) -> dict[str, Any]:
    (run / "figures.json").write_text(json.dumps(figures))
    print(run.name, figures, flush=True)
    return figures
