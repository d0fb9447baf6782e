"""The noises do to a picture exactly what they say, and say it in a mask."""

import itertools
import math
import string

import numpy as np
import pytest
import scipy.stats
from conftest import refusal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unnoise.cropped import on_crop
from unnoise.errors import ImageError
from unnoise.keyed import keyed_rng, keyed_rngs, normals
from unnoise.noise import (
    KINDS,
    BlockMasking,
    Camera,
    Clip,
    Gaussian,
    Masking,
    SaltAndPepper,
    Sum,
    brief,
    parse,
)

QUICK = settings(max_examples=60, deadline=None)
LAYOUTS = [(), (1,), (2,), (3,), (4,)]  # gray without a third axis; then gray, gray + alpha, RGB, RGB + alpha


def rng(seed=7):
    return np.random.default_rng(seed)


def picture(*shape, dtype=np.float32):
    """Values from 1.25 to 1.75: valid, and no replaced value, all of them in [0, 1], can look like an untouched one."""
    return rng(3).uniform(1.25, 1.75, shape).astype(dtype)


def colours(array):
    """(H, W, channels without alpha) of any layout."""
    array = array[..., None] if array.ndim == 2 else array
    return array[..., :-1] if array.shape[2] in (2, 4) else array


def applied(noise, clean, seed=7):
    """(noisy, mask), after what holds for every noise: the input and its alpha stay, the mask tells what was touched."""
    before = clean.copy()
    noisy, mask = noise(clean, rng(seed))
    np.testing.assert_array_equal(clean, before)
    assert noisy.shape == mask.shape == clean.shape
    assert (noisy.dtype, mask.dtype) == (clean.dtype, bool)
    np.testing.assert_array_equal(noisy != clean, mask)
    if clean.ndim == 3 and clean.shape[2] in (2, 4):
        assert not mask[..., -1].any()
    return noisy, mask


# --- how many, and where -----------------------------------------------------------------------------------------------------


@QUICK
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    layout=st.sampled_from(LAYOUTS),
    kind=st.sampled_from([Masking, SaltAndPepper, lambda **amount: SaltAndPepper(values="uniform", **amount)]),
    per=st.sampled_from(["pixel", "channel"]),
    share=st.floats(0, 1),
    by=st.sampled_from(["count", "fraction"]),
)
def test_exactly_so_many_are_touched(size, layout, kind, per, share, by):
    """Fails if a count or a rounded fraction is off by one, a place is hit twice, alpha counts, or channels part company."""
    clean = picture(*size, *layout)
    total = size[0] * size[1] * (colours(clean).shape[2] if per == "channel" else 1)
    amount = int(share * total) if by == "count" else share
    mask = colours(applied(kind(**{by: amount}, per=per), clean)[1])
    touched = mask.sum() if per == "channel" else mask[..., 0].sum()
    assert touched == amount if by == "count" else abs(touched - share * total) <= 0.5
    assert per == "channel" or (mask == mask[..., :1]).all()


@pytest.mark.parametrize("kind", [Masking, SaltAndPepper])
@pytest.mark.parametrize("per", ["pixel", "channel"])
def test_places_are_drawn_evenly(kind, per):
    """Fails if some pixels or channels are hit more often, per="channel" hits whole pixels, or a coin is not fair."""
    clean = picture(64, 96, 3)
    for amount in ({"fraction": 0.25}, {"prob": 0.25}):
        mask = applied(kind(per=per, **amount), clean)[1]
        parts = [mask[:32], mask[32:], mask[:, :48], mask[:, 48:], *np.moveaxis(mask, 2, 0)]
        for part in parts:
            draws = part.size / (1 if per == "channel" or part.ndim == 2 else 3)
            assert abs(part.mean() - 0.25) <= 4 * np.sqrt(0.25 * 0.75 / draws)  # 4 standard errors of so many coins
        assert (mask[..., 0] != mask[..., 1]).any() == (per == "channel")


@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_coins_at_the_ends(prob):
    """Fails if a coin of 0 ever hits or one of 1 ever misses."""
    assert (applied(Masking(prob=prob), picture(40, 50))[1] == bool(prob)).all()


