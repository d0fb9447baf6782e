"""Whether a model is judged on pictures that it has learned from, as far as its run folder tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import bundled, collection
from .cache import content
from .errors import BadSetting, ImageError
from .judging import Work, key_of
from .ledger import sha256


def notes(models: Sequence[Any], plans: Sequence[tuple[Any, Any]], work: Work) -> list[str]:
    """A sentence for each model whose run folder lists a picture that it is judged on, compared by what it shows, not its name."""
    files = dict.fromkeys(sample.clean for case, _ in plans for sample in case.samples)
    told = []
    for model in models:
        known, channels = collection.learned_from(bundled.files(model)[0]) if isinstance(model, Path) else (set(), "")
        seen = [file for file in files if known and _content(file, channels, work) in known]
        if seen:
            told.append(
                f"{model} has learned from, or was scored in training on, {len(seen)} of the {len(files)} pictures, the first "
                f"of them {seen[0].name}; judge it on others."
            )
    return told


def _content(file: Path, channels: str, work: Work) -> str:
    """What pictures.txt calls the picture; kept, as decoding takes long. Empty for one that cannot be read."""
    try:
        key = key_of("content", sha256(file), channels)
        if key not in work.results.found:
            work.results.keep(key, {"content": content(file, channels, work.max_pixels)})
        return str(work.results.found[key]["content"])
    except (OSError, ImageError, BadSetting):
        return ""
