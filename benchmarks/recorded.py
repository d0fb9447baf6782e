"""Record what lambda1 and lambda2 do, to be moved on the second page of `unnoise serve`: tiny models, trained alike but for these two.

Each learns from the free corpus on one thread, by the lecture's cost lambda1 * L_per + lambda2 * ||D(Z) - I||^2 with the bundled
features, for some minutes each. Writes src/unnoise/server/recorded/*.onnx, and scores these files on every third picture of Kodak24,
which none has learned from; draws docs/recorded.png. The runs are kept in benchmarks/runs, so that what is there is not trained again.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import record

from unnoise import artefact, atomic

PAIRS = ((0, 1), (0.002, 1), (0.01, 1), (0.05, 0.1))  # (lambda1, lambda2), by their quotient
STEPS = 3000
SETTINGS: dict[str, Any] = {
    "model": "unet:widths=8-12,blocks=1", "noise": ("gaussian:10/255..60/255", "salt-and-pepper:0.05..0.4", "masking:0.1..0.7"),
    "cost": "squared", "rate": 0.004, "threads": 1,
}  # fmt: skip
NOISES = ("gaussian:25/255", "gaussian:50/255", "masking:0.5")
SHOWN, SIDE = "kodim19.png", 160  # the crop in the docs
LARGEST = 100_000  # bytes of all these files
HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "unnoise" / "server" / "recorded"
SQUEEZENET = f"squeezenet1_0-caffe:{record.SHARED / 'weights' / 'squeezenet1_0.npz'}"
CARD = {
    "purpose": "To see on the second page of unnoise serve what the weights of the cost do: trained alike but for lambda1 and lambda2.",
    "licence": "CC BY-SA 4.0",
    "data": [{"source": "the corpus of the bundled models, in NOTICE", "pictures": 279, "licence": "see NOTICE"}],
    "limits": ["It is far too small to denoise pictures with, and has not seen masking blocks."],
}


def trained(number: int, perceptual: float, pixel: float) -> Path:
    """The run of a pair, trained unless it is there."""
    from unnoise import train

    run = HERE / "runs" / f"recorded-{number}"
    if not (run / "model.onnx").exists():
        files = sorted((record.SHARED / "train").glob("*.webp"))
        train(files, run, steps=STEPS, perceptual=perceptual, pixel=pixel, **SETTINGS)
    return run


def recorded(number: int, run: Path) -> Path:
    """The file of a run, as small as it can be."""
    from unnoise.export import made

    network, card = made(run, float16=True)
    kept = {key: value for key, value in card.items() if key != "quality"}
    training = kept["training"] | {"command": "python benchmarks/recorded.py"}
    file = OUT / f"{number}.onnx"
    atomic.write_bytes(file, artefact.stamped(slim(network), kept | {"training": training} | CARD))
    return file


def slim(network: bytes) -> bytes:
    """The same network without what its exporter notes and onnxruntime does not need: shapes, names of nodes, what goes without saying."""
    import onnx

    model, names = onnx.load_from_string(network), dict[str, str]()
    usual = {"dilations": [1, 1], "strides": [1, 1], "group": 1, "auto_pad": b"NOTSET", "pads": [0, 0, 0, 0]}

    def short(name: str) -> str:
        fixed = not name or name in ("noisy", "restored") or name.endswith(".weight")  # by which lecture.code knows its layers
        return name if fixed else names.setdefault(name, str(len(names)))

    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        tensor.name = short(tensor.name)
    for node in model.graph.node:
        node.name = node.doc_string = ""
        node.input[:], node.output[:] = map(short, node.input), map(short, node.output)
        told = [one for one in node.attribute if onnx.helper.get_attribute_value(one) != usual.get(one.name)]
        del node.attribute[:]
        node.attribute.extend(told)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def scores(file: Path, perceptual: float, pixel: float) -> list[dict[str, Any]]:
    """For each noise the mean PSNR, and distances by the features that were learned with and by SqueezeNet's."""
    import torch

    from unnoise import image, load, parse
    from unnoise.losses import PerceptualLoss
    from unnoise.metrics import psnr
    from unnoise.model import as_tensor
    from unnoise.noise import spoilt
    from unnoise.perceptual import load as features

    model, found = load(file, threads=1), []
    distances = {"bundled": PerceptualLoss(*features()), "SqueezeNet": PerceptualLoss(*features(SQUEEZENET))}
    pictures = [image.read(path).pixels for path in sorted((record.SHARED / "eval" / "Kodak24").glob("*.png"))[::3]]
    for noise in NOISES:
        rows = []
        for index, clean in enumerate(pictures):
            restored = np.clip(model.denoise(spoilt(clean, parse(noise), 1, index)), 0, 1)
            batch = [as_tensor(np.moveaxis(picture, 2, 0)[None].copy()) for picture in (restored, clean)]
            with torch.inference_mode():
                apart = {who: distance(*batch).item() for who, distance in distances.items()}
            rows.append({"psnr": psnr(restored, clean), **apart})
        means = {key: float(f"{statistics.fmean(row[key] for row in rows):.4g}") for key in rows[0]}
        found.append({"noise": noise, "lambda1": perceptual, "lambda2": pixel, **means})
    return found


def picture(files: list[Path]) -> None:
    """docs/recorded.png: for two noises a row of crops at 1:1, corrupted and by each file."""
    from unnoise import figures, image, load, parse
    from unnoise.noise import spoilt

    clean, rows = image.read(record.SHARED / "eval" / "Kodak24" / SHOWN).pixels, []
    top, left = figures.busiest(clean, SIDE)
    for noise in NOISES[1:]:
        noisy = spoilt(clean, parse(noise), 1, 0)
        shown = [noisy, *(load(file, threads=1).denoise(noisy) for file in files)]
        rows.append([one[top : top + SIDE, left : left + SIDE] for one in shown])
    atomic.write_bytes(HERE.parent / "docs" / "recorded.png", image.encoded(figures.rows(rows), "PNG"))


def main() -> None:
    OUT.mkdir(exist_ok=True)
    found, files = [], []
    for number, (perceptual, pixel) in enumerate(PAIRS, 1):
        files.append(recorded(number, trained(number, perceptual, pixel)))
        found.extend(scores(files[-1], perceptual, pixel))
    together = sum(file.stat().st_size for file in files)
    assert together <= LARGEST, together
    picture(files)
    about = {"pictures": "Kodak24, every third", "steps": STEPS, **{key: SETTINGS[key] for key in ("model", "noise")}}
    record.save("recorded", {**about, "bytes": together, "rows": sorted(found, key=lambda row: NOISES.index(row["noise"]))})


if __name__ == "__main__":
    main()