# --- which values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sigma", [0.02, 25 / 255, 1.0])
def test_gaussian_has_its_moments(sigma, layout, dtype):
    """Fails if sigma is squared or halved, the noise has a bias, repeats across values, or reaches alpha."""
    clean = picture(96, 128, *layout, dtype=dtype)
    noisy, mask = Gaussian(sigma)(clean, rng())
    drawn = (colours(noisy).astype(np.float64) - colours(clean)).ravel()
    n = drawn.size
    assert abs(drawn.mean()) <= 4 * sigma / np.sqrt(n)  # 4 standard errors of a mean of n draws
    assert abs(drawn.var() - sigma**2) <= 4 * sigma**2 * np.sqrt(2 / n)  # and of their variance
    for step in (1, 2, 3, 128):  # between neighbours, channels and rows
        assert abs(np.mean(drawn[:-step] * drawn[step:])) <= 4 * sigma**2 / np.sqrt(n - step)  # of a mean product of two draws
    assert colours(mask).all()
    assert noisy.dtype == clean.dtype
    if layout in ((2,), (4,)):
        np.testing.assert_array_equal(noisy[..., -1], clean[..., -1])
        assert not mask[..., -1].any()


def test_gaussian_of_nothing():
    """Fails if sigma 0 changes a bit, or its mask denies that the values were drawn anew."""
    clean = picture(9, 11, 3)
    noisy, mask = Gaussian(0)(clean, rng())
    np.testing.assert_array_equal(noisy, clean)
    assert mask.all()


@pytest.mark.parametrize("per", ["pixel", "channel"])
@pytest.mark.parametrize(("values", "variance"), [("extremes", 1 / 4), ("uniform", 1 / 12)])  # of a coin; of U(0, 1)
def test_salt_and_pepper_values(values, variance, per):
    """Fails if salt outweighs pepper, "uniform" leaves part of [0, 1] out, or a pixel's channels get values of their own."""
    noisy, mask = applied(SaltAndPepper(fraction=0.5, values=values, per=per), picture(64, 96, 4))
    drawn = noisy[mask]
    pixels = drawn[::3] if per == "pixel" else drawn
    assert abs(pixels.mean() - 0.5) <= 4 * np.sqrt(variance / pixels.size)  # 4 standard errors
    if values == "extremes":
        assert set(drawn) == {0.0, 1.0}
    else:
        shares = np.histogram(pixels, 20, (0, 1))[0] / pixels.size  # sums to 1 only if all lie in [0, 1]
        assert shares.sum() == pytest.approx(1)
        assert np.abs(shares - 0.05).max() <= 5 * np.sqrt(0.05 * 0.95 / pixels.size)  # 5 standard errors: 20 bins at once
    together = noisy[..., :3][mask[..., :3].all(2)]
    assert (together == together[:, :1]).all() == (per == "pixel")


