"""The perceptual loss against its formula in numpy, and the feature networks against independent forward passes."""

import copy
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SKIMAGE, Bomb, refusal
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch import nn

import unnoise
from unnoise import artefact, data, perceptual
from unnoise.config import TrainConfig, UNet
from unnoise.errors import BadSetting, ImageError, ModelError, UnnoiseError
from unnoise.losses import FeatureReconstruction, GeneralLoss, PerceptualLoss, SquaredError
from unnoise.model import Autoencoder, as_tensor
from unnoise.perceptual import LPIPS, Features

torch.set_num_threads(1)
WEIGHTS = Path(__file__).parents[2] / "shared" / "data" / "weights"
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="the reference weights in ../shared are not there")


def network(channels=3):
    """A small network of the kind that users bring: nested, with an in-place ReLU after a layer one may ask for."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(inplace=True)), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()
    ).double()  # fmt: skip


def pictures(count, height, width, channels=3, seed=0):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- in numpy, from the definitions ---------------------------------------------------------------------------------------------


def conv(x, layer):
    """(F, H, W) to the layer's maps: the definition of a convolution with stride and padding."""
    (up, left), (down, right), (kernel, _) = layer.padding, layer.stride, layer.kernel_size
    windows = sliding_window_view(np.pad(x, ((0, 0), (up, up), (left, left))), (kernel, kernel), (1, 2))[:, ::down, ::right]
    return (
        np.einsum("chwij,fcij->fhw", windows, layer.weight.detach().numpy(), optimize=True)
        + layer.bias.detach().numpy()[:, None, None]
    )


def pool(x, side, stride, ceil=False):
    """Max pooling; with `ceil`, a last window that hangs over the edge counts."""
    if ceil:
        x = np.pad(x, ((0, 0), *((0, -(length - side) % stride) for length in x.shape[1:])), constant_values=-np.inf)
    return sliding_window_view(x, (side, side), (1, 2))[:, ::stride, ::stride].max((3, 4))


def relu(x):
    return np.maximum(x, 0)


def maps_of(x):
    """The maps of `network()`, by layer, of one picture."""
    net = network(x.shape[0])
    maps = {"0.0": conv(x, net[0][0])}
    maps["0"] = relu(maps["0.0"])
    maps["1"] = pool(maps["0"], 2, 2)
    maps["2"] = conv(maps["1"], net[2])
    return maps


@pytest.mark.parametrize("layer", ["0.0", "0", "1", "2"])
@pytest.mark.parametrize(("count", "height", "width"), [(1, 8, 8), (3, 7, 13), (2, 21, 9)])
def test_l_fr_is_its_formula(layer, count, height, width):
    """Fails if the sum is not divided by W * H * F, the batch is summed, or an in-place ReLU changed the map of the layer before."""
    one, other = pictures(count, height, width), pictures(count, height, width, seed=1)
    expected = 0.0
    for a, b in zip(one.numpy(), other.numpy(), strict=True):
        d1, d2 = maps_of(a)[layer], maps_of(b)[layer]
        features, tall, wide = d1.shape
        expected += np.linalg.norm(d1 - d2) ** 2 / (wide * tall * features) / count
    assert PerceptualLoss(network(), {layer: 1.0})(one, other).item() == pytest.approx(expected, rel=1e-9)  # float64
    maps = [Features(network(), [layer])(x)[layer] for x in (one, other)]
    assert FeatureReconstruction()(*maps).item() == pytest.approx(expected, rel=1e-9)


class InPlace(nn.Module):
    """As residual networks do it: what one layer gave is written over by a line of the forward pass."""

    def __init__(self):
        super().__init__()
        self.conv = network()[0][0]

    def forward(self, x):
        x = self.conv(x)
        x += 1
        return x


def test_maps_are_kept_as_the_layer_gave_them():
    """Fails if what the network does later, in place, changes a map: for any two pictures alike it would not show in a distance."""
    x = pictures(1, 6, 6)
    np.testing.assert_allclose(Features(InPlace(), ["conv"])(x)["conv"][0].numpy(), maps_of(x[0].numpy())["0.0"], atol=1e-12)


