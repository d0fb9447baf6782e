"""From the trained network to the files that run anywhere; refused unless the copy agrees with the original."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from . import artefact, atomic, invented, tiling
from .config import OWN, PAIRS, Dense, Model, UNet, parse_model
from .errors import BadSetting, ModelError, needed_by
from .model import Autoencoder, UNetDecoder, UNetEncoder
from .noise import BlockMasking, Masking, SaltAndPepper, parse, parts_of

PARITY = 1e-4  # largest difference between torch and onnxruntime, in image units
# a value whose answer is nearer than the first is no impulse, beyond the second wholly one: benchmarks/mending.py
CLOSE = (0.01, 0.03)
Mends = Literal["", "missing pixels", "impulses"]


class _Contract(nn.Module):
    """Contract v1: input `noisy`, output `restored`, (N, C, H, W) float32, sides multiples of the alignment.

    A model that `mends` something leaves all else as it is: pixels that are not 0 in every channel; or values that its answer
    is close to, with a ramp between, since in tiles the answer differs by float rounding. `keeps`: the share of each value's own that
    goes into the answer of a model that learned to do without it, see `heldout.own_share`.
    """

    def __init__(self, model: Autoencoder, mends: Mends = "", keeps: float = 0.0) -> None:
        super().__init__()
        self.model, self.mends, self.keeps = model, mends, keeps

    def forward(self, noisy: Tensor) -> Tensor:
        maps: tuple[Tensor, ...] = self.model.encoder(noisy)
        restored: Tensor = self.model.decoder(maps)
        if self.mends == "missing pixels":
            return torch.where(noisy.abs().amax(1, keepdim=True) == 0, restored, noisy)
        if self.mends == "impulses":
            change, (low, high) = restored - noisy, CLOSE
            return noisy + change * ((change.abs() - low) / (high - low)).clamp(0, 1)
        return restored + self.keeps * (noisy - restored) if self.keeps else restored


def mends_of(card: artefact.Card) -> Mends:
    """What a model mends, leaving all else as it is: where its last training was on nothing but noise that replaces values."""
    noises = artefact.noises(card)
    if not noises or {PAIRS, OWN} & set(noises):
        return ""
    parts = [part for noise in noises for part in parts_of(parse(noise))]
    if not all(isinstance(part, SaltAndPepper | Masking | BlockMasking) for part in parts):
        return ""
    whole = all(isinstance(part, BlockMasking) or (isinstance(part, Masking) and part.per == "pixel") for part in parts)
    return "missing pixels" if whole else "impulses"


def export(model: Autoencoder, card: artefact.Card, folder: Path, probe: np.ndarray) -> None:
    """Write `model.safetensors` and `model.onnx` into `folder`, the second only if it agrees with the first on `probe`.

    probe: a photo, (H, W, C) float32, at any size. What the model does not mend, see `mends_of`, the ONNX file leaves alone. What it
    invents is measured, and goes into both cards. Raises ModelError when onnxruntime gives another picture than torch.
    """
    model = model.eval()
    card = {**card, **contract(model), **_mending(card)}
    last = card.get("mends", ""), card.get("keeps", 0.0)
    card |= invented.in_card(lambda batch: _answer(model, batch, *last), card)
    artefact.write(folder / "model.safetensors", {k: v.numpy() for k, v in model.state_dict().items()}, card)
    onnx = artefact.stamped(to_onnx(model, *last), card)
    check_parity(model, onnx, probe, *last)
    atomic.write_bytes(folder / "model.onnx", onnx)


def export_again(run: Path, out: Path, overwrite: bool = False, float16: bool = False) -> artefact.Card:
    """Write the model of a run folder, or of a model.safetensors, to `out`, as .onnx or .safetensors; the card that it now carries.

    Its receptive field is measured anew, and as ONNX it is compared with the original on pixels drawn at random. `float16`:
    weights are rounded to float16 and stored so; all arithmetic stays float32. Raises ModelError, and FileExistsError unless
    `overwrite`.
    """
    if out.suffix.lower() == ".onnx":
        onnx, card = made(run, float16)
        atomic.write_bytes(out, artefact.stamped(onnx, card), overwrite)
        return card
    model, card = _again(run, float16)
    weights = {name: tensor.half() if float16 else tensor for name, tensor in model.state_dict().items()}
    artefact.write(out, {name: tensor.numpy() for name, tensor in weights.items()}, card, overwrite)
    return card


def made(run: Path, float16: bool = False) -> tuple[bytes, artefact.Card]:
    """The model of a run folder, or of a model.safetensors, as ONNX bytes and the card to put on them. Raises ModelError."""
    model, card = _again(run, float16)
    last = card.get("mends", ""), card.get("keeps", 0.0)
    onnx = to_onnx(model, *last)
    onnx = _in_float16(onnx) if float16 else onnx
    check_parity(model, onnx, np.random.default_rng(0).random((131, 197, model.channels), np.float32), *last)
    return onnx, card


def _again(run: Path, float16: bool) -> tuple[Autoencoder, artefact.Card]:
    """The model of a run folder or file, its weights rounded to float16 if so asked, and the card for another file of it."""
    model, card = loaded(run)
    card = {key: value for key, value in card.items() if key not in ("format", "sha256", "weights", "mends")}
    if float16:
        card["weights"] = "float16"
        for name, weight in model.named_parameters():
            weight.data = weight.data.half().float()
            if not torch.isfinite(weight).all():
                raise ModelError(f"{run}: {name} does not fit into float16, which ends at 65504; export it without --float16.")
    return model, {**card, **contract(model), **_mending(card)}


def _mending(card: artefact.Card) -> artefact.Card:
    return {"mends": mends} if (mends := mends_of(card)) else {}


def contract(model: Autoencoder) -> artefact.Card:
    """What a program must know to run the model, tiles included: lengths in pixels."""
    field = receptive_field(model)
    overlap = tiling.padded(field.beyond_cell, model.grid)  # tiles begin on the grid, so they overlap by whole cells
    return {
        "contract": 1,
        "channels": model.channels,
        "alignment": model.grid,
        "receptive_field": field.extent,
        "overlap": overlap,
        "tile": tiling.default_side(model.grid, overlap, finest_maps(model.model)),
    }


def finest_maps(model: Model) -> float:
    """Values of the finest feature maps for each pixel."""
    if isinstance(model, Dense):
        return model.hidden / model.patch**2
    return model.widths[0] / (model.fold if isinstance(model, UNet) else 2) ** 2


@dataclass(frozen=True)
class Field:
    """The receptive field, in pixels: what one output pixel sees along an axis, itself included, at most; and how far the pixels
    of one cell of the grid see beyond that cell, at most."""

    extent: int
    beyond_cell: int


def receptive_field(model: Autoencoder) -> Field:
    """The model's receptive field, measured: which input pixels have a gradient at an output pixel.

    Strides make it depend on where a pixel lies in its cell of the grid, so every place of a cell is measured, along both axes
    and both ways; the worst counts. On a copy whose weights are all positive, without biases and in float64, no path through
    the network cancels another, no ReLU is shut and nothing underflows: what a picture or training happen to leave dark counts too.
    """
    probe, grid = copy.deepcopy(model).double().eval().requires_grad_(False), model.grid
    for weight in probe.parameters():
        weight.fill_(1 / weight[0].numel() if weight.ndim > 1 else 0)
    for cells in (16, 64, 256):
        reach = [_reach(probe, axis, cells) for axis in (2, 3)]
        if max(max(seen) for along in reach for seen in along) < (cells - 1) * grid:  # the strip's end cut nothing off
            extent = max(before + 1 + after for along in reach for before, after in along)
            beyond = max(
                max(before - place, after - (grid - 1 - place))
                for along in reach
                for place, (before, after) in enumerate(along)
            )
            return Field(extent, beyond)
    raise ModelError(
        f"the model sees more than {cells * grid} pixels to a side; a layer that sees the whole picture cannot be tiled."
    )


def _reach(model: Autoencoder, axis: int, cells: int) -> list[tuple[int, int]]:
    """For each place in the middle cell of a strip, how many pixels before it, and after it, have a gradient there.

    The strip lies along `axis`, with `cells` cells of the grid on either side of the middle one, and is two cells across.
    """
    grid, shape = model.grid, [model.grid, model.channels, 2 * model.grid, 2 * model.grid]
    shape[axis] = (2 * cells + 1) * grid
    strip = torch.ones(shape, dtype=torch.float64, requires_grad=True)  # the batch: one strip for each place
    places = range(cells * grid, (cells + 1) * grid)
    with torch.enable_grad():
        restored = model(strip).movedim(axis, 1)
        torch.stack([restored[index, place].sum() for index, place in enumerate(places)]).sum().backward()  # type: ignore[no-untyped-call]
    assert strip.grad is not None
    seen = (strip.grad != 0).movedim(axis, 1).flatten(2).any(2)
    found = [one.nonzero().flatten() for one in seen]
    return [(place - int(one[0]), int(one[-1]) - place) for place, one in zip(places, found, strict=True)]


def to_onnx(model: Autoencoder, mends: Mends = "", keeps: float = 0.0) -> bytes:
    """The model as ONNX bytes, with free batch, height and width; `mends` and `keeps` as in `_Contract`. Raises MissingExtra."""
    grid = model.grid
    example = torch.zeros(2, model.channels, 8 * grid, 8 * grid)
    shapes = {"noisy": {0: torch.export.Dim("n"), 2: grid * torch.export.Dim("h"), 3: grid * torch.export.Dim("w")}}
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # it misses torchvision
    with needed_by("exporting", "train"), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Contract(_for_onnxruntime(model), mends, keeps).eval(), (example,), dynamo=True, dynamic_shapes=shapes, input_names=["noisy"],
            output_names=["restored"], verbose=False,
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        node.ClearField("metadata_props")
    return bytes(proto.SerializeToString())


def _in_float16(onnx: bytes) -> bytes:
    """The same network with its weights stored as float16, each cast to float32 by a node of the graph.

    onnxruntime folds these casts when it loads the file, before it lays out its convolutions: the network that runs is the same.
    """
    from onnx import TensorProto, helper, load_from_string, numpy_helper

    model, casts = load_from_string(onnx), []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            name, stored = tensor.name, f"{tensor.name}.float16"
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), stored))
            casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _for_onnxruntime(model: Autoencoder) -> Autoencoder:
    """The same function in other layers: onnxruntime keeps a blocked memory layout from one convolution to the next, and what
    breaks it costs time. A U-Net's folding of pixels goes into its first convolution; and after each upsampling a
    convolution by 1 takes what follows, the additions too, back into that layout."""
    model = copy.deepcopy(model).requires_grad_(False)
    encoder, decoder = model.encoder, model.decoder
    if isinstance(encoder, UNetEncoder) and isinstance(decoder, UNetDecoder):
        fold, first = encoder.fold, encoder.head
        head = nn.Conv2d(model.channels, first.out_channels, 3 * fold, stride=fold, padding=fold)
        unfolded = first.weight.reshape(-1, model.channels, fold, fold, 3, 3).permute(0, 1, 4, 2, 5, 3)
        head.weight, head.bias = nn.Parameter(unfolded.reshape(head.weight.shape)), first.bias
        encoder.head, encoder.fold = head, 1
        for index, up in enumerate(decoder.up):
            assert isinstance(up, nn.ConvTranspose2d)
            same = nn.Conv2d(up.out_channels, up.out_channels, 1, groups=up.out_channels, bias=False)
            nn.init.ones_(same.weight)
            decoder.up[index] = nn.Sequential(up, same)
    return model


def check_parity(model: Autoencoder, onnx: bytes, probe: np.ndarray, mends: Mends = "", keeps: float = 0.0) -> float:
    """The largest difference between torch and onnxruntime on `probe`. Raises ModelError above 1e-4."""
    from .denoiser import Network

    batch = np.moveaxis(probe, 2, 0)[None]
    difference = float(np.abs(Network(onnx, model.grid)(batch) - _answer(model, batch, mends, keeps)).max())
    if not difference <= PARITY:
        raise ModelError(
            f"the exported model differs from the trained one by {difference:.2g}, more than {PARITY:g}; it was not written."
        )
    return difference


def _answer(model: Autoencoder, batch: np.ndarray, mends: Mends, keeps: float) -> np.ndarray:
    """What torch gives for (N, C, H, W), the last step of the ONNX file included."""
    with torch.inference_mode():
        on_grid: Tensor = _Contract(model, mends, keeps)(model.on_grid(torch.from_numpy(np.ascontiguousarray(batch))))
        return on_grid[:, :, : batch.shape[2], : batch.shape[3]].numpy()


def load_autoencoder(path: Path | str) -> Autoencoder:
    """The torch module of a run folder or a model.safetensors, in eval mode, in float32. Raises ModelError."""
    return loaded(Path(path))[0]


def loaded(path: Path) -> tuple[Autoencoder, artefact.Card]:
    """The torch module of a run folder or a model.safetensors, and its card. Raises ModelError."""
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.exists():
        raise ModelError(f"{file} does not exist; give the folder of a finished run, or its model.safetensors.")
    tensors, card = artefact.read(file)
    if "architecture" not in card or card.get("channels") not in (1, 3):
        raise ModelError(f"{path} holds no model; expected a run folder or its model.safetensors.")
    try:
        model = Autoencoder(parse_model(card["architecture"]), card["channels"])
        model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    except (RuntimeError, BadSetting):
        raise ModelError(
            f"{path}: its tensors do not fit its architecture {card['architecture']}; train or export it again."
        ) from None
    return model.eval(), card
