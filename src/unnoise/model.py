"""The autoencoder: an encoder Z = E(I), a decoder D(Z), in three shapes.

`forward(x)` is `decode(encode(x))` and nothing else: the decoder sees Z alone, and no path leads from the picture to the
output around it. No layer pools over the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import Conv, Dense, Model, UNet, alignment
from .tiling import padded, reflected


@dataclass(frozen=True)
class Code:
    """Z: its feature maps, finest first, each (N, F, h, w); and the (height, width) of the picture it stands for."""

    maps: tuple[Tensor, ...]
    size: tuple[int, int]


class Autoencoder(nn.Module):
    """Encoder and decoder of the shape that `model` describes, for pictures of `channels` channels and any size.

    Batches are (N, channels, H, W) tensors in [0, 1]. Sides that are no multiple of the model's grid are continued by
    reflection, and the output is cut back.
    """

    def __init__(self, model: Model, channels: int = 3) -> None:
        super().__init__()
        self.model, self.channels, self.grid = model, channels, alignment(model)
        self.on_grid = OnGrid(self.grid)
        self.encoder: nn.Module
        self.decoder: nn.Module
        if isinstance(model, Dense):
            self.encoder, self.decoder = DenseEncoder(model, channels), DenseDecoder(model, channels)
        elif isinstance(model, Conv):
            self.encoder, self.decoder = ConvEncoder(model, channels), ConvDecoder(model, channels)
        else:
            self.encoder, self.decoder = UNetEncoder(model, channels), UNetDecoder(model, channels)

    def encode(self, image: Tensor) -> Code:
        """Z = E(I): (N, C, H, W) to the code."""
        height, width = image.shape[-2:]
        return Code(self.encoder(self.on_grid(image)), (height, width))

    def decode(self, code: Code) -> Tensor:
        """D(Z): the code to (N, C, H, W)."""
        image: Tensor = self.decoder(code.maps)
        return image[:, :, : code.size[0], : code.size[1]]

    def forward(self, image: Tensor) -> Tensor:
        """D(E(I))."""
        return self.decode(self.encode(image))


class OnGrid(nn.Module):
    """Pictures whose sides are no multiple of `grid` are continued by reflection."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height % self.grid:
            image = image[:, :, torch.from_numpy(reflected(height, padded(height, self.grid)))]
        if width % self.grid:
            image = image[:, :, :, torch.from_numpy(reflected(width, padded(width, self.grid)))]
        return image


def as_tensor(batch: np.ndarray) -> Tensor:
    """(N, C, H, W), in the memory order that convolutions are fastest in."""
    return torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)


def as_function(model: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function from picture to picture, (H, W, C) float32."""

    def denoise(noisy: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            restored: Tensor = model(as_tensor(np.moveaxis(noisy, 2, 0)[None]).to(next(model.parameters()).device))
        return np.moveaxis(restored[0].cpu().numpy(), 0, 2)

    return denoise


# --- dense: fully connected on a grid of patches. A 1 x 1 convolution over patches folded into channels is one linear layer
# --- applied to each patch.


class DenseEncoder(nn.Module):
    def __init__(self, model: Dense, channels: int) -> None:
        super().__init__()
        self.patch = model.patch
        self.hidden = nn.Conv2d(channels * model.patch**2, model.hidden, 1)
        self.code = nn.Conv2d(model.hidden, model.code, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.code(F.relu(self.hidden(F.pixel_unshuffle(image, self.patch)))),)


class DenseDecoder(nn.Module):
    def __init__(self, model: Dense, channels: int) -> None:
        super().__init__()
        self.patch = model.patch
        self.hidden = nn.Conv2d(model.code, model.hidden, 1)
        self.picture = nn.Conv2d(model.hidden, channels * model.patch**2, 1)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        return F.pixel_shuffle(self.picture(F.relu(self.hidden(maps[0]))), self.patch)


# --- conv: a true bottleneck ---------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + conv(relu(conv(x))), 3 x 3 (He et al. 2016, without normalisation: noise levels must come through)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(x)))
        return x + change


class ConvEncoder(nn.Module):
    def __init__(self, model: Conv, channels: int) -> None:
        super().__init__()
        before = (channels, *model.widths[:-1])
        levels = zip(before, model.widths, strict=True)
        self.levels = nn.ModuleList(nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), Residual(b)) for a, b in levels)
        self.code = nn.Conv2d(model.widths[-1], model.code, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        for level in self.levels:
            image = F.relu(level(image))
        return (self.code(image),)


class ConvDecoder(nn.Module):
    def __init__(self, model: Conv, channels: int) -> None:
        super().__init__()
        after = (channels, *model.widths[:-1])
        self.code = nn.Conv2d(model.code, model.widths[-1], 3, padding=1)
        levels = reversed(list(zip(model.widths, after, strict=True)))
        self.levels = nn.ModuleList(nn.Sequential(Residual(b), nn.ConvTranspose2d(b, a, 4, 2, 1)) for b, a in levels)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        x: Tensor = self.code(maps[0])
        for level in self.levels:
            x = level(F.relu(x))
        return x


# --- unet: the code is a pyramid of feature maps -----------------------------------------------------------------------------


def residuals(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width) for _ in range(count)))


class UNetEncoder(nn.Module):
    def __init__(self, model: UNet, channels: int) -> None:
        super().__init__()
        self.fold, widths = model.fold, model.widths
        self.head = nn.Conv2d(channels * model.fold**2, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(residuals(width, count) for width, count in model.levels)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairwise(widths))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = [self.levels[0](self.head(F.pixel_unshuffle(image, self.fold)))]
        for down, level in zip(self.down, self.levels[1:], strict=True):
            maps.append(level(down(maps[-1])))
        return tuple(maps)


class UNetDecoder(nn.Module):
    def __init__(self, model: UNet, channels: int) -> None:
        super().__init__()
        self.fold, widths = model.fold, model.widths
        finer = widths[-2::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for b, a in zip(widths[:0:-1], finer, strict=True))
        self.levels = nn.ModuleList(residuals(width, count) for width, count in model.levels[-2::-1])
        self.tail = nn.Conv2d(widths[0], channels * model.fold**2, 3, padding=1)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        x = maps[-1]
        for up, level, finer in zip(self.up, self.levels, maps[-2::-1], strict=True):
            x = level(up(x) + finer)
        return F.pixel_shuffle(self.tail(x), self.fold)
