"""A training run as a folder: begun, gone on with, made longer, finished. The loop itself is in `train`."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import (
    __version__,
    artefact,
    atomic,
    checkpoint,
    collection,
    data,
    heldout,
    invented,
    perceptual,
    settle,
    suitable,
    team,
)
from .checkpoint import Trainee
from .config import Device, TrainConfig, scored_on
from .errors import BadSetting, ModelError, did_you_mean, memory_error
from .export import export, loaded
from .keeper import Keeper, Watch, Watching, stopped, until_asked_to_stop
from .model import Autoencoder, as_function
from .noise import Noise
from .train import fit, new_trainee


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, what it scored on the validation crops, and the pictures it had to leave out.

    `held_out`: whether those crops are of pictures that it did not learn from. `notes`: what else there is to know, in sentences.
    `noisy_psnr`: of the noisy crops as they are, in dB; infinite where noise left one of them as it was. `target`: what was learned
    from; unless that is clean, there is no truth in these scores: see `config.scored_on`.
    """

    folder: Path
    steps: int
    psnr: float
    seconds: float
    skipped: list[tuple[Path, str]]
    held_out: bool = True
    notes: tuple[str, ...] = ()
    noisy_psnr: float = math.nan
    target: str = "clean"

    @property
    def warning(self) -> str:
        """What to do about a model that is worse than leaving the noise in; empty for any other."""
        if not self.psnr < self.noisy_psnr < math.inf:
            return ""
        beside = {"clean": "the noisy pictures", "pairs": "the noisy takes themselves"}.get(
            self.target, "a pixel beside the hidden one"
        )
        return f"this is worse than {beside} ({self.psnr:.2f} against {self.noisy_psnr:.2f} dB); train longer"


def train(
    photos: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    noise: Noise | str | Sequence[Noise | str] | None = None,
    validation: Path | str | Sequence[Path | str] | None = None,
    noisy: Path | str | None = None,
    watch: Watch | Watching | None = None,
    **settings: Any,
) -> Result:
    """Train a denoising autoencoder on the pictures at or below `photos`; the run folder is `out`.

    `noise`: one, or several of which each picture draws one. `validation`: pictures to score on, else a few of `photos`
    are set aside. `noisy`: a folder of the same pictures with their own noise; then no noise is put on, and none with another `target` than clean. `watch` is called with
    a Progress now and then; a Watching says how often it scores, and shows its crops, if not as usual. `settings` are the fields of TrainConfig. Raises BadSetting before anything starts, Diverged, Interrupted
    (saved first), MemoryError, OSError.
    """
    if noise is not None:
        settings["noise"] = tuple(map(str, noise)) if isinstance(noise, list | tuple) else (str(noise),)
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in settings:
        if name not in names:
            raise BadSetting(f"there is no setting {name!r}; {did_you_mean(name, names)}")
    config, run = settle.own_noise(TrainConfig(**settings), noisy), Path(out)
    sources = {"photos": _absolute(photos), "validation": _absolute(validation) if validation else []}
    sources["noisy"] = _absolute(noisy) if noisy else []
    asked = json.loads(json.dumps({**sources, "config": dataclasses.asdict(config)}))
    watching = watch if isinstance(watch, Watching) else Watching(watch)
    with team.joined() as ours, memory_error():
        ours.part(config.batch)
        if ours.told(team.may_restart() and _asked_of(run) == asked):
            return _same_run(run, ours, watching)
        return _new_run(run, ours, watching, config, {**sources, "asked": asked})


def _new_run(run: Path, ours: team.Team, watching: Watching, config: TrainConfig, sources: dict[str, Any]) -> Result:
    with _begun(run, ours):
        config, start = settle.started(config)
        pictures, held_out = collection.gather(sources, config)
        data.check(data.noises_of(config), pictures, config)
        suitable.check(pictures, config)
        config = settle.settled(config, pictures, ours)
        record: dict[str, Any] = {**sources, "config": dataclasses.asdict(config)}
        record["features_sha256"] = perceptual.fingerprint(config.features) if config.perceptual else None
        record["start_from"] = start
        if ours.leads:
            _keep(run, record, pictures, held_out)
        notes = _same_seed(config, start)
        return _run(run, config, record, pictures, held_out, watching, ours, notes)


