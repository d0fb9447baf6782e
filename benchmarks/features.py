"""Train the encoder that comes with unnoise as its feature network, as a denoising autoencoder with masking blocks.

It learns from every second picture of the free corpus. `--judge` trains another, with another seed, from the other half: it
is not shipped, and judges in benchmarks/perceptual.py what was trained with the first. About ten minutes on two cores each;
run it again to go on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from unnoise import __version__, artefact, image, load_autoencoder, perceptual, resume, train
from unnoise.config import parse_model

STEPS = 10_000
SETTINGS: dict[str, Any] = {
    "model": "unet:widths=32-64-128,blocks=1", "noise": "gaussian:0..50/255+blocks:count=200,size=8..24", "patch": 64,
    "precision": "bfloat16",
}  # fmt: skip
JUDGE = Path(__file__).parent / "runs" / "judge.safetensors"


def pictures(half: int) -> list[Path]:
    """Every second picture of the corpus, from the first or from the second."""
    return sorted((record.SHARED / "train").glob("*.webp"))[half::2]


def level_weights(network: perceptual.Network, files: list[Path]) -> dict[str, float]:
    """One over the mean square of each level's maps of clean photographs: every level counts alike."""
    layers = [name for name, _ in network.named_children() if name.startswith("level")]
    features, squares = perceptual.Features(network, layers), Counter[str]()
    for file in files[::4]:
        picture = torch.from_numpy(np.moveaxis(image.read(file).pixels, 2, 0)[None].copy())
        with torch.inference_mode():
            squares.update({layer: maps.square().mean().item() for layer, maps in features(picture).items()})
    return {layer: float(f"{len(files[::4]) / squares[layer]:.4g}") for layer in layers}


def trained(run: Path, half: int, threads: int) -> float:
    """Train the run, or go on with it; the seconds it took in all its sittings."""
    kept, began = run.with_suffix(".seconds"), time.monotonic()
    before = float(kept.read_text()) if kept.exists() else 0.0
    try:
        if (run / "config.json").exists():
            resume(run)
        else:
            train(pictures(half), run, steps=STEPS, seed=half + 1, threads=threads, **SETTINGS)
    finally:
        kept.write_text(str(before + time.monotonic() - began))
    return float(kept.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    half = int(arguments.judge)
    files, run = pictures(half), JUDGE.parent / ("judge" if arguments.judge else "features")
    run.parent.mkdir(parents=True, exist_ok=True)
    if not (run / "model.safetensors").exists():
        trained(run, half, arguments.threads)
    _, made = artefact.read(run / "model.safetensors")
    encoder = {name: t.numpy().astype(np.float16) for name, t in load_autoencoder(run).encoder.state_dict().items()}
    weights = level_weights(perceptual.encoder_network(parse_model(made["architecture"]), encoder), files)
    card = {
        "about": "the encoder of a denoising autoencoder, for the perceptual loss", "architecture": made["architecture"],
        "weights": weights, "training": made["training"], "threads": json.loads((run / "config.json").read_text())["config"]["threads"],
        "seconds": round(float(run.with_suffix(".seconds").read_text())), "quality": made["quality"],
        "licence": "CC-BY-SA-4.0, see NOTICE", "made_by": f"python benchmarks/features.py{' --judge' * half}", "unnoise": __version__,
    }  # fmt: skip
    path = JUDGE if arguments.judge else perceptual.BUNDLED
    artefact.write(path, encoder, card)
    print(path, sum(tensor.size for tensor in encoder.values()), "parameters,", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
