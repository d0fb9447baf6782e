"""Feature networks: the d_i(I) that a perceptual loss compares pictures by.

Three sources: the encoder that comes with unnoise, trained by this project (`bundled`); VGG16, SqueezeNet and AlexNet written
out here, with weights from a file of yours; and any torch module, by the names of its submodules. Networks take
(N, 3, H, W) in [0, 1] and bring their own input normalisation.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import artefact, bundled
from .config import Model, UNet, alignment, parse_model
from .errors import BadSetting, ImageError, ModelError, did_you_mean
from .model import OnGrid, UNetEncoder
from .notation import number

BUNDLED = bundled.FOLDER / "features.safetensors"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of RGB, as torchvision's weights expect
CAFFE = (123 / 255, 117 / 255, 104 / 255), (1 / 255, 1 / 255, 1 / 255)  # RGB; Caffe's weights expect 0 to 255


class Normalise(nn.Module):
    """(I - mean) / deviation, channel by channel; `bgr` then turns the channels' order around."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Iterable[float], deviation: Iterable[float], bgr: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([*mean]).view(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor([*deviation]).view(-1, 1, 1))
        self.bgr = bgr

    def forward(self, image: Tensor) -> Tensor:
        image = (image - self.mean) / self.deviation
        return image.flip(1) if self.bgr else image


class Network(nn.Sequential):
    """A feature network of ours: its modules in order, for pictures of three channels."""

    channels = 3


class Features(nn.Module):
    """d_i for the named layers of a network: called on pictures, it gives {layer: (N, F_i, H_i, W_i)}.

    `network` is any torch module that takes (N, C, H, W) in [0, 1]; a layer is the name of a submodule, as
    `network.named_modules()` has it. What is kept is a copy, frozen and in eval mode for good. Gray pictures go into a
    colour network as three equal channels. Raises BadSetting for a layer that there is not, or that gives no map;
    ImageError for pictures that cannot go through, such as those smaller than the deepest layer needs.
    """

    def __init__(self, network: nn.Module, layers: Iterable[str]) -> None:
        super().__init__()
        self.network, self.layers = copy.deepcopy(network).requires_grad_(False).eval(), list(layers)
        names = [name for name, _ in self.network.named_modules() if name]
        for layer in self.layers:
            if layer not in names:
                there = ", ".join(name for name in names if "." not in name) or "none"
                raise BadSetting(f"there is no layer {layer!r} in the feature network; there are {there}.")
        first = next((m.in_channels for m in self.network.modules() if isinstance(m, nn.Conv2d)), None)
        self.channels = getattr(self.network, "channels", first)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = image.expand(-1, 3, -1, -1) if image.shape[1] == 1 and self.channels == 3 else image
        maps: dict[str, Tensor] = {}

        def keep(layer: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                del module, inputs
                if isinstance(output, Tensor):
                    maps[layer] = output.clone()  # the next module may write in place

            return hook

        hooks = [self.network.get_submodule(layer).register_forward_hook(keep(layer)) for layer in self.layers]
        in_order = isinstance(self.network, nn.Sequential) and type(self.network).forward is nn.Sequential.forward
        try:
            for module in self.network.children() if in_order else [self.network]:
                x = module(x)
                if len(maps) == len(self.layers):
                    break  # what lies deeper is not asked for
        except RuntimeError as error:
            if "memory" in str(error):
                raise
            raise ImageError(
                f"pictures of {tuple(image.shape)} cannot go through the feature network ({_first_sentence(error)}); expected the "
                f"channels it takes, and no fewer pixels than {', '.join(self.layers)} need: a larger --patch, for example."
            ) from None
        finally:
            for handle in hooks:
                handle.remove()
        for layer in self.layers:
            if layer not in maps or maps[layer].ndim != 4 or not maps[layer].numel():
                raise BadSetting(f"layer {layer!r} gives no map (N, F, H, W) of these pictures; choose another layer.")
        return maps

    def train(self, mode: bool = True) -> Features:
        """Stays in eval mode: a ruler must not change with what it measures."""
        del mode
        return super().train(False)


def _first_sentence(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]


def load(text: str = "bundled") -> tuple[Network, dict[str, float]]:
    """A feature network by its text, and the layers and weights to compare by unless others are given.

    `bundled`, or a network and a file of its weights: vgg16:FILE, alexnet:FILE, squeezenet1_0:FILE, squeezenet1_1:FILE
    (torchvision's names and input, as .pth or .safetensors), squeezenet1_0-caffe:FILE (its first release's input). No code
    in a file is run. Raises BadSetting for an unknown network, ModelError for a file that is not its weights.
    """
    kind, _, file = text.partition(":")
    if text == "bundled":
        return load_encoder(BUNDLED)
    if kind not in NETWORKS:
        raise BadSetting(f"features {text!r}: there is no {kind!r}; {did_you_mean(kind, ['bundled', *NETWORKS])}")
    if not file:
        raise BadSetting(f"features {text!r}: expected a file of its weights; write {kind}:FILE.")
    make, layer = NETWORKS[kind]
    modules, tensors = make(), _tensors(Path(file))
    for index, (name, module) in enumerate(modules.items()):
        theirs = "classifier.1" if name == "conv10" else f"features.{index}"  # torchvision counts every module
        for part, parameter in module.named_parameters():
            parameter.data = _fitting(
                Path(file), tensors, f"{theirs}.{part}", tuple(parameter.shape), f"{kind} with torchvision's names"
            )
    normalise = Normalise(*CAFFE, bgr=True) if kind.endswith("caffe") else Normalise(*IMAGENET)
    return Network(OrderedDict(normalise=normalise, **modules)), {layer: 1.0}


def fingerprint(text: str) -> str:
    """SHA-256 of the file of weights that `load(text)` reads. Raises ModelError."""
    file = Path(text.partition(":")[2] or BUNDLED)
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}); give a file of weights.") from None


