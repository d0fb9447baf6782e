"""Settings as data: what a training run and a model consist of; `notation` has the short text that a model is written as.

Light on purpose: nothing here imports numpy, so that `unnoise --help` answers at once. The command line takes its options
and their help from `TrainConfig`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import BadSetting, did_you_mean
from .notation import from_text, number


@dataclass(frozen=True)
class Dense:
    """Fully connected autoencoder on a fixed grid of patches (Vincent et al. 2010, JMLR 11:3371).

    Each patch of `patch` x `patch` pixels goes through one hidden layer to a code of `code` numbers, and back.
    """

    patch: int = 8
    hidden: int = 512
    code: int = 128


@dataclass(frozen=True)
class Conv:
    """Convolutional autoencoder with a true bottleneck: the code is one tensor, with fewer numbers than the picture.

    One halving a width; the code has `code` maps at the coarsest grid.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    code: int = 24


@dataclass(frozen=True)
class UNet:
    """U-Net of residual blocks on space-to-depth pixels: the code is a pyramid of feature maps. This one restores photos.

    `widths` are the feature maps of each level, finest first; `blocks` the residual blocks of each, on the way down and up alike,
    or one number for all; `fold` the side of the pixel blocks that space-to-depth folds into channels.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (2,)
    fold: int = 2

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """(width, blocks) of each level, finest first. Raises BadSetting unless there are as many of one as of the other."""
        _check_tuples(self)
        blocks = self.blocks * len(self.widths) if len(self.blocks) == 1 else self.blocks
        if len(blocks) != len(self.widths):
            raise BadSetting(
                f"unet with {len(self.widths)} widths and {len(blocks)} numbers of blocks: expected as many, or one number for all."
            )
        return tuple(zip(self.widths, blocks, strict=True))


Model = Dense | Conv | UNet
PAIRS, OWN = "pairs", "own"  # in place of a noise: clean pictures with noisy partners; noisy pictures alone
MODELS: dict[str, type[Model]] = {"dense": Dense, "conv": Conv, "unet": UNet}


def alignment(model: Model) -> int:
    """The grid that a model works on: it pads a picture's height and width up to multiples of this. Raises BadSetting."""
    if isinstance(model, Dense):
        return model.patch
    _check_tuples(model)
    if isinstance(model, Conv):
        return int(2 ** len(model.widths))
    return int(model.fold * 2 ** (len(model.widths) - 1))