@pytest.mark.parametrize("noise", [Masking(fraction=0.3), Masking(count=40, per="channel"), BlockMasking(count=3, size=4)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_is_zero(noise, layout):
    """Fails if a masked value is anything but 0, or blackness spreads to alpha."""
    noisy, mask = applied(noise, picture(17, 23, *layout))
    assert mask.any()
    assert not noisy[mask].any()


def test_nothing_clips():
    """Fails if any noise cuts values at 0 or 1: half of the noise on black and on white lies outside."""
    clean = np.zeros((64, 64), np.float32)
    clean[:, 32:] = 1
    noisy, _ = Gaussian(0.1)(clean, rng())
    outside = (noisy < 0) | (noisy > 1)
    assert abs(outside.mean() - 0.5) <= 4 * 0.5 / 64  # 4 standard errors of 64^2 coins
    for noise in (SaltAndPepper(count=5), Masking(count=5), BlockMasking(count=1, size=2)):
        spoilt, mask = noise(noisy, rng())
        np.testing.assert_array_equal(spoilt[~mask], noisy[~mask])


# --- blocks ------------------------------------------------------------------------------------------------------------------


@QUICK
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.sampled_from(LAYOUTS), st.integers(0, 99))
def test_a_random_block_lies_inside(height, width, size, layout, seed):
    """Fails if a block is cut at the picture's edge, has the wrong side, or one that just fits is refused."""
    assume(size <= min(height, width))
    mask = colours(applied(BlockMasking(count=1, size=size), picture(height, width, *layout), seed)[1])
    rows, columns = np.flatnonzero(mask[..., 0].any(1)), np.flatnonzero(mask[..., 0].any(0))
    assert (len(rows), len(columns)) == (np.ptp(rows) + 1, np.ptp(columns) + 1) == (size, size)
    assert mask.sum() == size**2 * mask.shape[2]


def test_random_blocks_go_everywhere():
    """Fails if the last row or column of places is never drawn: 4 x 4 fits 5 x 6 in six places, one in 400 draws each."""
    masks = [BlockMasking(count=1, size=4)(picture(5, 6), rng(seed))[1] for seed in range(400)]
    corners = {tuple(np.argwhere(mask)[0].tolist()) for mask in masks}  # (5/6)^400 = 2e-32 that one is missed
    assert corners == set(itertools.product(range(2), range(3)))


def test_many_random_blocks():
    """Fails if only one block is drawn, or all lie at one place: 30 of 2 x 2 in 60 x 60 overlap little."""
    touched = applied(BlockMasking(count=30, size=2), picture(60, 60))[1].sum()
    assert 100 <= touched <= 120  # 30 * 4 at most; some 30 * 29 / 2 * 9 / 59^2 = 1.1 pairs overlap, by at most 4 each


@pytest.mark.parametrize("layout", LAYOUTS)
def test_predefined_blocks_are_exact(layout):
    """Fails if (top, left, height, width) are read in another order, or overlapping or outermost blocks are lost."""
    blocks = [(0, 0, 1, 1), (2, 3, 4, 6), (4, 5, 5, 2), (10, 12, 1, 3)]
    clean, expected = picture(11, 15, *layout), np.zeros((11, 15), bool)
    expected[0, 0] = expected[2:6, 3:9] = expected[4:9, 5:7] = expected[10, 12:15] = True
    mask = colours(applied(BlockMasking(blocks=blocks), clean)[1])
    np.testing.assert_array_equal(mask, np.broadcast_to(expected[..., None], mask.shape))


# --- sums, ranges, keys ------------------------------------------------------------------------------------------------------


def test_a_sum_is_its_parts_in_turn():
    """Fails if parts are applied in another order, share their draws, or the mask is only the last part's."""
    parts, clean = (SaltAndPepper(fraction=0.4), BlockMasking(blocks=[(0, 0, 8, 8)]), Masking(count=30)), picture(20, 30, 3)
    noisy, mask = applied(parts[0] + parts[1] + parts[2], clean)
    expected, touched, draws = clean, np.zeros(clean.shape, bool), rng()
    for part in parts:
        expected, here = part(expected, draws)
        touched |= here
    np.testing.assert_array_equal(noisy, expected)
    np.testing.assert_array_equal(mask, touched)


def test_the_order_of_a_sum_matters():
    """Fails if `a + b` applies b first, whichever way the sum is put together."""
    black, salt = Masking(fraction=1), SaltAndPepper(fraction=1, values="uniform")
    assert not (salt + black)(picture(4, 4), rng())[0].any()
    assert (black + salt)(picture(4, 4), rng())[0].all()
    assert (black + salt) + black == black + (salt + black) == Sum((black, salt, black))


def test_sigma_is_drawn_once_an_image():
    """Fails if a range is drawn for each value, only once for all images, or not evenly over its whole length."""
    clean = np.full((64, 64), 0.5)
    stds = []
    for seed in range(60):
        drawn = Gaussian((0.1, 0.5))(clean, rng(seed))[0] - clean
        upper, lower = drawn[:32].std(), drawn[32:].std()
        assert abs(upper / lower - 1) <= 5 / np.sqrt(drawn.size / 2)  # 5 standard errors: each std has 1 / sqrt(2 * n / 2)
        stds.append(drawn.std())
    assert min(stds) < 0.13  # (0.4 / 0.37)^-60 = 1 % that no draw of 60 lies so low
    assert max(stds) > 0.47
    assert abs(np.mean(stds) - 0.3) <= 4 * 0.4 / np.sqrt(12 * 60)  # 4 standard errors of a uniform draw's mean


@pytest.mark.parametrize(
    ("noise", "sizes"),
    [
        (SaltAndPepper(count=(3, 6)), {3, 4, 5, 6}),
        (Masking(count=(2, 2)), {2}),
        (Masking(fraction=(0.02, 0.04)), {2, 3, 4}),  # of 100 pixels
        (BlockMasking(count=1, size=(1, 3)), {1, 4, 9}),
        (BlockMasking(count=(0, 1), size=10), {0, 100}),
    ],
    ids=str,
)
def test_ranges_reach_both_ends(noise, sizes):
    """Fails if the upper end of a whole range is left out, or a range is drawn once for all images."""
    assert {int(applied(noise, picture(10, 10), seed)[1].sum()) for seed in range(100)} == sizes


def test_keys_are_independent_streams():
    """Fails if two keys share a stream, or one begins inside another's, as it does with the index in the low counter word."""
    keys = list(itertools.product((0, 1, 2**40), (0, 1, 2, 2**32, 2**63), (0, 1, 2, 15)))
    draws = {key: keyed_rng(*key).integers(2**64, size=64, dtype=np.uint64).tolist() for key in keys}
    assert len(set(itertools.chain.from_iterable(draws.values()))) == 64 * len(keys)  # 4e-13: a chance of equal draws
    for key in reversed(keys):  # in another order, from generators of their own
        assert keyed_rng(*key).integers(2**64, size=64, dtype=np.uint64).tolist() == draws[key]


@pytest.mark.parametrize(
    "noise",
    [
        Gaussian((0, 0.2)),
        Camera((0.02, 0.2)),
        Camera(0.05, (50, 99)),
        Gaussian(0.4) + Clip(),
        SaltAndPepper(count=50),
        Masking(prob=(0.1, 0.9)),
        BlockMasking(count=3, size=3),
    ],
    ids=str,
)
def test_same_key_same_noise(noise):
    """Fails if a noise draws from anything but the generator it is given."""
    clean = picture(16, 18, 3) - 1
    noisy = {key: noise(clean, keyed_rng(*key))[0] for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]}
    for key in reversed(noisy):
        np.testing.assert_array_equal(noise(clean, keyed_rng(*key))[0], noisy[key])
    assert len({array.tobytes() for array in noisy.values()}) == len(noisy)


