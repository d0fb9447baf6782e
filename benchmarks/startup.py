"""How soon `unnoise --help` answers, beside the bare interpreter, and what command-line libraries cost to import."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time

import record

RUNS = 11


def seconds(*command: str) -> float:
    """The median over several runs, in turn after one to warm up."""
    times = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return round(statistics.median(times[1:]), 3)


def main() -> None:
    python = sys.executable
    libraries = [name for name in ("argparse", "cyclopts", "tyro", "jsonargparse") if importlib.util.find_spec(name)]
    figures = {
        "runs": RUNS,
        "interpreter_s": seconds(python, "-c", "pass"),
        "unnoise_help_s": seconds(python, "-m", "unnoise", "--help"),
        "import_unnoise_s": seconds(python, "-c", "import unnoise"),
        "import_library_s": {name: seconds(python, "-c", f"import {name}") for name in libraries},
    }
    record.save("startup", figures)


if __name__ == "__main__":
    main()
