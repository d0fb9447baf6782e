"""A trained model with 8-bit convolutions, written only where that pays: it must lose less than 0.1 dB and be 1.3 times as fast.

In 8 bits are the residual blocks below the full resolution: they make small changes to coarse maps, and what rounding does to
those hardly shows. All that carries the picture itself (first and last layers, the full resolution, changes of resolution,
additions) stays in float32: there, rounding costs as much as the noise that a faintly noisy picture has.

How far the numbers in between reach is measured on crops of the photos that the run learned from, with its noise; what is lost,
on its validation pictures, at each noise and at the ends and the middle of its range; the speed, on the machine that exports.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import artefact, atomic, collection, data
from .config import TrainConfig
from .denoiser import Network
from .errors import BadSetting, ModelError, needed_by
from .export import made
from .metrics import mean_psnr
from .noise import Noise, Profile, Sum
from .run import settings_of

MOST_LOST, LEAST_GAINED = 0.1, 1.3  # dB; times as fast
BATCHES, FIRST_BATCH = 16, 2**62  # to calibrate on; no training step reaches so far
SIDE, ROUNDS = 512, 15  # of the tile that is timed
BLOCK = re.compile(r"model\.(encoder|decoder)\.levels\.(\d+)\..*(first|second)\.weight")  # of a residual block's convolution
Array = npt.NDArray[Any]


def export_int8(run: Path, out: Path, overwrite: bool = False) -> artefact.Card:
    """Write the model of a run folder to the ONNX file `out`, in 8 bits; the card it carries, with what it loses and gains.

    Raises ModelError when it loses too much or gains too little, and when the run's photos are gone; then nothing is written.
    """
    onnx, card = made(run)
    config, learned, held_out = photos_of(run)
    if config.target != "clean":
        raise ModelError(
            f"{run} learned without clean pictures, so what 8 bits lose cannot be measured; export it without --int8."
        )
    noises = data.noises_of(config)
    batches = (data.batch(learned, noises, config, FIRST_BATCH + index)[1] for index in range(BATCHES))
    small = in_8_bits(onnx, batches)
    float32, int8 = (Network(one, card["alignment"]) for one in (onnx, small))
    levels: list[tuple[Noise, ...]] = [
        (level,) for level in dict.fromkeys(level for noise in noises for level in levels_of(noise))
    ]
    lost = {
        str(level[0]) if level else "their own noise": loss(int8, float32, data.validation(held_out, level, config))
        for level in levels or [()]
    }
    worst = max(lost, key=lambda level: (not lost[level] < MOST_LOST, lost[level]))  # NaN is worst
    if not lost[worst] < MOST_LOST:
        raise ModelError(
            f"{run}: in 8 bits the model loses {lost[worst]:.2f} dB on {worst}, and less than {MOST_LOST:g} is allowed; "
            "it was not written; export it without --int8."
        )
    gained = times_faster(int8, float32, card["channels"])
    if not gained > LEAST_GAINED:
        raise ModelError(
            f"{run}: in 8 bits the model is {gained:.2f} times as fast on this processor, and more than {LEAST_GAINED:g} is "
            "asked for; it was not written; export it without --int8."
        )
    figures = {"loss_db": {level: round(db, 3) for level, db in lost.items()}, "times_faster": round(gained, 2)}
    card = {**card, "precision": "int8", "int8": figures}
    atomic.write_bytes(out, artefact.stamped(small, card), overwrite)
    return card


def coarse_layers(model: Any) -> list[str]:
    """The names of the nodes of an onnx.ModelProto that go into 8 bits: found by the names of their weights."""
    found = [(node.name, BLOCK.fullmatch(node.input[1])) for node in model.graph.node if node.op_type == "Conv"]
    blocks = [(name, match[1], int(match[2])) for name, match in found if match]
    finest = {"encoder": 0, "decoder": max((level for _, side, level in blocks if side == "decoder"), default=0)}
    return [name for name, side, level in blocks if level != finest[side]]


def in_8_bits(onnx: bytes, batches: Iterable[Array], layers: Callable[[Any], list[str]] = coarse_layers) -> bytes:
    """The network with the nodes that `layers` names in 8 bits, scaled for `batches` of noisy crops.

    Raises ModelError for a network that has no such blocks, MissingExtra.
    """
    with needed_by("exporting in 8 bits", "train"):
        from onnx import load_from_string
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Crops(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, Array] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"noisy": np.ascontiguousarray(batch, np.float32)}

    model = load_from_string(onnx)
    names = layers(model)
    if not names:
        raise ModelError(
            "the model has no residual blocks below its full resolution to put into 8 bits; export it without --int8."
        )
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # else it advises to prepare the model
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "int8.onnx"
        quantize_static(  # weights of 7 bits, for processors whose 16-bit sums of products would overflow; it costs nothing
            model, out, Crops(), per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, nodes_to_quantize=names,
        )  # fmt: skip
        return out.read_bytes()


def levels_of(noise: Noise) -> list[Noise]:
    """The noise at the low end, the middle and the high end of its range; itself if it has none.

    A range that begins at nothing is tried at an eleventh of its end (5/255 of 55/255): there is nothing to judge below.
    """
    if isinstance(noise, Sum):
        parts = [levels_of(part) for part in noise.parts]
        return [Sum(tuple(part[min(at, len(part) - 1)] for part in parts)) for at in range(max(map(len, parts)))]  # type: ignore[misc]
    if isinstance(noise, Profile):
        return [Profile((group,)) for group in noise.groups]
    ranges = {
        field.name: value
        for field in dataclasses.fields(noise)
        if field.name != "blocks" and isinstance(value := getattr(noise, field.name), tuple)
    }
    if not ranges:
        return [noise]
    ends = {name: (max(low, high / 11), high) for name, (low, high) in ranges.items()}
    return [
        dataclasses.replace(noise, **{name: _written(name, low + share * (high - low)) for name, (low, high) in ends.items()})
        for share in (0.0, 0.5, 1.0)
    ]


def _written(name: str, value: float) -> Any:
    """A value between two ends, as it is written: whole, in 255ths, or to four digits."""
    if name in ("count", "size", "jpeg"):
        return max(round(value), 1)
    return round(value * 255, 3) / 255 if name == "sigma" else round(value, 4)


def loss(network: Network, original: Network, pairs: list[tuple[Array, ...]]) -> float:
    """How many dB of PSNR `network` loses against `original`, the mean over (clean, noisy) pairs of (H, W, C)."""

    def psnr(of: Network) -> float:
        return mean_psnr(lambda noisy: np.moveaxis(of(np.moveaxis(noisy, 2, 0)[None])[0], 0, 2), pairs)

    return psnr(original) - psnr(network)


def times_faster(network: Network, original: Network, channels: int, side: int = SIDE, rounds: int = ROUNDS) -> float:
    """How many times as fast `network` is as `original` on a tile, by turns; the median."""
    tile = np.random.default_rng(0).random((1, channels, side, side), np.float32)

    def seconds(of: Network) -> float:
        began = time.perf_counter()
        of(tile)
        return time.perf_counter() - began

    seconds(original), seconds(network)  # the first time sets up
    return statistics.median(seconds(original) / seconds(network) for _ in range(rounds))


def photos_of(run: Path) -> tuple[TrainConfig, data.Pictures, data.Pictures]:
    """(settings, pictures to calibrate on, pictures to judge on) of a run; the former without those that are judged on."""
    if not run.is_dir():
        raise ModelError(f"{run} is no run folder, and 8 bits need the photos that its config.json names; give the folder.")
    config, record = settings_of(run)
    try:
        learned, held_out = collection.gather(record, config)
    except BadSetting as error:
        raise ModelError(
            f"8 bits need the photos that {run} learned from ({str(error).rstrip('.')}); put them back, or leave out --int8."
        ) from None
    if changes := collection.changes(run, learned, held_out):
        raise ModelError(f"8 bits need the photos that {run} learned from ({changes}); put them back, or leave out --int8.")
    judged = set(held_out.contents[: data.JUDGED])
    calibration = learned.where(lambda content: content not in judged)
    if not calibration.arrays:
        raise ModelError(
            f"{run} learned from {len(learned.arrays)} pictures, all of which 8 bits would be judged on, and calibration needs "
            f"others; train on {data.JUDGED + 1} or more."
        )
    return config, calibration, held_out
