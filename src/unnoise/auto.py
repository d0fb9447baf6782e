"""The model for each picture: the one that was named, or by `auto` the bundled one that its noise calls for, or none; or a classical method.

The rule is `doctor`'s. Each page of a file is looked at by itself. A model is loaded when the first picture needs it, and stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from . import bundled, classical, doctor, image, tuned
from .batch import Made
from .denoiser import Array, Denoiser, Quality, Watch, check_quality, check_shares, check_threads, contract_of
from .errors import BadSetting, ModelError
from .image.picture import Bands
from .noise import Mask
from .tiling import check_side

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """The models that a picture goes through, one after another, if any, and why; `why` is empty for a model that was named."""

    passes: tuple[Denoiser, ...]
    names: tuple[str, ...]
    why: str

    @property
    def name(self) -> str | None:
        return doctor.in_turn(self.names) or None

    def as_json(self) -> dict[str, str | None]:
        return {"model": self.name, "why": self.why}

    def splits(self, shape: tuple[int, ...]) -> bool:
        """Whether a picture of this shape is in colour and a model for gray, so that each channel goes through it alone."""
        return any(one.channels == 1 for one in self.passes) and shape[2:] in ((3,), (4,))

    def denoise(
        self, picture: Array, strength: float = 1.0, tile: int | None = None, grain: float = 0.0, mask: Mask | None = None
    ) -> Array:
        """As `Denoiser.denoise`; a copy of a picture that is to stay as it is. `strength` is that of each pass, grain the last one's."""
        for one in self.passes[:-1]:
            picture = one.denoise(picture, strength, tile, mask=mask)
        for one in self.passes[-1:]:
            picture = one.denoise(picture, strength, tile, grain, mask)
        return picture if self.passes else picture.copy()

    def in_bands(
        self, picture: Bands, strength: float, tile: int | None, grain: float, watch: Watch, mask: Mask | None = None
    ) -> Bands:
        """As `denoise`, for a picture in bands, see `Denoiser.in_bands`. `watch` is told of the last pass."""
        for one in self.passes[:-1]:
            picture = one.in_bands(picture, strength, tile, mask=mask)
        for one in self.passes[-1:]:
            picture = one.in_bands(picture, strength, tile, grain, watch, mask)
        return picture

    def tiling_difference(self, picture: Array, tile: int | None) -> tuple[float, int, int]:
        """As `Denoiser.tiling_difference`, of the pass where it is largest."""
        found = [(0.0, 0, 0)]
        for one in self.passes:
            found.append(one.tiling_difference(picture, tile))
            picture = one.denoise(picture, tile=tile)
        return max(found)


class Models:
    """The model of that name or path, or by `auto` those that come with unnoise, from which each picture gets its own.

    A name of `tuned.DENOISERS`, where no run or file has it, is that method, told each picture's noise. `identity` tells the models apart:
    of `auto`, every bundled file counts, as any might be chosen, and the rule. `tile`: the side that was given, else the model's own, which by
    `auto` is each one's. Raises ModelError, and BadSetting for a tile that is too small for one of them, or a method that is not installed.
    """

    identity: Any

    def __init__(
        self, model: Path | str = AUTO, threads: int = 0, tile: int | None = None, quality: Quality = "normal"
    ) -> None:
        self.threads, self.tile, self.quality, self.named, self.method = threads, tile, quality, None, ""
        self.loaded: dict[str, Denoiser] = {}
        if str(model) in tuned.DENOISERS and not Path(model).exists():
            check_quality(quality)
            if quality != "normal":
                raise BadSetting(f"quality={quality!r} with {model}: only a trained model has it; leave it out.")
            classical.check_tile(str(model), tile)
            self.method, self.identity = str(model), classical.identity(str(model))
            return
        if model != AUTO:
            only = Denoiser(model, threads, quality)
            self.named, self.identity = Choice((only,), (str(model),), ""), only.sha256
            self.tile = only.tile if tile is None else tile
            for one in (only, only.gray):
                if one:
                    check_side(self.tile, one.grid, one.overlap)
            return
        if not bundled.names():
            raise ModelError("no model is bundled in this version; give one: --model RUN, or a model.onnx.")
        check_threads(threads)
        check_quality(quality)
        found = [(Path(one["file"]), one["card"]) for one in bundled.described()]
        for file, card in found:
            _, grid, overlap, own = contract_of(file, card)
            check_side(own if tile is None else tile, grid, overlap)
        self.identity = {AUTO: {file.name: card["sha256"] for file, card in found}, "rule": doctor.RULE}

    def choose(self, picture: Array | Bands, found: doctor.Diagnosis | None = None) -> Choice:
        """For one picture, as `doctor.examine` takes it, or by what that has found; by `auto`, bands are used up. Raises ImageError."""
        if self.named:
            return self.named
        if self.method:
            made, why = classical.method(self.method, found or doctor.examine(picture))
            return Choice((made,), (self.method,), why) if made else Choice((), (), why)
        names, why = doctor.advice(found or doctor.examine(picture), bundled.names())
        return Choice(tuple(map(self._load, names)), names, why)

    def filling(self) -> Choice:
        """For pictures with a mask, whatever they look like: the model that was named, or that for missing pixels. Raises ModelError."""
        if self.named:
            for one in self.named.passes:
                one.check_fills()
            return self.named
        if self.method:
            raise BadSetting(f"{self.method} fills nothing in; leave --model out, or give one that has learned to.")
        if doctor.FILLS not in bundled.names():
            raise ModelError("no model for missing pixels is bundled in this version; give one: --model RUN, or a model.onnx.")
        return Choice((self._load(doctor.FILLS),), (doctor.FILLS,), "for the pixels of the mask")

    def denoise(self, picture: Array, strength: float = 1.0, grain: float = 0.0) -> Array:
        """One picture, through what it goes through; a copy of it if that is nothing. Raises as `Denoiser.denoise`."""
        return self.choose(picture).denoise(picture, strength, self.tile, grain)

    def _load(self, name: str) -> Denoiser:
        if name not in self.loaded:
            self.loaded[name] = Denoiser(bundled.FOLDER / name, self.threads, self.quality)
        return self.loaded[name]

    def choices(self, source: Path, max_pixels: int, first_frame: bool = False) -> Sequence[Choice]:
        """One for each page of a file, or for the first; a named model is one for all. Raises ImageError.

        By `auto` the file is decoded once for this, and let go: no page is held while its noise is removed.
        """
        if self.named:
            return [self.named]
        with contextlib.closing(image.pages(source, max_pixels)) as pages:
            return [self.choose(page.pixels) for page in islice(pages, 1 if first_frame else None)]


