"""Tiles: what is computed in pieces is what the whole picture gives, whatever its size and theirs; and no overlap is guessed."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model import CONV, DENSE, UNET, network

from unnoise import artefact, export, tiling
from unnoise.config import MODELS, Conv, Dense, UNet
from unnoise.denoiser import Denoiser
from unnoise.errors import BadSetting, ModelError
from unnoise.model import Autoencoder
from unnoise.notation import str_of

TOLERANCE = 1e-5  # what is promised: float32 sums in another order, of values around 1
DEEP, FLAT = UNet(widths=(4, 4, 4, 4), blocks=(1,), fold=1), UNet(widths=(4,), blocks=(1,), fold=3)
SHAPES = {"dense": DENSE, "conv": CONV, "unet": UNET, "deep": DEEP, "grid of 3": FLAT}
ODD = st.one_of(st.integers(1, 12), st.sampled_from([31, 61, 97, 127, 128, 193, 257]), st.integers(1, 300))
SIZES = st.one_of(st.tuples(ODD, ODD), st.sampled_from([(1, 1), (1, 5000), (5000, 1), (2, 4999), (3, 1021), (401, 7)]))


DIRECTIONS = {"up": (0, 1), "down": (2, 1), "left": (1, 0), "right": (1, 2)}  # the place in a 3 x 3 kernel that looks there


def looking(shape, direction):
    """A network all of whose 3 x 3 kernels look one way: the end of its receptive field there shows as strongly as can be.

    All weights are 0 or positive; each layer passes on a mean of what it sees, so values stay near the picture's.
    """
    model = network(shape, 1).requires_grad_(False)
    for weight in model.parameters():
        weight.zero_()
        if weight.ndim > 1:
            kernel = weight[..., *DIRECTIONS[direction]] if weight.shape[-1] == 3 else weight
            kernel.fill_(1)
            weight /= weight[:1].sum()
    return model


def on_torch(model, overlap):
    """A Denoiser that runs a torch module, which needs no export."""
    made = object.__new__(Denoiser)
    made.channels, made.grid, made.overlap, made.tile = 1, model.grid, overlap, 2048
    made.network = lambda batch: model(torch.from_numpy(np.ascontiguousarray(batch, np.float32))).numpy()
    return made


def denoiser(model, folder, **changes):
    """The model on onnxruntime; `changes` to what its card says."""
    shape = str_of(MODELS, model.model).replace(":", "-").replace(",", "-")
    path = folder / f"{shape}-{'-'.join(map(str, changes.values()))}.onnx"
    card = {**export.contract(model), **changes}
    path.write_bytes(artefact.stamped(export.to_onnx(model), card))
    return Denoiser(path, threads=1)


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory):
    """Of each shape, gray: one with random weights on onnxruntime, and four that look far, one each way."""
    folder = tmp_path_factory.mktemp("models")
    overlaps = {name: export.contract(network(shape, 1))["overlap"] for name, shape in SHAPES.items()}
    return {
        name: [denoiser(network(shape, 1), folder), *(on_torch(looking(shape, way), overlaps[name]) for way in DIRECTIONS)]
        for name, shape in SHAPES.items()
    }


def noise(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width), np.float32)


# --- spans: which pixels come from which tile -------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 16), st.integers(0, 6), st.integers(0, 500))
def test_each_pixel_is_computed_once_far_from_inner_borders(length, grid, overlap, more):
    """Fails if a pixel is left out, computed twice or nearer than the overlap to a border inside the picture, if a tile starts
    off the grid, is larger than asked, does not reach the picture's edge as the whole does, or there are more than needed."""
    overlap *= grid
    side = tiling.smallest_side(grid, overlap) + more
    tiles, total = tiling.spans(length, side, grid, overlap), tiling.padded(length, grid)
    assert (tiles[0].start, tiles[0].first, tiles[-1].stop, tiles[-1].last) == (0, 0, length, total)
    assert all(before.stop == after.start for before, after in itertools.pairwise(tiles))
    for tile in tiles:
        assert tile.start < tile.stop
        assert tile.first % grid == tile.last % grid == 0
        assert tile.last - tile.first <= side
        assert tile.first == 0 or tile.start - tile.first >= overlap
        assert tile.last == total or tile.last - tile.stop >= overlap
    assert len({tile.last - tile.first for tile in tiles[:-1]}) <= 1
    widest = side // grid * grid
    possible = 1 if total <= widest else 2 * (widest - overlap) + (len(tiles) - 3) * (widest - 2 * overlap)
    assert len(tiles) == 1 if total <= widest else possible < total  # with one tile less