def test_a_copy_measures_as_the_original():
    """Fails if a copied loss leans on what the original keeps."""
    cost = PerceptualLoss(network(), {"2": 1.0})
    assert copy.deepcopy(cost)(pictures(1, 9, 9), pictures(1, 9, 9, seed=1)) == cost(
        pictures(1, 9, 9), pictures(1, 9, 9, seed=1)
    )


class Doubled(nn.Sequential):
    """A Sequential whose forward pass is its own."""

    def forward(self, x):
        return super().forward(2 * x)


def test_a_forward_pass_of_its_own_is_used():
    """Fails if a subclass of Sequential is run module by module, past its own forward pass."""
    x = pictures(1, 8, 8)
    torch.testing.assert_close(Features(Doubled(*network()), ["2"])(x)["2"], Features(network(), ["2"])(2 * x)["2"])


def test_l_per_is_the_weighted_sum():
    """Fails if a weight goes to another layer, is squared, or the weights are made to sum to one."""
    one, other = pictures(2, 9, 11), pictures(2, 9, 11, seed=1)
    alone = {layer: PerceptualLoss(network(), {layer: 1.0})(one, other).item() for layer in ("2", "0.0", "1")}
    weights = {"2": 0.5, "0.0": 3.0, "1": 0.0}
    expected = sum(weights[layer] * alone[layer] for layer in weights)
    assert PerceptualLoss(network(), weights)(one, other).item() == pytest.approx(expected, rel=1e-12)
    general = GeneralLoss(pixel=0.25, perceptual=2.0, perceptual_loss=PerceptualLoss(network(), weights))
    pixels = SquaredError()(one, other).item()
    assert general(one, other).item() == pytest.approx(2.0 * expected + 0.25 * pixels, rel=1e-12)


def test_equal_pictures_cost_nothing():
    """Fails if anything but the difference of the pictures enters: dropout, batch statistics, noise."""
    shaky = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).double()
    assert PerceptualLoss(shaky, {"2": 1.0})(pictures(2, 8, 8), pictures(2, 8, 8)).item() == 0


def test_gradient_is_that_of_finite_differences():
    """Fails if the output's features are cut out of the graph; float64, central differences."""
    cost, target = PerceptualLoss(network(), {"0": 1.0, "2": 2.0}), pictures(1, 8, 8, seed=1)
    output = pictures(1, 8, 8).requires_grad_()
    cost(output, target).backward()
    step, rng = 1e-6, np.random.default_rng(5)
    for _ in range(20):
        place = (0, *(int(rng.integers(side)) for side in output.shape[1:]))
        costs = []
        for change in (step, -step):
            moved = output.detach().clone()
            moved[place] += change
            costs.append(cost(moved, target).item())
        assert output.grad[place].item() == pytest.approx((costs[0] - costs[1]) / (2 * step), rel=1e-5, abs=1e-9)