# --- the textual form --------------------------------------------------------------------------------------------------------


def or_range(numbers):
    return numbers | st.tuples(numbers, numbers).map(sorted).map(tuple)


SHARES = or_range(st.floats(0, 1) | st.integers(0, 255).map(lambda level: level / 255) | st.sampled_from([0, 1]))
COUNTS = or_range(st.integers(0, 10**9))
SIDES = or_range(st.integers(1, 999))
AMOUNTS = COUNTS.map(lambda v: {"count": v}) | SHARES.map(lambda v: {"fraction": v}) | SHARES.map(lambda v: {"prob": v})
PERS = st.sampled_from(["pixel", "channel"])
BLOCKS = st.lists(st.tuples(*[st.integers(0, 999)] * 2, *[st.integers(1, 999)] * 2), min_size=1, max_size=3)
SINGLE = st.one_of(
    st.builds(Gaussian, SHARES),
    st.builds(Camera, SHARES, or_range(st.integers(1, 100)) | st.just(0)),
    st.builds(Clip),
    st.builds(
        lambda amount, values, per: SaltAndPepper(**amount, values=values, per=per),
        AMOUNTS, st.sampled_from(["extremes", "uniform"]), PERS,
    ),
    st.builds(lambda amount, per: Masking(**amount, per=per), AMOUNTS, PERS),
    st.builds(lambda count, size: BlockMasking(count, size), COUNTS, SIDES),
    st.builds(lambda blocks: BlockMasking(blocks=blocks), BLOCKS),
)  # fmt: skip
NOISES = SINGLE | st.lists(SINGLE, min_size=2, max_size=4).map(lambda parts: Sum(tuple(parts)))


@settings(max_examples=300, deadline=None)
@given(NOISES)
def test_text_and_back(noise):
    """Fails if any field is left out, rounded or misread on its way through the text that config.json and the cards keep."""
    assert parse(str(noise)) == noise


@pytest.mark.parametrize(
    "text",
    [
        "gaussian:25/255",
        "camera:10/255,jpeg=90",
        "salt-and-pepper:count=2000",
        "salt-and-pepper:0.1,per=channel",
        "blocks:count=4,size=16",
        "gaussian:0..55/255+masking:0.3",
        "gaussian:25/255+clip",
    ],
)
def test_the_brief_form_is_what_people_write(text):
    """Fails if a noise is shown otherwise than it was given, in a form that is not read again; other words stay as they are."""
    assert brief(str(parse(text))) == text
    assert brief("pairs") == "pairs"
    assert brief("a+b: sigma=<c>") == "a+b: sigma=<c>"


