"""The cost of a restored picture: L_gen = lambda1 * L_per + lambda2 * ||D(Z) - I||^2.

Each is called as `cost(output, target)` on (N, C, H, W) tensors in [0, 1] and gives one number, the mean over the batch.
Pixel costs, and L_gen for its pixel cost, take a `weight` of each value besides: (N, C, H, W), see `emphasis`.
(FeatureReconstruction alone is called on the maps of a layer.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .errors import BadSetting
from .perceptual import Features
from .targets import FIRST, SECOND

Cost = Callable[..., Tensor]  # (output, target), and of a pixel cost the weight of each value, to a number


def difference(output: Tensor, target: Tensor) -> Tensor:
    """output - target. Raises BadSetting if the shapes differ: broadcasting would hide a mistake."""
    if output.shape != target.shape:
        raise BadSetting(f"output {tuple(output.shape)}, target {tuple(target.shape)}: expected one shape, (N, C, H, W).")
    return output - target


class SquaredError(nn.Module):
    """||D(Z) - I||^2, over the values of a picture: their mean, or with `reduction="sum"` the lecture's sum.

    The sum is H * W * C times the mean; with the mean, weights and learning rates mean the same at every crop size.
    """

    def __init__(self, reduction: Literal["mean", "sum"] = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise BadSetting(f"reduction={reduction!r}: expected mean or sum.")
        self.reduction = reduction

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        squares = _weighed(difference(output, target) ** 2, weight)
        return squares.mean() if self.reduction == "mean" else squares.flatten(1).sum(1).mean()


class AbsoluteError(nn.Module):
    """|D(Z) - I|, the L1 cost, the mean over the values."""

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return _weighed(difference(output, target).abs(), weight).mean()


class Charbonnier(nn.Module):
    """sqrt((D(Z) - I)^2 + epsilon^2), the mean over the values: an absolute error that is smooth at 0.

    Source: Charbonnier et al. 1994, doi:10.1109/ICIP.1994.413553. `epsilon` is in image units.
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return _weighed(torch.sqrt(difference(output, target) ** 2 + self.epsilon**2), weight).mean()


def emphasis(mask: Tensor, alpha: float, beta: float) -> Tensor | None:
    """The weights of the emphasized denoising autoencoder: alpha where `mask` says that noise touched a value, beta elsewhere.

    Given to a pixel cost as `weight`; None, which costs nothing, if both are 1. Source: Vincent et al. 2010, JMLR 11:3371-3408.
    """
    return None if alpha == beta == 1 else torch.where(mask, alpha, beta)


def _weighed(errors: Tensor, weight: Tensor | None) -> Tensor:
    return errors if weight is None else errors * weight


