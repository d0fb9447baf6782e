"""Masks in files: which pixels of a photo are missing, white where they are, as `unnoise corrupt --save-mask` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import image
from .batch import Job, ending_in, real
from .errors import BadSetting, ImageError
from .image.picture import without_alpha
from .noise import Mask

ENDING = ".mask.png"  # NAME.png has NAME.mask.png


@dataclass(frozen=True)
class Masks:
    """One mask for all photos, a file; or a folder with one for each: where OUT/a/b.png is to be written, a/b.mask.png is its mask."""

    where: Path
    out: Path  # of the job, whose outputs lie below it as their sources do below their folder

    def __post_init__(self) -> None:
        if not self.where.exists():
            raise BadSetting(
                f"mask={self.where}: there is no such file or folder; give a picture that is white where pixels are missing."
            )

    def of(self, output: Path) -> Path:
        """Where the mask of an output is, or should be."""
        return ending_in(ENDING, self.where / output.relative_to(self.out)) if self.where.is_dir() else self.where

    def among(self, jobs: Sequence[Job]) -> set[Path]:
        """The sources that are masks: by their ending, or because they are used as one."""
        used = {real(self.of(output)) for _, output in jobs}
        return {source for source, _ in jobs if source.name.endswith(ENDING) or real(source) in used}

    def read(self, output: Path, size: tuple[int, ...], limit: int) -> Mask:
        """(H, W), True where the mask of that output is brighter than middle gray. Raises ImageError."""
        file = self.of(output)
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