def test_the_target_is_seen_once_and_without_gradient():
    """Fails if the clean picture's features are computed twice, or a gradient runs into the clean picture."""
    cost, seen = PerceptualLoss(network(), {"0": 1.0, "2": 1.0}), []
    cost.features.network[0][0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    output, target = pictures(1, 8, 8).requires_grad_(), pictures(1, 8, 8, seed=1).requires_grad_()
    cost(output, target).backward()
    assert [one is target for one in seen].count(True) == 1
    assert len(seen) == 2
    assert target.grad is None
    assert output.grad is not None


def test_neither_network_nor_ruler_changes(learning, photos, tmp_path, monkeypatch):
    """Fails if training moves the feature network, its statistics or the user's own module, or leaves eval mode."""
    user = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    before, losses = copy.deepcopy(user.state_dict()), []

    def loss_of(config):
        losses.append(PerceptualLoss(user, {"1": 1.0}))
        return losses[-1].train()

    monkeypatch.setattr(learning, "perceptual_loss_of", loss_of)
    unnoise.train(
        photos, tmp_path / "run", steps=5, perceptual=0.5, batch=2, model="unet:widths=8-8,blocks=1", threads=1, channels="gray"
    )
    loss = losses[-1]  # the one of the loop; the settings were tried on another
    for state in (user.state_dict(), loss.features.network.state_dict()):
        assert all(torch.equal(state[name], before[name]) for name in before)
    assert not any(module.training for module in loss.features.modules())
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert user.training
    assert user[2].inplace


@pytest.mark.parametrize("ours", [False, True])
def test_gray_pictures_go_in_as_three_channels(ours):
    """Fails if a gray picture is refused by a colour network, or is not seen as the same picture in three channels."""
    cost = PerceptualLoss(*perceptual.load()).double() if ours else PerceptualLoss(network(), {"2": 1.0})
    one, other = pictures(2, 9, 9, 1), pictures(2, 9, 9, 1, seed=1)
    assert cost(one, other).item() > 0
    assert cost(one, other).item() == cost(one.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1)).item()


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (
            lambda: PerceptualLoss(network(), {"0.3": 1.0}),
            BadSetting,
            "there is no layer '0.3' in the feature network; there are 0, 1, 2, 3.",
        ),
        (lambda: PerceptualLoss(network(), {"2": 1.0, "xyz": 0.0}), BadSetting, "there is no layer 'xyz'"),
        (lambda: PerceptualLoss(network(), {"2": -1.0}), BadSetting, "expected a weight from 0 for each layer"),
        (lambda: PerceptualLoss(network(), {"2": 0.0, "1": 0.0}), BadSetting, "one of them above 0"),
        (lambda: PerceptualLoss(network(), {"2": math.nan}), BadSetting, "expected a weight from 0"),
        (lambda: PerceptualLoss(network(), {}), BadSetting, "expected a weight from 0"),
        (
            lambda: PerceptualLoss(network(), {"2": 1.0})(*[pictures(1, 3, 3)] * 2),
            ImageError,
            "pictures of (1, 3, 3, 3) cannot go",
        ),
        (
            lambda: PerceptualLoss(network(1), {"2": 1.0})(*[pictures(1, 9, 9)] * 2),
            ImageError,
            "expected the channels it takes",
        ),
        (lambda: PerceptualLoss(network(), {"2": 1.0})(pictures(1, 9, 9), pictures(1, 9, 8)), BadSetting, "expected one shape"),
        (
            lambda: PerceptualLoss(nn.Flatten(), {"": 1.0}),
            BadSetting,
            "there is no layer '' in the feature network; there are none.",
        ),
        (
            lambda: FeatureReconstruction()(torch.rand(3, 4), torch.rand(3, 4)),
            BadSetting,
            "maps of (3, 4): expected (N, F, H, W)",
        ),
        (lambda: PerceptualLoss(nn.Sequential(nn.Flatten()), {"0": 1.0})(*[pictures(1, 9, 9)] * 2), BadSetting, "gives no map"),
        (lambda: perceptual.layer_weights("relu1=1,relu1=2"), BadSetting, "a layer is given twice"),
        (lambda: perceptual.layer_weights("relu1=x"), BadSetting, "expected a number"),
        (lambda: perceptual.load("bundled:a"), BadSetting, "there is no 'bundled'; did you mean bundled?"),
        (lambda: perceptual.load("vgg16"), BadSetting, "write vgg16:FILE"),
        (lambda: perceptual.load("vgg:a.pth"), BadSetting, "did you mean vgg16?"),
        (lambda: perceptual.load("vgg16:no-such.pth"), ModelError, "no-such.pth does not exist"),
        (lambda: LPIPS("squeezenet1_0:a.pth", "b.pth"), BadSetting, "LPIPS has no heads for 'squeezenet1_0'"),
    ],
)
def test_what_cannot_be_compared(call, kind, says):
    """Fails if a wrong layer, weight, network or size goes on unnoticed, or is told as torch tells it."""
    assert says in refusal(call, kind)


