"""Masks in files: which pixels of a photo are missing, white where they are, as `unnoise corrupt --save-mask` writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import image
from .batch import Job
from .errors import BadSetting, ImageError
from .image.picture import without_alpha
from .ledger import sha256
from .noise import Mask

ENDING = ".mask.png"  # NAME.png has NAME.mask.png


def is_one(file: Path) -> bool:
    """Whether a file is a mask by its name: it may lie among the photos."""
    return file.name.endswith(ENDING)


@dataclass(frozen=True)
class Masks:
    """One mask for all photos, a file; or a folder with one for each, NAME.mask.png where NAME.png is below its own folder."""

    where: Path
    out: Path  # of the job, whose outputs lie below it as their sources do below their folder

    def __post_init__(self) -> None:
        if not self.where.exists():
            raise BadSetting(
                f"mask={self.where}: there is no such file or folder; give a picture that is white where pixels are missing."
            )

    def of(self, output: Path) -> Path:
        return (self.where / output.relative_to(self.out)).with_suffix(ENDING) if self.where.is_dir() else self.where

    def read(self, output: Path, size: tuple[int, ...], limit: int) -> Mask:
        """(H, W), True where the mask of that output is brighter than middle gray. Raises ImageError."""
        file = self.of(output)
        if not file.exists():
            raise ImageError(f"has no mask {file}; write one, or leave this picture out.")
        try:
            pixels = without_alpha(image.read(file, limit).pixels)
        except ImageError as error:
            raise ImageError(f"has a mask, {file}, which {error}") from None
        found: Mask = np.any(pixels.reshape(*pixels.shape[:2], -1) > 0.5, 2)
        if found.shape != size:
            wide, high = size[::-1]
            raise ImageError(
                f"is {wide} x {high} pixels, its mask {file} {found.shape[1]} x {found.shape[0]}; give one of its size."
            )
        return found

    def identity(self, jobs: Sequence[Job]) -> str:
        """The SHA-256 of all masks that are there: an output is done again when they change."""
        files = sorted({self.of(output) for _, output in jobs})
        return hashlib.sha256("".join(sha256(file) for file in files if file.is_file()).encode()).hexdigest()
