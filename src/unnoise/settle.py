"""What a run's settings leave open, settled before its first step: device, precision, lambda1, and how many steps there are time for."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from . import data, perceptual, profiles
from .checkpoint import Trainee
from .config import LENGTHS, MODELS, OWN, PAIRS, Device, Precision, TrainConfig, parse_model
from .errors import BadSetting, did_you_mean
from .export import loaded
from .model import as_tensor
from .notation import number, str_of
from .team import Costs, Team, on_this_machine
from .train import arithmetic, cost_of, device_of, fit, new_trainee, perceptual_loss_of, rate_of


def settled(config: TrainConfig, pictures: data.Pictures, ours: Team) -> TrainConfig:
    """The configuration with nothing left open: sizes, rate and layers spelt out, auto measured, minutes or epochs as steps."""
    began = time.monotonic()
    torch.set_num_threads(config.threads or torch.get_num_threads())
    config = dataclasses.replace(
        config,
        model=str_of(MODELS, parse_model(config.model), defaults=True),
        rate=rate_of(config),
        cache=str(Path(config.cache).absolute()) if config.cache else "",
        echo=config.echo or (128 if pictures.streamed else 1),
        device=device(config),
    )
    config = dataclasses.replace(config, precision=_precision(config))
    if config.compile:
        _check_compiles(config, pictures, ours)
    if config.perceptual:
        config = _with_features(config)
    if config.perceptual == "auto":
        config = dataclasses.replace(config, perceptual=_perceptual_weight(config, pictures, ours))
    return ours.told(with_steps(config, pictures, ours, began))


def own_noise(config: TrainConfig, noisy: Path | str | None) -> TrainConfig:
    """The settings of a run whose pictures come with their own noise, if they do. Raises BadSetting for what does not go together."""
    if PAIRS in config.noise and not noisy:
        raise BadSetting("noise=pairs is said by --noisy; give the folder of noisy pictures, and leave --noise out.")
    if config.target == "pairs" and not noisy:
        raise BadSetting(
            "--target pairs learns from two noisy takes of each picture; give the folder of the second ones by --noisy."
        )
    if config.target in ("blind-spot", "neighbours") and noisy:
        raise BadSetting(
            f"--target {config.target} learns from the noisy pictures alone; give these as photos, and leave --noisy out."
        )
    own = OWN if config.target != "clean" else PAIRS if noisy else ""
    if own and config.noise not in (TrainConfig.noise, (own,)):
        what = "--noisy gives the pictures" if noisy else f"--target {config.target} learns from pictures that have"
        raise BadSetting(f"{what} their own noise, so that none is put on; leave --noise out.")
    if not own and OWN in config.noise:
        raise BadSetting("noise=own is said by --target; leave --noise out.")
    return dataclasses.replace(config, noise=(own,) if own else tuple(map(profiles.filled_in, config.noise)))


def started(config: TrainConfig) -> tuple[TrainConfig, dict[str, Any] | None]:
    """The settings of a run that starts from a model, in its shape and channels; and what is known of that model: SHA-256, training.

    Raises ModelError, and BadSetting where another shape or other channels are asked for.
    """
    if not config.start_from:
        return config, None
    path = Path(config.start_from).absolute()
    model, card = loaded(path)
    theirs = {"model": str_of(MODELS, model.model, defaults=True), "channels": "colour" if model.channels == 3 else "gray"}
    model_asked = config.model if config.model == "auto" else str_of(MODELS, parse_model(config.model), defaults=True)
    for name, asked in (("model", model_asked), ("channels", config.channels)):
        if asked not in ("auto", theirs[name]):
            raise BadSetting(f"{name}={asked}: {path} has {theirs[name]}; leave --{name} out, or start from another model.")
    config = dataclasses.replace(config, start_from=str(path), **theirs)  # type: ignore[arg-type]
    return config, {"sha256": card["sha256"], "training": card.get("training")}


def with_steps(config: TrainConfig, pictures: data.Pictures, ours: Team, began: float) -> TrainConfig:
    """Its minutes or epochs as steps; what has passed since `began` is of those minutes."""
    if config.epochs is not None:
        pixels = sum(array.shape[0] * array.shape[1] for array in pictures.arrays)
        steps = math.ceil(config.epochs * pixels / (config.batch * config.crop**2))
        return dataclasses.replace(config, epochs=None, steps=steps)
    if config.steps is None:
        seconds = 60 * (config.minutes or 20) - (time.monotonic() - began)
        return dataclasses.replace(config, minutes=None, steps=_steps_within(seconds, config, pictures, ours))
    return config


def longer(config: TrainConfig, length: str, pictures: data.Pictures, ours: Team) -> TrainConfig:
    """The settings of a finished run that goes on for `length`: 20 or minutes=20, steps=4000, epochs=2. Raises BadSetting.

    The learning rate has a fresh schedule over these steps, its warm-up included; all else that was learned stays, the
    optimiser's moments and the running average too.
    """
    name, _, value = length.rpartition("=")
    if name and name not in LENGTHS:
        raise BadSetting(f"--continue-for {length}: {did_you_mean(name, LENGTHS)}")
    done = config.steps_or_raise
    lengths: dict[str, Any] = {**dict.fromkeys(LENGTHS), "schedule_from": 0, name or "minutes": number(value)}
    more = ours.told(with_steps(dataclasses.replace(config, **lengths), pictures, ours, time.monotonic()))
    return dataclasses.replace(config, steps=done + more.steps_or_raise, schedule_from=done)


def moved(config: TrainConfig, where: Device, threads: int) -> TrainConfig:
    """The settings of a run that goes on: where it was if nothing is said, else on another device, by other threads. Raises BadSetting."""
    if where not in ("auto", config.device):
        config = dataclasses.replace(config, device=where)
        if config.precision == "bfloat16":  # which may be slow there
            config = dataclasses.replace(config, precision=_precision(dataclasses.replace(config, precision="auto")))
    device(config)
    return dataclasses.replace(config, threads=threads or config.threads)


def device(config: TrainConfig) -> Device:
    """The device that is meant. Raises BadSetting for one that is not there, or not for each of the processes."""
    processes = on_this_machine()
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = {"cpu": True, "cuda": cards >= processes, "mps": torch.backends.mps.is_available() and processes == 1}
    if config.device == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[config.device]:
        found = f"{cards} CUDA cards for {processes} processes" if cards else f"none for {processes} processes"
        raise BadSetting(f"device={config.device}: torch finds {found} here; say --device cpu, or go on where there is one.")
    return config.device


def _precision(config: TrainConfig) -> Precision:
    """bfloat16 where it is fast. On Apple's cards it was not tried, so they compute in float32 unless told."""
    if config.precision != "auto":
        return config.precision
    if config.device == "cpu":
        fast = torch.cpu.get_capabilities()
        return "bfloat16" if fast.get("avx512_bf16") or fast.get("amx_bf16") else "float32"
    return "bfloat16" if config.device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def _check_compiles(config: TrainConfig, pictures: data.Pictures, ours: Team) -> None:
    """Raises BadSetting if torch.compile fails, as it does without a C++ compiler."""
    alone = dataclasses.replace(config, perceptual=0, features=TrainConfig.features, layers=TrainConfig.layers)
    try:
        _trial(alone, pictures, ours, lambda times: len(times) > 1)
    except RuntimeError as error:
        raise BadSetting(
            f"compile=True: torch.compile fails here ({type(error).__name__}); install a C++ compiler such as g++, or leave it out."
        ) from None


