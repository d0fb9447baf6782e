"""Muon: momentum whose singular values are all made alike, so that each step turns the weights equally in every direction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# a x + b x^3 + c x^5, which takes singular values from 0.01 to 1 to about 1 in five rounds: Jordan's.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised Nesterov momentum (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    A convolution's weights are one matrix, its first axis by all others; a bias is a matrix of one row, of which no more
    is left than its direction. Every step has a root mean square of `RMS` times the rate, about that of Adam, so that the same
    rates serve (Liu et al. 2025, arXiv:2502.16982); the weights shrink by `decay` times the rate (Loshchilov and Hutter 2019).
    """

    RMS = 0.2

    def __init__(self, weights: Iterable[Tensor], rate: float, momentum: float = 0.95, decay: float = 1e-2) -> None:
        super().__init__(weights, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            learned = [(weight, weight.grad) for weight in group["params"] if weight.grad is not None]
            if learned:
                self._step(learned, **{key: group[key] for key in ("lr", "momentum", "decay")})

    def _step(self, learned: list[tuple[Tensor, Tensor]], lr: float, momentum: float, decay: float) -> None:
        weights, gradients = map(list, zip(*learned, strict=True))
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        averages = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)  # all at once: many small calls keep a card waiting
        directions = torch._foreach_lerp(gradients, averages, momentum)
        alike = defaultdict(list)  # of one shape at once: many small products cost more than one large one
        for weight, direction in zip(weights, directions, strict=True):
            alike[weight.shape].append((weight, matrix(direction)))
        torch._foreach_mul_(weights, 1 - lr * decay)
        for pairs in alike.values():
            steps = orthogonalised(torch.stack([direction for _, direction in pairs]))
            size = self.RMS * max(steps.shape[1:]) ** 0.5
            one_by_one = [step.reshape(weight.shape) for (weight, _), step in zip(pairs, steps, strict=True)]
            torch._foreach_add_([weight for weight, _ in pairs], one_by_one, alpha=-lr * size)


def matrix(weight: Tensor) -> Tensor:
    """(first axis, everything else); a vector is one row."""
    return weight.flatten(1) if weight.ndim > 1 else weight[None]


def orthogonalised(matrices: Tensor) -> Tensor:
    """(N, rows, columns) to matrices of the same singular vectors, and singular values of about 1: Newton-Schulz iterations.

    Each takes x to p(x x^T) x. All of them are gathered in the smaller square matrix, whose products are cheap.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalised(matrices.mT).mT
    # no singular value is above 1 then; zeros stay zeros
    x: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    if x.shape[1] == 1:
        return x
    square: Tensor = x @ x.mT
    together = one = torch.eye(x.shape[1], device=x.device)
    for _ in range(ROUNDS):
        factor = torch.baddbmm(square, square, square, beta=B, alpha=C) + A * one
        together, square = factor @ together, factor @ square @ factor
    return together @ x
