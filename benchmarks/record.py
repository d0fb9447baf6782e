"""What every benchmark writes beside its figures: the command, the versions, the machine, the date."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from pathlib import Path
from typing import Any

from unnoise.judging import machine

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).parents[2] / "shared" / "data"


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
