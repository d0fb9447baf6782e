"""Learning without clean pictures: nothing of a target's noise is in its input, and nothing of the truth in either."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from conftest import TINY, refusal
from PIL import Image
from test_train import assert_same_bits, broken_at, state

import unnoise
from unnoise import data, losses, metrics, suitable, targets
from unnoise.collection import Pictures
from unnoise.config import HIDDEN, TrainConfig
from unnoise.errors import ModelError
from unnoise.noise import Gaussian

SMALL = {**TINY, "patch": 16, "batch": 4}
WITHOUT = ("pairs", "blind-spot", "neighbours")


def rng(seed=1):
    return np.random.default_rng(seed)


def crop(*shape, seed=2):
    return rng(seed).random(shape, np.float32)


def config(target, **changes):
    return TrainConfig(**{**SMALL, "target": target, "noise": ("own",), "steps": 9, **changes})


# --- what is put in, and what is asked for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(48, 48), (16, 21, 3), (5, 5, 1)])
def test_a_hidden_value_is_nowhere_in_the_input(shape):
    """Fails if what is asked for can be seen, at its place or as what hides another: then the noise is learned with it."""
    noisy = crop(*shape)
    target, given, mask = targets.blind_spot(noisy, rng())
    np.testing.assert_array_equal(target, noisy)
    np.testing.assert_array_equal(given[~mask], noisy[~mask])
    assert mask.sum() == round(HIDDEN * shape[0] * shape[1]) * math.prod(shape[2:])
    others = np.where(mask, 7, noisy)  # another truth, other noise, at all hidden places
    _, same, where = targets.blind_spot(others, rng())
    np.testing.assert_array_equal(same, given)
    np.testing.assert_array_equal(where, mask)


def test_a_hidden_pixel_gets_the_value_of_one_beside_it():
    """Fails if it is taken from further away than two pixels, from itself, from one channel alone, or always from one side."""
    noisy = np.arange(40 * 40, dtype=np.float32).reshape(40, 40) / 1600
    offsets = []
    for seed in range(60):
        _, given, mask = targets.blind_spot(noisy, rng(seed))
        rows, columns = np.nonzero(mask)
        inside = (rows > 1) & (rows < 38) & (columns > 1) & (columns < 38)
        values = np.rint(given[mask] * 1600).astype(int)
        offsets += list(zip((values // 40 - rows)[inside].tolist(), (values % 40 - columns)[inside].tolist(), strict=True))
    assert set(offsets) == {(y, x) for y in range(-2, 3) for x in range(-2, 3)} - {(0, 0)}
    colour = np.stack([noisy, noisy, noisy], 2)
    _, given, _ = targets.blind_spot(colour, rng())
    assert (given[..., :1] == given).all()


def test_both_takes_are_put_in():
    """Fails if one take is always the target, or both are the same."""
    one, other = crop(8, 8, seed=1), crop(8, 8, seed=2)
    first = [np.array_equal(targets.pairs(one, other, rng(seed))[0], one) for seed in range(40)]
    for seed in range(40):
        target, noisy, mask = targets.pairs(one, other, rng(seed))
        assert mask.all()
        assert {target.tobytes(), noisy.tobytes()} == {one.tobytes(), other.tobytes()}
    assert 8 < sum(first) < 32


def test_neighbours_adjoin_and_are_never_the_same():
    """Fails if a cell gives one pixel twice or a diagonal pair, an order is never drawn, or the sub-sampled pictures are in disorder."""
    noisy = np.arange(20 * 24, dtype=np.float32).reshape(20, 24)
    seen = set()
    for seed in range(10):
        target, given, places = targets.neighbours(noisy, rng(seed))
        assert target is given
        tensors = [torch.from_numpy(np.ascontiguousarray(array))[None, None] for array in (noisy, places)]
        first, second = (losses.sub_sampled(*tensors, which)[0, 0].numpy().astype(int) for which in (1, 2))
        cells = np.mgrid[0:10, 0:12]
        at = [np.stack([values // 24, values % 24]) - 2 * cells for values in (first, second)]
        assert all(((part >= 0) & (part <= 1)).all() for part in at)
        assert (np.abs(at[0] - at[1]).sum(0) == 1).all()
        seen |= set(map(tuple, np.concatenate(at).reshape(4, -1).T.tolist()))
    assert len(seen) == 8


def test_the_cost_of_neighbours_is_the_papers():
    """Fails if a term is missing, gamma weighs the wrong one, the regulariser's sign is turned, or a gradient is taken of f(y)."""
    noisy = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.manual_seed(1))
    places = torch.from_numpy(np.stack([np.moveaxis(targets.neighbours(crop(8, 8, 3), rng(s))[2], 2, 0) for s in range(2)]))
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    restored, parts = losses.neighbours(lambda x: scale * x**2, noisy, places, losses.SquaredError(), 0.5)
    y, mask = noisy.numpy(), places.numpy()
    cells = [
        [
            (y[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], mask[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2])
            for i in range(4)
            for j in range(4)
        ]
        for n in range(2)
        for c in range(3)
    ]
    g1, g2 = (np.array([[float(v[m == which][0]) for v, m in row] for row in cells]) for which in (1, 2))
    f1, apart = 0.7 * g1**2, 0.7 * g1**2 - 0.7 * g2**2
    assert parts["pixel"].item() == pytest.approx(np.mean((f1 - g2) ** 2), rel=1e-5)
    assert parts["neighbours"].item() == pytest.approx(0.5 * np.mean((f1 - g2 - apart) ** 2), rel=1e-5)
    parts["neighbours"].backward()
    assert scale.grad.item() == pytest.approx(np.mean((f1 - g2 - apart) * g1**2), rel=1e-4)  # 0.5 * 2 * (...) * df1/dscale
    assert restored.shape == (2, 3, 4, 4)


