"""Noise models: how a clean picture is spoilt, and which values were touched.

Each is a frozen dataclass called as `noisy, mask = noise(image, rng)`. `image` is (H, W) or (H, W, C) floats, in [0, 1] as
a rule; `noisy` has its shape and dtype, `mask` is bool of that shape: True where a value was replaced or disturbed. The
input stays as it is, nothing clips but Camera and Clip, and the alpha of 2 or 4 channels is never touched. `rng` is a numpy Generator:
the same generator state gives the same noise.

A range `(low, high)` in place of a number is drawn anew, uniformly, at every call, that is, once an image. `a + b` applies
`a`, then `b`; its mask is the union. `parse("gaussian:25/255+masking:0.1")` reads the textual form that `str(noise)` writes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import profiles
from .camera import photographed
from .errors import BadSetting, ImageError
from .keyed import keyed_rng, normals
from .notation import from_text, str_of
from .ranges import Count, Number, check_range, check_sigma, draw, draw_whole, ends

Image = npt.NDArray[Any]  # (H, W) or (H, W, C) floats
Mask = npt.NDArray[np.bool_]
Block = tuple[int, int, int, int]


class _Summable:
    """What the noises share: `a + b`, and the textual form."""

    def __add__(self, other: Noise) -> Sum:
        return Sum(parts_of(self) + parts_of(other))

    def __str__(self) -> str:
        return str_of(KINDS, self)


@dataclass(frozen=True)
class Gaussian(_Summable):
    """Additive Gaussian noise: to every value an independent draw from N(0, sigma^2).

    `sigma` is in image units, 0 to 1: a paper's "25" is 25/255. The mask is all True (but for alpha).
    """

    sigma: Number

    def __post_init__(self) -> None:
        check_sigma(self.sigma)

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        check_image(image)
        return _everywhere(image, _disturbed(_colours(image), draw(self.sigma, rng), rng))


@dataclass(frozen=True)
class Camera(_Summable):
    """The noise of photographs: it grows with the light, spreads over neighbours and colours, and may go through JPEG.

    `sigma`, in image units, is its standard deviation where the picture is mid-gray (0.5), before 8 bits and JPEG; cameras
    have about 2/255 to 30/255. `jpeg`: the file's quality, 1 to 100, or 0 for none. The mask is all True (but for alpha). Input
    is clipped to [0, 1]; `noisy` is in 255ths, as a camera's file. One channel has no mosaic. Model and sources: camera.py.
    """

    sigma: Number
    jpeg: Count = 0

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        check_range("jpeg", self.jpeg, 1 if isinstance(self.jpeg, tuple) else 0, 100, whole=True)

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        check_image(image)
        sigma, quality = draw(self.sigma, rng), draw_whole(self.jpeg, rng)
        return _everywhere(image, photographed(_colours(image), sigma, quality, rng))


@dataclass(frozen=True)
class Clip(_Summable):
    """What a file of 8 or 16 bits does to the noise before it: values below 0 become 0, those above 1 become 1.

    `gaussian:25/255+clip` is Gaussian noise as such a file holds it: in the shadows its mean is above the clean value, in the
    lights below. The mask is True where a value changed.
    """

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        check_image(image)
        noisy = image.copy()
        np.clip(_colours(image), 0, 1, out=_colours(noisy))
        return noisy, noisy != image


@dataclass(frozen=True)
class Profile(_Summable):
    """The noise of a camera that was measured: it grows with the light, and is correlated between pixels and colours as was found.

    `groups`: the figures of one or more ISO, of which each call draws one; `Profile.of` reads them from the file that `unnoise profile`
    writes. The mask is all True (but for alpha). Model and sources: profiles.py.
    """

    groups: tuple[profiles.Group, ...]

    @classmethod
    def of(cls, file: Path | str, iso: int | None = None) -> Profile:
        """The noise in a profile, all of it or that at one ISO. Raises BadSetting."""
        return cls(profiles.load(Path(file), iso))

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        check_image(image)
        group = self.groups[int(rng.integers(len(self.groups)))]
        return _everywhere(image, profiles.disturbed(_colours(image), group, rng))

    def __str__(self) -> str:
        return f"profile:{profiles.written(self.groups)}"


@dataclass(frozen=True)
class SaltAndPepper(_Summable):
    """Salt and pepper: random pixels get a random selection of [0, 1].

    Exactly one of `count` (so many pixels), `fraction` (a share, exact after rounding) and `prob` (a coin for each) is
    given. `values`: "extremes" picks 0 or 1, "uniform" from the whole of [0, 1]. `per`: "pixel" touches all channels of a
    pixel at once, with one value; "channel" counts and draws among all H * W * C values.
    """

    count: Count | None = None
    fraction: Number | None = None
    prob: Number | None = None
    values: Literal["extremes", "uniform"] = "extremes"
    per: Literal["pixel", "channel"] = "pixel"

    def __post_init__(self) -> None:
        _check_amount(self)
        if self.values not in ("extremes", "uniform"):
            raise BadSetting(f"values={self.values!r}: expected extremes (0 or 1) or uniform (anything from 0 to 1).")

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        check_image(image)
        places = _places(self, image, rng)
        if self.values == "extremes":
            values = rng.integers(0, 2, len(places), dtype=np.uint8).astype(image.dtype)
        else:
            values = rng.random(len(places), dtype=np.float32).astype(image.dtype)
        return _replaced(image, places, values, self.per)


@dataclass(frozen=True)
class Masking(_Summable):
    """Masking noise: random pixels are set to 0. `count`, `fraction`, `prob` and `per` as in SaltAndPepper."""

    count: Count | None = None
    fraction: Number | None = None
    prob: Number | None = None
    per: Literal["pixel", "channel"] = "pixel"

    def __post_init__(self) -> None:
        _check_amount(self)

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        check_image(image)
        places = _places(self, image, rng)
        return _replaced(image, places, np.zeros(len(places), image.dtype), self.per)


@dataclass(frozen=True)
class BlockMasking(_Summable):
    """Masking blocks: whole blocks are set to 0, in all channels; the network learns to complete what is blocked.

    Either `count` random blocks of `size` x `size` pixels, each wholly inside the picture (they may overlap), or
    `blocks=[(top, left, height, width), ...]`, predefined. A block that does not fit the picture is an ImageError.
    """

    count: Count | None = None
    size: Count | None = None
    blocks: tuple[Block, ...] | None = None

    def __post_init__(self) -> None:
        if self.blocks is None:
            if self.count is None:
                raise BadSetting("blocks: expected count and size for random blocks, or blocks=(top, left, height, width), ...")
            object.__setattr__(self, "size", 16 if self.size is None else self.size)
            check_range("count", self.count, 0, math.inf, whole=True)
            check_range("size", self.size, 1, math.inf, whole=True)
            return
        if self.count is not None or self.size is not None:
            raise BadSetting("blocks: expected count and size, or predefined blocks, not both; leave one out.")
        try:
            blocks = tuple(tuple(int(number) for number in block) for block in self.blocks)
        except (TypeError, ValueError):
            blocks = ((),)
        if not blocks or any(len(b) != 4 or min(b[:2]) < 0 or min(b[2:]) < 1 for b in blocks):
            raise BadSetting(f"blocks={self.blocks!r}: expected (top, left, height, width) of each, whole numbers in pixels.")
        object.__setattr__(self, "blocks", blocks)

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        check_image(image)
        check_fits(self, image.shape)
        noisy, mask = image.copy(), np.zeros(image.shape, bool)
        for top, left, tall, wide in self.blocks or self._random(image.shape[0], image.shape[1], rng):
            _colours(noisy)[top : top + tall, left : left + wide] = 0
            _colours(mask)[top : top + tall, left : left + wide] = True
        return noisy, mask

    def _random(self, height: int, width: int, rng: np.random.Generator) -> list[Block]:
        assert self.count is not None  # __post_init__ saw to it
        assert self.size is not None
        count, size = draw_whole(self.count, rng), draw_whole(self.size, rng)
        tops, lefts = rng.integers(0, height - size + 1, count), rng.integers(0, width - size + 1, count)
        return [(int(top), int(left), size, size) for top, left in zip(tops, lefts, strict=True)]


@dataclass(frozen=True)
class Sum(_Summable):
    """Several noises, one after another; made by `+`."""

    parts: tuple[Part, ...]

    def __call__(self, image: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
        noisy, mask = self.parts[0](image, rng)
        for part in self.parts[1:]:
            noisy, touched = part(noisy, rng)
            mask |= touched
        return noisy, mask

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))


EVERYWHERE = Gaussian | Camera | Profile | Clip  # what loses no pixel
Part = EVERYWHERE | SaltAndPepper | Masking | BlockMasking
Noise = Part | Sum
KINDS: dict[str, type[Any]] = {
    "gaussian": Gaussian,
    "camera": Camera,
    "profile": Profile,
    "clip": Clip,
    "salt-and-pepper": SaltAndPepper,
    "masking": Masking,
    "blocks": BlockMasking,
}
SHORT = {  # the field that a bare value stands for
    "gaussian": "sigma", "camera": "sigma", "salt-and-pepper": "fraction", "masking": "fraction", "blocks": "count",
}  # fmt: skip


def parse(text: str) -> Noise:
    """Read the textual form, `kind:value` or `kind:key=value,key=value`, several joined by `+`: the inverse of `str`.

    A bare value is the sigma of Gaussian and camera, the fraction of salt and pepper or masking, or the count of blocks; of a profile, the
    figures stand there, not its file (`profiles.filled_in`). Raises BadSetting that names the nearest kind or key.
    """
    parts = [_part(part.strip()) for part in text.split("+")]
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))


def _part(text: str) -> Any:
    kind, _, rest = text.partition(":")
    return Profile(profiles.parsed(rest)) if kind == "profile" else from_text(KINDS, text, "noise", SHORT)


def brief(text: str) -> str:
    """The textual form as people write it, gaussian:25/255 for gaussian:sigma=25/255; what is no noise stays as it is.

    A count keeps its name, as in blocks:count=4,size=16; of a profile the ISO are left.
    """
    text = re.sub(
        r"profile:[^+]*", lambda found: ",".join(["profile", *re.findall(r"iso=\d+", found[0])]).replace(",", ":", 1), text
    )
    parts = [part.partition(":") for part in text.split("+")]
    bare = {kind: f"{field}=" for kind, field in SHORT.items() if field != "count"}
    return "+".join(kind + colon + rest.removeprefix(bare.get(kind, "")) for kind, colon, rest in parts)


def spoilt(clean: Image, noise: Noise, seed: int, index: int) -> Image:
    """Picture number `index` with its noise: unclipped, the same for every method that is scored with this seed."""
    return noise(clean, keyed_rng(seed, index=index))[0]


def predefined(noise: Noise) -> tuple[Block, ...]:
    """The blocks whose places in the picture are fixed; empty for every other noise."""
    return tuple(b for part in parts_of(noise) if isinstance(part, BlockMasking) for b in part.blocks or ())


def check_fits(noise: Noise, shape: tuple[int, ...]) -> None:
    """Raise ImageError if a picture of `shape` has fewer pixels than `noise` may count, or no room for its blocks."""
    height, width = shape[:2]
    for part in parts_of(noise):
        if isinstance(part, BlockMasking):
            for top, left, tall, wide in part.blocks or ((0, 0, *[ends(part.size)[-1]] * 2),):
                if top + tall > height or left + wide > width:
                    raise ImageError(
                        f"a block of {tall}x{wide} pixels at ({top}, {left}) does not fit a picture of {height}x{width}; use smaller blocks."
                    )
        elif not isinstance(part, EVERYWHERE) and part.count is not None:
            count, total = ends(part.count)[-1], _total(part, shape)
            if count > total:
                what = "values" if part.per == "channel" else "pixels"
                raise ImageError(f"count={count}: the picture has {total} {what}; give at most that many, or a fraction.")


# --- what the noises are made of ---------------------------------------------------------------------------------------------


def check_shape(image: Image) -> None:
    """Raise ImageError for what is no array of one picture, (H, W) or (H, W, C), whatever its type."""
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
        shape = getattr(image, "shape", type(image).__name__)
        raise ImageError(f"a picture of {shape}: expected an array (height, width) or (height, width, channels).")
    if image.ndim == 3 and image.shape[2] > 4:
        raise ImageError(f"a picture of {image.shape}: expected 1 to 4 channels, last; move the channels to the end.")


def check_image(image: Image) -> None:
    """Refuse what is no picture in floats: another type or shape, NaN, infinity, or values that look like 0 to 255.

    Raises ImageError. Values somewhat outside [0, 1] are fine: noise does not clip.
    """
    check_shape(image)
    if image.dtype not in (np.float32, np.float64):
        raise ImageError(
            f"a picture of {image.dtype}: expected float32 in [0, 1]; divide whole numbers by their largest value."
        )
    flat = image.ravel()
    if np.dot(flat, flat) < 2 * flat.size:
        return  # all finite, and a median above 2 would make the sum of squares larger: one fast pass instead of three
    low, high = float(image.min()), float(image.max())  # NaN goes through both
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("a picture with NaN or infinity: expected finite values; replace them first.")
    if high > 2 and np.median(image) > 2:
        raise ImageError(f"a picture with a median of {np.median(image):g}: expected values in [0, 1]; divide by 255.")


def _colours(image: Image) -> Image:
    """A view of the picture (or mask) without its alpha; the picture itself if it has none."""
    return image[..., :-1] if image.ndim == 3 and image.shape[2] in (2, 4) else image


def _everywhere(image: Image, noisy: Image) -> tuple[Image, Mask]:
    """(noisy, mask) of a picture all of whose colours are disturbed, as they then are; alpha stays."""
    mask = np.ones(image.shape, bool)
    if noisy.shape == image.shape:
        return noisy, mask
    mask[..., -1] = False
    return np.concatenate([noisy, image[..., -1:]], 2), mask


def _disturbed(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    noisy = normals(image.shape, rng) if image.dtype == np.float32 else rng.standard_normal(image.shape)
    noisy *= sigma
    noisy += image
    return noisy


def _places(noise: SaltAndPepper | Masking, image: Image, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The flat indices, each at most once, of the pixels (or values) that are hit."""
    check_fits(noise, image.shape)
    total = _total(noise, image.shape)
    if noise.prob is not None:
        return np.flatnonzero(rng.random(total) < draw(noise.prob, rng))
    count = draw_whole(noise.count, rng) if noise.count is not None else round(draw(noise.fraction or 0, rng) * total)
    return rng.choice(total, count, replace=False, shuffle=False)