def _with_features(config: TrainConfig) -> TrainConfig:
    """The feature network's layers and weights spelt out, its file found from any folder; it must take a crop of the run's."""
    kind, _, file = config.features.partition(":")
    features = f"{kind}:{Path(file).absolute()}" if file else kind
    weights = perceptual.layer_weights(config.layers) if config.layers else perceptual.load(features)[1]
    layers = ",".join(f"{layer}={weight!r}" for layer, weight in weights.items())
    config = dataclasses.replace(config, features=features, layers=layers)
    shape = 1, 3 if config.channels == "colour" else 1, config.patch, config.patch
    crop = torch.zeros(shape, device=device_of(config))
    perceptual_loss_of(config)(crop, crop)
    return config


def _perceptual_weight(config: TrainConfig, pictures: data.Pictures, ours: Team) -> float:
    """The lambda1 that gives the perceptual loss its share of the gradient at the network's output.

    Measured in eight batches, after fifty steps on the pixel cost alone: what a network gives before that is no picture.
    """
    alone = dataclasses.replace(config, perceptual=0, features=TrainConfig.features, layers=TrainConfig.layers)
    trainee, _ = _trial(alone, pictures, ours, lambda times: len(times) > 50)
    cost, ratios = cost_of(dataclasses.replace(config, perceptual=1.0)), []
    for step in range(trainee.step, trainee.step + 8):
        batch = data.batch(pictures, data.noises_of(config), config, step)[:2]
        clean, noisy = (as_tensor(array).to(device_of(config)) for array in batch)
        with arithmetic(config):
            restored = trainee.model(noisy).float().detach().requires_grad_()
            terms = cost.parts(restored, clean)
        lengths = {name: torch.autograd.grad(term, restored)[0].norm().item() for name, term in terms.items()}
        ratios.append(lengths["pixel"] / lengths["perceptual"])
    share = config.perceptual_share
    return float(f"{share / (1 - share) * statistics.fmean(ratios):.4g}")


def _steps_within(seconds: float, config: TrainConfig, pictures: data.Pictures, ours: Team) -> int:
    """How many steps fit, from a short trial on a network that is thrown away."""
    limit = min(5.0, seconds / 10)
    _, times = _trial(config, pictures, ours, lambda times: times[-1] - times[0] > limit and len(times) > 8)
    per_step = statistics.median(after - before for before, after in pairwise(times[3:]))  # the first set up memory and kernels
    return max(1, round((seconds - (times[-1] - times[0])) / (1.03 * per_step)))  # 3 percent for scores and checkpoints


def _trial(
    config: TrainConfig, pictures: data.Pictures, ours: Team, enough: Callable[[list[float]], bool]
) -> tuple[Trainee, list[float]]:
    """A network that is thrown away, trained until `enough` of the times at which its steps ended; and those times."""
    trial = dataclasses.replace(config, minutes=None, steps=10**9)
    trainee, times = new_trainee(trial), [time.monotonic()]

    def tick(costs: Costs) -> None:
        times.append(time.monotonic())
        if ours.any(enough(times)):
            raise StopIteration

    with contextlib.suppress(StopIteration):
        fit(trainee, pictures, trial, tick, ours)
    return trainee, times
