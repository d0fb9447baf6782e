"""Which bundled model is for noise that grows with the light: photo and real on crops of the training corpus, in colour, gray and dark gray.

Variance gain * brightness + (1/255)^2, white, clipped. Both models have learned from the corpus, so it is between these two alone.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import record

from unnoise import auto, image
from unnoise.image.picture import as_floats
from unnoise.keyed import keyed_rng
from unnoise.metrics import psnr

GAINS, READ = (0.002, 0.0065, 0.02), 1 / 255
EVERY, SIDE = 40, 192


def main() -> None:
    models = {name: auto.Models(name, 1) for name in ("photo", "real")}
    scores: dict[tuple[str, float, str], list[float]] = {}
    for index, file in enumerate(sorted((record.SHARED / "train").glob("*.webp"))[5::EVERY]):
        whole = as_floats(image.read(file).pixels)[:SIDE, :SIDE, :3].astype(np.float32)
        for kind, clean in (("colour", whole), ("gray", whole.mean(2)), ("dark gray", 0.2 * whole.mean(2))):
            for gain in GAINS:
                noise = np.sqrt(gain * clean + READ**2) * keyed_rng(0, index=index).standard_normal(clean.shape)
                noisy = (clean + noise).clip(0, 1).astype(np.float32)
                for name, model in models.items():
                    restored = np.clip(model.choose(noisy).denoise(noisy), 0, 1)
                    scores.setdefault((kind, gain, name), []).append(psnr(restored, clean))
                scores.setdefault((kind, gain, "noisy"), []).append(psnr(noisy, clean))
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for (kind, gain, name), found in scores.items():
        rows.setdefault((kind, gain), {"pictures": kind, "gain": gain})[name] = round(statistics.fmean(found), 2)
    record.save(
        "growing",
        {"crops": len(found), "side": SIDE, "read": "1/255", "rows": [*rows.values()]},
        "python benchmarks/growing.py",
    )


if __name__ == "__main__":
    main()
