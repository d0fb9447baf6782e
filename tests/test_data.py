"""Pictures become crops, and crops become pairs, in ways that follow from seed and step alone."""

import dataclasses
import itertools

import numpy as np
import pytest
import tifffile
from conftest import refusal
from PIL import Image as Pillow

from unnoise import data
from unnoise.config import TrainConfig
from unnoise.data import Pictures
from unnoise.errors import BadSetting
from unnoise.noise import BlockMasking, Camera, Gaussian, Masking, SaltAndPepper

CONFIG = TrainConfig(patch=16, batch=12, seed=3, gray_share=0, half_share=0, places=1)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def config(**changes):
    return dataclasses.replace(CONFIG, **changes)


def some(*shapes, dtype=np.uint8):
    """Pictures of random values: no crop of them looks like another, in any turn."""
    rng, top = np.random.default_rng(5), np.iinfo(dtype).max
    arrays = [rng.integers(0, top, shape, dtype, endpoint=True) for shape in shapes]
    return Pictures(arrays, [f"{index}.png" for index in range(len(arrays))])


def put(folder, **sides):
    """Write a random RGB PNG for each name, of so many pixels a side, and give the arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: some((side, side, 3)).arrays[0] for name, side in sides.items()}
    for name, array in arrays.items():
        Pillow.fromarray(array).save(folder / f"{name}.png")
    return arrays


def broken(path):
    """A PNG that ends in the middle."""
    put(path.parent, **{path.stem: 20})
    path.write_bytes(path.read_bytes()[:600])


def turns(array):
    """The eight ways to lay (H, W, C) down."""
    return [np.rot90(side, k) for side in (array, array[:, ::-1]) for k in range(4)]


# --- batches -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noises",
    [
        (Gaussian((0, 0.2)),),
        (Camera((0.02, 0.2)), Camera(0.1, (60, 90))),
        (Masking(count=99), BlockMasking(count=9, size=4), Gaussian(0.1)),
    ],
)
def test_a_batch_follows_from_seed_and_step(noises):
    """Fails if any draw depends on what was drawn before, on how many are drawn at once, or on anything but seed and step."""
    pictures = some((24, 40, 3), (32, 20), (17, 16, 3))
    steps = {step: data.batch(pictures, noises, config(gray_share=0.3), step) for step in (0, 1, 2, 1000)}
    for step in reversed(steps):
        few = data.batch(pictures, noises, config(gray_share=0.3, batch=5), step)
        for part, whole in zip(few, steps[step], strict=True):
            np.testing.assert_array_equal(part, whole[:5])
    others = [*steps.values(), data.batch(pictures, noises, config(gray_share=0.3, seed=4), 0)]
    for one, other in itertools.combinations(others, 2):
        assert not np.array_equal(one[0], other[0])
        assert not np.array_equal(one[1] - one[0], other[1] - other[0])


@pytest.mark.parametrize("cached", [True, False])
def test_batches_come_in_the_order_of_their_steps(cached, tmp_path):
    """Fails if a step's batch is another than `batch` makes, one is lost at either end, or the thread that is ahead disturbs it."""
    put(tmp_path / "in", a=30, b=25, c=41)
    settings = config(steps=9, cache=str(tmp_path / "cache"), cache_gb=1 if cached else 0)
    pictures, noises = data.load([tmp_path / "in"], settings), (Gaussian((0, 0.2)),)
    found = list(data.batches(pictures, noises, settings, 4, range(3, 8)))
    assert len(found) == 5
    for step, parts in enumerate(found, 4):
        for part, expected in zip(parts, data.batch(pictures, noises, settings, step, range(3, 8)), strict=True):
            np.testing.assert_array_equal(part, expected)
    assert list(data.batches(pictures, noises, settings, 9)) == []


def test_an_error_comes_with_the_step_that_it_belongs_to(tmp_path, monkeypatch):
    """Fails if what the thread meets is lost, or ends the run a step too early: all before must be learned from."""
    put(tmp_path / "in", a=30)
    settings = config(steps=9, cache=str(tmp_path / "cache"), cache_gb=0)
    pictures, real = data.load([tmp_path / "in"], settings), data.batch

    def broken(pictures, noises, config, step, part):
        if step == 3:
            raise ZeroDivisionError
        return real(pictures, noises, config, step, part)

    monkeypatch.setattr(data, "batch", broken)
    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(1 for _ in data.batches(pictures, (Gaussian(0.1),), settings, 0))
    each = data.batches(pictures, (Gaussian(0.1),), settings, 0)
    assert [len(next(each)) for _ in range(3)] == [3, 3, 3]
    with pytest.raises(ZeroDivisionError):
        next(each)


