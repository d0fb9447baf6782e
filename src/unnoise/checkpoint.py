"""What a run needs to go on: weights, their running average, the optimiser's state and the step; saved whole or not at all."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from . import artefact
from .config import TrainConfig
from .errors import Diverged, ModelError, NewerFormat


@dataclass
class Trainee:
    """What training changes. `average` holds the exponential moving average of the weights, the model one gets."""

    model: nn.Module
    average: nn.Module
    optimiser: Optimizer
    step: int = 0

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that changes, by name."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        named |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            named |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items() if value is not None}
        return named

    def take(self, tensors: dict[str, torch.Tensor], step: int) -> None:
        """The inverse of `tensors`. Raises ModelError if they belong to another model."""
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.get(part, {})[rest] = tensor
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimiser"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        try:
            self.model.load_state_dict(parts["model"])
            self.average.load_state_dict(parts["average"])
        except RuntimeError:
            raise ModelError(
                "the checkpoint belongs to another model than config.json describes; restore its config.json."
            ) from None
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        # fused steps run through memory, so moments must lie in it as their weights do
        for weight, kept in self.optimiser.state.items():
            for key, value in kept.items():
                if value.shape == weight.shape:
                    kept[key] = torch.empty_like(weight).copy_(value)
        self.step = step


def save(run: Path, trainee: Trainee, config: TrainConfig) -> Path:
    """Write `checkpoint-STEP.safetensors` and keep the two newest. Raises Diverged if a tensor is not finite, OSError."""
    tensors = trainee.tensors()
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise Diverged(
                f"{name} is not finite at step {trainee.step}, so it was not saved; start again with a tenth of the --rate."
            )
    path = run / f"checkpoint-{trainee.step:07d}.safetensors"
    card = {"step": trainee.step, "config": dataclasses.asdict(config)}
    artefact.write(path, {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}, card)
    for old in saved(run)[:-2]:
        if old != path:
            old.unlink()
    return path


def saved(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = ((re.fullmatch(r"checkpoint-(\d+)\.safetensors", path.name), path) for path in run.glob("checkpoint-*"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def restore(run: Path, trainee: Trainee) -> list[str]:
    """Take up the newest checkpoint that is sound; what is wrong with newer ones.

    Raises ModelError that names those that are not sound, if none is, and for one of a newer format.
    """
    reasons = []
    for path in reversed(saved(run)):
        try:
            tensors, card = artefact.read(path)
        except NewerFormat:
            raise
        except ModelError as error:
            reasons.append(str(error))
            continue
        trainee.take({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, int(card["step"]))
        return reasons
    raise ModelError(" ".join(reasons) or f"{run} holds no checkpoint; expected the folder of a training run.")
