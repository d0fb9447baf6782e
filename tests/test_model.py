"""The autoencoder is an encoder, a code and a decoder, and nothing else."""

import math

import numpy as np
import pytest
import torch
from conftest import refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from unnoise.config import MODELS, Conv, Dense, UNet, alignment, parse_model
from unnoise.model import Autoencoder, Code
from unnoise.notation import str_of
from unnoise.tiling import padded, reflected

torch.set_num_threads(1)  # a second thread for networks so small waits more than it works: 3 s become 45 on a busy machine
DENSE, CONV, UNET = Dense(patch=4, hidden=16, code=6), Conv(widths=(4, 8), code=3), UNet(widths=(4, 8, 12), blocks=(1,), fold=2)
SHAPES = pytest.mark.parametrize("shape", [DENSE, CONV, UNET], ids=["dense", "conv", "unet"])
CHANNELS = pytest.mark.parametrize("channels", [1, 3], ids=["gray", "colour"])
SIZES = [(1, 1), (1, 50), (53, 1), (2, 3), (7, 13), (16, 24), (31, 37)]


def network(shape, channels=3, seed=0):
    torch.manual_seed(seed)
    return Autoencoder(shape, channels).eval()


@pytest.mark.parametrize(("text", "counts"), [("2", [2, 2, 2]), ("3-2-1", [3, 2, 1])])
def test_blocks_are_counted_by_level(text, counts):
    """Fails if a level has another's residual blocks, up or down, or the text does not stand for the shape."""
    shape = parse_model(f"unet:widths=4-8-12,blocks={text}")
    assert parse_model(str_of(MODELS, shape, defaults=True)) == shape
    net = Autoencoder(shape, 1)
    assert [len(level) for level in net.encoder.levels] == counts
    assert [len(level) for level in net.decoder.levels] == counts[-2::-1]
    assert [level[0].first.in_channels for level in net.decoder.levels] == [8, 4]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (UNet(blocks=2), "UNet(blocks=2): expected a tuple; write UNet(blocks=(2,))."),
        (UNet(widths=32), "UNet(widths=32): expected a tuple; write UNet(widths=(32,))."),
        (Conv(widths=16), "Conv(widths=16): expected a tuple; write Conv(widths=(16,))."),
    ],
)
def test_a_number_is_no_tuple(shape, says):
    """Fails if a number for a tuple ends in Python's own words."""
    assert refusal(lambda: Autoencoder(shape)) == says


def picture(channels, height, width, seed=1, count=1):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def maps_of(shape, height, width):
    """(features, height, width) of each map of the code, by the shapes' definitions."""
    if shape is DENSE:  # one code a patch of 4 x 4
        return [(6, math.ceil(height / 4), math.ceil(width / 4))]
    if shape is CONV:  # two halvings
        return [(3, math.ceil(height / 4), math.ceil(width / 4))]
    rows, columns = math.ceil(height / 8), math.ceil(width / 8)  # fold 2, then two halvings
    return [(4, 4 * rows, 4 * columns), (8, 2 * rows, 2 * columns), (12, rows, columns)]


@SHAPES
@CHANNELS
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size(shape, channels, height, width):
    """Fails if an odd or tiny picture breaks the padding, the code has another shape, or D(E(I)) is not what forward gives."""
    net, image = network(shape, channels), picture(channels, height, width, count=2)
    code = net.encode(image)
    assert [tuple(one.shape[1:]) for one in code.maps] == maps_of(shape, height, width)
    assert code.size == (height, width)
    restored = net(image)
    assert restored.shape == image.shape
    assert torch.equal(restored, net.decode(code))


@SHAPES
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_edges_are_reflected(shape, height, width):
    """Fails if the edge is padded by zeros or repetition, or the output is cut elsewhere: numpy pads for us here."""
    net, image = network(shape), picture(3, height, width)
    below, right = -height % alignment(shape), -width % alignment(shape)
    whole = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="reflect"))
    assert torch.equal(net(image), net(whole)[:, :, :height, :width])


