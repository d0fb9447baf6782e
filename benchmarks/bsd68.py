"""Gray denoising at sigma 25/255 on BSD68: unnoise after 2, 5 and 15 minutes of training from nothing on the free corpus,
beside BM3D, DnCNN's published weights, non-local means and wavelets, on the same pictures with the same noise.

The noise is unclipped float, one keyed draw a picture; results are clipped, not rounded. Training sees nothing of the test
set: its settings were chosen on pictures of the training corpus. The weights of DnCNN are for reference only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import bm3d
import networks
import numpy as np
import record

from unnoise import Gaussian, image, load, train
from unnoise.metrics import score
from unnoise.noise import spoilt
from unnoise.peers import non_local_means, wavelets
from unnoise.runs import metrics

SIGMA, SEED = 25 / 255, 25
RUNS = Path(__file__).parent / "runs"
Denoise = Callable[[np.ndarray], np.ndarray]
PUBLISHED = {"BM3D": 28.57, "DnCNN-S": 29.23}  # on BSD68 at sigma 25, Zhang et al. 2017, doi:10.1109/TIP.2017.2662206


def measured(name: str, denoise: Denoise, pictures: dict[str, np.ndarray]) -> dict[str, object]:
    """Mean PSNR and SSIM, the PSNR of every picture, and seconds a megapixel."""
    scores, began = {}, time.perf_counter()
    for index, (picture, clean) in enumerate(pictures.items()):
        scores[picture] = score(denoise(spoilt(clean, Gaussian(SIGMA), SEED, index)), clean)
    seconds = time.perf_counter() - began
    means = {key: round(fmean(found[key] for found in scores.values()), 4) for key in ("psnr", "ssim")}
    print(name, means, f"{seconds:.0f} s", flush=True)
    fourth = list(scores.values())[::4]
    every = {picture: round(found["psnr"], 3) for picture, found in scores.items()}
    pixels = sum(clean.size for clean in pictures.values())
    return {
        **means,
        "psnr_every_4th": round(fmean(f["psnr"] for f in fourth), 4),
        "seconds_per_megapixel": round(1e6 * seconds / pixels, 3),
        "every_psnr": every,
    }


def trained(minutes: float) -> Path:
    """The run of so many minutes, trained now unless it is there."""
    run = RUNS / f"gray25-{minutes:g}min"
    if not (run / "model.onnx").exists():
        began = time.perf_counter()
        train(record.SHARED / "train", run, noise=Gaussian(SIGMA), channels="gray", minutes=minutes)
        (run / "wall.json").write_text(json.dumps(round(time.perf_counter() - began, 1)))
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 5, 15])
    runs = {minutes: trained(minutes) for minutes in parser.parse_args().minutes}
    files = sorted((record.SHARED / "eval" / "BSD68").glob("*.png"))
    pictures = {file.name: image.read(file).pixels for file in files}
    dncnn_s, dncnn_b = networks.dncnn("DnCNN-S", "dncnn_saoyan/S25.pth", 17), networks.networks(colour=False)[0]
    methods: dict[str, Denoise] = {
        **{f"unnoise, {minutes:g} minutes": load(run).denoise for minutes, run in runs.items()},
        "BM3D": lambda noisy: bm3d.bm3d(noisy, SIGMA),
        "DnCNN-S": lambda noisy: dncnn_s.restore(noisy, SIGMA),
        "DnCNN-B": lambda noisy: dncnn_b.restore(noisy, SIGMA),
        "non-local means": lambda noisy: non_local_means(noisy, SIGMA),
        "wavelets": lambda noisy: wavelets(noisy, SIGMA),
        "noisy": lambda noisy: noisy,
    }
    configs = {
        f"unnoise, {minutes:g} minutes": json.loads((run / "config.json").read_text())["config"]
        for minutes, run in runs.items()
    }
    walls = {f"unnoise, {minutes:g} minutes": json.loads((run / "wall.json").read_text()) for minutes, run in runs.items()}
    curves = {name: metrics(run) for name, run in zip(configs, runs.values(), strict=True)}
    results = {name: measured(name, denoise, pictures) for name, denoise in methods.items()}
    record.save(
        "bsd68",
        {"sigma": "25/255", "pictures": len(pictures), "published": PUBLISHED, "methods": results, "training_wall_s": walls}
        | {"configs": configs, "validation_curves": curves},
    )


if __name__ == "__main__":
    main()