@pytest.mark.parametrize("target", WITHOUT)
def test_a_batch_follows_from_seed_and_step(target):
    """Fails if a draw depends on what was drawn before, or crops of two takes are laid otherwise."""
    one = Pictures([crop(40, 50, 3), crop(36, 33)], ["a", "b"])
    pictures = (
        dataclasses.replace(one, noisy=Pictures([array + 1 for array in one.arrays], ["a", "b"])) if target == "pairs" else one
    )
    settings = config(target, channels="colour", batch=6)
    steps = {step: data.batch(pictures, (), settings, step) for step in (0, 1, 5)}
    for step in reversed(steps):
        for part, whole in zip(data.batch(pictures, (), settings, step, range(2, 5)), steps[step], strict=True):
            np.testing.assert_array_equal(part, whole[2:5])
    assert steps[0][0].shape == (6, 3, *([32, 32] if target == "neighbours" else [16, 16]))
    assert not np.array_equal(steps[0][1], steps[1][1])
    if target == "pairs":
        np.testing.assert_allclose(np.abs(steps[0][1] - steps[0][0]), 1, atol=1e-6)


# --- nothing of the truth -------------------------------------------------------------------------------------------------------


def taken(folder, clean, name, seed):
    """Noisy takes of clean pictures as PNG."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(clean):
        noisy = Gaussian(25 / 255)(picture, rng(seed + index))[0]
        Image.fromarray((noisy.clip(0, 1) * 255).round().astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder / name


@pytest.fixture
def takes(photos, tmp_path):
    """(first takes, second takes) of the photos in gray, their middle of 128 x 128 pixels."""
    clean = [np.asarray(Image.open(file).convert("L"), np.float32)[64:192, 64:192] / 255 for file in sorted(photos.iterdir())]
    return taken(tmp_path, clean, "one", 0), taken(tmp_path, clean, "two", 100)


def given_to(target, takes):
    return {"target": target, **({"noisy": takes[1]} if target == "pairs" else {})}


@pytest.mark.parametrize("target", WITHOUT)
def test_a_run_is_gone_on_with_to_the_same_bits(target, takes, tmp_path, learning, exported):
    """Fails if a draw or gamma follows from anything but seed and step, or the target is forgotten when a run goes on."""
    settings = {**SMALL, **given_to(target, takes)}
    with pytest.MonkeyPatch.context() as patch:
        broken_at(2, learning, patch)
        with pytest.raises(SystemError):
            unnoise.train(takes[0], tmp_path / "run", steps=4, **settings)
    unnoise.resume(tmp_path / "run")
    unnoise.train(takes[0], tmp_path / "whole", steps=4, **settings)
    assert_same_bits(state(tmp_path / "run"), state(tmp_path / "whole"))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["noise"] == ["own"]
    unnoise.resume(tmp_path / "run", continue_for="steps=2")


@pytest.mark.parametrize("target", WITHOUT)
def test_it_learns_without_the_truth(target, takes, tmp_path, photos, exported):
    """Fails if what is learned is the noise, as from an input that tells it: the truth is only looked at here, by the test.

    A clean photo is nowhere: the runs are given the takes alone. 2 dB of the 20.2 dB that the noise has; untrained, it has lost.
    """
    told = []
    steps = {"pairs": 150, "blind-spot": 300, "neighbours": 150}[target]
    settings = {**TINY, "patch": 32, "batch": 8, "warmup": 10, **given_to(target, takes)}
    result = unnoise.train(takes[0], tmp_path / "run", steps=steps, watch=told.append, **settings)
    clean, noisy = (
        np.asarray(Image.open(folder).convert("L"), np.float32) / 255 for folder in (photos / "coins.png", takes[0] / "2.png")
    )
    clean = clean[64:192, 64:192]
    with torch.inference_mode():
        restored = exported[0](torch.from_numpy(noisy)[None, None])[0, 0].numpy()
    assert metrics.psnr(restored.clip(0, 1), clean) > metrics.psnr(noisy, clean) + 2
    assert result.psnr < 22  # the noise of what it is scored on is part of the score: 20.2 dB at best, clipped a little more
    assert result.target == target
    assert told[-1].scored_on != "validation crops"


def test_held_out_pixels_are_scored_alone():
    """Fails if the score counts pixels that the input shows: whoever gives the input back would win."""
    pictures = Pictures([crop(64, 64)], ["a"])
    [(noisy, given, mask)] = data.validation(pictures, (), config("blind-spot"))
    assert mask.mean() == pytest.approx(HIDDEN, abs=1e-3)
    np.testing.assert_array_equal(given != noisy, mask)
    found = metrics.mean_psnr(lambda picture: picture, [(noisy, given, mask)])
    assert found == pytest.approx(-10 * math.log10(np.mean((given - noisy)[mask] ** 2)), abs=1e-4)
    assert metrics.mean_psnr(lambda picture: np.where(mask, noisy, 9), [(noisy, given, mask)]) == math.inf


def test_blind_spot_is_the_emphasis_loss(takes, tmp_path, learning, monkeypatch, exported):
    """Fails if what was not hidden counts, or the cost is not the mean over what was."""
    real, batches, told = learning.data.batch, [], []
    monkeypatch.setattr(learning.data, "batch", lambda *given: batches.append(real(*given)) or batches[-1])
    unnoise.train(takes[0], tmp_path / "run", target="blind-spot", steps=1, watch=told.append, **SMALL)
    [(target, noisy, mask)] = batches
    with torch.inference_mode():
        first = learning.new_trainee(config("blind-spot", steps=1)).model(torch.from_numpy(noisy)).numpy()
    assert told[-1].loss == pytest.approx(np.sum((first - target)[mask] ** 2) / (HIDDEN * mask.size), rel=1e-5)


# --- what cannot be ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target": "pairs"}, "give the folder of the second ones by --noisy"),
        ({"target": "blind-spot", "noisy": "two"}, "leave --noisy out"),
        ({"target": "neighbours", "noise": "gaussian:0.1"}, "leave --noise out"),
        ({"target": "blind-spot", "beta": 0.5}, "leave --beta out"),
        ({"target": "pairs", "noisy": "two", "perceptual": 0.1}, "leave --perceptual out"),
        ({"target": "blindspot"}, "did you mean blind-spot"),
        ({"target": "neighbours", "patch": 80}, "every picture is smaller than a patch of 160"),
        ({"noise": "own"}, "noise=own is said by --target"),
    ],
)
def test_settings_that_cannot_be(settings, says, takes, tmp_path):
    """Fails if a setting that would teach something else is taken and forgotten."""
    given = {**settings, **({"noisy": takes[1]} if "noisy" in settings else {})}
    assert says in refusal(lambda: unnoise.train(takes[0], tmp_path / "run", steps=1, **{**SMALL, **given}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("move", [(3, 0), (0, -2), (-5, 4), (0, 0)])
def test_a_shift_is_measured(move, held_out):
    """Fails if it is missed, turned round or its axes change places, or found where there is none."""
    clean = held_out("camera.png")
    one, other = (
        Gaussian(50 / 255)(picture, rng(seed))[0] for seed, picture in enumerate((clean, np.roll(clean, move, (0, 1))))
    )
    assert suitable.shift(one[20:300, 20:340], other[20:300, 20:340]) == move


def test_noise_without_a_picture_is_not_shifted():
    """Fails if chance is taken for a shift."""
    assert [suitable.shift(crop(128, 96, seed=seed), crop(128, 96, seed=seed + 50)) for seed in range(60)] == [(0, 0)] * 60


def test_takes_that_do_not_fit_are_named(takes, tmp_path):
    """Fails if shifted takes blur what is learned, or one file given twice teaches nothing, unsaid."""
    for file in takes[1].iterdir():
        picture = np.asarray(Image.open(file))
        Image.fromarray(np.roll(picture, (2, -1), (0, 1))).save(file)
    words = refusal(lambda: unnoise.train(takes[0], tmp_path / "run", steps=1, noisy=takes[1], target="pairs", **SMALL))
    assert "is shifted by 2 pixels down and 1 pixel left" in words
    words = refusal(lambda: unnoise.train(takes[0], tmp_path / "run", steps=1, noisy=takes[0], target="pairs", **SMALL))
    assert "the same to the last bit" in words


@pytest.mark.parametrize("target", ["blind-spot", "neighbours"])
def test_correlated_noise_is_refused(target, takes, tmp_path, exported):
    """Fails if noise that neighbours share is learned and left in; or white noise is refused."""
    folder = tmp_path / "smooth"
    folder.mkdir()
    for index, file in enumerate(takes[0].iterdir()):
        noise = rng(index).standard_normal((129, 129)) * 0.1
        smooth = (
            np.asarray(Image.open(file)) / 510 + 0.25 + (noise[1:, 1:] + noise[:-1, 1:] + noise[1:, :-1] + noise[:-1, :-1]) / 2
        )
        Image.fromarray((smooth.clip(0, 1) * 255).astype(np.uint8)).save(folder / file.name)
    words = refusal(lambda: unnoise.train(folder, tmp_path / "run", steps=1, target=target, **SMALL))
    assert "noise is correlated between neighbours" in words
    unnoise.train(takes[0], tmp_path / "run", steps=1, target=target, **SMALL)


def test_int8_is_not_judged_without_truth(takes, tmp_path):
    """Fails if a loss is measured against noise, beside which it looks like nothing."""
    from unnoise.quantise import export_int8

    unnoise.train(takes[0], tmp_path / "run", target="pairs", noisy=takes[1], steps=1, **SMALL)
    assert "cannot be measured" in refusal(lambda: export_int8(tmp_path / "run", tmp_path / "x.onnx"), ModelError)


def test_the_command_line_says_what_the_score_is_of(takes, tmp_path, cli, exported):
    """Fails if a score against noise is given out for one against the truth."""
    options = [word for name, value in SMALL.items() for word in (f"--{name}", value)]
    ended = cli("train", takes[0], "-o", tmp_path / "run", "--target", "blind-spot", "--steps", 2, *options)
    assert ended.code == 0, ended.err
    assert "dB on hidden pixels of noisy validation crops" in ended.err
    assert "as no truth is known" in ended.err
