"""What the page shows of the lecture: a picture, spoilt; its code Z; and what comes back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .. import auto, bundled, image
from ..denoiser import Array, Denoiser
from ..errors import BadSetting, MissingExtra, ModelError, needed_by
from ..figures import data_uri
from ..image.picture import without_alpha
from ..keyed import keyed_rng
from ..metrics import psnr
from ..noise import BlockMasking, Noise, parse, parts_of
from ..ranges import ends
from ..tiling import padded, reflected

LARGEST = 32 * 10**6  # pixels of a picture that is taken; here it lies in memory as a whole
SIDE = 512  # pixels of the longer side of what is shown: larger pictures are made smaller first
BLOCKS = 1000  # that may be drawn, each in a turn of a loop
RECORDED = Path(__file__).parent / "recorded"  # the files that benchmarks/recorded.py wrote
MAP, ACROSS = 64, 8  # pixels of the longer side of a channel of Z, and channels in a row


def asked(text: str) -> Noise:
    """The noise that is written so. Raises BadSetting, also for so many blocks that drawing them would take long."""
    noise = parse(text)
    blocks = [ends(part.count)[-1] for part in parts_of(noise) if isinstance(part, BlockMasking) and part.count is not None]
    if sum(blocks) > BLOCKS:
        raise BadSetting(f"noise={text}: expected {BLOCKS} blocks at most; use fewer, larger ones.")
    return noise


def smaller(picture: Array, side: int) -> Array:
    """(H, W) or (H, W, C), each pixel the mean of so many that no side is longer than `side`."""
    step = math.ceil(max(picture.shape[:2]) / side)
    tall, wide = (min(step, length) for length in picture.shape[:2])
    height, width = picture.shape[0] // tall, picture.shape[1] // wide
    cells = picture[: height * tall, : width * wide].reshape(height, tall, width, wide, *picture.shape[2:])
    means: Array = cells.mean((1, 3), dtype=np.float32)
    return means


def taken(path: Path, side: int = SIDE) -> Array:
    """The first page of a file, without its alpha, as `smaller` makes it. Raises ImageError."""
    return smaller(without_alpha(image.read(path, LARGEST).pixels), side)


def drawn(seed: int, side: int = 384) -> Array:
    """A picture of nothing: discs of all sizes and shades, one over another, (side, side, 3).

    Their edges, shades and sizes are spread as in photographs (dead leaves: Lee, Mumford & Huang 2001, doi:10.1023/A:1011109015675), so
    that a model can learn from them (Achddou et al. 2021, doi:10.1007/978-3-030-75549-2_27).
    """
    rng, twice = keyed_rng(seed), 2 * side  # drawn at twice the size, so that edges are smooth
    picture = np.zeros((twice, twice, 3), np.float32)
    for _ in range(1200):
        radius = 16 / math.sqrt(1 - rng.random() * (1 - (16 / side) ** 2))  # radii r are as frequent as r^-3
        y, x = rng.uniform(-radius, twice + radius, 2)
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        place = picture[top : max(math.ceil(y + radius), 0), left : max(math.ceil(x + radius), 0)]
        down, across = np.ogrid[: place.shape[0], : place.shape[1]]
        down, across = (down + top - y) / radius, (across + left - x) / radius
        turn, colour = rng.uniform(0, 2 * math.pi), rng.random(3) * 0.6 + rng.random() * 0.4
        shade = 0.15 * (math.cos(turn) * down + math.sin(turn) * across)
        inside = down**2 + across**2 < 1
        place[inside] = (colour + shade[..., None])[inside]
    return smaller(picture.clip(0, 1), side)


def corrupted(clean: Array, noise: Noise, models: auto.Models) -> dict[str, Any]:
    """A picture, spoilt; what a model makes of it, or by `auto` those that its noise calls for; and its code, by the first. Pictures lie in data: addresses.

    clean: (H, W) or (H, W, C). Raises ImageError.
    """
    noisy, mask = noise(clean, keyed_rng(0))
    choice = models.choose(noisy)
    restored = choice.denoise(noisy, tile=models.tile)
    touched: Array = np.any(mask.reshape(*clean.shape[:2], -1), 2)
    pictures: dict[str, Array] = {"clean": clean, "noisy": noisy, "mask": touched.astype(np.float32), "restored": restored}
    told: dict[str, Any] = {
        "noise": str(noise), "touched": float(touched.mean()), "model": choice.name, "why": auto.told([choice]), "code": [], "code_note": "",
        "psnr": {"noisy": _decibels(noisy, clean), "restored": _decibels(restored, clean)},
        **{name: data_uri(picture) for name, picture in pictures.items()},
    }  # fmt: skip
    if not choice.passes:
        return told | {"code_note": "There is no code, as the picture went through no model; choose one to see it."}
    model, name = choice.passes[0], choice.names[0]
    colour, *gray = bundled.files(bundled.FOLDER / name if choice.why else name)
    if clean.ndim == 2 and gray and model.gray:
        colour, model = gray[0], model.gray
    try:
        return told | {"code": [_level(maps) for maps in code(colour, model, noisy)]}
    except (MissingExtra, ModelError) as error:
        return told | {"code_note": str(error)[:1].upper() + str(error)[1:]}


def by_weights(clean: Array, noise: Noise, threads: int) -> dict[str, Any]:
    """The same picture, spoilt in the same way, through each recorded model: trained alike but for `lambda1` and `lambda2`, by their quotient.

    clean: (H, W) or (H, W, C). Raises ImageError, and ModelError where the files are gone.
    """
    noisy, _ = noise(clean, keyed_rng(0))
    models = []
    for file in sorted(RECORDED.glob("*.onnx")):
        model = Denoiser(file, threads)
        training, restored = model.card["training"], model.denoise(noisy)
        weights = {"lambda1": training["perceptual"], "lambda2": training["pixel"]}
        models.append({**weights, "psnr": _decibels(restored, clean), "picture": data_uri(restored)})
    return {"models": models}


def _decibels(picture: Array, clean: Array) -> float | None:
    value = psnr(np.clip(picture, 0, 1), clean)
    return round(value, 2) if math.isfinite(value) else None


def code(path: Path, model: Denoiser, picture: Array) -> list[Array]:
    """Z of a picture: the feature maps that the decoder of an ONNX file is given, finest first, each (F, h, w).

    They are taken from inside the network: what goes into the first layer of the decoder, and for a pyramid also what goes on to
    the next coarser level. Raises MissingExtra, and ModelError for a network in which they cannot be found.
    """
    with needed_by("showing the code Z", "train"):
        import onnx
    network = onnx.load(path)
    takes = [(weight, node.input[0]) for node in network.graph.node for weight in node.input[1:2]]
    down = [source for weight, source in takes if "encoder.down." in weight]
    last = [source for weight, source in takes if "decoder." in weight][:1]
    names = [*dict.fromkeys(down + last)]
    if not last:
        raise ModelError(f"the code of {path.name} cannot be shown; choose another model.")
    network.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    maps = session.run(names, {"noisy": _batch(picture, model)})
    return [np.asarray(one[0]) for one in maps]


def _batch(picture: Array, model: Denoiser) -> Array:
    """(1, C, H, W) for the model: gray as three equal channels, colour as their mean, sides continued to its grid."""
    colours = picture.reshape(*picture.shape[:2], -1)
    if colours.shape[2] > model.channels:
        colours = colours.mean(2, keepdims=True)
    rows, columns = (reflected(length, padded(length, model.grid)) for length in picture.shape[:2])
    seen = np.broadcast_to(colours, (*picture.shape[:2], model.channels))[rows[:, None], columns]
    return np.ascontiguousarray(np.moveaxis(seen, 2, 0)[None], np.float32)


def _level(maps: Array) -> dict[str, Any]:
    """(F, h, w) as one picture, a channel beside the other: middle gray is 0, black and white are a channel's own largest values."""
    shown = np.moveaxis(smaller(np.moveaxis(maps, 0, 2), MAP), 2, 0)
    largest = np.quantile(np.abs(shown), 0.995, (1, 2), keepdims=True)
    gray, rows = 0.5 + 0.5 * shown / np.maximum(largest, 1e-9), -(-len(maps) // ACROSS)
    spaced = np.pad(gray, ((0, rows * ACROSS - len(gray)), (0, 1), (0, 1)), constant_values=0.5)
    sheet = spaced.reshape(rows, ACROSS, *spaced.shape[1:]).swapaxes(1, 2).reshape(rows * spaced.shape[1], -1)
    return {"channels": len(maps), "height": maps.shape[1], "width": maps.shape[2], "picture": data_uri(sheet)}