def load_encoder(path: Path) -> tuple[Network, dict[str, float]]:
    """The encoder of a U-Net, from a file of its tensors, as a feature network, and the weight of each level.

    The weights make every level count alike: one over the mean square of its maps of clean photographs. Raises ModelError.
    """
    tensors, card = artefact.read(path)
    try:
        network = encoder_network(parse_model(card["architecture"]), tensors)
        weights = {str(layer): float(weight) for layer, weight in card["weights"].items()}
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError):
        raise ModelError(f"{path} holds no feature encoder; expected a file that benchmarks/features.py wrote.") from None
    return network, weights


def encoder_network(model: Model, tensors: Mapping[str, npt.NDArray[Any]]) -> Network:
    """The encoder of a U-Net for colour as a feature network, its levels the layers level1 (finest), level2, ..."""
    if not isinstance(model, UNet):
        raise BadSetting(f"{type(model).__name__}: expected a U-Net, whose levels are maps of features; choose another model.")
    encoder = UNetEncoder(model, Network.channels)
    encoder.load_state_dict({name: torch.from_numpy(tensor).float() for name, tensor in tensors.items()})
    parts = OrderedDict[str, nn.Module](grid=OnGrid(alignment(model)), fold=nn.PixelUnshuffle(model.fold), head=encoder.head)
    for index, level in enumerate(encoder.levels):
        if index:
            parts[f"down{index}"] = encoder.down[index - 1]
        parts[f"level{index + 1}"] = level
    return Network(parts)


def layer_weights(text: str) -> dict[str, float]:
    """`relu1_2=1,relu2_2=0.5` as {layer: weight}; a layer alone has weight 1. Raises BadSetting."""
    pairs = [part.partition("=") for part in text.split(",")]
    weights = {layer.strip(): float(number(weight)) if equals else 1.0 for layer, equals, weight in pairs}
    if len(weights) != len(pairs):
        raise BadSetting(f"layers {text!r}: a layer is given twice; give it once.")
    return weights


# --- the networks, with torchvision's order of modules -------------------------------------------------------------------------


