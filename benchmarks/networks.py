"""Published networks as methods of an evaluation, with their published weights: for reference only, see the terms beside them.

DnCNN (Zhang et al. 2017, doi:10.1109/TIP.2017.2662206) predicts the noise; FFDNet (Zhang et al. 2018, doi:10.1109/TIP.2018.2839891)
works on folded pixels and is told sigma. The architectures are written from the papers; KAIR's weights have batch norm folded in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import record
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unnoise.judging import Method

WEIGHTS = record.SHARED / "weights"


def dncnn_layers(depth: int, channels: int = 1, norm: bool = True) -> nn.Sequential:
    """`depth` convolutions, 3 x 3 and 64 wide, with batch norm or with biases in its place; from noisy picture to noise."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 3, padding=1, bias=not norm), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(64, 64, 3, padding=1, bias=not norm), *([nn.BatchNorm2d(64)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(64, channels, 3, padding=1, bias=not norm))


def dncnn_network(weights: Path, depth: int, channels: int = 1) -> nn.Module:
    """DnCNN with published weights: those of SaoYan keep their batch norm, those of KAIR have none."""
    return _loaded(dncnn_layers(depth, channels, norm=weights.parent.name != "kair"), weights)


class FFDNet(nn.Module):
    """Pixels folded 2 x 2, a map of sigma beside them, `depth` convolutions `width` wide, unfolded again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        depth, width = (15, 64) if channels == 1 else (12, 96)
        widths = [4 * channels + 1, *[width] * (depth - 1), 4 * channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, noisy: Tensor, sigma: float) -> Tensor:
        height, width = noisy.shape[-2:]
        folded = F.pixel_unshuffle(F.pad(noisy, (0, width % 2, 0, height % 2), "replicate"), 2)
        level = torch.full_like(folded[:, :1], sigma)
        return F.pixel_shuffle(self.layers(torch.cat([folded, level], 1)), 2)[..., :height, :width]


def networks(colour: bool) -> list[Method]:
    """The published networks for gray or for colour pictures, each for any sigma."""
    channels = 3 if colour else 1
    blind = "kair/dncnn_color_blind.pth" if colour else "dncnn_saoyan/B.pth"
    told = f"kair/ffdnet_{'color' if colour else 'gray'}.pth"
    net = _loaded(FFDNet(channels), WEIGHTS / told, "layers.")
    return [
        dncnn("CDnCNN-B" if colour else "DnCNN-B", blind, 20, channels),
        _method("FFDNet", told, lambda noisy, sigma: net(noisy, sigma)),
    ]


def dncnn(name: str, weights: str, depth: int, channels: int = 1) -> Method:
    net = dncnn_network(WEIGHTS / weights, depth, channels)
    return _method(name, weights, lambda noisy, sigma: noisy - net(noisy))


def to_onnx(network: nn.Module, side: int = 0) -> bytes:
    """As our models are: `noisy` to `restored`, of any height and width, or of that side alone."""
    sides = {} if side else {2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    program = torch.onnx.export(
        network.eval(), (torch.zeros(1, 1, side or 64, side or 64),), dynamo=True, dynamic_shapes=[sides], input_names=["noisy"],
        output_names=["restored"], verbose=False,
    )  # fmt: skip
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _method(name: str, weights: str, network: Callable[[Tensor, float], Tensor]) -> Method:
    def restore(noisy: np.ndarray, sigma: float) -> np.ndarray:
        planes = noisy[None] if noisy.ndim == 2 else np.moveaxis(noisy, 2, 0)
        with torch.inference_mode():
            restored = network(torch.from_numpy(np.ascontiguousarray(planes, np.float32))[None], sigma)[0].numpy()
        return restored[0] if noisy.ndim == 2 else np.moveaxis(restored, 0, 2)

    digest = hashlib.sha256((WEIGHTS / weights).read_bytes()).hexdigest()
    return Method(name, "model", restore, f"{digest} torch {torch.__version__}", {"weights": weights, "sha256": digest})


def _loaded(net: nn.Module, weights: Path, prefix: str = "") -> nn.Module:
    state = torch.load(weights, weights_only=True, map_location="cpu")
    net.load_state_dict({prefix + name.removeprefix("module.dncnn.").removeprefix("model."): t for name, t in state.items()})
    return net.eval()