@SHAPES
def test_a_blind_encoder_sees_nothing(shape):
    """Fails if Z, or a path around it, holds the picture: with every encoder weight 0 all pictures have one code."""
    net, one, other = network(shape), picture(3, 30, 30, seed=1), picture(3, 30, 30, seed=2)
    assert not torch.equal(net(one), net(other))  # it does see, before
    for name, weight in net.encoder.named_parameters():
        if name.endswith("weight"):
            weight.zero_()
    for of_one, of_other in zip(net.encode(one).maps, net.encode(other).maps, strict=True):
        assert torch.equal(of_one, of_other)
    assert torch.equal(net(one), net(other))


@SHAPES
def test_the_decoder_sees_the_code_alone(shape):
    """Fails if the network remembers what it encoded, in itself or in the code's identity, and decodes with its help."""
    net, image = network(shape), picture(3, 21, 34)
    code = net.encode(image)
    expected = net.decode(code)
    copied = Code(tuple(torch.from_numpy(one.numpy().copy()) for one in code.maps), code.size)
    net.encode(picture(3, 21, 34, seed=2))  # the last picture it saw is another
    assert torch.equal(net.decode(copied), expected)
    fresh = network(shape, seed=5)  # one that never saw a picture
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh.decode(copied), expected)


@SHAPES
def test_every_map_is_used(shape):
    """Fails if the decoder leaves a map of the code, or a picture of the batch, out."""
    net = network(shape)
    code = net.encode(picture(3, 16, 16, count=2))
    whole = net.decode(code)
    for index in range(len(code.maps)):
        maps = [one.clone() for one in code.maps]
        maps[index][1] += 1
        changed = net.decode(Code(tuple(maps), code.size))
        assert torch.equal(changed[0], whole[0])
        assert not torch.equal(changed[1], whole[1])


@CHANNELS
def test_conv_is_a_bottleneck(channels):
    """Fails if the default conv code has as many numbers as the picture, so that it could just be copied."""
    image = picture(channels, 64, 96)
    maps = Autoencoder(Conv(), channels).encode(image).maps
    assert len(maps) == 1
    assert maps[0].numel() == 24 * 8 * 12 < image.numel()  # 24 maps after three halvings


@SHAPES
def test_nothing_pools_over_the_whole_picture(shape):
    """Fails if a layer averages, normalises or attends over the picture: a far-away pixel would then show everywhere."""
    net, image = network(shape), picture(3, 16, 256)
    changed = image.clone()
    changed[..., 0] += 1000  # so much that its share in a mean over the picture, 1 / 256, would show
    difference = (net(changed) - net(image)).abs().amax((0, 1, 2))
    assert difference[:4].max() > 0.1  # it shows nearby
    assert difference[128:].max() <= 1e-6  # a receptive field is below 64 pixels here; float32 sums may be split otherwise


@SHAPES
def test_dense_and_strided_grids_move_with_the_picture(shape):
    """Fails if a layer knows where it is in the picture: a shift by the grid shifts the output."""
    net, image = network(shape), picture(3, 16, 256)
    shifted = net(torch.roll(image, alignment(shape), 3))
    inside = slice(64, 192)  # further from the edges than the receptive field
    expected = torch.roll(net(image), alignment(shape), 3)
    assert (shifted - expected)[..., inside].abs().max() <= 1e-6  # float32 sums may be split otherwise


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(0, 200))
def test_reflected_is_numpys(length, more):
    """Fails if the last pixel is repeated, or a picture much smaller than its padding runs out of pixels."""
    expected = np.pad(np.arange(length), (0, more), mode="reflect")
    np.testing.assert_array_equal(reflected(length, length + more), expected)


@given(st.integers(1, 10**6), st.integers(1, 99))
def test_padded_is_the_next_multiple(length, grid):
    """Fails if a whole multiple gets another grid cell, or a side is cut."""
    total = padded(length, grid)
    assert total % grid == 0
    assert length <= total < length + grid