def resume(
    run: Path | str,
    watch: Watch | None = None,
    data_changed_ok: bool = False,
    continue_for: str | float | None = None,
    device: Device = "auto",
    threads: int = 0,
    finish: bool = False,
) -> Result:
    """Go on with an interrupted run, exactly where its newest checkpoint is. Raises as `train` does, and ModelError.

    `data_changed_ok`: also if its pictures are not those of before, so that it cannot end as it would have. `continue_for`: make
    a finished run longer, by so many minutes, or "steps=4000", "epochs=2", with a fresh schedule of the learning rate. `device`,
    `threads`: go on elsewhere than before, on a processor where the card is gone; it does not end in the same bits then. `finish`: end at the
    newest checkpoint, with the model that has been learned by then.
    """
    with team.joined() as ours, memory_error():
        length = None if continue_for is None else str(continue_for)
        return _same_run(Path(run), ours, Watching(watch), data_changed_ok, length, device, threads, finish)


def _same_run(
    run: Path,
    ours: team.Team,
    watching: Watching,
    data_changed_ok: bool = False,
    continue_for: str | None = None,
    device: Device = "auto",
    threads: int = 0,
    finish: bool = False,
) -> Result:
    before, record = settings_of(run)
    ours.part(before.batch)
    config = settle.moved(before, device, threads)
    if finish:
        config = _finished(run, config)
    if config.perceptual and record.get("features_sha256") != perceptual.fingerprint(config.features):
        raise ModelError(f"the weights of {config.features} have changed since {run} began; restore them or start a new run.")
    pictures, held_out = collection.gather(record, config)
    changes = collection.changes(run, pictures, held_out)
    if changes and not data_changed_ok:
        raise BadSetting(
            f"the pictures are not those that {run} began with ({changes}); restore them, or go on with these by --data-changed-ok."
        )
    notes = _other_versions(record)
    with _alone(run, ours):
        if changes:
            data.check(data.noises_of(config), pictures, config)
            record["data_before"] = [*record.get("data_before", []), record.get("data_sha256")]
        if continue_for is not None and not (team.may_restart() and record.get("longer") == continue_for):
            _check_finished(run, config)
            config = settle.longer(config, continue_for, pictures, ours)
            record["longer"] = continue_for
        if config.device != before.device:
            record["device_before"] = [*record.get("device_before", []), before.device]
        record["config"] = dataclasses.asdict(config)
        if (changes or config != before) and ours.leads:
            _keep(run, record, pictures, held_out)
        return _run(run, config, record, pictures, held_out, watching, ours, notes)


def _finished(run: Path, config: TrainConfig) -> TrainConfig:
    """The settings of a run that ends at its newest sound checkpoint. Raises ModelError if nothing has been learned yet."""
    step = _reached(run, config)
    if not step:
        raise ModelError(
            f"{run} has no checkpoint after its first step; let it go on for a while: unnoise train --resume {run}"
        )
    since = config.schedule_from if config.schedule_from < step else 0
    return dataclasses.replace(config, steps=step, schedule_from=since)


def _reached(run: Path, config: TrainConfig) -> int:
    """The step of the newest sound checkpoint."""
    trainee = new_trainee(config)
    checkpoint.restore(run, trainee)
    return trainee.step


def _check_finished(run: Path, config: TrainConfig) -> None:
    """Raises BadSetting for a run that has steps left."""
    if (step := _reached(run, config)) < config.steps_or_raise:
        raise BadSetting(
            f"{run} is at step {step} of {config.steps}; finish it by unnoise train --resume {run}, then make it longer."
        )


def _other_versions(record: dict[str, Any]) -> list[str]:
    """A sentence if the run was begun with other versions."""
    before, now = record.get("versions", {}), _versions()
    other = [f"{name} {before[name]}, now {now.get(name)}" for name in before if before[name] != now.get(name)]
    return [f"The run was begun with {'; '.join(other)}: it may not end in the same bits."] if other else []