@pytest.mark.parametrize(
    ("text", "noise"),
    [
        ("gaussian:25/255", Gaussian(25 / 255)),
        ("gaussian:0..55/255", Gaussian((0, 55 / 255))),
        ("gaussian:sigma=25/255", Gaussian(sigma=25 / 255)),
        ("camera:10/255", Camera(10 / 255)),
        ("camera:2/255..30/255,jpeg=70..95", Camera((2 / 255, 30 / 255), (70, 95))),
        ("salt-and-pepper:count=2000", SaltAndPepper(count=2000)),
        ("salt-and-pepper:prob=0.1,values=uniform,per=channel", SaltAndPepper(prob=0.1, values="uniform", per="channel")),
        ("masking:0.3", Masking(fraction=0.3)),
        ("blocks:count=4,size=16", BlockMasking(count=4, size=16)),
        ("blocks:3", BlockMasking(count=3, size=16)),
        ("blocks:blocks=1x2x3x4/5x6x7x8", BlockMasking(blocks=((1, 2, 3, 4), (5, 6, 7, 8)))),
        (" gaussian: 0.1 + masking: count=5..9 ", Gaussian(0.1) + Masking(count=(5, 9))),
    ],
)
def test_documented_texts(text, noise):
    """Fails if a text the documentation writes stops being read, or a bare value stands for another field."""
    assert parse(text) == noise


# --- crops -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "picture_size", "side", "wanted"),
    [
        (100, (30, 40), 10, 100 * 100 / 1200),  # 8 1/3
        (1, (64, 64), 16, 1 / 16),
        (48, (32, 48), 16, 8.0),  # whole: no draw may change it
        ((10, 20), (20, 20), 10, 15 / 4),
    ],
)
@pytest.mark.parametrize("kind", [SaltAndPepper, Masking, BlockMasking])
def test_a_count_shrinks_with_the_area(kind, count, picture_size, side, wanted):
    """Fails if the scaled count is rounded the same way each time (its mean is then off), or uses the side, not the area."""
    counts = [on_crop(kind(count=count), picture_size, 0, 0, side, keyed_rng(0, step)).count for step in range(2000)]
    if isinstance(count, int):
        assert set(counts) <= {int(wanted), int(wanted) + (wanted % 1 > 0)}
        deviation = np.sqrt(wanted % 1 * (1 - wanted % 1))
    else:
        deviation = np.sqrt((11**2 - 1) / 12 / 16 + 0.25)  # of a count among 11, by area 1/4; and of a coin, at most
    assert abs(np.mean(counts) - wanted) <= 4 * deviation / np.sqrt(2000)  # 4 standard errors


@QUICK
@given(BLOCKS, st.integers(0, 25), st.integers(0, 35), st.integers(1, 9))
def test_predefined_blocks_move_with_the_crop(blocks, top, left, side):
    """Fails if a block is not shifted by the crop's corner or not cut at its edge: the crop's mask is the mask's crop."""
    blocks = [(a % 20, b % 30, c % 10 + 1, d % 10 + 1) for a, b, c, d in blocks]
    whole = BlockMasking(blocks=blocks)(picture(34, 44), rng())[1]
    expected = whole[top : top + side, left : left + side]
    here = on_crop(BlockMasking(blocks=blocks), whole.shape, top, left, side, rng())
    if here is None:
        assert not expected.any()
    else:
        np.testing.assert_array_equal(here(picture(side, side), rng())[1], expected)


@pytest.mark.parametrize(
    "noise", [Gaussian((0, 0.1)), Camera((0, 0.1), 90), Masking(fraction=0.5), SaltAndPepper(prob=(0, 0.2))], ids=str
)
def test_shares_are_the_same_on_a_crop(noise):
    """Fails if a noise that has no size is changed by cropping."""
    assert on_crop(noise, (90, 80), 3, 4, 16, rng()) == noise


