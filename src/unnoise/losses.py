"""The cost of a restored picture: L_gen = lambda1 * L_per + lambda2 * ||D(Z) - I||^2.

Each is called as `cost(output, target)` on (N, C, H, W) tensors in [0, 1] and gives one number, the mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from .errors import BadSetting

Cost = Callable[[Tensor, Tensor], Tensor]


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

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        squares = difference(output, target) ** 2
        return squares.mean() if self.reduction == "mean" else squares.flatten(1).sum(1).mean()


class Charbonnier(nn.Module):
    """sqrt((D(Z) - I)^2 + epsilon^2), the mean over the values: an absolute error that is smooth at 0.

    Source: Charbonnier et al. 1994, doi:10.1109/ICIP.1994.413553. `epsilon` is in image units.
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return torch.sqrt(difference(output, target) ** 2 + self.epsilon**2).mean()


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

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        cost = self.pixel * self.pixel_loss(output, target)
        if self.perceptual_loss is not None and self.perceptual:
            cost = cost + self.perceptual * self.perceptual_loss(output, target)
        return cost