def test_no_side_is_one_piece():
    """Fails if tile 0, or a tile as large as the picture, divides it."""
    whole = [tiling.Span(0, 997, 0, 1000)]
    assert tiling.spans(997, 0, 8, 96) == tiling.spans(997, 1000, 8, 96) == tiling.spans(997, 4096, 8, 96) == whole
    assert len(tiling.spans(997, 999, 8, 96)) == 2


@pytest.mark.parametrize("side", [-1, 1, 199, 7.5, True, "512"])
def test_a_side_that_no_pixel_fits_into(side):
    """Fails if a tile that is all overlap runs for ever, or comes back wrong."""
    said = refusal(lambda: tiling.spans(1000, side, 8, 96), BadSetting)
    assert f"tile={side!r}: expected a side in pixels, at least 200" in said
    assert tiling.spans(1000, 200, 8, 96)


@pytest.mark.parametrize(
    ("grid", "overlap", "maps", "side"),
    [
        (8, 96, 8, 2048),
        (8, 0, 8, 512),
        (4, 40, 8, 768),
        (16, 208, 8, 2048),
        (16, 1600, 8, 6432),
        (7, 0, 8, 518),
        (8, 96, 32, 1024),
        (8, 96, 2, 2048),
    ],
)
def test_default_sides(grid, overlap, maps, side):
    """Fails if models that are exported now tile otherwise than those exported before.

    Expected by hand: 2 x 96 / (1 - 1 / sqrt(1.25)) = 1819, to the next 256: 2048; 2 x 40 / 0.10557 = 758: 768; above 2048
    memory decides, unless more than half a tile were overlap: 2 x (16 + 2 x 1600); a multiple of the grid: 74 x 7. With 32 maps
    at full size 1024 x 1024 x 32 are the 2 ** 25 values that are allowed.
    """
    assert tiling.default_side(grid, overlap, maps) == side


@pytest.mark.parametrize(("height", "width"), [(10_000, 10_000), (8_165, 12_247), (20_000, 20_000), (5_000, 20_000)])
def test_overlap_is_at_most_a_quarter_on_large_pictures(height, width):
    """Fails if tiles of the default model compute more than 1.25 pixels for a pixel of a picture of 100 megapixels and more."""
    computed = [sum(tile.last - tile.first for tile in tiling.spans(length, 2048, 8, 96)) for length in (height, width)]
    assert computed[0] * computed[1] <= 1.25 * height * width


# --- the receptive field ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "extent", "beyond"),
    [
        (Dense(patch=4, hidden=5, code=6), 4, 0),  # a patch sees itself
        # Head, two convolutions of a block, tail, of 3 x 3 on blocks of 2: 4 to each side of a block, in pixels 8.
        (UNet(widths=(4,), blocks=(1,), fold=2), 18, 8),
        # 180 and 90: from a cell's edge outwards, 2 (tail) + 8 (four convolutions of 2 pixels), rounded up to the 4-pixel grid;
        # + 16, rounded up to 8; + 32 + 16 + 8 + 2. Outermost 90 both ways, and no pixel sees a shorter or longer stretch than 180.
        (UNet(widths=(4, 4, 4), blocks=(2,), fold=2), 180, 90),
        # 14 (tail, six convolutions of 2 pixels), rounded up to 16; + 16 (four of 4); + 16 (two of 8) + 16 + 12 + 2: 78. The blocks in
        # the middle of a cell see so far beyond it both ways: 78 + 8 + 78.
        (UNet(widths=(4, 4, 4), blocks=(3, 2, 1), fold=2), 164, 78),
        # From a cell of 2 inwards: transposed 4 x 4 of stride 2 reads one code to a side, + 2 convolutions + 1 (decoder), + 1
        # (code's) + 2 (block): 7 codes of 2 pixels, + 1 that the first kernel of 4 reaches beyond its stride of 2.
        (Conv(widths=(4,), code=3), 30, 15),
    ],
)
def test_the_field_is_what_arithmetic_says(shape, extent, beyond):
    """Fails if a stride, a kernel, a direction or a place within the grid's cell is left out of the measurement."""
    field = export.receptive_field(network(shape, 1))
    assert (field.extent, field.beyond_cell) == (extent, beyond)