def test_layers_as_text():
    """Fails if a weight is lost or misread on its way from --layers."""
    assert perceptual.layer_weights("relu1_2=1, relu2_2=1/4,levels.0") == {"relu1_2": 1.0, "relu2_2": 0.25, "levels.0": 1.0}


# --- the networks written out ------------------------------------------------------------------------------------------------------

STATES = {  # torchvision's names and shapes, from its published state dicts: (tensors, parameters, some of them)
    "vgg16": (26, 14_714_688, {"features.0.weight": (64, 3, 3, 3), "features.28.weight": (512, 512, 3, 3)}),
    "alexnet": (10, 2_469_696, {"features.0.weight": (64, 3, 11, 11), "features.10.bias": (256,)}),
    "squeezenet1_0": (52, 1_248_424, {"features.3.expand3x3.weight": (64, 16, 3, 3), "features.12.squeeze.weight": (64, 512, 1, 1)}),
    "squeezenet1_1": (52, 1_235_496, {"features.0.weight": (64, 3, 3, 3), "features.12.expand1x1.weight": (256, 64, 1, 1)}),
}  # fmt: skip


def state_of(kind, seed=0):
    """Random weights with the names that torchvision gives them, of a size that keeps the maps' values near one."""
    torch.manual_seed(seed)
    state = {}
    for index, (name, module) in enumerate(perceptual.NETWORKS[kind][0]().items()):
        for part, parameter in module.named_parameters():
            key = f"{'classifier.1' if name == 'conv10' else f'features.{index}'}.{part}"
            state[key] = (
                torch.randn(parameter.shape) * (2 / max(parameter[0].numel(), 1)) ** 0.5 * (0.1 if part.endswith("bias") else 1)
            )
    return state


@pytest.mark.parametrize("kind", STATES)
def test_names_and_shapes_are_torchvisions(kind):
    """Fails if a user's weight file would not fit: counts and shapes are those of torchvision's state dicts."""
    tensors, parameters, some = STATES[kind]
    state = state_of(kind)
    assert (len(state), sum(tensor.numel() for tensor in state.values())) == (tensors, parameters)
    assert {name: tuple(state[name].shape) for name in some} == some


def save(state, path):
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    elif path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_weights_are_loaded(tmp_path, suffix):
    """Fails if a kind of file is not read, a tensor lands elsewhere, or what a classifier adds is in the way."""
    state = state_of("alexnet")
    file = save({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / f"alexnet{suffix}")
    net, weights = perceptual.load(f"alexnet:{file}")
    assert torch.equal(net.conv5.weight, state["features.10.weight"])
    assert weights == {"relu2": 1.0}
    x = torch.rand(1, 3, 64, 64)
    normalised = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(Features(net, ["normalise"])(x)["normalise"], normalised)


def test_nothing_is_unpickled(tmp_path):
    """Fails if a weight file can run code."""
    for name in ("a.pth", "a.npz", "a.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "made")))
        refusal(lambda name=name: perceptual.load(f"alexnet:{tmp_path / name}"), ModelError)
    np.savez(tmp_path / "b.npz", **{"features.0.weight": np.array([Bomb(tmp_path / "made")], object)})
    refusal(lambda: perceptual.load(f"alexnet:{tmp_path / 'b.npz'}"), ModelError)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("features.8.bias"), "has no tensor features.8.bias; expected weights of alexnet"),
        (
            lambda state: state.update({"features.8.bias": torch.zeros(3)}),
            "features.8.bias has the shape (3,); expected (256,)",
        ),
        (lambda state: state.update({"features.8.bias": 3}), "has no tensor features.8.bias"),
    ],
)
def test_a_wrong_file_names_the_tensor(tmp_path, change, says):
    """Fails if weights of another network are taken, or the message does not say which tensor is missing or misshapen."""
    state = state_of("alexnet")
    change(state)
    assert says in refusal(lambda: perceptual.load(f"alexnet:{save(state, tmp_path / 'a.pth')}"), ModelError)


