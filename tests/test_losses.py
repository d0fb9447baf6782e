"""The costs against their formulas in numpy, and their gradient against finite differences."""

import numpy as np
import pytest
import torch
from conftest import refusal
from test_model import CONV, DENSE, UNET, network

from unnoise.losses import AbsoluteError, Charbonnier, GeneralLoss, SquaredError, emphasis

N, C, H, W = 3, 2, 5, 7


def pair():
    rng = np.random.default_rng(2)
    return rng.random((N, C, H, W)), rng.random((N, C, H, W))


def on_tensors(cost, *arrays):
    return cost(*map(torch.from_numpy, arrays)).item()


def maximum(output, target):
    """In the perceptual slot: some other cost."""
    return (output - target).abs().max()


def test_squared_error_is_the_lectures():
    """Fails if the sum is taken over the batch too, the mean is not over every value, or their factor is not H * W * C."""
    output, target = pair()
    each = [np.linalg.norm(one - other) ** 2 for one, other in zip(output, target, strict=True)]  # ||D(Z) - I||^2
    total, mean = on_tensors(SquaredError(reduction="sum"), output, target), on_tensors(SquaredError(), output, target)
    assert total == pytest.approx(np.mean(each), rel=1e-12)  # float64
    assert mean == pytest.approx(np.mean(each) / (H * W * C), rel=1e-12)


@pytest.mark.parametrize("epsilon", [1e-3, 0.5])
def test_charbonnier_is_its_formula(epsilon):
    """Fails if epsilon enters unsquared, or the mean is taken under the root."""
    output, target = pair()
    expected = np.mean(np.hypot(output - target, epsilon))
    assert on_tensors(Charbonnier(epsilon), output, target) == pytest.approx(expected, rel=1e-12)  # float64


def test_absolute_error_is_its_formula():
    """Fails if it is not the mean over every value."""
    output, target = pair()
    assert on_tensors(AbsoluteError(), output, target) == pytest.approx(np.abs(output - target).mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("cost", "errors"),
    [
        (SquaredError(), np.square),
        (AbsoluteError(), np.abs),
        (Charbonnier(), lambda difference: np.hypot(difference, 1e-3)),
        (GeneralLoss(pixel=3.0), lambda difference: 3 * np.square(difference)),
    ],
    ids=["squared", "absolute", "charbonnier", "general"],
)
def test_emphasis_is_the_papers(cost, errors):
    """Fails if alpha and beta change places, or weigh anything but each value's own error (Vincent et al. 2010)."""
    output, target = pair()
    mask = np.random.default_rng(3).random(output.shape) < 0.3
    weight = emphasis(torch.from_numpy(mask), 0.7, 0.2)
    each = errors(output - target)
    expected = (0.7 * each[mask].sum() + 0.2 * each[~mask].sum()) / each.size
    given = cost(torch.from_numpy(output), torch.from_numpy(target), weight).item()
    assert given == pytest.approx(expected, rel=1e-6)  # weights are float32
    assert emphasis(torch.from_numpy(mask), 1, 1) is None


def test_charbonnier_is_smooth_at_zero():
    """Fails if equal pictures give a gradient of NaN, as a bare square root does."""
    output = torch.zeros(1, 1, 2, 2, requires_grad=True)
    Charbonnier()(output, torch.zeros(1, 1, 2, 2)).backward()
    assert torch.equal(output.grad, torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("settings", "pixel", "perceptual"),
    [
        ({}, 1.0, 0.0),
        ({"pixel": 0.25}, 0.25, 0.0),
        ({"perceptual": 0.5, "perceptual_loss": maximum}, 1.0, 0.5),
        ({"pixel": 0, "perceptual": 2.0, "perceptual_loss": maximum}, 0.0, 2.0),
        ({"perceptual_loss": maximum}, 1.0, 0.0),
    ],
)
@pytest.mark.parametrize("pixel_loss", [None, Charbonnier(0.1)])
def test_general_loss_weighs_its_terms(settings, pixel, perceptual, pixel_loss):
    """Fails if lambda 1 and lambda 2 are exchanged, a term is left out, or the pixel cost is not squared error by default."""
    output, target = pair()
    pixels = np.mean((output - target) ** 2) if pixel_loss is None else np.mean(np.hypot(output - target, 0.1))
    expected = pixel * pixels + perceptual * np.abs(output - target).max()
    assert on_tensors(GeneralLoss(**settings, pixel_loss=pixel_loss), output, target) == pytest.approx(expected, rel=1e-12)


def test_a_weight_of_zero_calls_nothing():
    """Fails if a perceptual term of weight 0 is still computed: it is the dear one."""

    def never(output, target):
        raise AssertionError("called")

    assert on_tensors(GeneralLoss(perceptual_loss=never), *pair()) > 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SquaredError("max"), "reduction='max': expected mean or sum"),
        (lambda: GeneralLoss(pixel=-1), "pixel=-1, perceptual=0.0: expected weights from 0"),
        (lambda: GeneralLoss(perceptual=-0.1, perceptual_loss=maximum), "perceptual=-0.1: expected weights from 0"),
        (lambda: GeneralLoss(pixel=0), "one of them above 0"),
        (lambda: GeneralLoss(pixel=float("nan")), "pixel=nan"),
        (lambda: GeneralLoss(perceptual=0.1), "perceptual=0.1 without perceptual_loss; give the loss"),
    ],
)
def test_weights_that_cannot_be(make, says):
    """Fails if a weight that would turn training around, or off, is taken."""
    assert says in refusal(make)


@pytest.mark.parametrize(
    "cost",
    [
        SquaredError("sum"),
        GeneralLoss(0.7, 0.3, perceptual_loss=lambda a, b: ((a - b) ** 4).mean(), pixel_loss=Charbonnier(0.1)),
    ],
    ids=["squared", "general"],
)
@pytest.mark.parametrize("shape", [DENSE, CONV, UNET], ids=["dense", "conv", "unet"])
def test_gradient_is_that_of_finite_differences(shape, cost):
    """Fails if the cost, or a part of the network, is cut out of the graph or not differentiated as it is computed."""
    net = network(shape).double()
    noisy, clean = (torch.rand(2, 3, 13, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    cost(net(noisy), clean).backward()
    step, rng, estimates = 1e-5, np.random.default_rng(4), []
    with torch.no_grad():
        for weight in net.parameters():
            place = tuple(int(rng.integers(side)) for side in weight.shape)
            value, costs = weight[place].item(), []
            for moved in (value + step, value - step):
                weight[place] = moved
                costs.append(cost(net(noisy), clean).item())
            weight[place] = value
            estimates.append((costs[0] - costs[1]) / (2 * step))
            # Rounding: 1e-16 of a cost up to 400, over 2e-5: 2e-9. Truncation: step^2 / 6 = 2e-11 of a third derivative.
            assert weight.grad[place].item() == pytest.approx(estimates[-1], rel=1e-6, abs=1e-8)
    assert np.mean(np.abs(estimates) > 1e-6) > 0.5  # most of them say something: 100 times the tolerance and more
