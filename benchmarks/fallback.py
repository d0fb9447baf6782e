"""Is what `denoise --learn` chooses without truth what the truth would choose? Kodak24 in gray under six noises, in files as users have them.

Of each noise: the folder is learned from, as `denoise --learn` does it, and the choice is made; then each picture alone is judged, with the same learned
model, as if it were all there is. Right is a choice that no other is better than: the learned model, the bundled ones, each classical method; the PSNR is
that of the middle of the picture, 256 pixels a side, which is what is looked at too. The noises are settled beforehand; nothing was tuned on these pictures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import record
from PIL import Image

from unnoise import auto, classical, heldout, image, ownnoise
from unnoise.image.picture import LUMA, as_floats
from unnoise.keyed import keyed_rng
from unnoise.metrics import psnr
from unnoise.noise import parse

NOISES = {
    "gaussian:10/255": "gaussian:10/255",
    "gaussian:25/255": "gaussian:25/255",
    "gaussian:50/255": "gaussian:50/255",
    "growing with the light": None,  # variance 0.01 x brightness + (5/255)^2
    "camera:15/255,jpeg=90": "camera:15/255,jpeg=90",
    "gaussian:10/255+salt-and-pepper:0.05": "gaussian:10/255+salt-and-pepper:0.05",
}
GAIN, READ = 0.01, 5 / 255
CLOSE = 0.1  # dB, within which a choice is nearly as good
Array = np.ndarray[Any, Any]


def spoilt(clean: Array, noise: str | None, index: int) -> Array:
    rng = keyed_rng(0, index=index)
    if noise:
        return parse(noise)(clean, rng)[0]
    return clean + np.sqrt(GAIN * clean + READ**2) * rng.standard_normal(clean.shape)


def written(folder: Path, noise: str | None) -> dict[str, Array]:
    """The clean pictures by name; the noisy ones are in the folder, as PNG of 8 bits."""
    clean = {}
    folder.mkdir(parents=True, exist_ok=True)
    for index, file in enumerate(sorted((record.SHARED / "eval" / "Kodak24").glob("*.png"))):
        clean[file.name] = (as_floats(image.read(file).pixels) @ LUMA).astype(np.float32)
        noisy = spoilt(clean[file.name], noise, index)
        Image.fromarray(np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)).save(folder / file.name)
    return clean


def judged(name: str, minutes: float, work: Path) -> dict[str, Any]:
    noise, folder = NOISES[name], work / f"noise-{[*NOISES].index(name)}"
    clean, files = written(folder, noise), sorted(folder.glob("*.png"))
    outcome = ownnoise.learn(files, folder / "out", minutes, True, image.MAX_PIXELS, 1, None)
    run = folder / "out" / ownnoise.FOLDER
    learned = {"learned": str(run)} if outcome.better_by else {}
    names = {**learned, auto.AUTO: auto.AUTO, **{one: one for one in classical.installed()[0]}}
    models = {called: auto.Models(path, 1) for called, path in names.items()}
    called = {path: one for one, path in names.items()}
    pictures = {}
    for file in files:
        looked, alone, truth = (
            ownnoise.looked_at(file, image.MAX_PIXELS),
            auto.AUTO,
            record.middle(clean[file.name], ownnoise.SIDE),
        )
        methods = {one: model.choose(looked.noisy, looked.found).denoise for one, model in models.items()}
        risks, answers = heldout.risks(methods, looked.noisy, looked.read, looked.gain)
        if outcome.better_by:
            alone = min(risks, key=lambda one: float(risks[one].mean()))
        scores = {one: psnr(np.clip(answer, 0, 1), truth) for one, answer in answers.items()}
        pictures[file.name] = {"psnr": {k: round(v, 3) for k, v in scores.items()}, "alone": alone}
    told = {"chosen": called[outcome.model], "sentence": outcome.sentence.replace(str(folder), ""), "pictures": pictures}
    told |= rights([(told["chosen"], one) for one in pictures.values()])
    print(name, told["chosen"], told["folder"], told["alone"], flush=True)
    return told


def rights(pictures: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """How often the choice for the folder, and that for the picture alone, is the best for (the folder's choice, a picture)."""
    found = {}
    for way in ("folder", "alone"):
        losses = [
            max(one["psnr"].values()) - one["psnr"][chosen if way == "folder" else one["alone"]] for chosen, one in pictures
        ]
        wrong = [loss for loss in losses if loss > 0]
        found[way] = {
            "right": 1 - len(wrong) / len(losses),
            "within_0.1_dB": fmean(loss <= CLOSE for loss in losses),
            "mean_loss_where_wrong": fmean(wrong) if wrong else 0.0,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--noises", nargs="*", default=[*NOISES], choices=[*NOISES])
    given = parser.parse_args()
    work = Path(__file__).parent / "runs" / "fallback"
    kept = work / f"found-{given.minutes:g}.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for name in given.noises:
        if name not in found:
            found[name] = judged(name, given.minutes, work)
            kept.write_text(json.dumps(found))
    found = {name: found[name] for name in given.noises}
    summary = rights([(told["chosen"], one) for told in found.values() for one in told["pictures"].values()])
    about = {
        "minutes": given.minutes,
        "side": ownnoise.SIDE,
        "absent": classical.installed()[1],
        "summary": summary,
        "noises": found,
    }
    command = "python benchmarks/fallback.py" + (f" --minutes {given.minutes:g}" if given.minutes != 3 else "")
    command += f" --noises {' '.join(map(repr, given.noises))}" if given.noises != [*NOISES] else ""
    record.save("fallback", about, command)


if __name__ == "__main__":
    main()
