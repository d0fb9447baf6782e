"""Training: N images, noise on the input only, the cost of what comes back, a step down its gradient.

Z_i = E(noise(I_i)),   cost = sum of L_gen(D(Z_i), I_i),   theta <- theta - rate * gradient
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from . import data, feed, losses, perceptual, team
from .checkpoint import Trainee
from .config import TrainConfig, parse_model
from .errors import Diverged
from .model import Autoencoder, Residual
from .muon import Muon
from .team import Costs

RATES = {"adamw": 2e-3, "muon": 2e-3, "sgd": 1e-1}
GRADIENT_LIMIT = 1.0  # a longer gradient is cut to this length
OUTPUT_LIMIT = 1e3  # a value so far outside [0, 1] belongs to no picture
LEFT_OUT_LIMIT = 10  # steps
REGULAR = 2.0  # gamma of `neighbours` at the last step, as in its paper; it grows from 0, as f(y) tells nothing at first
AVERAGED = 4  # steps: so often the running average takes up the weights, which costs a hundredth of each step's time


def fit(
    trainee: Trainee,
    pictures: data.Pictures,
    config: TrainConfig,
    each_step: Callable[[Costs], None] = lambda costs: None,
    ours: team.Team = team.Team(),  # noqa: B008, frozen
) -> None:
    """The loop: batches, cost, gradient, step, up to `config.steps`. `each_step` is called with the parts of the cost after each.

    A step whose cost, gradient or output is out of all bounds is left out, its cost told as NaN; ten in a row raise Diverged.
    `ours`: the processes that share the work.
    """
    noises, cost, device = data.noises_of(config), cost_of(config), device_of(config)
    example = torch.zeros(1, 3 if config.channels == "colour" else 1, config.patch, config.patch, device=device)
    together = ours.together(trainee.model, example)
    network = torch.compile(together) if config.compile else together
    weights, averages = list(trainee.model.parameters()), list(trainee.average.parameters())
    left_out = 0  # in a row
    for batch in feed.batches(pictures, noises, config, trainee.step, ours.part(config.batch)):
        clean, noisy, mask = (array.to(device) for array in batch)
        for group in trainee.optimiser.param_groups:
            group["lr"] = rate_at(trainee.step, config)
        with arithmetic(config):
            if config.target == "neighbours":
                restored, parts = losses.neighbours(network, noisy, mask, cost, REGULAR * trainee.step / config.steps_or_raise)
            else:
                restored = network(noisy).float()
                parts = cost.parts(restored, clean, losses.emphasis(mask, config.alpha, config.beta))
            loss = torch.stack([*parts.values()]).sum()
        trainee.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        length = clip_grad_norm_(weights, GRADIENT_LIMIT)
        sound = (
            math.isfinite(loss.item() + length.item()) and torch.linalg.vector_norm(restored.detach(), math.inf) < OUTPUT_LIMIT
        )
        costs, sound = ours.agreed({name: part.item() for name, part in parts.items()}, bool(sound))
        if sound:
            trainee.optimiser.step()
        if (trainee.step + 1) % AVERAGED == 0 or trainee.step + 1 == config.steps:
            decay = min(config.ema, (trainee.step + 1) / (trainee.step + 10))  # a young average forgets its random start faster
            get_ema_multi_avg_fn(decay**AVERAGED)(averages, weights, trainee.step + 1)  # type: ignore[no-untyped-call]
        left_out = 0 if sound else left_out + 1
        if left_out == LEFT_OUT_LIMIT:
            raise Diverged(
                f"ten steps in a row had no finite cost or gradient, up to step {trainee.step}, with rate {rate_of(config):g}; "
                "checkpoints before are kept; start again with a tenth of the --rate."
            )
        trainee.step += 1
        each_step(costs if sound else dict.fromkeys(costs, math.nan))


def rate_at(step: int, config: TrainConfig) -> float:
    """The learning rate of a step: a linear warm-up, then half a cosine down to 0, or the same to the end."""
    since = max(step - config.schedule_from, 0)
    rate = rate_of(config) * min(1.0, (since + 1) / (config.warmup + 1))
    if config.schedule == "constant":
        return rate
    return rate * 0.5 * (1 + math.cos(math.pi * since / (config.steps_or_raise - config.schedule_from)))


def rate_of(config: TrainConfig) -> float:
    """The learning rate after the warm-up: the given one, or that of the optimiser."""
    return RATES[config.optimiser] if config.rate is None else config.rate


def cost_of(config: TrainConfig) -> losses.GeneralLoss:
    """L_gen = lambda1 * L_per + lambda2 * L_pixel with the run's weights; no feature network is loaded for lambda1 = 0."""
    costs = {"squared": losses.SquaredError, "absolute": losses.AbsoluteError, "charbonnier": losses.Charbonnier}
    pixel_loss = costs[config.cost]()
    if not config.perceptual:
        return losses.GeneralLoss(config.pixel, pixel_loss=pixel_loss)
    assert config.perceptual != "auto"  # settled has made it a number
    return losses.GeneralLoss(config.pixel, config.perceptual, perceptual_loss_of(config), pixel_loss)


def perceptual_loss_of(config: TrainConfig) -> losses.PerceptualLoss:
    """L_per with the run's feature network, layers and weights. Raises BadSetting, ModelError."""
    network, weights = perceptual.load(config.features)
    cost = losses.PerceptualLoss(network, perceptual.layer_weights(config.layers) if config.layers else weights)
    return cost.to(device_of(config))


def new_trainee(config: TrainConfig) -> Trainee:
    """A network with weights drawn from the seed, its average, and the optimiser.

    Residual blocks begin as the identity, their second convolution at 0 (Zhang et al. 2019, arXiv:1901.09321).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Autoencoder(parse_model(config.model), 3 if config.channels == "colour" else 1)
    for block in model.modules():
        if isinstance(block, Residual):
            for parameter in block.second.parameters():
                nn.init.zeros_(parameter)
    return trainee_of(model, config)


def trainee_of(model: nn.Module, config: TrainConfig) -> Trainee:
    """Any network as one that can be trained: on the run's device, with its average and the run's optimiser."""
    model = model.to(device_of(config), memory_format=torch.channels_last)  # type: ignore[call-overload]
    rate = rate_of(config)
    optimiser: torch.optim.Optimizer
    if config.optimiser == "sgd":
        optimiser = torch.optim.SGD(model.parameters(), rate, momentum=0.9, nesterov=True, fused=True)
    elif config.optimiser == "muon":
        optimiser = Muon(model.parameters(), rate)
    else:
        optimiser = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    return Trainee(model, copy.deepcopy(model), optimiser)


def device_of(config: TrainConfig) -> torch.device:
    """Where to compute; "auto" is the processor until it has been settled."""
    return torch.device("cpu" if config.device == "auto" else config.device)


def arithmetic(config: TrainConfig) -> torch.autocast:
    """The precision of forward passes; costs and weights stay float32."""
    return torch.autocast(device_of(config).type, torch.bfloat16, enabled=config.precision == "bfloat16")