def test_a_sum_on_a_crop():
    """Fails if one part that is not here takes the others with it, or a lone rest stays wrapped in a sum."""
    away = BlockMasking(blocks=[(50, 50, 4, 4)])
    assert on_crop(away, (64, 64), 0, 0, 16, rng()) is None
    assert on_crop(away + away, (64, 64), 0, 0, 16, rng()) is None
    assert on_crop(away + Gaussian(0.1), (64, 64), 0, 0, 16, rng()) == Gaussian(0.1)
    assert on_crop(Masking(count=32) + Camera(0.1), (64, 64), 40, 40, 16, rng()) == Masking(count=2) + Camera(0.1)
    here = on_crop(away + Gaussian(0.1) + Masking(count=32), (64, 64), 40, 40, 16, rng())
    assert here == BlockMasking(blocks=[(10, 10, 4, 4)]) + Gaussian(0.1) + Masking(count=2)  # 32 * 16^2 / 64^2


# --- errors ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, cls in KINDS.items() for field in cls.__dataclass_fields__ if kind != "profile"]
)
def test_a_misspelt_key_names_the_nearest(kind, field):
    """Fails if one wrong letter in a key, any letter at any place, does not lead back to it. All of them: hypothesis would pick some."""
    for place, letter in itertools.product(range(len(field)), string.ascii_lowercase):
        wrong = field[:place] + letter + field[place + 1 :]
        if wrong != field:
            assert f"{kind} has no {wrong!r}; did you mean {field}?" in refusal(lambda wrong=wrong: parse(f"{kind}:{wrong}=1"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_misspelt_kind_names_the_nearest(kind):
    """Fails if one wrong letter in a kind does not lead back to it."""
    for place, letter in itertools.product(range(len(kind)), string.ascii_lowercase):
        wrong = kind[:place] + letter + kind[place + 1 :]
        if wrong != kind:
            assert f"there is no {wrong!r}; did you mean {kind}?" in refusal(lambda wrong=wrong: parse(f"{wrong}:0.1"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Gaussian(25), "sigma=25: expected image units, 0 to 1; did you mean 25/255?"),
        (lambda: Gaussian((0, 55)), "did you mean 55/255?"),
        (lambda: parse("gaussian:25"), "did you mean 25/255?"),
        (lambda: parse("gaussian:25.5"), "sigma=25.5: expected image units, 0 to 1; did you mean 25.5/255?"),
        (lambda: parse("gaussian:0..2.25"), "did you mean 2.25/255?"),
        (lambda: Gaussian(25.0), "sigma=25.0: expected image units, 0 to 1; did you mean 25/255?"),
        (lambda: parse("gaussian"), "gaussian needs its sigma"),
        (lambda: parse("clip:0.1"), "clip has nothing to set; write clip alone."),
        (lambda: Gaussian(-0.1), "sigma=-0.1: expected a number from 0 to 1"),
        (lambda: Gaussian(float("nan")), "sigma=nan: expected a number"),
        (lambda: Gaussian((0.5, 0.1)), "low..high"),
        (lambda: Gaussian((0.1, 0.2, 0.3)), "low..high"),
        (lambda: Masking(), "expected exactly one of count, fraction and prob, such as masking:0.3."),
        (lambda: parse("gaussian:300/255"), "or a range low..high of them."),  # 1.18/255 is not what was meant
        (lambda: parse("gaussian:25.5/9"), "or a range low..high of them."),
        (lambda: SaltAndPepper(count=3, fraction=0.1), "not count and fraction"),
        (lambda: Masking(fraction=0.1, prob=0.1), "not fraction and prob"),
        (lambda: Masking(fraction=2000), "for a number of pixels write count"),
        (lambda: Masking(prob=1.5), "prob=1.5: expected a number from 0 to 1"),
        (lambda: SaltAndPepper(count=1.5), "count=1.5: expected a whole number from 0"),
        (lambda: SaltAndPepper(count=-1), "count=-1: expected a whole number from 0"),
        (lambda: SaltAndPepper(count="many"), "count='many': expected a whole number"),
        (lambda: SaltAndPepper(count=3, values="salt"), "values='salt': expected extremes (0 or 1) or uniform"),
        (lambda: Masking(count=3, per="row"), "per='row': expected pixel"),
        (lambda: BlockMasking(), "expected count and size for random blocks"),
        (lambda: BlockMasking(count=1, size=0), "size=0: expected a whole number from 1"),
        (lambda: BlockMasking(count=1, size=2, blocks=[(0, 0, 1, 1)]), "not both"),
        (lambda: BlockMasking(blocks=[(0, 0, 1)]), "expected (top, left, height, width)"),
        (lambda: BlockMasking(blocks=[(0, 0, 0, 1)]), "expected (top, left, height, width)"),
        (lambda: BlockMasking(blocks=[]), "expected (top, left, height, width)"),
        (lambda: BlockMasking(blocks=3), "expected (top, left, height, width)"),
        (lambda: parse(""), "expected one of gaussian, camera, profile, clip, salt-and-pepper, masking, blocks"),
        (lambda: parse("gaussian:0.1+"), "expected one of gaussian"),
        (lambda: parse("gaussian:"), "expected a value after the colon"),
        (lambda: parse("gaussian:1/0"), "expected a number such as 0.1 or 25/255"),
        (lambda: parse("gaussian:0..0.1..0.2"), "expected a number such as"),
        (lambda: parse("masking:count=3,count=4"), "count is given twice"),
        (lambda: parse("masking:count=3,4"), "expected key=value, not '4'"),
        (lambda: Gaussian(25 / 255) + 3, "3: expected a noise"),
        pytest.param(
            lambda: parse("gaussian:sigma=much"), "sigma='much': expected a number",
        ),
        pytest.param(
            lambda: Gaussian([0, 0.1]), "sigma=[0, 0.1]: expected a number",
        ),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(make, says):
    """Fails if a wrong setting is taken, or its error leaves out the value, what was expected or the way on."""
    assert says in refusal(make)


@pytest.mark.parametrize(
    ("image", "noise", "says"),
    [
        (picture(8, 9, 3), SaltAndPepper(count=73), "count=73: the picture has 72 pixels"),
        (picture(8, 9, 3), Masking(count=217, per="channel"), "count=217: the picture has 216 values"),
        (picture(8, 9, 4), Masking(count=(1, 217), per="channel"), "count=217: the picture has 216 values"),
        (picture(8, 9), BlockMasking(count=1, size=9), "a block of 9x9 pixels at (0, 0) does not fit a picture of 8x9"),
        (picture(8, 9), BlockMasking(count=1, size=(2, 9)), "a block of 9x9 pixels"),
        (picture(8, 9), BlockMasking(blocks=[(0, 0, 2, 2), (7, 0, 2, 1)]), "a block of 2x1 pixels at (7, 0)"),
        (picture(8, 9), BlockMasking(blocks=[(0, 7, 2, 3)]), "a block of 2x3 pixels at (0, 7)"),
        (picture(8, 9), Gaussian(25 / 255) + Masking(count=73), "count=73"),
    ],
)
def test_noises_that_do_not_fit_the_picture(image, noise, says):
    """Fails if a count or block that the picture has no room for is quietly made smaller."""
    assert says in refusal(lambda: noise(image, rng()), ImageError)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 4), np.uint8), "a picture of uint8: expected float32 in [0, 1]; divide"),
        (np.zeros((4, 4), np.float16), "a picture of float16"),
        (np.array([[0.1, np.nan]]), "a picture with NaN or infinity"),
        (np.array([[0.1, -np.inf]]), "a picture with NaN or infinity"),
        (np.array([[3.0, 140.0, 255.0]]), "a picture with a median of 140: expected values in [0, 1]; divide by 255"),
        (np.zeros((4, 4, 5)), "a picture of (4, 4, 5): expected 1 to 4 channels, last"),
        (np.zeros((1, 3, 4, 4)), "a picture of (1, 3, 4, 4): expected an array (height, width)"),
        (np.zeros((0, 4)), "a picture of (0, 4)"),
        ([[0.5]], "a picture of list"),
    ],
)
@pytest.mark.parametrize(
    "noise",
    [Gaussian(25 / 255), Camera(0.1), Clip(), SaltAndPepper(prob=0.1), Masking(prob=0.1), BlockMasking(blocks=[(0, 0, 1, 1)])],
)
def test_arrays_that_are_no_picture(noise, image, says):
    """Fails if some noise works on what is no picture in floats, where its answer would be nonsense."""
    assert says in refusal(lambda: noise(image, rng()), ImageError)


