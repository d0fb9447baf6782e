"""Keep the curve of a run that ships, PSNR on its validation crops against minutes: `python training/curve.py photo-gray RUN`.

Into benchmarks/results/curves.json, beside those of other models; a run that starts from another adds its own piece.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from unnoise.runs import metrics

CURVES = Path(__file__).parent.parent / "benchmarks" / "results" / "curves.json"
POINTS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    curves = json.loads(CURVES.read_text())["curves"] if CURVES.exists() else {}
    scored = [line for line in metrics(given.run) if line.get("psnr")]
    kept = [*scored[:: max(1, len(scored) // POINTS)], scored[-1]]
    points = [[round(line["seconds"] / 60, 1), line["step"], round(line["psnr"], 3)] for line in kept]
    curves[given.name] = {"columns": ["minutes", "step", "psnr"], "points": points}
    result = {"command": "python training/curve.py NAME RUN", "curves": dict(sorted(curves.items()))}
    CURVES.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