@pytest.mark.parametrize("name", SHAPES)
def test_the_field_is_where_a_change_shows(name):
    """Fails if a pixel beyond the measured field changes the output, or the outermost of it does not: by perturbation, the
    other way round than gradients, at every place of a cell, both ways along both axes, with random weights."""
    shape = SHAPES[name]
    net, grid = network(shape, 1).double(), network(shape, 1).grid
    field = export.receptive_field(net)
    cells = field.beyond_cell // grid + 2
    image = torch.rand(1, 1, 2 * grid, (2 * cells + 1) * grid, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own = slice(cells * grid, (cells + 1) * grid)  # the cell in the middle
    with torch.no_grad():
        for net_of, axis in ((net, 3), (net, 2)):
            whole = image if axis == 3 else image.transpose(2, 3)
            before = net_of(whole).movedim(axis, 0)[own]
            seen = []
            for at in range(whole.shape[axis]):
                changed = whole.clone()
                changed.movedim(axis, 0)[at] += 100
                seen.append(bool((net_of(changed).movedim(axis, 0)[own] != before).any()))
            places = np.flatnonzero(seen)
            beyond = max(own.start - places[0], places[-1] - (own.stop - 1))
            assert beyond <= field.beyond_cell
            assert name == "conv" or beyond == field.beyond_cell  # conv's ReLUs may shut the longest path


def test_dead_weights_do_not_shrink_the_field():
    """Fails if the field is measured on trained weights at one picture, where a shut ReLU or a zero weight hides a path."""
    net = network(UNET, 1)
    expected = export.receptive_field(net)
    for weight in net.parameters():
        weight.detach().copy_(-weight.detach().abs())
    net.decoder.tail.weight.detach().zero_()
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    assert export.receptive_field(net) == expected
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())  # and it is left as it was


class _Mean(torch.nn.Module):
    def forward(self, x):
        return x + x.mean((2, 3), keepdim=True)


def test_a_layer_that_sees_everything_is_refused():
    """Fails if a network with global pooling gets an overlap, and then other pixels in tiles than in one piece."""
    net = network(DENSE, 1)
    net.decoder.picture = torch.nn.Sequential(net.decoder.picture, _Mean())
    assert "cannot be tiled" in refusal(lambda: export.receptive_field(net), ModelError)


def test_the_default_model():
    """Fails if the figures that the README, the docs and the default tile rest on move."""
    card = export.contract(Autoencoder(UNet(), 1).eval())
    assert card == {"contract": 1, "channels": 1, "alignment": 8, "receptive_field": 180, "overlap": 96, "tile": 2048}


# --- tiled and whole --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=40, deadline=None)
@given(size=SIZES, more=st.one_of(st.integers(0, 40), st.integers(0, 300)), which=st.integers(0, 4), seed=st.integers(0, 9))
def test_tiled_is_whole(name, denoisers, size, more, which, seed):
    """Fails if any pixel of any tile sees a border that the whole picture does not have, or the grid lies otherwise in it."""
    model, image = denoisers[name][which], noise(*size, seed)
    side = tiling.smallest_side(model.grid, model.overlap) + more
    assert np.abs(model.denoise(image, tile=side) - model.denoise(image, tile=0)).max() <= TOLERANCE


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", ["conv", "unet", "deep", "grid of 3"])
def test_one_step_less_of_overlap_shows(name, direction):
    """Control: the test above must fail for an overlap one step of the grid too small, on each side of a tile by itself."""
    net = looking(SHAPES[name], direction)
    overlap = export.contract(net)["overlap"]
    right, wrong = on_torch(net, overlap), on_torch(net, overlap - net.grid)
    line = np.random.default_rng(0).random(6 * overlap, np.float32)
    image = np.tile(line, (2 * net.grid, 1)) if direction in ("left", "right") else np.tile(line[:, None], (1, 2 * net.grid))
    assert np.abs(right.denoise(image, tile=4 * overlap) - right.denoise(image, tile=0)).max() <= TOLERANCE
    assert np.abs(wrong.denoise(image, tile=4 * overlap) - wrong.denoise(image, tile=0)).max() > 10 * TOLERANCE