def test_clip_is_what_a_file_does():
    """Fails if a value leaves [0, 1], one within changes, alpha does, or the mask is not exactly what changed."""
    clean = np.dstack([picture(16, 18, 3), np.full((16, 18), 1.5, np.float32)])
    noisy = Gaussian(0.3)(clean, rng())[0]
    clipped, mask = Clip()(noisy, rng())
    np.testing.assert_array_equal(clipped[..., :3], np.clip(noisy[..., :3], 0, 1))
    np.testing.assert_array_equal(clipped[..., 3], 1.5)
    np.testing.assert_array_equal(mask, clipped != noisy)
    assert mask[..., :3].any()
    assert not mask.all()


def test_bright_pictures_are_pictures():
    """Fails if a few values far above 1, or all of them a little above, are taken for 0 to 255."""
    applied(Masking(count=2), np.array([[0.5, 0.5, 200.0], [1.9, 1.9, 1.9]]))


def test_one_generator_set_anew_draws_as_a_new_one():
    """Fails if what one index has drawn, here an odd number of 32-bit values, reaches the next, or the key is another."""
    keys = [(5, 9, index) for index in (0, 7, 3, 2**40)]

    def drawn(generator):
        return [generator.random(3, np.float32).tolist(), generator.integers(100, size=5).tolist(), generator.standard_normal()]

    found = [drawn(generator) for generator in keyed_rngs(5, 9, (0, 7, 3, 2**40))]
    assert found == [drawn(np.random.Generator(np.random.Philox(key=s, counter=(0, 0, i, n)))) for s, n, i in keys]
    assert found == [drawn(keyed_rng(*key)) for key in keys]


