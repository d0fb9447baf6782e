"""Peak resident memory and seconds of denoising one picture by the command line, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import record

from unnoise import image

MEGAPIXELS = (1, 4, 12)
RUN = Path(__file__).parent / "runs" / "gray25-2min"


def main() -> None:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in MEGAPIXELS:
            side = round((megapixels * 1e6) ** 0.5)
            photo = Path(folder, f"{megapixels}.png")
            image.write(photo, np.random.default_rng(0).random((side, side), np.float32))
            began = time.perf_counter()
            command = [sys.executable, "-m", "unnoise", "denoise", str(photo), "-o", f"{folder}/out", "--model", str(RUN)]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0, f"denoise ended with {status}"
            figures[f"{megapixels}"] = {
                "peak_gb": round(usage.ru_maxrss / 1e6, 2),
                "seconds": round(time.perf_counter() - began, 1),
            }
    record.save("memory", {"picture": "gray, 8 bit, square", "megapixels": figures})


if __name__ == "__main__":
    main()