def fire(x, module):
    x = relu(conv(x, module.squeeze))
    return np.concatenate([relu(conv(x, module.expand1x1)), relu(conv(x, module.expand3x3))])


def forward(kind, net, x):
    """The maps that LPIPS looks at, in numpy; the order of layers is from the papers, not from the modules' list."""
    x = (x - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    maps = []
    if kind == "alexnet":
        for number, pooled in ((1, False), (2, True), (3, True), (4, False), (5, False)):
            x = relu(conv(pool(x, 3, 2) if pooled else x, getattr(net, f"conv{number}")))
            maps.append(x)
    elif kind == "vgg16":
        for block, depth in enumerate((2, 2, 3, 3, 3), 1):
            x = pool(x, 2, 2) if block > 1 else x
            for place in range(1, depth + 1):
                x = relu(conv(x, getattr(net, f"conv{block}_{place}")))
            maps.append(x)
    else:
        x = relu(conv(x, net.conv1))
        maps.append(x)
        for first, last in ((2, 3), (4, 5), (6, 9)):
            x = pool(x, 3, 2, ceil=True)
            for number in range(first, last + 1):
                x = fire(x, getattr(net, f"fire{number}"))
                if number in (3, 5, 6, 7, 8, 9):
                    maps.append(x)
    return maps


@pytest.mark.parametrize(("kind", "heads"), [("alexnet", "alex"), ("vgg16", "vgg"), ("squeezenet1_1", "squeeze")])
@needs_weights
def test_lpips_against_numpy(tmp_path, kind, heads):
    """Fails if a layer, the unit length, a head or a mean of LPIPS is off: the published heads on random backbones."""
    file = save(state_of(kind), tmp_path / "a.pth")
    distance = LPIPS(f"{kind}:{file}", WEIGHTS / "lpips_heads" / f"{heads}.pth")
    one, other = (np.random.default_rng(seed).random((2, 3, 67, 70)) for seed in (0, 1))
    net, lin = (
        perceptual.load(f"{kind}:{file}")[0],
        torch.load(WEIGHTS / "lpips_heads" / f"{heads}.pth", "cpu", weights_only=True),
    )
    expected = 0.0
    for a, b in zip(one, other, strict=True):
        for index, (x, y) in enumerate(zip(forward(kind, net, a), forward(kind, net, b), strict=True)):
            x, y = (m / (np.sqrt((m**2).sum(0)) + 1e-10) for m in (x, y))
            head = lin[f"lin{index}.model.1.weight"].numpy()[0, :, 0, 0]
            expected += np.einsum("f,fhw->hw", head, (x - y) ** 2).mean() / 2
    found = distance(torch.from_numpy(one).float(), torch.from_numpy(other).float()).item()
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)  # float32 against float64
    assert expected > 0.01
    same = torch.from_numpy(one).float().requires_grad_()
    assert distance(same, same.detach()).item() == 0
    assert torch.isfinite(torch.autograd.grad(distance(torch.zeros_like(same) + 0 * same, same.detach()), same)[0]).all()
    assert "expected one shape" in refusal(lambda: distance(same, same[:1]))


@needs_weights
def test_squeezenet_names_what_it_sees():
    """Fails if the layers, the weights' order or Caffe's input (BGR, 0 to 255, mean subtracted) are wrong: names of ImageNet."""
    net, _ = perceptual.load(f"squeezenet1_0-caffe:{WEIGHTS / 'squeezenet1_0.npz'}")
    among_five = {
        "chelsea.png": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
        "coffee.png": {967, 968},  # espresso, cup
        "rocket.jpg": {657, 744, 812},  # missile, projectile, space shuttle
    }
    for name, classes in among_five.items():
        photo = Image.open(SKIMAGE / name).convert("RGB")
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        photo = photo.crop((left, top, left + side, top + side)).resize((227, 227), Image.Resampling.BILINEAR)
        batch = torch.from_numpy(np.asarray(photo, np.float32) / 255).permute(2, 0, 1)[None]
        with torch.inference_mode():
            best = net(batch).mean((2, 3))[0].topk(5).indices.tolist()
        assert classes & set(best), f"{name}: {best}"


