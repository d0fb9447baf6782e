"""The models that come with unnoise: what lies in this folder is what is bundled, and each file's card says the rest.

NAME.onnx is one model. NAME-colour.onnx and NAME-gray.onnx are two behind one name: the picture's channels choose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import artefact, tuned
from ..errors import ModelError, did_you_mean

FOLDER = Path(__file__).parent
LARGEST = 16 * 10**6  # bytes of all that is bundled, the feature network included


def names() -> list[str]:
    """The names to load a bundled model by."""
    return sorted({shared(file.stem) for file in FOLDER.glob("*.onnx")})


def files(model: Path | str) -> list[Path]:
    """The ONNX files that a path or a bundled model's name means: one, or of a pair that for colour and that for gray pictures.

    What lies there goes first: a run folder or a file is taken before a bundled model of that name, a folder of other things is
    not. Each of a pair has a name of its own too, such as photo-gray. Raises ModelError.
    """
    path = Path(model)
    if path.parent == FOLDER and (ours := _bundled(path.name)):
        return ours
    if (path / "model.onnx").exists():
        return [path / "model.onnx"]
    if path.exists() and not path.is_dir():
        return [path]
    ours = _bundled(str(path))
    if ours and not (path / "config.json").exists():
        return ours
    if path.exists():
        run = (path / "config.json").exists()
        way_out = f"finish the run: unnoise train --resume {path}" if run else "give the folder of a finished run."
        raise ModelError(f"{path} holds no model.onnx; {way_out}")
    if str(path) in tuned.DENOISERS:
        raise ModelError(
            f"{path} is a classical method, which has no model file: denoise takes it by --model {path}, evaluate by --methods {path}."
        )
    raise ModelError(f"{path} does not exist; {_instead(str(path))}")


def name_of(model: Path | str) -> str:
    """What to call a model: a bundled one by its name, a run by its folder, a file by its own. Raises ModelError."""
    file = files(model)[0].resolve()
    if file.parent == FOLDER.resolve():
        return Path(model).stem
    return file.parent.name if file.name == "model.onnx" else file.stem


def described(model: Path | str | None = None) -> list[dict[str, Any]]:
    """What the files of a model, or of all bundled ones, say of themselves: `name`, `file`, `bytes` and `card` of each.

    `model`: a bundled model's name, a run folder, or a file, also a model.safetensors. Raises ModelError.
    """
    ours = [(name, file) for name in names() for file in _bundled(name)]
    found = []
    for name, file in ours if model is None else [(name_of(model), file) for file in files(model)]:
        card = artefact.read(file)[1] if file.suffix.lower() == ".safetensors" else artefact.read_onnx(file)[1]
        found.append({"name": name, "file": str(file), "bytes": file.stat().st_size, "card": card})
    return found


def _bundled(name: str) -> list[Path]:
    """The files of that name, those of a pair in order: colour, gray."""
    there = sorted(FOLDER.glob("*.onnx"))
    return [file for file in there if file.stem == name] or [file for file in there if shared(file.stem) == name]


def shared(name: str) -> str:
    """The name that a file has in common with the other one of its pair."""
    return name.removesuffix("-colour").removesuffix("-gray")


def _instead(given: str) -> str:
    """The end of an error about a model that is none: what is called nearly so, or all there is."""
    words = did_you_mean(given, [*names(), *tuned.DENOISERS])
    if words.startswith("did"):
        return words
    ours = (
        f", a model.onnx, or one of {', '.join(names())}"
        if names()
        else " or a model.onnx, as no model is bundled in this version"
    )
    return f"give a run folder{ours}; denoise also takes {', '.join(tuned.DENOISERS)}."