def _total(noise: SaltAndPepper | Masking, shape: tuple[int, ...]) -> int:
    """How many pixels, or values, there are to hit; alpha does not count."""
    channels = shape[2] - (shape[2] in (2, 4)) if len(shape) == 3 else 1
    return shape[0] * shape[1] * (channels if noise.per == "channel" else 1)


def _replaced(image: Image, places: npt.NDArray[np.int64], values: Image, per: str) -> tuple[Image, Mask]:
    noisy, mask = image.copy(), np.zeros(image.shape, bool)
    colours = 1 if image.ndim == 2 else _colours(image).shape[2]
    depth = 1 if image.ndim == 2 else image.shape[2]
    if per == "channel":
        if depth != colours:  # places count the values without alpha
            places = places // colours * depth + places % colours
        noisy.reshape(-1)[places], mask.reshape(-1)[places] = values, True
        return noisy, mask
    touched = np.zeros(image.shape[0] * image.shape[1], bool)
    touched[places] = True
    for channel in range(colours):  # three strided writes are faster than one that broadcasts over three channels
        noisy.reshape(-1, depth)[:, channel][places] = values
        mask.reshape(-1, depth)[:, channel] = touched
    return noisy, mask


def parts_of(noise: Any) -> tuple[Any, ...]:
    """The noises that one is the sum of, in their order. Raises BadSetting for what is no noise."""
    if isinstance(noise, Sum):
        return noise.parts
    if not isinstance(noise, Part):
        raise BadSetting(f"{noise!r}: expected a noise, such as unnoise.Gaussian(25/255).")
    return (noise,)


def _check_amount(noise: SaltAndPepper | Masking) -> None:
    given = [name for name in ("count", "fraction", "prob") if getattr(noise, name) is not None]
    if len(given) != 1:
        kind = KINDS_OF[type(noise)]
        instead = f"not {' and '.join(given)}" if given else f"such as {kind}:0.3"
        raise BadSetting(f"{kind}: expected exactly one of count, fraction and prob, {instead}.")
    if noise.per not in ("pixel", "channel"):
        raise BadSetting(f"per={noise.per!r}: expected pixel (all channels at once) or channel.")
    whole = given[0] == "count"
    check_range(given[0], getattr(noise, given[0]), 0, math.inf if whole else 1, whole)


KINDS_OF = {kind: name for name, kind in KINDS.items()}