# --- the network that comes with unnoise -------------------------------------------------------------------------------------------


def test_the_bundled_encoder():
    """Fails if it is missing, too large, not in float16, without its record, or its levels do not count alike on photographs."""
    tensors, card = artefact.read(perceptual.BUNDLED)
    assert sum(tensor.size for tensor in tensors.values()) <= 500_000
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}
    assert {"architecture", "training", "licence", "made_by", "seconds"} <= set(card)
    assert "blocks" in card["training"]["noise"][0]
    net, weights = perceptual.load()
    photo = torch.from_numpy(np.moveaxis(np.asarray(Image.open(SKIMAGE / "coffee.png"), np.float32) / 255, 2, 0)[None].copy())
    squares = {layer: maps.square().mean().item() for layer, maps in Features(net, weights)(photo).items()}
    for layer, weight in weights.items():
        assert 0.2 < weight * squares[layer] < 5  # one, on average over photographs


def test_levels_are_the_encoders():
    """Fails if the encoder, laid out in order, is not the U-Net's encoder: bit for bit, at a size off its grid."""
    torch.manual_seed(4)
    model = UNet(widths=(8, 12, 16), blocks=(2,))
    net = Autoencoder(model, 3).eval()
    levels = perceptual.encoder_network(model, {name: t.numpy() for name, t in net.encoder.state_dict().items()})
    x = torch.rand(2, 3, 21, 34)
    with torch.inference_mode():
        maps, code = Features(levels, ["level1", "level2", "level3"])(x), net.encode(x)
    for given, expected in zip(maps.values(), code.maps, strict=True):
        assert torch.equal(given, expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (48, 48), (31, 50)])
def test_the_bundled_loss_takes_any_size(height, width):
    """Fails if odd sizes, as few as one pixel, are refused, or noise on a picture costs nothing."""
    loss = PerceptualLoss(*perceptual.load())
    one, other = pictures(1, height, width).float(), pictures(1, height, width, seed=1).float()
    assert loss(one, other).item() > 0
    assert loss(one, one).item() == 0


def test_files_that_are_no_encoder(run):
    """Fails if another model's file is taken for the feature encoder."""
    refusal(lambda: perceptual.load_encoder(run / "model.safetensors"), ModelError)


# --- in training -------------------------------------------------------------------------------------------------------------------


SMALL = {"batch": 4, "patch": 32, "model": "unet:widths=8-16,blocks=1", "threads": 1, "precision": "float32"}


def test_auto_gives_the_stated_share(learning, photos, tmp_path, exported):
    """Fails if lambda 1 is not written into the run, or does not weigh the gradients at the output as stated."""
    weights = []
    for share in (0.25, 0.5):
        unnoise.train(photos, tmp_path / str(share), steps=2, perceptual="auto", perceptual_share=share, **SMALL)
        weights.append(json.loads((tmp_path / str(share) / "config.json").read_text())["config"]["perceptual"])
    assert weights[1] / weights[0] == pytest.approx(3, rel=1e-3)  # share / (1 - share); four digits are kept
    config, alone = TrainConfig(perceptual=weights[1], steps=51, **SMALL), TrainConfig(steps=10**9, **SMALL)
    photographs, trainee, cost, ratios = data.load([photos], config), learning.new_trainee(config), learning.cost_of(config), []

    def tick(loss):
        if trainee.step == 50:
            raise StopIteration

    with pytest.raises(StopIteration):
        learning.fit(trainee, photographs, alone, tick)
    for step in range(50, 58):
        clean, noisy = map(as_tensor, data.batch(photographs, data.noises_of(config), config, step)[:2])
        output = trainee.model(noisy).detach().requires_grad_()
        terms = cost.pixel * cost.pixel_loss(output, clean), cost.perceptual * cost.perceptual_loss(output, clean)
        of_pixels, of_features = (torch.autograd.grad(term, output)[0].norm().item() for term in terms)
        ratios.append(of_pixels / of_features)
    assert np.mean(ratios) == pytest.approx(1, rel=2e-3)  # half the gradient each; four digits of lambda 1 are kept


