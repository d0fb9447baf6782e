"""Put a trained model among those that ship: `python training/ship.py photo-gray --run RUN`.

Writes src/unnoise/bundled/NAME.onnx, weights as float16. Its card is the run's own record; the text of training/corpus.toml, and of
training/NAME.toml, which photo-gray and photo-colour share as training/photo.toml; what it invents; and its figures in benchmarks/results/testset_*.json.
Those are measured on the file that ships, so they come into it afterwards: without --run the network stays, and its card is written anew.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from unnoise import artefact, atomic, bundled, invented
from unnoise.denoiser import Network
from unnoise.errors import UnnoiseError
from unnoise.export import made

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
TEXT = {  # of training/NAME.toml and corpus.toml
    "purpose": str,  # in one sentence
    "licence": str,  # of the weights
    "data": list,  # what it learned from: source, pictures, licence of each
    "command": str,  # that trains it again
    "limits": list,  # sentences
    "failures": list,  # sentences: examples of what it does wrong
}
TILING = ("alignment", "overlap", "tile")


def ship(name: str, run: Path | None) -> Path:
    """Write the file; where it is now. Raises UnnoiseError, and SystemExit for what may not ship."""
    check_name(name)
    file = bundled.FOLDER / f"{name}.onnx"
    if run:
        network, card = made(run, float16=True)
    else:
        onnx, card = artefact.read_onnx(file)
        network = artefact.unstamped(onnx)
    text = text_of(name)
    card = {key: value for key, value in card.items() if key not in ("format", "sha256")} | text
    channels = "colour" if card["channels"] == 3 else "gray"
    command = card.pop("command").replace("CHANNELS", channels).replace("STEPS", str(card["training"]["steps"]))
    card["training"] = {**card["training"], "command": command}
    card["quality"] = {**card["quality"], "measured": measured(name)}
    card |= invented.in_card(Network(network, card["alignment"]), card)
    stamped = artefact.stamped(network, card)
    check(name, card, len(stamped))
    atomic.write_bytes(file, stamped)
    return file


def check_name(name: str) -> None:
    """Raises SystemExit for what is no name, and for one that would hide a pair, or be hidden by it."""
    stems = {file.stem for file in bundled.FOLDER.glob("*.onnx")}
    alone = bundled.shared(name)
    hides = any(bundled.shared(stem) == name != stem for stem in stems) or (alone != name and alone in stems)
    if hides or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise SystemExit(
            f"{name}: expected small letters, digits and hyphens, and no file of the pair's own name; choose another."
        )


def text_of(name: str) -> dict[str, Any]:
    """What training/NAME.toml says of the model, or of the pair, and corpus.toml of all."""
    text: dict[str, Any] = {}
    for file in (HERE / "corpus.toml", HERE / f"{bundled.shared(name)}.toml"):
        try:
            text |= tomllib.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise SystemExit(f"{file} cannot be read ({error}); write {', '.join(TEXT)} into these two.") from None
    for key, kind in TEXT.items():
        if not isinstance(text.get(key), kind) or not text[key]:
            raise SystemExit(f"{file}: expected {key}, a {kind.__name__}; write it down.")
    if more := text.keys() - TEXT:
        raise SystemExit(f"{file}: nothing is known of {', '.join(more)}; expected {', '.join(TEXT)}.")
    return text


def measured(name: str) -> list[dict[str, Any]]:
    """What benchmarks/testsets.py found of the model: the pictures, the noise, PSNR in dB and SSIM of each case."""
    found = []
    for file in sorted(RESULTS.glob("testset_*.json")):
        result = json.loads(file.read_text())
        for noise, methods in result["cases"].items():
            if name in methods:
                scores = {figure: round(methods[name][figure], decimals) for figure, decimals in (("psnr", 2), ("ssim", 3))}
                found.append({"pictures": result["set"], "noise": noise, **scores})
    return found


def check(name: str, card: dict[str, Any], size: int) -> None:
    """Raises SystemExit for a name of other channels than the model's, a pair that tiles in two ways, and too many bytes."""
    for kind, channels in (("-gray", 1), ("-colour", 3)):
        if name.endswith(kind) and card["channels"] != channels:
            raise SystemExit(f"{name}: the model has {card['channels']} channels; give it another name.")
    for other in bundled.described():
        apart = any(other["card"][key] != card[key] for key in TILING)
        if apart and other["name"] == bundled.shared(name) and Path(other["file"]).stem != name:
            raise SystemExit(f"{name} is not tiled as {Path(other['file']).stem} is; give both one shape.")
    others = (file for file in bundled.FOLDER.iterdir() if file.is_file() and file.suffix != ".py" and file.stem != name)
    if (together := size + sum(file.stat().st_size for file in others)) > bundled.LARGEST:
        raise SystemExit(f"with {name} there are {together:,} bytes bundled; {bundled.LARGEST:,} are allowed.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--run", type=Path)
    given = parser.parse_args()
    try:
        print(ship(given.name, given.run))
    except UnnoiseError as error:
        sys.exit(str(error))