def test_keys_of_64_bits_are_told_apart():
    """Fails if a large step goes through a float: 2**63 and the next thousand would be one, and validation crops get one noise."""
    draws = {keyed_rng(0, step).random() for step in (2**63, 2**63 + 1, 2**63 + 2, 2**64 - 1, 2**62, 2**62 + 1)}
    assert len(draws) == 6


def unlike_normal(draws):
    """What in some draws is unlike N(0, 1), at odds of about one in ten thousand each."""
    found, pairs = [], draws[: len(draws) // 2 * 2].reshape(-1, 2).astype(np.float64)
    if scipy.stats.kstest(draws, "norm").pvalue < 1e-4:
        found.append("distribution")
    for sigmas in (3, 4, 5):
        expected = math.erfc(sigmas / math.sqrt(2)) * len(draws)
        if abs((np.abs(draws) > sigmas).sum() - expected) > 4 * math.sqrt(expected) + 1:
            found.append(f"beyond {sigmas} sigma")
    half = len(draws) // 2
    for one, other in ((pairs[:, 0], pairs[:, 1]), (draws[:half], draws[half : 2 * half])):
        for power in (1, 2):  # two draws may have no correlation, and share their size all the same
            if abs(np.corrcoef(one**power, other**power)[0, 1]) > 4 / math.sqrt(half):
                found.append(f"power {power}")
    return found


@pytest.mark.parametrize("shape", [(3, 5, 1), (1,), (128, 128), (1000, 1777, 3)])
@pytest.mark.parametrize("bits", [np.random.Philox, np.random.PCG64, np.random.SFC64, np.random.MT19937])
def test_normals_are_normal(shape, bits):
    """Fails if draws are not from N(0, 1), tails included, or depend on one another; any generator of numpy may be given."""
    draws = normals(shape, np.random.Generator(bits(5)))
    assert (draws.shape, draws.dtype) == (shape, np.float32)
    assert np.isfinite(draws).all()
    if draws.size > 10**4:
        assert unlike_normal(draws.ravel()) == []
    again = normals(shape, np.random.Generator(bits(5)))
    np.testing.assert_array_equal(draws, again)


def test_what_is_not_normal_is_found_out():
    """Controls for the test above: short tails, one draw used twice, and pairs of one radius."""
    rng = np.random.default_rng(5)
    sums = math.sqrt(2) * (rng.random((6, 10**6)).sum(0) - 3).astype(np.float32)
    assert "beyond 4 sigma" in unlike_normal(sums)
    twice = rng.standard_normal(10**6, np.float32).repeat(2)
    assert "power 1" in unlike_normal(twice)
    signs = np.where(rng.random(2 * 10**6) < 0.5, -1, 1).astype(np.float32)
    assert "power 2" in unlike_normal(twice * signs)