def write(
    source: Path,
    output: Path,
    choices: Sequence[Choice],
    change: Callable[[Choice, Bands], Bands],
    kind: str | None = None,
    overwrite: bool = False,
    max_pixels: int = image.MAX_PIXELS,
    first_frame: bool = False,
    written: image.Written = lambda file: None,
) -> str:
    """Write a file of which each page has gone through its choice; return what is lost, as `image.convert`, which raises too.

    A file of which nothing is to change is passed on, byte for byte. `change` is given a page's choice and its pixels.
    """
    if not (kind or first_frame or any(one.passes for one in choices)):
        return image.pass_on(source, output, overwrite, written)
    pages = cycle(choices)  # a named model is one for all

    def changed(pixels: Bands) -> Bands:
        return change(next(pages), pixels)

    return image.convert(source, output, changed, kind, overwrite, max_pixels, first_frame, written)


def made(choices: Sequence[Choice], note: str = "", by_channel: str = "") -> Made:
    """What is to be said of a file whose pages have gone through these; of a model that was named, nothing."""
    why = told(choices)
    return Made(note, tuple(one.as_json() for one in choices) if why else (), why, by_channel)


def told(choices: Sequence[Choice]) -> str:
    """What the pages of a file go through and why, in a few words; pages that do alike are told together, by the first of them."""
    alike: dict[str | None, list[tuple[int, Choice]]] = {}
    for page, choice in enumerate(choices, 1):
        if choice.why:
            alike.setdefault(choice.name, []).append((page, choice))
    words = []
    for name, ((page, first), *more) in alike.items():
        which = f"page {page}{f' and {len(more)} more' if more else ''} " if len(choices) > 1 else ""
        words.append(which + (f"through {name} {first.why}" if name else f"unchanged, {first.why}"))
    return "; ".join(words)


def denoise(
    image: Array,
    model: Path | str = AUTO,
    strength: float = 1.0,
    tile: int | None = None,
    grain: float = 0.0,
    mask: Mask | None = None,
    quality: Quality = "normal",
) -> Array:
    """Denoise a picture, or a batch: `load(model, quality=quality).denoise(image, strength, ...)`.

    image: (H, W), (H, W, C) or (N, H, W, C); floats in [0, 1], uint8 or uint16. What comes back has its shape and dtype. By
    `auto`, the default, each picture goes through the bundled model that its noise calls for, and comes back as it is where
    there is none worth removing, or none that a model is for: `doctor.advice` is the rule. A path to a run folder, a model.onnx,
    or a bundled model's name is one for all. With a `mask`, `auto` is the model that fills in missing pixels. Raises what
    `Denoiser.denoise` does, and ModelError where nothing is bundled for it.
    """
    models = Models(model, tile=tile, quality=quality)
    one = models.named if mask is None else models.filling()
    if one:
        return one.denoise(image, strength, tile, grain, mask)
    check_shares(strength=strength, grain=grain)
    if isinstance(image, np.ndarray) and image.ndim == 4:
        answer = np.empty_like(image)
        for one, restored in zip(image, answer, strict=True):
            restored[...] = models.denoise(one, strength, grain)
        return answer
    return models.denoise(image, strength, grain)