def neighbours(
    network: Callable[[Tensor], Tensor], noisy: Tensor, places: Tensor, cost: Cost, gamma: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Neighbor2Neighbor: ||f(g1(y)) - g2(y)||^2 + gamma * ||f(g1(y)) - g2(y) - (g1(f(y)) - g2(f(y)))||^2.

    y: (N, C, 2H, 2W); g1, g2: of each cell of 2 x 2 pixels that which `places`, (N, C, 2H, 2W), calls FIRST or SECOND. Gives f(g1(y)) and
    both terms, by `cost`. The second takes back what the first asks too much: clean neighbours are not alike, and f(y), of which no
    gradient is taken, says by how much. Source: Huang et al. 2021, arXiv:2101.02824.
    """
    given, asked = sub_sampled(noisy, places, FIRST), sub_sampled(noisy, places, SECOND)
    with torch.no_grad():
        whole = network(noisy).float()
    apart = sub_sampled(whole, places, FIRST) - sub_sampled(whole, places, SECOND)
    restored = network(given).float()
    return restored, {"pixel": cost(restored, asked), "neighbours": gamma * cost(restored - asked, apart)}


def sub_sampled(picture: Tensor, places: Tensor, which: int) -> Tensor:
    """(N, C, 2H, 2W) to (N, C, H, W): of each cell of 2 x 2 pixels the one that `places` calls `which`."""
    return 4 * F.avg_pool2d(picture * (places == which), 2)


class FeatureReconstruction(nn.Module):
    """L_fr,i = ||d_i(I1) - d_i(I2)||^2 / (W_i * H_i * F_i), the feature reconstruction loss of layer i.

    Called on the maps of the layer, d_i(I1) and d_i(I2), each (N, F_i, H_i, W_i). Source: Johnson et al. 2016,
    doi:10.1007/978-3-319-46475-6_43, equation 2.
    """

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        if output.ndim != 4:
            raise BadSetting(f"maps of {tuple(output.shape)}: expected (N, F, H, W), what a layer gives of N pictures.")
        _, features, height, width = output.shape
        return (difference(output, target) ** 2).flatten(1).sum(1).mean() / (width * height * features)


class PerceptualLoss(nn.Module):
    """L_per = sum of w_i * L_fr,i over the layers of a feature network.

    `features`: a network of `unnoise.perceptual.load`, or any torch module that takes (N, C, H, W) in [0, 1]; a frozen copy of
    it is kept. `weights`: {layer: w_i}, a layer being the name of a submodule. The target's features are taken without
    gradient. Raises BadSetting for weights that are negative or all 0, and for a layer that there is not.
    """

    def __init__(self, features: nn.Module, weights: Mapping[str, float]) -> None:
        super().__init__()
        if not weights or not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
            raise BadSetting(f"weights={dict(weights)!r}: expected a weight from 0 for each layer, one of them above 0.")
        self.features, self.of_layer = Features(features, weights), FeatureReconstruction()
        self.weights = {layer: weight for layer, weight in weights.items() if weight}
        self.features.layers = [*self.weights]  # the others need not be computed

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        difference(output, target)
        with torch.no_grad():
            wanted = self.features(target)
        return self.between(self.features(output), wanted)

    def between(self, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        """The same from the maps that `features` gives of both, so that those of a target can be kept for several outputs."""
        return torch.stack([w * self.of_layer(_full(given[i]), _full(wanted[i])) for i, w in self.weights.items()]).sum()


def _full(maps: Tensor) -> Tensor:
    """In float32 at least: autocast gives bfloat16 maps, whose squared differences would be rounded again."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


class GeneralLoss(nn.Module):
    """L_gen = lambda1 * L_per + lambda2 * L_pixel; `perceptual` is lambda1, `pixel` is lambda2.

    `pixel_loss` is the lecture's SquaredError unless another is given; `perceptual_loss` is needed once lambda1 is above 0.
    Raises BadSetting for weights that are negative or both 0.
    """

    def __init__(
        self,
        pixel: float = 1.0,
        perceptual: float = 0.0,
        perceptual_loss: Cost | None = None,
        pixel_loss: Cost | None = None,
    ) -> None:
        super().__init__()
        if min(pixel, perceptual) < 0 or not pixel + perceptual > 0:
            raise BadSetting(f"pixel={pixel!r}, perceptual={perceptual!r}: expected weights from 0, one of them above 0.")
        if perceptual and perceptual_loss is None:
            raise BadSetting(f"perceptual={perceptual!r} without perceptual_loss; give the loss that it weighs.")
        self.pixel, self.perceptual = pixel, perceptual
        self.pixel_loss: Cost = SquaredError() if pixel_loss is None else pixel_loss
        self.perceptual_loss = perceptual_loss

    def parts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
        """The terms of the sum: "pixel", lambda2 * L_pixel, and where lambda1 is above 0 "perceptual", lambda1 * L_per."""
        weighed = () if weight is None else (weight,)
        terms = {"pixel": self.pixel * self.pixel_loss(output, target, *weighed)}
        if self.perceptual_loss is not None and self.perceptual:
            terms["perceptual"] = self.perceptual * self.perceptual_loss(output, target)
        return terms

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return torch.stack([*self.parts(output, target, weight).values()]).sum()