@pytest.mark.parametrize("channels", ["colour", "gray"])
def test_torch_takes_batches_as_they_are(channels):
    """Fails if a batch is copied into another order of memory at every step."""
    from unnoise.model import as_tensor

    for part in data.batch(
        some((20, 30, 3)[: 3 if channels == "colour" else 2]), (Gaussian(0.1),), config(channels=channels), 0
    ):
        assert as_tensor(part).data_ptr() == part.ctypes.data


@pytest.mark.parametrize(("channels", "depth"), [("colour", 3), ("gray", 1)])
def test_a_batch_has_its_shape(channels, depth):
    """Fails if the axes are in another order, or the types another: torch takes them as they are."""
    pictures = some((20, 30, 3), (20, 30)) if channels == "colour" else some((20, 30))
    parts = data.batch(pictures, (Gaussian(0.1),), config(channels=channels), 0)
    assert [part.shape for part in parts] == [(12, depth, 16, 16)] * 3
    assert [part.dtype for part in parts] == [np.float32, np.float32, bool]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_crops_are_pieces_of_the_pictures(dtype):
    """Fails if a crop is scaled, shifted in brightness or mixed from two, or one of the eight turns or a border is never used."""
    pictures, side = some((18, 22, 3), (19, 17), dtype=dtype), CONFIG.patch
    windows = {}
    for array in pictures.arrays:
        array = array if array.ndim == 3 else np.repeat(array[..., None], 3, 2)
        for top, left in itertools.product(range(array.shape[0] - side + 1), range(array.shape[1] - side + 1)):
            for turn, laid in enumerate(turns(array[top : top + side, left : left + side])):
                windows[laid.tobytes()] = (array.shape[:2], top, left), turn
    found = []
    for step in range(40):
        clean, noisy, mask = data.batch(pictures, (SaltAndPepper(fraction=0.5),), CONFIG, step)
        crops = np.rint(clean * np.iinfo(dtype).max).astype(dtype)
        found += [windows[np.ascontiguousarray(np.moveaxis(crop, 0, 2)).tobytes()] for crop in crops]
        np.testing.assert_allclose(clean, crops / np.iinfo(dtype).max, atol=1e-7)  # float32
        np.testing.assert_array_equal(noisy[~mask], clean[~mask])
    places, laid = zip(*found, strict=True)
    assert set(laid) == set(range(8))
    assert len(set(places)) == 3 * 7 + 4 * 2  # all there are, in 480 draws: the rarest is one of 38


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turns_", range(4))
def test_crops_are_laid_down_as_rot90_does(turns_, mirror):
    """Fails if a turn is another than numpy's, or the mirror comes after it: a noise that is drawn before would lie elsewhere."""
    crop, out = np.arange(18).reshape(3, 3, 2), np.empty((3, 3, 2), int)
    data._laid(out, turns_, mirror)[...] = crop
    np.testing.assert_array_equal(out, np.rot90(crop[:, ::-1] if mirror else crop, turns_))


def test_halved_crops_are_means_of_four():
    """Fails if a halved crop is a stretched, shifted or sharpened one, comes from elsewhere, or is more or less often than asked."""
    pictures, windows = some((32, 33, 3)), {}
    for left in (0, 1):
        whole = pictures.arrays[0][:, left : left + 32].astype(float) / 255
        for turn, laid in enumerate(turns(whole.reshape(16, 2, 16, 2, 3).mean((1, 3)))):
            windows[left, turn] = np.moveaxis(laid, 2, 0)
    found = []
    for step in range(20):
        for crop in data.batch(pictures, (Gaussian(0.1),), config(half_share=0.75), step)[0]:
            found.append(
                next((key for key, window in windows.items() if np.allclose(crop, window, atol=1e-6)), None)
            )  # float32
    assert set(found) == {None, *windows}
    share = np.mean([key is not None for key in found])
    assert abs(share - 0.75) <= 4 * np.sqrt(0.75 * 0.25 / len(found))  # 4 standard errors


