"""What each bundled model gains over its noise, in dB, beside the strength that the doctor reads from the noisy picture: `advice.EXPECTED`.

On the middle 256 pixels of Kodak24's photographs, which no model here has learned from: this only says what to expect. Pictures as files: clipped, 8 bits.
"""

from __future__ import annotations

import math
from statistics import fmean, pstdev, stdev

import numpy as np
import record
from mending import SEED, SIDE

from unnoise import advice, doctor, image, load
from unnoise.metrics import psnr
from unnoise.noise import parse, spoilt

GAUSSIAN = [f"gaussian:{sigma}/255" for sigma in (2.5, 5, 10, 15, 25, 35, 50)]
NOISES = {
    "photo": GAUSSIAN,
    "photo-fast": GAUSSIAN,
    "real": [f"camera:sigma={sigma}/255,jpeg={quality}" for sigma in (2, 4, 7, 11, 16, 24) for quality in (0, 90)],
    "impulse": [f"salt-and-pepper:fraction={share}" for share in (0.002, 0.01, 0.05, 0.1, 0.3, 0.5)],
    "missing": [f"masking:fraction={share}" for share in (0.002, 0.01, 0.05, 0.1, 0.3, 0.5)],
}


def curves(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, list[list[float]]]:
    """(strength, dB, standard deviation) of each model as `advice.EXPECTED` has them; what differs by JPEG alone is one."""
    table = {}
    for name, noises in found.items():
        alike: dict[str, list[dict[str, float]]] = {}
        for noise, one in noises.items():
            alike.setdefault(noise.partition(",jpeg")[0], []).append(one)
        table[name] = [
            [
                float(f"{fmean(one['strength'] for one in part):.3g}"),
                round(fmean(one["gain"] for one in part), 1),
                round(math.hypot(pstdev([one["gain"] for one in part]), fmean(one["spread"] for one in part)), 1),
            ]
            for part in alike.values()
        ]
    return table


def main() -> None:
    files = sorted((record.SHARED / "eval" / "Kodak24").glob("*.png"))
    cleans = [record.middle(image.read(file).pixels, SIDE) for file in files]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, noises in NOISES.items():
        model = load(name, threads=1)
        for noise in noises:
            seen, added = [], []
            for index, clean in enumerate(cleans):
                noisy = np.rint(255 * np.clip(spoilt(clean, parse(noise), SEED, index), 0, 1)).astype(np.float32) / np.float32(
                    255
                )
                seen.append(advice.strength(doctor.examine(noisy), name))
                added.append(psnr(np.clip(model.denoise(noisy), 0, 1), clean) - psnr(noisy, clean))
            found.setdefault(name, {})[noise] = {"strength": fmean(seen), "gain": fmean(added), "spread": stdev(added)}
            print(name, noise, found[name][noise], flush=True)
    record.save("gains", {"pictures": [file.name for file in files], "side": SIDE, "gains": found, "curves": curves(found)})


if __name__ == "__main__":
    main()
