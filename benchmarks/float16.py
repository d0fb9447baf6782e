"""What storing weights as float16 costs: the same run exported both ways, PSNR on pictures of the training corpus.

`python benchmarks/float16.py photo-gray=RUN impulse=RUN ...`: every 24th picture of the corpus, the middle 256 pixels, each model on one of the
noises that it has learned, at the seed of its place. No test set: this is no figure of quality, only a difference.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import fmean

import keptout
import numpy as np
import record

from unnoise import data, image, load
from unnoise.export import export_again
from unnoise.metrics import psnr
from unnoise.noise import parse, spoilt

SIDE, GOAL = 256, 0.01


def lost(run: Path) -> dict[str, float | str]:
    """The mean PSNR by float32 weights, and how much less it is by float16, in dB; the worst picture."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{kind}.onnx" for kind in ("float32", "float16")]
        for file in files:
            export_again(run, file, float16=file.stem == "float16")
        models = [load(file, threads=1) for file in files]
    noise = models[0].card["training"]["noise"][0]
    apart, scores = [], []
    for index, file in enumerate(keptout.split()[1]):
        clean = record.middle(image.read(file).pixels, SIDE)
        clean = clean if models[0].channels == 3 else clean @ data.LUMA
        noisy = spoilt(clean, parse(noise), 1, index)
        both = [psnr(np.clip(model.denoise(noisy), 0, 1), clean) for model in models]
        apart.append(both[0] - both[1])
        scores.append(both[0])
    return {
        "noise": noise,
        "psnr": round(fmean(scores), 3),
        "lost": round(fmean(apart), 4),
        "lost_at_worst": round(max(apart), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    found = {name: lost(Path(run)) for name, _, run in (one.partition("=") for one in parser.parse_args().runs)}
    record.save("float16", {"goal": GOAL, "models": found}, command="python benchmarks/float16.py NAME=RUN ...")


if __name__ == "__main__":
    main()
