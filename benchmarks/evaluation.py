"""How much of the time of an evaluation is spent within the methods: every eighth picture of BSD68, sigma 25/255, gray.

With non-local means, BM3D and a model, as people compare; and, as the harder case, with the quick methods alone. Goal: over 85 %.
Once more with the perceptual distance, which the command line hands in where torch is there.
The model is the run given, by default the one of benchmarks/bsd68.py that was trained for five minutes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import record

from unnoise import distance
from unnoise.evaluate import Request, evaluate
from unnoise.noise import parse

RUNS = Path(__file__).parent / "runs"
SETS = {  # (methods, whether with the perceptual distance)
    "nlm, bm3d and a model": (["nlm", "bm3d"], False),
    "nlm and a model": (["nlm"], False),
    "all but bm3d": (["nlm", "wavelet", "tv", "bilateral", "median"], False),
    "nlm and a model, with the perceptual distance": (["nlm"], True),
}


def measured(methods: list[str], perceptual: bool, run: Path, folder: Path) -> dict[str, Any]:
    """The share of the time within the methods, their mean PSNR and seconds a megapixel, in a new folder."""
    with tempfile.TemporaryDirectory() as out:
        request = Request(models=[run], clean=folder, noises=[parse("gaussian:25/255")], methods=methods, out=Path(out, "out"))
        further = distance.metric() if perceptual else {}
        document = evaluate(request, further)
        again = evaluate(request, further)
    time, methods_told = document["time"], document["cases"][0]["methods"]
    return {
        "share_within_methods": round(time["in_methods_s"] / time["all_s"], 4),
        **time,
        "again_s": again["time"]["all_s"],
        "psnr": {method["name"]: round(method["mean"]["psnr"], 3) for method in methods_told},
        "seconds_per_megapixel": {method["name"]: round(method["seconds_per_megapixel"], 3) for method in methods_told},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=RUNS / "gray25-5min")
    run = parser.parse_args().run
    files = sorted((record.SHARED / "eval" / "BSD68").glob("*.png"))[::8]
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copy(file, folder)
        found = {name: measured(*of, run, Path(folder)) for name, of in SETS.items()}
    record.save("evaluation", {"pictures": len(files), "noise": "gaussian:25/255", "goal": 0.85, "sets": found})


if __name__ == "__main__":
    main()