class Fire(nn.Module):
    """SqueezeNet's module: squeeze to few maps, then expand by 1 x 1 and 3 x 3 side by side (Iandola et al. 2016)."""

    def __init__(self, before: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


def vgg16() -> dict[str, nn.Module]:
    """The convolutional part of VGG16 (Simonyan & Zisserman 2015, configuration D)."""
    modules: dict[str, nn.Module] = {}
    before = 3
    for block, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for place in range(1, depth + 1):
            modules[f"conv{block}_{place}"] = nn.Conv2d(before, width, 3, padding=1)
            modules[f"relu{block}_{place}"] = nn.ReLU()
            before = width
        modules[f"pool{block}"] = nn.MaxPool2d(2)
    return modules


def alexnet() -> dict[str, nn.Module]:
    """The convolutional part of AlexNet (Krizhevsky 2014, "One weird trick")."""
    return {
        "conv1": nn.Conv2d(3, 64, 11, 4, 2), "relu1": nn.ReLU(), "pool1": nn.MaxPool2d(3, 2),
        "conv2": nn.Conv2d(64, 192, 5, padding=2), "relu2": nn.ReLU(), "pool2": nn.MaxPool2d(3, 2),
        "conv3": nn.Conv2d(192, 384, 3, padding=1), "relu3": nn.ReLU(),
        "conv4": nn.Conv2d(384, 256, 3, padding=1), "relu4": nn.ReLU(),
        "conv5": nn.Conv2d(256, 256, 3, padding=1), "relu5": nn.ReLU(), "pool5": nn.MaxPool2d(3, 2),
    }  # fmt: skip


def squeezenet(first: nn.Conv2d, pooled: tuple[int, ...]) -> dict[str, nn.Module]:
    """SqueezeNet, its classifier included: `relu10`, averaged over the map, holds the scores of 1000 classes."""
    modules: dict[str, nn.Module] = {"conv1": first, "relu1": nn.ReLU(), "pool1": nn.MaxPool2d(3, 2, ceil_mode=True)}
    before = first.out_channels
    for index in range(2, 10):
        squeeze = 16 * (index // 2)  # 16, 16, 32, 32, 48, 48, 64, 64, expanded to eight times as many
        modules[f"fire{index}"] = Fire(before, squeeze, 4 * squeeze)
        before = 8 * squeeze
        if index in pooled:
            modules[f"pool{index}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    return {**modules, "conv10": nn.Conv2d(512, 1000, 1), "relu10": nn.ReLU()}


def squeezenet1_0() -> dict[str, nn.Module]:
    return squeezenet(nn.Conv2d(3, 96, 7, 2), (4, 8))


def squeezenet1_1() -> dict[str, nn.Module]:
    return squeezenet(nn.Conv2d(3, 64, 3, 2), (3, 5))


NETWORKS = {  # and the layer to compare by: Johnson et al. 2016 took relu2_2 for sharp pictures; an early layer in the others too
    "vgg16": (vgg16, "relu2_2"),
    "alexnet": (alexnet, "relu2"),
    "squeezenet1_0": (squeezenet1_0, "fire3"),
    "squeezenet1_0-caffe": (squeezenet1_0, "fire3"),
    "squeezenet1_1": (squeezenet1_1, "fire3"),
}


# --- files of weights ----------------------------------------------------------------------------------------------------------


def _tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors, .npz or torch file, by readers that run no code in it. Raises ModelError."""
    try:
        if path.suffix == ".safetensors":
            tensors: Any = safetensors.torch.load_file(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a pickle that is refused anyway
                tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; give a file of weights.") from None
    except Exception as error:  # the readers raise whatever a file that is not theirs leads them to
        words = f"cannot be read as weights ({type(error).__name__})"
        raise ModelError(f"{path} {words}; expected .safetensors, .npz or a torch state dict.") from None
    if not isinstance(tensors, Mapping):
        raise ModelError(f"{path} holds a {type(tensors).__name__}; expected tensors by name, a state dict.")
    return dict(tensors)


def _fitting(path: Path, tensors: dict[str, Tensor], name: str, shape: tuple[int, ...], what: str) -> Tensor:
    """The tensor of that name and shape, float32. Raises ModelError."""
    if not isinstance(tensors.get(name), Tensor):
        raise ModelError(f"{path} has no tensor {name}; expected weights of {what}.")
    if tuple(tensors[name].shape) != shape:
        raise ModelError(f"{path}: {name} has the shape {tuple(tensors[name].shape)}; expected {shape}, weights of {what}.")
    return tensors[name].float()


# --- a learned distance ----------------------------------------------------------------------------------------------------------

LPIPS_LAYERS = {
    "alexnet": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
    "squeezenet1_1": ("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
}


class LPIPS(nn.Module):
    """The learned perceptual distance, version 0.1: how different two pictures look; 0 for equal ones.

    Maps of the backbone, each pixel's features scaled to length 1, squared differences weighed by the learned head of each
    layer, the mean over the map, the sum over layers. (N, C, H, W) in [0, 1], twice, to one number, the mean over N.
    Source: Zhang et al. 2018, doi:10.1109/CVPR.2018.00068, equation 1. `backbone`: alexnet:FILE, vgg16:FILE or
    squeezenet1_1:FILE; `heads`: the file of its linear layers. Raises BadSetting, ModelError, ImageError.
    """

    def __init__(self, backbone: str, heads: Path | str) -> None:
        super().__init__()
        kind = backbone.partition(":")[0]
        if kind not in LPIPS_LAYERS:
            raise BadSetting(f"backbone {backbone!r}: LPIPS has no heads for {kind!r}; {did_you_mean(kind, LPIPS_LAYERS)}")
        self.features = Features(load(backbone)[0], LPIPS_LAYERS[kind])
        tensors, what = _tensors(Path(heads)), f"the LPIPS heads of {kind}"
        with torch.no_grad():
            maps = self.features(torch.zeros(1, 3, 64, 64))
        for index, layer in enumerate(self.features.layers):
            shape = (1, maps[layer].shape[1], 1, 1)
            self.register_buffer(f"head{index}", _fitting(Path(heads), tensors, f"lin{index}.model.1.weight", shape, what))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        if output.shape != target.shape:
            raise BadSetting(f"output {tuple(output.shape)}, target {tuple(target.shape)}: expected one shape, (N, C, H, W).")
        return self.between(self.features(output), self.features(target))

    def between(self, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
        """The same from the maps that `features` gives of both, so that those of a target can be kept for several outputs."""
        apart = [(_unit(one[layer]) - _unit(other[layer])) ** 2 for layer in self.features.layers]
        heads = (self.get_buffer(f"head{index}") for index in range(len(apart)))
        return torch.stack([(head * squares).sum(1).mean() for head, squares in zip(heads, apart, strict=True)]).sum()


def _unit(maps: Tensor) -> Tensor:
    """Each pixel's features at length 1; 1e-20 keeps the root's gradient finite where all are 0."""
    return maps / ((maps.pow(2).sum(1, keepdim=True) + 1e-20).sqrt() + 1e-10)
