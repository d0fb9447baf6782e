"""What benchmarks share: the middle of a picture, and what each writes beside its figures: the command, the versions, the machine, the date."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from pathlib import Path
from typing import Any

from unnoise.image.picture import Array
from unnoise.judging import machine

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).parents[2] / "shared" / "data"


def middle(picture: Array, side: int) -> Array:
    """At most `side` pixels each way of (H, W) or (H, W, C)."""
    top, left = (max(length - side, 0) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def save(name: str, figures: dict[str, Any], command: str = "") -> None:
    """Write `results/NAME.json`. command: of this result, where it is not that of benchmarks/NAME.py."""
    packages = ("unnoise", "torch", "numpy", "scikit-image", "onnxruntime", "cyclopts")
    about = {
        "command": command or f"python benchmarks/{name}.py",
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": machine(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, **figures}, indent=1) + "\n")
    print(json.dumps(figures, indent=1)[:4000])