@pytest.mark.parametrize("channels", ["gray", "colour"])
def test_a_run_with_features_resumes_to_the_same_weights(learning, photos, tmp_path, exported, channels, monkeypatch):
    """Fails if a resumed run has another lambda 1, other layers or another network, or a gray run cannot have features."""
    settings = {**SMALL, "steps": 4, "perceptual": 0.1, "layers": "level1=1,level2=0.5", "channels": channels}
    unnoise.train(photos, tmp_path / "whole", **settings)
    real = learning.data.batch

    def stopped(pictures, noises, config, step, part):
        if step == 2:
            raise KeyboardInterrupt
        return real(pictures, noises, config, step, part)

    monkeypatch.setattr(learning.data, "batch", stopped)
    with pytest.raises(KeyboardInterrupt):
        unnoise.train(photos, tmp_path / "stopped", **settings)
    monkeypatch.setattr(learning.data, "batch", real)
    unnoise.resume(tmp_path / "stopped")
    whole, resumed = (network.state_dict() for network in exported)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    control = unnoise.train(photos, tmp_path / "control", **{**settings, "perceptual": 0.2})
    assert control.steps == 4
    assert not all(torch.equal(whole[name], tensor) for name, tensor in exported[-1].state_dict().items())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"features": "vgg16:no-such.pth"}, "no-such.pth does not exist"),
        ({"features": "vgg17:a.pth"}, "did you mean vgg16?"),
        ({"layers": "level4=1"}, "there is no layer 'level4' in the feature network; there are grid, fold, head, level1"),
        ({"layers": "level1=-1"}, "expected a weight from 0 for each layer"),
    ],
)
def test_bad_features_start_nothing(photos, tmp_path, settings, says):
    """Fails if a mistake in the features is found after the run folder is made: the corrected command would be refused."""
    assert says in refusal(
        lambda: unnoise.train(photos, tmp_path / "run", steps=2, perceptual=0.1, **SMALL, **settings), UnnoiseError
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pixel": 0}, "pixel=0, perceptual=0: nothing would be learned"),
        ({"pixel": -1}, "pixel=-1: expected a weight from 0"),
        ({"perceptual": -0.1}, "perceptual=-0.1: expected a weight from 0, or auto"),
        ({"perceptual": math.nan}, "perceptual=nan: expected a weight from 0, or auto"),
        ({"perceptual": "much"}, "perceptual='much': expected a weight from 0, or auto"),
        ({"perceptual": "auto", "pixel": 0}, "there is no pixel cost to share the gradient with"),
        ({"perceptual_share": 1}, "perceptual_share=1: expected a share above 0 and below 1"),
        ({"features": "vgg16:a.pth"}, "features and layers belong to the perceptual loss; give it a weight too"),
        ({"layers": "level1=1"}, "features and layers belong to the perceptual loss"),
    ],
)
def test_weights_that_cannot_be(settings, says):
    """Fails if a weight that turns training off or around is taken, or a setting without effect goes unsaid."""
    assert says in refusal(lambda: TrainConfig(**settings))


def test_other_weights_stop_a_resume(photos, tmp_path, monkeypatch):
    """Fails if a run goes on with another feature network than it began with, or a model's card names a path of its maker."""
    file = save(state_of("alexnet"), tmp_path / "a.safetensors")
    cards = []
    monkeypatch.setattr("unnoise.run.export", lambda model, card, *rest: cards.append(card))
    unnoise.train(photos, tmp_path / "run", steps=2, perceptual=0.1, features=f"alexnet:{file}", **{**SMALL, "patch": 48})
    assert cards[0]["training"]["features"] == "alexnet"
    assert str(tmp_path) not in str(cards[0])
    assert unnoise.resume(tmp_path / "run").steps == 2
    save(state_of("alexnet", seed=1), file)
    assert "have changed since" in refusal(lambda: unnoise.resume(tmp_path / "run"), ModelError)