def test_small_pictures_are_not_halved():
    """Fails if a picture of less than two patches is stretched or refused."""
    pictures = some((31, 40, 3))
    clean = data.batch(pictures, (Gaussian(0.1),), config(half_share=1), 0)[0]
    np.testing.assert_allclose(clean * 255, np.rint(clean * 255), atol=1e-4)  # means of four would not be whole numbers


def test_a_count_keeps_its_share_in_halved_crops():
    """Fails if a halved crop is spoilt more, or less, than the picture would be: a count refers to the whole picture."""
    masks = data.batch(some((64, 64, 3)), (Masking(count=64 * 64 // 8),), config(half_share=1), 0)[2]
    assert masks.mean() == 1 / 8


def test_detail_is_preferred():
    """Fails if the smooth place is taken where two were drawn: detail on a quarter of the ground is met in 7 crops of 16."""
    ground = np.zeros((128, 512, 3), np.uint8)
    ground[:, :128] = some((128, 128, 3)).arrays[0]
    shares = {}
    for places in (1, 2):
        crops = [data.batch(Pictures([ground], ["a"]), (Gaussian(0.1),), config(places=places), step)[0] for step in range(40)]
        shares[places] = np.mean(np.concatenate(crops).max((1, 2, 3)) > 0)
    met = 128 / 497  # of the places where a crop may begin
    for places, expected in ((1, met), (2, 1 - (1 - met) ** 2)):
        assert abs(shares[places] - expected) <= 4 * np.sqrt(expected * (1 - expected) / 480)  # 4 standard errors


def test_pictures_are_drawn_by_their_size():
    """Fails if a thumbnail is seen as often as a poster: each pixel is to be seen as often."""
    pictures = some((16, 16), (32, 48))  # 1 : 6
    small = np.mean([pictures.drawn(np.random.default_rng(seed)) == 0 for seed in range(2000)])
    assert abs(small - 1 / 7) <= 4 * np.sqrt(1 / 7 * 6 / 7 / 2000)  # 4 standard errors


def test_each_crop_draws_one_of_the_noises():
    """Fails if a noise is never drawn, or several are applied at once."""
    noises = (Masking(fraction=0.25), Masking(fraction=0.5), Masking(fraction=1))
    shares = np.concatenate([data.batch(some((16, 16)), noises, CONFIG, step)[2].mean((1, 2, 3)) for step in range(50)])
    values, counts = np.unique(shares, return_counts=True)
    assert values.tolist() == [0.25, 0.5, 1]
    assert np.abs(counts / 600 - 1 / 3).max() <= 4 * np.sqrt(1 / 3 * 2 / 3 / 600)  # 4 standard errors


@pytest.mark.parametrize("noise", [Gaussian(0.1), SaltAndPepper(fraction=0.3, values="uniform"), Masking(prob=0.4)], ids=str)
def test_gray_crops_have_one_noise(noise):
    """Fails if a gray crop's channels get noise of their own: a gray file, sent through as three equal channels, never has."""
    pictures = some((16, 16, 3))
    clean, noisy, mask = data.batch(pictures, (noise,), config(gray_share=1), 0)
    for part in (clean, noisy, mask):
        np.testing.assert_array_equal(part, part[:, :1].repeat(3, 1))
    assert (noisy != clean).any()
    expected = np.sort((pictures.arrays[0] / 255 @ LUMA).ravel())
    np.testing.assert_allclose(np.sort(clean[0, 0].ravel()), expected, atol=1e-6)  # float32


def test_gray_share_is_a_share():
    """Fails if gray crops come more or less often than asked, or the colour of the others is lost."""
    equal = []
    for step in range(50):
        noisy = data.batch(some((16, 16, 3)), (Gaussian(0.1),), config(gray_share=0.25), step)[1]
        equal += (noisy == noisy[:, :1]).all((1, 2, 3)).tolist()
    assert abs(np.mean(equal) - 0.25) <= 4 * np.sqrt(0.25 * 0.75 / len(equal))  # 4 standard errors


def test_predefined_blocks_stay_where_they_are():
    """Fails if a crop meets no block, is turned or halved (the blocks' places belong to the picture), or the blocks do not move
    with it."""
    rows, columns = np.mgrid[:60, :80]
    pictures = Pictures([np.stack([rows, columns, 0 * rows], 2).astype(np.uint8)], ["places"])
    blocks = [(0, 0, 3, 5), (40, 70, 20, 2), (30, 20, 30, 30)]
    owners = np.zeros((60, 80), int)  # of each pixel: 0, or the number of its block
    for number, (top, left, height, width) in enumerate(blocks, 1):
        owners[top : top + height, left : left + width] = number
    met, often = set(), config(half_share=1, places=2)
    for step in range(5):
        for clean, noisy, mask in zip(*data.batch(pictures, (BlockMasking(blocks=blocks),), often, step), strict=True):
            top, left = np.rint(clean[:2, 0, 0] * 255).astype(int)
            expected = np.mgrid[top : top + 16, left : left + 16]
            np.testing.assert_array_equal(np.rint(clean[:2] * 255), expected)  # unturned
            here = owners[top : top + 16, left : left + 16]
            np.testing.assert_array_equal(mask, np.broadcast_to(here > 0, mask.shape))
            np.testing.assert_array_equal(noisy, np.where(mask, 0, clean))
            assert here.any()
            met |= set(here.ravel().tolist())
    assert met == {0, 1, 2, 3}


def test_a_count_is_scaled_to_the_crop():
    """Fails if a count meant for the picture falls whole on each crop, or is always rounded one way."""
    pictures, expected = some((32, 64, 3)), 101 * 16 * 16 / (32 * 64)  # 12.625
    counts = [mask[0].sum() for step in range(50) for mask in data.batch(pictures, (Masking(count=101),), CONFIG, step)[2]]
    assert set(counts) == {12, 13}
    assert abs(np.mean(counts) - expected) <= 4 * np.sqrt(0.625 * 0.375 / len(counts))  # 4 standard errors


def test_a_count_of_values_on_a_gray_crop():
    """Fails if a gray crop of a colour picture gets three times the share, or more values than it has."""
    noise = SaltAndPepper(count=32 * 32 * 3 // 4, per="channel")  # a quarter of the values
    masks = data.batch(some((32, 32, 3)), (noise,), config(gray_share=1), 0)[2]
    assert masks.mean() == pytest.approx(1 / 4)


def test_share_is_measured():
    """Fails if the share that a dry run prints is not the share of values touched: here it is exact."""
    assert data.share((Masking(fraction=0.25),), some((40, 40, 3)), CONFIG) == 0.25
    assert data.share((Gaussian(0.1),), some((40, 40)), CONFIG) == 1
    assert data.share((BlockMasking(blocks=[(0, 0, 4, 8)]),), some((16, 16)), CONFIG) == 32 / 256


def test_pictures_are_not_written_to():
    """Fails if noise or turning reaches the pictures, and with them every later step."""
    pictures = some((16, 16, 3), (16, 16))
    before = [array.copy() for array in pictures.arrays]
    data.batch(pictures, (BlockMasking(count=4, size=8), Masking(fraction=1)), config(gray_share=0.5), 0)
    data.validation(pictures, (Masking(fraction=1),), CONFIG)
    for array, copy in zip(pictures.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


# --- validation --------------------------------------------------------------------------------------------------------------


def test_validation_crops_are_the_middles():
    """Fails if validation looks elsewhere, at more than four pictures, at other noise each time, or leaves a noise out."""
    pictures = some((300, 270, 3), (100, 40, 3), (16, 19), (20, 20, 3), (50, 50, 3))
    noises = (Gaussian(0.1), Masking(fraction=1))
    pairs = data.validation(pictures, noises, CONFIG)
    assert [clean.shape for clean, _ in pairs] == [(256, 256, 3), (40, 40, 3), (16, 16, 3), (20, 20, 3)]
    np.testing.assert_allclose(pairs[0][0], pictures.arrays[0][22:278, 7:263] / 255, atol=1e-7)  # float32
    np.testing.assert_allclose(pairs[1][0], pictures.arrays[1][30:70] / 255, atol=1e-7)
    for index, (clean, noisy) in enumerate(pairs):
        assert noisy.any() == (index % 2 == 0)  # every second one is masked whole
        assert not np.array_equal(clean, noisy)
    again = data.validation(pictures, noises, CONFIG)
    np.testing.assert_array_equal([pair[1].sum() for pair in pairs], [pair[1].sum() for pair in again])


def test_validation_tries_every_noise():
    """Fails if there are fewer pictures than noises, and some are never scored."""
    shares = [0.25, 0.5, 0.75]
    pairs = data.validation(some((16, 16)), [Masking(fraction=share) for share in shares], config(channels="gray"))
    zeros = [
        np.mean((noisy == 0) & (clean != 0)) + np.mean(clean == 0) * share
        for share, (clean, noisy) in zip(shares, pairs, strict=True)
    ]
    np.testing.assert_allclose(zeros, shares, atol=0.02)  # a random byte is 0 once in 256: a few of 256 values


def test_validation_meets_predefined_blocks():
    """Fails if the middle of a large picture, where no block lies, is all that validation sees."""
    noise = BlockMasking(blocks=[(590, 3, 10, 10)])
    [(clean, noisy)] = data.validation(some((600, 600)), (noise,), config(channels="gray"))
    assert clean.shape == (256, 256, 1)
    rows, columns, _ = np.nonzero(noisy != clean)
    assert (np.ptp(rows), np.ptp(columns)) == (9, 9)  # the whole block
    assert not noisy[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].any()


# --- files -------------------------------------------------------------------------------------------------------------------


def test_load_takes_every_picture(tmp_path):
    """Fails if folders below are not searched, files come unsorted, hidden or other files are taken, or pixels change."""
    arrays = put(tmp_path, b=20, a=17) | put(tmp_path / "c" / "d", e=18)
    put(tmp_path / ".hidden", f=20), put(tmp_path / "c", **{".g": 20})
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    pictures = data.load([tmp_path], CONFIG)
    assert pictures.names == ["a.png", "b.png", "e.png"]
    assert (pictures.unreadable, pictures.small) == ([], [])
    for array, name in zip(pictures.arrays, "abe", strict=True):
        np.testing.assert_array_equal(array, arrays[name])
    assert data.load([tmp_path / "b.png", tmp_path / "c"], CONFIG).names == ["b.png", "e.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", ["colour", "gray"])
def test_load_drops_alpha_and_colour(tmp_path, mode, channels):
    """Fails if alpha is learned as a colour, or gray is another gray than Pillow's."""
    values = some((16, 18, len(mode))).arrays[0]
    Pillow.fromarray(values.squeeze(), mode).save(tmp_path / "a.png")
    [array] = data.load([tmp_path], config(channels=channels)).arrays
    expected = values[..., 0] if mode in ("L", "LA") else values[..., :3]
    if channels == "gray" and expected.ndim == 3:
        expected = np.asarray(Pillow.fromarray(expected).convert("L"))
    assert (array.shape, array.dtype) == (expected.shape, np.uint8)
    assert np.abs(array.astype(int) - expected).max() <= (channels == "gray" and "RGB" in mode)  # Pillow's own rounding


def test_load_keeps_sixteen_bits(tmp_path):
    """Fails if a 16-bit picture is learned from in 8 bits."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Pillow.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(data.load([tmp_path], CONFIG).arrays[0], values)


def test_load_takes_every_kind_and_page(tmp_path):
    """Fails if a TIFF's pages are passed over, floats are learned from in 8 bits or wrap around beyond [0, 1]."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for n in range(3):
            file.write(np.full((20, 20), 100 + n, np.uint8))
    tifffile.imwrite(tmp_path / "b.tif", np.full((20, 20), 0.5, np.float32))
    tifffile.imwrite(tmp_path / "c.tif", np.full((20, 20), 1.5, np.float32))
    Pillow.fromarray(np.full((20, 20), True)).save(tmp_path / "d.png")
    pictures = data.load([tmp_path], CONFIG)
    assert pictures.names == ["a.tif", "a.tif", "a.tif", "b.tif", "d.png"]
    assert [array[0, 0] for array in pictures.arrays] == [100, 101, 102, 32768, 255]
    [(path, reason)] = pictures.unreadable
    assert (path.name, "from 1.5 to 1.5" in reason) == ("c.tif", True)


def test_load_names_what_it_leaves_out(tmp_path):
    """Fails if an unreadable or small picture vanishes unsaid, or one of five, the very limit, stops the run."""
    put(tmp_path, a=20, b=15, c=20, d=20)
    broken(tmp_path / "e.png")
    pictures = data.load([tmp_path], CONFIG)
    assert pictures.names == ["a.png", "c.png", "d.png"]
    assert pictures.small == [(tmp_path / "b.png", "is 15x15, smaller than a patch of 16")]
    [(path, reason)] = pictures.unreadable
    assert path == tmp_path / "e.png"
    assert "is damaged" in reason


def test_load_names_an_empty_picture(tmp_path):
    """Fails if a picture that lost all its bytes, as after a full disk, vanishes unsaid."""
    put(tmp_path, a=20, b=20, c=20, d=20)
    (tmp_path / "e.png").touch()
    assert [path.name for path, _ in data.load([tmp_path], CONFIG).unreadable] == ["e.png"]


def test_the_limit_of_pixels_is_a_setting(tmp_path):
    """Fails if the option that the error names is not there, or is forgotten."""
    put(tmp_path, **dict.fromkeys("abcde", 20), large=40)
    assert len(data.load([tmp_path], CONFIG).arrays) == 6
    pictures = data.load([tmp_path], config(max_megapixels=0.001))
    assert len(pictures.arrays) == 5
    [(path, reason)] = pictures.unreadable
    assert path.name == "large.png"
    assert "raise it with --max-megapixels" in reason
    assert "max_megapixels=0" in refusal(lambda: config(max_megapixels=0))


def only_broken(folder):
    put(folder, a=20, b=20, c=20)
    broken(folder / "d.png")


@pytest.mark.parametrize(
    ("fill", "says"),
    [
        (lambda folder: folder.rmdir(), "does not exist; give a picture file or a folder"),
        (lambda folder: None, "there is no picture here; expected PNG, JPEG, TIFF"),
        (lambda folder: (folder / "a.txt").write_text("x"), "there is no picture here"),
        (lambda folder: put(folder, a=15, b=8), "every picture is smaller than a patch of 16"),
        (only_broken, "1 of 4 pictures cannot be read, the first of them {}/d.png (is damaged"),
    ],
)
def test_folders_that_teach_nothing(tmp_path, fill, says):
    """Fails if training starts on nothing, or on what is left of a folder of which over a fifth cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    fill(folder)
    assert says.format(folder) in refusal(lambda: data.load([folder], CONFIG))


# --- what does not go together -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "says"),
    [
        (Masking(count=400), "--noise masking:count=400 on 1.png: count=400: the picture has 360 pixels"),
        (BlockMasking(blocks=[(0, 0, 17, 19)]), "on 1.png: a block of 17x19 pixels at (0, 0) does not fit a picture of 20x18"),
        (Gaussian(0.1) + BlockMasking(count=1, size=17), "blocks of 17 pixels do not fit a patch of 16; raise --patch"),
        (BlockMasking(count=1, size=(2, 18)), "blocks of 18 pixels do not fit a patch of 16"),
        (BlockMasking(count=1, size=19), "on 1.png: a block of 19x19"),
    ],
    ids=str,
)
def test_noises_that_do_not_fit(noise, says):
    """Fails if a run stops at the first crop or picture that a noise does not fit, instead of before it starts."""
    assert says in refusal(lambda: data.check([Gaussian(0.1), noise], some((30, 40, 3), (20, 18)), CONFIG))


@pytest.mark.parametrize("noise", [Masking(count=360), BlockMasking(count=1, size=16), BlockMasking(blocks=[(0, 0, 20, 18)])])
def test_noises_that_just_fit(noise):
    """Fails if check refuses what a batch then could have done."""
    pictures = some((30, 40, 3), (20, 18))
    data.check([noise], pictures, CONFIG)
    data.batch(pictures, (noise,), CONFIG, 0)


def test_noises_are_read_from_the_settings():
    """Fails if a noise of several is lost, or a misspelt one is found only when it is drawn."""
    assert data.noises_of(config(noise=("gaussian:0.1", "masking:0.5"))) == (Gaussian(0.1), Masking(fraction=0.5))
    assert "did you mean masking?" in refusal(lambda: data.noises_of(config(noise="maskin:0.5")), BadSetting)
