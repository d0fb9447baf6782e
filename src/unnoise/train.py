"""Training: N images, noise on the input only, the cost of what comes back, a step down its gradient.

Z_i = E(noise(I_i)),   cost = sum of L_gen(D(Z_i), I_i),   theta <- theta - rate * gradient
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from . import __version__, atomic, checkpoint, collection, data, losses, perceptual, team
from .checkpoint import Trainee
from .config import MODELS, PAIRS, TrainConfig, parse_model, str_of
from .errors import BadSetting, Diverged, ModelError, did_you_mean
from .export import export
from .keeper import Keeper, Watch, stopped, until_asked_to_stop
from .model import Autoencoder, as_tensor
from .noise import Noise

RATES = {"adamw": 2e-3, "sgd": 5e-2}
GRADIENT_LIMIT = 1.0  # a longer gradient is cut to this length
OUTPUT_LIMIT = 1e3  # a value so far outside [0, 1] belongs to no picture
LEFT_OUT_LIMIT = 10  # steps


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, what it scored on the validation crops, and the pictures it had to leave out.

    `held_out`: whether those crops are of pictures that it did not learn from.
    """

    folder: Path
    steps: int
    psnr: float
    seconds: float
    skipped: list[tuple[Path, str]]
    held_out: bool = True


def train(
    photos: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    noise: Noise | str | Sequence[Noise | str] | None = None,
    validation: Path | str | Sequence[Path | str] | None = None,
    noisy: Path | str | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Result:
    """Train a denoising autoencoder on the pictures at or below `photos`; the run folder is `out`.

    `noise`: one, or several of which each picture draws one. `validation`: pictures to score on, else a few of `photos`
    are set aside. `noisy`: a folder of the same pictures with their own noise; then no noise is put on. `watch` is called with
    a Progress now and then. `settings` are the fields of TrainConfig. Raises BadSetting before anything starts, Diverged, Interrupted (saved first), OSError.
    """
    if noise is not None:
        settings["noise"] = tuple(map(str, noise)) if isinstance(noise, list | tuple) else (str(noise),)
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in settings:
        if name not in names:
            raise BadSetting(f"there is no setting {name!r}; {did_you_mean(name, names)}")
    config, run = _own_noise(TrainConfig(**settings), noisy), Path(out)
    sources = {"photos": _absolute(photos), "validation": _absolute(validation) if validation else []}
    sources["noisy"] = _absolute(noisy) if noisy else []
    asked = {**sources, "config": dataclasses.asdict(config)}
    if team.restarted() and _asked_of(run) == json.loads(json.dumps(asked)):
        return resume(run, watch)
    with team.joined() as ours, _begun(run, ours):
        pictures, held_out = collection.gather(sources, config)
        data.check(data.noises_of(config), pictures, config)
        config = _settled(config, pictures, ours)
        record: dict[str, Any] = {"unnoise": __version__, **sources, "config": dataclasses.asdict(config), "asked": asked}
        record["features_sha256"] = perceptual.fingerprint(config.features) if config.perceptual else None
        if ours.leads:
            _keep(run, record, pictures, held_out)
        return _run(run, config, pictures, held_out, watch, ours)


def resume(run: Path | str, watch: Watch | None = None, data_changed_ok: bool = False) -> Result:
    """Go on with an interrupted run, exactly where its newest checkpoint is. Raises as `train` does, and ModelError.

    `data_changed_ok`: also if its pictures are not those of before, so that it cannot end as it would have.
    """
    run = Path(run)
    config, record = settings_of(run)
    if config.perceptual and record.get("features_sha256") != perceptual.fingerprint(config.features):
        raise ModelError(f"the weights of {config.features} have changed since {run} began; restore them or start a new run.")
    pictures, held_out = collection.gather(record, config)
    changes = collection.changes(run, pictures, held_out)
    if changes and not data_changed_ok:
        raise BadSetting(
            f"the pictures are not those that {run} began with ({changes}); restore them, or go on with these by --data-changed-ok."
        )
    with team.joined() as ours, _alone(run, ours):
        if changes and ours.leads:
            record["data_before"] = [*record.get("data_before", []), record.get("data_sha256")]
            _keep(run, record, pictures, held_out)
        return _run(run, config, pictures, held_out, watch, ours)


def settings_of(run: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """(settings, all that config.json says) of a run folder: where its photos are, the fingerprint of its feature network.

    Raises ModelError.
    """
    try:
        record = json.loads((run / "config.json").read_text())
        record = {"photos": record["photos"], "validation": record["validation"], "noisy": [], **record}
        return TrainConfig(**record["config"]), record
    except FileNotFoundError:
        raise ModelError(f"{run} holds no config.json; expected the folder of a training run.") from None
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{run}/config.json cannot be read as a run's settings; restore it or start a new run.") from None


def fit(
    trainee: Trainee,
    pictures: data.Pictures,
    config: TrainConfig,
    each_step: Callable[[float], None] = lambda loss: None,
    ours: team.Team = team.Team(),  # noqa: B008, frozen
) -> None:
    """The loop: batches, cost, gradient, step, up to `config.steps`. `each_step` is called with the cost after each.

    A step whose cost, gradient or output is out of all bounds is left out, its cost told as NaN; ten in a row raise Diverged.
    `ours`: the processes that share the work.
    """
    noises, cost, network = data.noises_of(config), cost_of(config), ours.together(trainee.model)
    weights, averages = list(trainee.model.parameters()), list(trainee.average.parameters())
    left_out = 0  # in a row
    for batch in data.batches(pictures, noises, config, trainee.step, ours.part(config.batch)):
        clean, noisy, mask = map(as_tensor, batch)
        for group in trainee.optimiser.param_groups:
            group["lr"] = rate_at(trainee.step, config)
        with _arithmetic(config):
            restored = network(noisy).float()
            loss = cost(restored, clean, losses.emphasis(mask, config.alpha, config.beta))
        trainee.optimiser.zero_grad()
        loss.backward()
        length = clip_grad_norm_(weights, GRADIENT_LIMIT)
        sound = bool(torch.isfinite(loss) & torch.isfinite(length) & (restored.detach().abs().max() < OUTPUT_LIMIT))
        told, sound = ours.agreed(loss.item(), sound)
        if sound:
            trainee.optimiser.step()
            decay = min(config.ema, (trainee.step + 1) / (trainee.step + 10))  # a young average forgets its random start faster
            get_ema_multi_avg_fn(decay)(averages, weights, trainee.step + 1)  # type: ignore[no-untyped-call]
        left_out = 0 if sound else left_out + 1
        if left_out == LEFT_OUT_LIMIT:
            raise Diverged(
                f"ten steps in a row had no finite cost or gradient, up to step {trainee.step}, with rate {_rate(config):g}; "
                "the checkpoint before is kept; start again with a tenth of the --rate."
            )
        trainee.step += 1
        each_step(told if sound else math.nan)


def rate_at(step: int, config: TrainConfig) -> float:
    """The learning rate of a step: a linear warm-up, then half a cosine down to 0, or the same to the end."""
    rate = _rate(config) * min(1.0, (step + 1) / (config.warmup + 1))
    return rate if config.schedule == "constant" else rate * 0.5 * (1 + math.cos(math.pi * step / config.steps_or_raise))


def cost_of(config: TrainConfig) -> losses.GeneralLoss:
    """L_gen = lambda1 * L_per + lambda2 * L_pixel with the run's weights; no feature network is loaded for lambda1 = 0."""
    costs = {"squared": losses.SquaredError, "absolute": losses.AbsoluteError, "charbonnier": losses.Charbonnier}
    pixel_loss = costs[config.cost]()
    if not config.perceptual:
        return losses.GeneralLoss(config.pixel, pixel_loss=pixel_loss)
    assert config.perceptual != "auto"  # _settled has made it a number
    return losses.GeneralLoss(config.pixel, config.perceptual, perceptual_loss_of(config), pixel_loss)


def perceptual_loss_of(config: TrainConfig) -> losses.PerceptualLoss:
    """L_per with the run's feature network, layers and weights. Raises BadSetting, ModelError."""
    network, weights = perceptual.load(config.features)
    return losses.PerceptualLoss(network, perceptual.layer_weights(config.layers) if config.layers else weights)


def new_trainee(config: TrainConfig) -> Trainee:
    """A network with weights drawn from the seed, its average, and the optimiser."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Autoencoder(parse_model(config.model), 3 if config.channels == "colour" else 1)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser: torch.optim.Optimizer
    if config.optimiser == "sgd":
        optimiser = torch.optim.SGD(model.parameters(), _rate(config), momentum=0.9, nesterov=True, fused=True)
    else:
        optimiser = torch.optim.AdamW(model.parameters(), _rate(config), betas=(0.9, 0.99), weight_decay=1e-2, fused=True)
    return Trainee(model, copy.deepcopy(model), optimiser)


# --- around the loop: what is learned from, when it is saved, how it ends ---------------------------------------------------


def _run(
    run: Path, config: TrainConfig, pictures: data.Pictures, held_out: data.Pictures, watch: Watch | None, ours: team.Team
) -> Result:
    torch.set_num_threads(config.threads or torch.get_num_threads())
    trainee, began = new_trainee(config), time.monotonic()
    if ours.leads:
        for folder in (run, run / "samples"):
            atomic.sweep(folder)
    if ours.leads and not checkpoint.saved(run):
        checkpoint.save(run, trainee, config)
    ours.told(None)  # the others wait for it
    checkpoint.restore(run, trainee)
    if not ours.leads:
        with until_asked_to_stop(ours.asked):
            fit(trainee, pictures, config, lambda loss: stopped(ours.stop, run, trainee, config), ours)
        return Result(run, trainee.step, math.nan, time.monotonic() - began, pictures.unreadable + pictures.small)
    pairs = data.validation(held_out, data.noises_of(config), config)
    keeper = Keeper(run, trainee, config, pairs, watch)
    with until_asked_to_stop(ours.asked):
        fit(trainee, pictures, config, lambda loss: keeper.after_step(loss, ours.stop), ours)
    checkpoint.save(run, trainee, config)
    psnr = keeper.score()
    card = {
        "architecture": config.model,
        "training": {
            "pictures": len(pictures.arrays),
            "data_sha256": collection.fingerprint(pictures),
            **{name: value for name, value in dataclasses.asdict(config).items() if name not in ("cache", "cache_gb")},
            "features": config.features.partition(":")[0],  # a model file that is passed on names no path of its maker
            "features_sha256": perceptual.fingerprint(config.features) if config.perceptual else None,
            "unnoise": __version__,
        },
        "licence": "as its maker states; the pictures it learned from may bind it",
        "quality": {"validation_psnr": round(psnr, 3), "held_out": held_out is not pictures},
    }
    export(trainee.average, card, run, pairs[0][1])
    left_out = pictures.unreadable + pictures.small
    return Result(run, trainee.step, psnr, time.monotonic() - began, left_out, held_out is not pictures)


def _alone(run: Path, ours: team.Team) -> contextlib.AbstractContextManager[None]:
    """Raises BadSetting if another run is at work in the folder; of several processes of one run, the first one asks."""
    refusal = f"another unnoise is training in {run}; wait until it has finished, or begin a run of your own with -o."
    return atomic.held(run, refusal) if ours.leads else contextlib.nullcontext()


@contextlib.contextmanager
def _begun(run: Path, ours: team.Team) -> Iterator[None]:
    """A new run's folder, held; it is removed again if nothing came of it. Raises BadSetting for one that holds anything."""
    if not ours.leads:
        yield
        return
    refusal = f"{run} is not empty; choose another folder, or go on with a run there by: unnoise train --resume {run}"
    if run.exists() and not run.is_dir():
        raise BadSetting(refusal)
    new = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(run, ours):
            atomic.sweep(run)
            if {path.name for path in run.iterdir()} - {"pictures.txt"}:  # which a killed start may have left
                raise BadSetting(refusal)
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):
                run.rmdir()


def _asked_of(run: Path) -> dict[str, Any] | None:
    """What the run in a folder was asked for; None if there is none."""
    try:
        asked: dict[str, Any] | None = settings_of(run)[1].get("asked")
    except ModelError:
        return None
    return asked


def _settled(config: TrainConfig, pictures: data.Pictures, ours: team.Team) -> TrainConfig:
    """The configuration with nothing left open: sizes, rate and layers spelt out, auto measured, minutes or epochs as steps."""
    began = time.monotonic()
    torch.set_num_threads(config.threads or torch.get_num_threads())
    model = str_of(MODELS, parse_model(config.model), defaults=True)
    cache = str(Path(config.cache).absolute()) if config.cache else ""
    config = dataclasses.replace(config, model=model, rate=_rate(config), cache=cache)
    if config.precision == "auto":
        fast = torch.cpu.get_capabilities()
        config = dataclasses.replace(
            config, precision="bfloat16" if fast.get("avx512_bf16") or fast.get("amx_bf16") else "float32"
        )
    if config.perceptual:
        config = _with_features(config)
    if config.perceptual == "auto":
        config = dataclasses.replace(config, perceptual=_perceptual_weight(config, pictures, ours))
    if config.epochs is not None:
        pixels = sum(array.shape[0] * array.shape[1] for array in pictures.arrays)
        steps = math.ceil(config.epochs * pixels / (config.batch * config.patch**2))
        config = dataclasses.replace(config, epochs=None, steps=steps)
    if config.steps is None:
        seconds = 60 * (config.minutes or 20) - (time.monotonic() - began)
        config = dataclasses.replace(config, minutes=None, steps=_steps_within(seconds, config, pictures, ours))
    return ours.told(config)


def _with_features(config: TrainConfig) -> TrainConfig:
    """The feature network's layers and weights spelt out, its file found from any folder; it must take a crop of the run's."""
    kind, _, file = config.features.partition(":")
    features = f"{kind}:{Path(file).absolute()}" if file else kind
    weights = perceptual.layer_weights(config.layers) if config.layers else perceptual.load(features)[1]
    layers = ",".join(f"{layer}={weight!r}" for layer, weight in weights.items())
    config = dataclasses.replace(config, features=features, layers=layers)
    crop = torch.zeros(1, 3 if config.channels == "colour" else 1, config.patch, config.patch)
    perceptual_loss_of(config)(crop, crop)
    return config


def _perceptual_weight(config: TrainConfig, pictures: data.Pictures, ours: team.Team) -> float:
    """The lambda1 that gives the perceptual loss its share of the gradient at the network's output.

    Measured in eight batches, after fifty steps on the pixel cost alone: what a network gives before that is no picture.
    """
    alone = dataclasses.replace(config, perceptual=0, features=TrainConfig.features, layers=TrainConfig.layers)
    trainee, _ = _trial(alone, pictures, ours, lambda times: len(times) > 50)
    cost, ratios = cost_of(dataclasses.replace(config, perceptual=1.0)), []
    assert cost.perceptual_loss is not None
    for step in range(trainee.step, trainee.step + 8):
        clean, noisy = map(as_tensor, data.batch(pictures, data.noises_of(config), config, step)[:2])
        with _arithmetic(config):
            restored = trainee.model(noisy).float().detach().requires_grad_()
            terms = cost.pixel * cost.pixel_loss(restored, clean), cost.perceptual_loss(restored, clean)
        of_pixels, of_features = (torch.autograd.grad(term, restored)[0].norm().item() for term in terms)
        ratios.append(of_pixels / of_features)
    share = config.perceptual_share
    return float(f"{share / (1 - share) * statistics.fmean(ratios):.4g}")


def _arithmetic(config: TrainConfig) -> torch.autocast:
    """The precision of forward passes; costs and weights stay float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16")


def _steps_within(seconds: float, config: TrainConfig, pictures: data.Pictures, ours: team.Team) -> int:
    """How many steps fit, from a short trial on a network that is thrown away."""
    limit = min(5.0, seconds / 10)
    _, times = _trial(config, pictures, ours, lambda times: times[-1] - times[0] > limit and len(times) > 8)
    per_step = statistics.median(after - before for before, after in pairwise(times[3:]))  # the first set up memory and kernels
    return max(1, round((seconds - (times[-1] - times[0])) / (1.03 * per_step)))  # 3 percent for scores and checkpoints


def _trial(
    config: TrainConfig, pictures: data.Pictures, ours: team.Team, enough: Callable[[list[float]], bool]
) -> tuple[Trainee, list[float]]:
    """A network that is thrown away, trained until `enough` of the times at which its steps ended; and those times."""
    trial = dataclasses.replace(config, minutes=None, steps=10**9)
    trainee, times = new_trainee(trial), [time.monotonic()]

    def tick(loss: float) -> None:
        times.append(time.monotonic())
        if ours.any(enough(times)):
            raise StopIteration

    with contextlib.suppress(StopIteration):
        fit(trainee, pictures, trial, tick, ours)
    return trainee, times


def _keep(run: Path, record: dict[str, Any], pictures: data.Pictures, held_out: data.Pictures) -> None:
    """Write down what the run is and what it learns from."""
    collection.keep(run, pictures, held_out)
    record["data_sha256"] = collection.fingerprint(pictures)
    atomic.write_bytes(run / "config.json", json.dumps(record, indent=1).encode())


def _own_noise(config: TrainConfig, noisy: Path | str | None) -> TrainConfig:
    """The settings of a run whose pictures come with their own noise, if they do."""
    if PAIRS in config.noise:
        raise BadSetting("noise=pairs is said by --noisy; give the folder of noisy pictures, and leave --noise out.")
    if noisy and config.noise != TrainConfig.noise:
        raise BadSetting("--noisy gives the pictures their own noise, so that none is put on; leave --noise out.")
    return dataclasses.replace(config, noise=(PAIRS,)) if noisy else config


def _absolute(paths: Path | str | Sequence[Path | str]) -> list[str]:
    several = [paths] if isinstance(paths, Path | str) else paths
    return [str(Path(path).absolute()) for path in several]


def _rate(config: TrainConfig) -> float:
    return RATES[config.optimiser] if config.rate is None else config.rate