def settings_of(run: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """(settings, all that config.json says) of a run folder: where its photos are, the fingerprint of its feature network.

    Raises ModelError.
    """
    try:
        record = json.loads((run / "config.json").read_text())
        record = {"photos": record["photos"], "validation": record["validation"], "noisy": [], **record}
        return TrainConfig(**record["config"]), record
    except (FileNotFoundError, NotADirectoryError):
        wrong = "holds no config.json" if run.is_dir() else "is no folder" if run.exists() else "does not exist"
        raise ModelError(f"{run} {wrong}; give the folder of a training run.") from None
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{run}/config.json cannot be read as a run's settings; restore it or start a new run.") from None


def _run(
    run: Path,
    config: TrainConfig,
    record: dict[str, Any],
    pictures: data.Pictures,
    held_out: data.Pictures,
    watching: Watching,
    ours: team.Team,
    notes: Sequence[str] = (),
) -> Result:
    torch.set_num_threads(config.threads or torch.get_num_threads())
    trainee, began = new_trainee(config), time.monotonic()
    if ours.leads:
        for folder in (run, run / "samples"):
            atomic.sweep(folder)
    if ours.leads and not checkpoint.saved(run):
        if config.start_from:
            _take_weights(trainee, config.start_from, record["start_from"]["sha256"])
        checkpoint.save(run, trainee, config)
    ours.told(None)  # the others wait for it
    notes = (*notes, *(f"Passed over: {reason}" for reason in checkpoint.restore(run, trainee)))
    if not ours.leads:
        with until_asked_to_stop(ours.asked):
            fit(trainee, pictures, config, lambda costs: stopped(ours.stop, run, trainee, config), ours)
        return Result(run, trainee.step, math.nan, time.monotonic() - began, pictures.unreadable + pictures.small)
    pairs = data.validation(held_out, data.noises_of(config), config)
    keeper = Keeper(run, trainee, config, pairs, watching)
    with until_asked_to_stop(ours.asked):
        fit(trainee, pictures, config, lambda costs: keeper.after_step(costs, ours.stop), ours)
    checkpoint.save(run, trainee, config)
    psnr, noisy_psnr = keeper.close()
    card: artefact.Card = {
        "architecture": config.model,
        "training": {
            "pictures": len(pictures.arrays),
            "data_sha256": collection.fingerprint(pictures),
            **{name: value for name, value in dataclasses.asdict(config).items() if name not in ("cache", "cache_gb")},
            "minutes": round(keeper.progress().seconds / 60, 2),
            "threads": torch.get_num_threads() * ours.size,
            "features": config.features.partition(":")[0],  # a model file that is passed on names no path of its maker
            "features_sha256": perceptual.fingerprint(config.features) if config.perceptual else None,
            "start_from": record.get("start_from"),  # nor this one
            "device_before": record.get("device_before", []),
            "unnoise": __version__,
        },
        "licence": "as its maker states; the pictures it learned from may bind it",
        "quality": {
            "validation_psnr": round(psnr, 3),
            "held_out": held_out is not pictures,
            "scored_on": scored_on(config.target),
        },
    }
    if not data.noises_of(config):
        card["invented"] = {"noise": [invented.like([pair[config.target == "clean"] for pair in pairs])]}
    if config.target == "blind-spot":
        card["keeps"] = round(heldout.own_share(as_function(trainee.average), [noisy for noisy, *_ in pairs]), 4)
    assert isinstance(trainee.average, Autoencoder)
    export(trainee.average.cpu(), card, run, pairs[0][1])
    left_out = pictures.unreadable + pictures.small
    seconds = time.monotonic() - began
    return Result(run, trainee.step, psnr, seconds, left_out, held_out is not pictures, notes, noisy_psnr, config.target)


def _take_weights(trainee: Trainee, path: str, sha256: str) -> None:
    """Give the network and its average the weights of the model that the run starts from. Raises ModelError if it has changed."""
    model, card = loaded(Path(path))
    if card["sha256"] != sha256:
        raise ModelError(f"{path} is not the model that the run was to start from; restore it, or start a new run.")
    for network in (trainee.model, trainee.average):
        network.load_state_dict(model.state_dict())


def _same_seed(config: TrainConfig, start: dict[str, Any] | None) -> list[str]:
    """A sentence if the model that the run starts from, or one before it, has learned with the same seed: from the same draws."""
    if config.seed not in [piece.get("seed") for piece in artefact.pieces(start and start["training"])]:
        return []
    return [f"seed={config.seed} is that of a run it starts from, whose crops and noise are drawn again; better give another."]


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


def _keep(run: Path, record: dict[str, Any], pictures: data.Pictures, held_out: data.Pictures) -> None:
    """Write down what the run is, what it learns from, and what it runs on."""
    collection.keep(run, pictures, held_out)
    record["versions"] = _versions()
    record["data_sha256"] = collection.fingerprint(pictures)
    atomic.write_bytes(run / "config.json", json.dumps(record, indent=1).encode())


def _versions() -> dict[str, str]:
    """The versions that a run's figures depend on; of unnoise the commit too, where it is known."""
    found = {"unnoise": __version__, "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        _git("ls-files", "--error-unmatch", __file__)  # or the repository is somebody else's, in which unnoise is installed
        return {**found, "commit": _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")}
    with contextlib.suppress(ValueError, KeyError, TypeError, importlib.metadata.PackageNotFoundError):
        origin = json.loads(importlib.metadata.distribution("unnoise").read_text("direct_url.json") or "{}")
        return {**found, "commit": origin["vcs_info"]["commit_id"]}
    return found


def _git(*words: str) -> str:
    line = ["git", "-C", str(Path(__file__).parent), *words]
    return subprocess.run(line, capture_output=True, check=True, text=True).stdout.strip()


def _absolute(paths: Path | str | Sequence[Path | str]) -> list[str]:
    several = [paths] if isinstance(paths, Path | str) else paths
    return [str(Path(path).absolute()) for path in several]
