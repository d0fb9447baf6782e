"""What the bundled models leave of noise on flat gray pictures, where there is nothing to restore; classical methods beside them.

These are told the noise's sigma, and have their best-known parameters. A figure is that of a model's card, for other noise: `unnoise.invented`.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import record

from unnoise import Denoiser, bundled, parse, tuned
from unnoise.invented import GRAYS, PICTURES, SIDE, figure
from unnoise.tuned import Peer

CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # models, and methods, for a noise
    **{f"gaussian:{sigma}/255": (("photo", "photo-fast"), ("nlm", "bm3d")) for sigma in (15, 25, 50)},
    "camera:10/255": (("real", "photo"), ("nlm", "bm3d")),
    "camera:20/255,jpeg=80": (("real", "photo"), ("nlm", "bm3d")),
    **{f"salt-and-pepper:{share}": (("impulse",), ("adaptive-median",)) for share in (0.3, 0.6)},
    **{f"masking:{share}": (("missing",), ("biharmonic",)) for share in (0.5, 0.8)},
}


def told_sigma(peer: Peer, noisy: np.ndarray) -> np.ndarray:
    return peer.denoise(noisy, float((noisy - noisy.mean((0, 1))).std()))


def main() -> None:
    cards = {}
    for one in bundled.described():
        cards[f"{one['name']}, {'colour' if one['card']['channels'] == 3 else 'gray'}"] = one["card"]["invented"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for noise, (models, methods) in CASES.items():
        peers, absent = tuned.for_noise(parse(noise), methods)
        ways = {name: Denoiser(name, threads=1).denoise for name in models}
        ways |= {peer.name: partial(told_sigma, peer) for peer in peers}
        found[noise] = {name: figure(way, [noise], 3) for name, way in ways.items()}
        print(noise, found[noise], absent, flush=True)
    record.save("invented", {"side": SIDE, "pictures": PICTURES, "grays": GRAYS, "cards": cards, "cases": found})


if __name__ == "__main__":
    main()