def _check_tuples(model: Model) -> None:
    """Raise BadSetting where a number stands for a tuple, as is allowed in a model's text alone."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if isinstance(field.default, tuple) and isinstance(value, int):
            kind = type(model).__name__
            raise BadSetting(f"{kind}({field.name}={value}): expected a tuple; write {kind}({field.name}=({value},)).")


def parse_model(text: str) -> Model:
    """`unet`, `conv:code=16`, `unet:widths=24-48-96,blocks=3-2-1`: the inverse of `str_of(MODELS, model)`."""
    model: Model = from_text(MODELS, text, "model")
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if isinstance(field.default, tuple) and isinstance(value, int):  # a single level
            value = (value,)
            widened: Any = model
            model = dataclasses.replace(widened, **{field.name: value})
        whole = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) != isinstance(field.default, tuple) or not all(isinstance(v, int) and v > 0 for v in whole):
            raise BadSetting(f"{text}: {field.name}={value!r} is not a positive whole number, or several written 32-64-128.")
    if isinstance(model, UNet):
        model.levels  # noqa: B018, refuses what does not fit together
    return model


Target = Literal["clean", "pairs", "blind-spot", "neighbours"]
HIDDEN = 0.1  # the share of a crop's pixels that --target blind-spot hides
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]
LENGTHS = ("minutes", "steps", "epochs")  # of a run: one of them


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run; saved whole in the run folder, its checkpoints and its model."""

    noise: tuple[str, ...] = ("gaussian:0..55/255",)
    """What spoils the pictures: gaussian:25/255, camera:0..15/255, profile:camera.json,iso=800, salt-and-pepper:count=2000, masking:0.3, blocks:count=4,size=16; a..b draws from a range; + applies one after another, +clip as a file of whole numbers does; given several times, each picture draws one."""
    target: Target = "clean"
    """What is asked for: the clean picture; or, from noisy pictures alone: pairs, the other take of each, which --noisy gives; blind-spot, pixels that were hidden; neighbours, the pixels beside."""
    model: str = "auto"
    """The shape of the autoencoder: unet, conv or dense, with its sizes if you like (unet:widths=24-48-96,blocks=1); auto: unet, or that of --start-from."""
    channels: Literal["auto", "colour", "gray"] = "auto"
    """What the model sees: three channels or one; auto: three, or what the model of --start-from sees."""
    minutes: float | None = None
    """Train for so long: a short calibration fixes the number of steps. Default: 20, unless --steps or --epochs is given."""
    steps: int | None = None
    """Train for so many gradient steps."""
    epochs: float | None = None
    """Train until the crops have held as many pixels as all pictures have, so many times over."""
    start_from: str = ""
    """Start from the weights of this model, a run folder or a model.safetensors, in its shape and channels. Default: from weights drawn at random."""
    seed: int = 0
    """Every draw (weights, crops, noise) follows from this number and the step."""
    batch: int = 8
    """Crops in a batch."""
    patch: int = 48
    """Side of a crop, in pixels."""
    echo: int = 0
    """Steps in a row that a place in the batch takes its crops from one picture; 0: 1, or 128 where pictures must be decoded."""
    optimiser: Literal["adamw", "muon", "sgd"] = "adamw"
    """AdamW; Muon, which learns more from each step; or stochastic gradient descent with Nesterov momentum 0.9."""
    rate: float | None = None
    """Learning rate after the warm-up. Default: 0.002 for adamw and muon, 0.1 for sgd."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up: down to 0 along half a cosine, or the same to the end."""
    schedule_from: int = 0
    """The step at which that begins; --continue-for sets it."""
    warmup: int = 50
    """Steps over which the learning rate rises to its value."""
    ema: float = 0.998
    """Decay of the running average of the weights (the model you get), in [0, 1)."""
    cost: Literal["auto", "charbonnier", "squared", "absolute"] = "auto"
    """The pixel cost: the lecture's squared error, the absolute error (L1), or Charbonnier's smooth one, which learns faster; auto: that, but for noisy targets the squared, whose minimum is their mean."""
    alpha: float = 1.0
    """Emphasis: weight of the pixel cost where noise touched a value (Vincent et al. 2010), from 0; blind-spot has 20 unless told."""
    beta: float = 1.0
    """Emphasis: weight of the pixel cost where it touched none, from 0; blind-spot has 0."""
    pixel: float = 1.0
    """Weight of the pixel cost (the lecture's lambda 2), from 0."""
    perceptual: float | Literal["auto"] = 0.0
    """Weight of the perceptual loss (the lecture's lambda 1), from 0; auto: such that it has --perceptual-share of the gradient."""
    perceptual_share: float = 0.5
    """With --perceptual auto: its share of the gradient, above 0 and below 1, measured in the first batches."""
    features: str = "bundled"
    """The feature network: bundled, vgg16:FILE, alexnet:FILE, squeezenet1_0:FILE, squeezenet1_0-caffe:FILE or squeezenet1_1:FILE."""
    layers: str = ""
    """Its layers and their weights w_i: relu1_2=1,relu2_2=0.5. Default: the network's own."""
    half_share: float = 0.5
    """Share of crops taken at half the picture's size: finer detail to learn from than large photos have."""
    places: int = 2
    """So many places are drawn for each crop, and the one with the most detail is taken: smooth ground teaches little."""
    gray_share: float = 0.1
    """Share of a colour model's crops that are gray with one noise for all channels, so that it can clean gray pictures."""
    max_megapixels: float = 128
    """Leave out larger pictures; memory grows with the picture."""
    weights: str = ""
    """With several folders, the share of each in the crops: 1,0.2. Default: by the pixels that they hold."""
    cache: str = ""
    """Folder of decoded pictures, so that the next run over the same files starts at once. Default: ~/.cache/unnoise."""
    cache_gb: float = 20
    """Let that folder grow to so many gigabytes; pictures beyond are decoded whenever they are drawn, which is slow."""
    device: Device = "auto"
    """Where to compute; auto: on a CUDA or Apple graphics card if there is one, else on the processor."""
    precision: Precision = "auto"
    """Arithmetic of the forward and backward pass; auto: bfloat16 where the processor or the CUDA card has it."""
    compile: bool = False
    """Compile the network first (torch.compile), which needs a C++ compiler and takes a minute."""
    threads: int = 0
    """Processor threads; 0: one a core."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", (self.noise,) if isinstance(self.noise, str) else tuple(self.noise))
        object.__setattr__(self, "start_from", str(self.start_from))  # a Path is as good
        for name, value in (("model", "unet"), ("channels", "colour")):
            if getattr(self, name) == "auto" and not self.start_from:  # else it is known once that model is read
                object.__setattr__(self, name, value)
        if self.cost == "auto":
            object.__setattr__(self, "cost", "charbonnier" if self.target == "clean" else "squared")
        if self.target == "blind-spot" and self.beta == 1:
            object.__setattr__(self, "beta", 0.0)
            if self.alpha == 1:
                object.__setattr__(self, "alpha", 1 / HIDDEN)  # so that the cost is the mean over what is hidden
        if self.target == "neighbours" and (self.alpha, self.beta) != (1, 1):
            raise BadSetting("target='neighbours' asks for every pixel alike; leave --alpha and --beta out.")
        self._check_whole()
        for name, low, high, expected in (
            ("minutes", 0, 1e6, "minutes above 0"),
            ("steps", 1, 1e9, "at least 1 step"),
            ("epochs", 0, 1e6, "a number above 0"),
            ("batch", 1, 4096, "1 to 4096 crops"),
            ("patch", 8, 4096, "8 to 4096 pixels"),
            ("echo", 0, 1e9, "1 step or more, or 0"),
            ("schedule_from", 0, 1e9, "a step"),
            ("rate", 0, 1e9, "a learning rate above 0"),
            ("warmup", 0, 1e9, "0 steps or more"),
            ("ema", 0, 0.99999, "a decay of at least 0 and below 1"),
            ("pixel", 0, 1e9, "a weight from 0"),
            ("alpha", 0, 1e9, "a weight from 0"),
            ("beta", 0, 1e9, "a weight from 0"),
            ("perceptual_share", 0, math.nextafter(1, 0), "a share above 0 and below 1"),
            ("half_share", 0, 1, "a share from 0 to 1"),
            ("places", 1, 64, "1 to 64 places"),
            ("gray_share", 0, 1, "a share from 0 to 1"),
            ("max_megapixels", 0, 1e6, "millions of pixels above 0; the usual limit is 128"),
            ("cache_gb", 0, 1e9, "gigabytes from 0"),
            ("seed", 0, 2**63 - 1, "a whole number from 0"),
            ("threads", 0, 1024, "0 to 1024 threads"),
        ):
            value = getattr(self, name)
            above = name in ("minutes", "epochs", "rate", "perceptual_share", "max_megapixels")
            if value is not None and not (low < value <= high if above else low <= value <= high):
                raise BadSetting(f"{name}={value!r}: expected {expected}.")
        for name, choices in (
            ("target", get_args(Target)),
            ("channels", ("auto", "colour", "gray")),
            ("optimiser", ("adamw", "muon", "sgd")),
            ("schedule", ("cosine", "constant")),
            ("cost", ("charbonnier", "squared", "absolute")),
            ("device", ("auto", "cpu", "cuda", "mps")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if getattr(self, name) not in choices:
                raise BadSetting(f"{name}={getattr(self, name)!r}: {did_you_mean(str(getattr(self, name)), choices)}")
        self._check_weights()
        self._check_target()
        shares = self.shares or (1.0,)
        if not all(0 <= share < math.inf for share in shares) or not sum(shares):
            raise BadSetting(f"weights={self.weights!r}: expected numbers from 0, not all 0, such as 1,0.2.")
        if self.steps is not None and self.schedule_from >= self.steps:
            raise BadSetting(f"schedule_from={self.schedule_from}, steps={self.steps}: expected a step before the last.")
        if not self.alpha + self.beta:
            raise BadSetting("alpha=0, beta=0: nothing would be learned; give one of them a weight above 0.")
        if not self.noise:
            raise BadSetting("noise=(): expected at least one noise; write gaussian:25/255, for example.")
        lengths = [f"{name}={getattr(self, name):g}" for name in LENGTHS if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise BadSetting(f"{' and '.join(lengths)}: expected one of them; leave the others out.")
        if self.model != "auto" and self.patch % alignment(parse_model(self.model)):
            grid = alignment(parse_model(self.model))
            raise BadSetting(f"patch={self.patch}: model {self.model} works on a grid of {grid}; use a multiple of {grid}.")

    def _check_whole(self) -> None:
        """What is counted is a whole number: 100.0 is, 1.5 is not."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "int | None") and value is not None:
                if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
                    raise BadSetting(f"{field.name}={value!r}: expected a whole number.")
                object.__setattr__(self, field.name, int(value))

    def _check_weights(self) -> None:
        """lambda 1 and lambda 2: from 0, not both 0, and nothing said of a perceptual loss that is not used."""
        if isinstance(self.perceptual, str):
            if self.perceptual != "auto":
                raise BadSetting(f"perceptual={self.perceptual!r}: expected a weight from 0, or auto.")
            if not self.pixel:
                raise BadSetting(
                    "perceptual='auto' with pixel=0: there is no pixel cost to share the gradient with; give a number."
                )
        elif not 0 <= self.perceptual <= 1e9:
            raise BadSetting(f"perceptual={self.perceptual!r}: expected a weight from 0, or auto.")
        elif not self.perceptual + self.pixel:
            raise BadSetting("pixel=0, perceptual=0: nothing would be learned; give one of them a weight above 0.")
        elif not self.perceptual and (self.features, self.layers) != (TrainConfig.features, TrainConfig.layers):
            raise BadSetting("features and layers belong to the perceptual loss; give it a weight too: --perceptual auto.")

    def _check_target(self) -> None:
        """Raise BadSetting for what a noisy target does not go with."""
        if self.target != "clean" and self.perceptual:
            raise BadSetting(
                f"target={self.target!r}, perceptual={self.perceptual!r}: features of a noisy target are no mean of clean ones; leave --perceptual out."
            )
        if self.target == "blind-spot" and self.beta:
            raise BadSetting(
                f"beta={self.beta:g} with target='blind-spot': the input tells what is not hidden; leave --beta out."
            )

    @property
    def crop(self) -> int:
        """Side in pixels of what is cut out of a picture: the patch; twice as much where neighbours are taken apart."""
        return 2 * self.patch if self.target == "neighbours" else self.patch

    @property
    def shares(self) -> tuple[float, ...]:
        """The numbers of `weights`. Raises BadSetting."""
        return tuple(float(number(text)) for text in self.weights.split(",")) if self.weights else ()

    @property
    def steps_or_raise(self) -> int:
        """The number of steps, once it is settled: `minutes` and `epochs` are turned into steps before the first."""
        assert self.steps is not None
        return self.steps


def scored_on(target: str = "clean") -> str:
    """What the validation of a run with that target scores, in words."""
    words = {"clean": "validation crops", "pairs": "noisy other takes of validation crops"}
    return words.get(target, "hidden pixels of noisy validation crops")


def settings_in(path: Path) -> dict[str, Any]:
    """The settings of a TOML or JSON file, by the names of TrainConfig's fields; of a run's config.json, that run's.

    Raises BadSetting for a file that cannot be read, and for a name that there is not.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        found = {key: value for key, value in found.get("config", found).items() if key != "schedule_from"}  # of that run alone
        settings = {name.replace("-", "_"): value for name, value in found.items() if value is not None}
    except OSError as error:
        raise BadSetting(
            f"--config {path} cannot be opened ({error.strerror}); give a TOML or JSON file of settings."
        ) from None
    except (ValueError, AttributeError):
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise BadSetting(
            f"--config {path} is no {kind}; expected lines such as rate = 0.001 in a file that ends in .toml."
        ) from None
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in settings:
        if name not in names:
            raise BadSetting(f"--config {path}: there is no setting {name!r}; {did_you_mean(name, names)}")
    return settings