@pytest.mark.parametrize("shape", [(150, 131), (150, 131, 2), (150, 131, 3), (150, 131, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.uint16])
def test_tiles_of_every_kind_of_picture(denoisers, shape, dtype):
    """Fails if a tile lands in the wrong place, channel or type; whole numbers may round to the neighbour."""
    model = denoisers["conv"][0]
    image = np.random.default_rng(3).random(shape)
    image = (image * np.iinfo(dtype).max).astype(dtype) if np.issubdtype(dtype, np.integer) else image.astype(dtype)
    before = image.copy()
    tiled, whole = model.denoise(image, 0.7, tile=88), model.denoise(image, 0.7, tile=0)
    assert (tiled.shape, tiled.dtype) == (image.shape, image.dtype)
    assert np.abs(tiled.astype(float) - whole).max() <= (1 if np.issubdtype(dtype, np.integer) else TOLERANCE)
    assert (tiled != image).any()
    np.testing.assert_array_equal(image, before)
    if len(shape) == 3 and shape[2] in (2, 4):
        np.testing.assert_array_equal(tiled[..., -1], image[..., -1])


def test_the_models_own_tile_is_used(denoisers):
    """Fails if the tile side of the card is not what `denoise` cuts a picture into when none is given."""
    model = denoisers["conv"][0]
    asked = []
    network_of, model.network = model.network, lambda batch: asked.append(batch.shape[2:]) or network_of(batch)
    try:
        model.denoise(noise(900, 10))
        model.denoise(noise(900, 10), tile=0)
        model.denoise(noise(900, 10), tile=200)
    finally:
        model.network = network_of
    assert model.tile == 768
    own = [tile.last - tile.first for tile in tiling.spans(900, 768, 4, 40)]
    small = [tile.last - tile.first for tile in tiling.spans(900, 200, 4, 40)]
    assert asked == [(length, 12) for length in [*own, 900, *small]]
    assert len(own) == 2


def test_the_difference_is_of_several_tiles(denoisers):
    """Fails if a picture that fits into one tile is compared with itself, or whole numbers hide a difference by rounding."""
    model = denoisers["unet"][0]
    side, tiles = model.tiling_difference(noise(300, 290))[1:]
    assert tiles >= 4
    assert side < 300
    wrong = on_torch(looking(UNET, "right"), model.overlap - model.grid)
    rough = 255 * wrong.tiling_difference((noise(300, 290) * 255).astype(np.uint8))[0]
    assert rough > 255 * TOLERANCE
    assert abs(rough - round(rough)) > 0.001  # floats were compared, not what they are rounded to
    assert model.tiling_difference(noise(20, 20))[2] == 1  # smaller than the least tile


# --- memory -----------------------------------------------------------------------------------------------------------------

PEAK = """
import pathlib, re, sys, numpy, unnoise
model, side = unnoise.load(sys.argv[1], threads=1), int(sys.argv[2])
picture = numpy.random.default_rng(0).integers(0, 256, (side, side), numpy.uint8)
model.denoise(picture, tile=256)
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])  # ru_maxrss would be the parent's
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_follows_the_tile(tmp_path):
    """Fails if anything but the picture and its answer grows with the picture: a float32 copy of it alone is 64 MB here."""
    path = tmp_path / "model.onnx"
    net = network(UNET, 1)
    path.write_bytes(artefact.stamped(export.to_onnx(net), export.contract(net)))

    def peak(side):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PEAK, str(path), str(side)]
        return 1024 * int(subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout)

    pictures = 2 * (4096**2 - 1024**2)  # one byte a pixel, before and after
    assert peak(4096) - peak(1024) <= pictures + 12e6  # what allocators keep


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_ctrl_c_does_not_wait_for_the_end_of_a_tile(run):
    """Fails if a large tile, or the network behind it, works on after Ctrl-C: a quarter of the tile's time is allowed."""
    model, image = Denoiser(run), np.zeros((3000, 3000), np.float32)
    began = time.monotonic()
    model.denoise(image, tile=0)
    whole = time.monotonic() - began

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, whole / 4)
        with pytest.raises(KeyboardInterrupt):
            model.denoise(image, tile=0)
        model.denoise(image[:8, :8])  # comes after what is left of the other
        assert time.monotonic() - began < whole / 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
