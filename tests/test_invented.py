"""What is left of noise on flat pictures: the figure of a model's card, against methods whose answer is known."""

import numpy as np
import pytest
from conftest import TINY
from PIL import Image
from test_model import UNET, network
from test_targets import taken

import unnoise
from unnoise import artefact, export, invented
from unnoise.config import MODELS
from unnoise.notation import str_of

NOISE = ["gaussian:25/255"]


def box(picture, side):
    """Means of `side` x `side` pixels, around the edge."""
    return np.mean([np.roll(picture, (y, x), (0, 1)) for y in range(side) for x in range(side)], 0)


def flat(noisy):
    return np.broadcast_to(noisy.mean((0, 1)), noisy.shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_mean_invents_nothing(channels):
    """Fails if the level of a picture or a channel counts as structure, which differs from picture to picture, or noise does that is taken away."""
    found = invented.figure(flat, NOISE, channels)
    assert found["left"] == found["share"] == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_left_in_is_counted(channels):
    """Fails if it is not in 255ths, or not a share of the noise, or white noise counts as structure."""
    found = invented.figure(lambda noisy: noisy, NOISE, channels)
    assert found["left"] == pytest.approx(25, rel=0.01)  # of 200,000 values or more the standard error is 0.2 %
    assert (found["share"], found["correlation"]) == (1, 0)
    blurred = invented.figure(lambda noisy: box(noisy, 5), NOISE, channels)
    assert blurred["left"] == pytest.approx(5, rel=0.06)  # 1/sqrt(25) of it, in a 25th as many values
    assert blurred["share"] == pytest.approx(0.2, rel=0.06)
    assert blurred["correlation"] == pytest.approx(0.8, abs=0.03)  # of two windows 20 of 25 pixels are common


def test_structure_that_is_made_up_is_found():
    """Fails if a pattern that has nothing to do with the noise, or is made of it, passes for a flat picture."""
    stripes = np.sin(np.arange(128) / 4)[:, None] * 0.05
    checks = np.indices((128, 128)).sum(0) % 2 * 0.1
    rows = np.indices((128, 128))[0] % 2 * 0.1
    found = {
        name: invented.figure(way, NOISE, 1)
        for name, way in {
            "stripes": lambda noisy: flat(noisy) + stripes,
            "checks": lambda noisy: flat(noisy) + checks,
            "rows": lambda noisy: flat(noisy) + rows,
            "cosine": lambda noisy: 0.5 + 0.2 * np.cos(40 * noisy),
        }.items()
    }
    assert found["stripes"]["left"] == pytest.approx(255 * stripes.std(), abs=0.001)
    assert found["stripes"]["correlation"] == pytest.approx(1, abs=0.05)
    assert (found["checks"]["left"], found["checks"]["correlation"]) == (12.75, -1)
    assert found["rows"]["correlation"] == 0  # -1 downwards, 1 across
    assert found["cosine"]["left"] > 25


def test_pictures_are_those_of_every_model():
    """Fails if two models are tried on other pictures, a gray, a noise or colour is left out, or colour is shown to a gray model."""

    def shown(noises, channels):
        seen = []
        invented.figure(lambda noisy: seen.append(noisy) or noisy, noises, channels)
        return seen

    noises = ["gaussian:1/255", "gaussian:2/255", "gaussian:4/255"]
    one, other = shown(noises, 3), shown(noises, 3)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    kinds = {(picture.ndim, round(float(picture.mean()), 2), round(255 * float(picture.std()))) for picture in one}
    assert {kind[0] for kind in kinds} == {2, 3}
    assert {kind[1] for kind in kinds} == {0.25, 0.5, 0.75}
    assert {kind[2] for kind in kinds} == {1, 2, 4}
    assert {picture.ndim for picture in shown(NOISE, 1)} == {2}
    assert len({picture.tobytes() for picture in one}) == len(one) == 12
    assert len(shown([f"gaussian:{level}/255" for level in range(1, 16)], 1)) == 15


@pytest.mark.parametrize(
    ("noise", "touched"),
    [
        ("salt-and-pepper:count=2621", 0.01),  # of 512 x 512 pixels
        ("masking:0.3", 0.3),
        ("blocks:blocks=2000x3000x32x64", 0.125),  # 32 x 64 of 128 x 128
        ("masking:0.1+blocks:blocks=2000x3000x128x128", 1),
    ],
)
def test_noise_of_other_kinds(noise, touched):
    """Fails if a count is that of the small picture, or a block that lies outside of it is never seen."""
    shares = []
    invented.figure(lambda noisy: shares.append(np.mean(noisy != np.median(noisy)) or 1.0) or noisy, [noise], 1)
    assert np.mean(shares) == pytest.approx(touched, rel=0.02)


def test_without_noise_there_is_no_share():
    """Fails if a level of 0 is divided by; what is made up is there without noise too."""
    assert invented.figure(lambda noisy: noisy, ["gaussian:0"], 1) == {"left": 0}
    assert invented.figure(lambda noisy: noisy + np.arange(128), ["gaussian:0"], 1)["left"] > 25


# --- in the card -----------------------------------------------------------------------------------------------------------------


def test_a_run_says_it_in_its_card(run):
    """Fails if a new model has no figure, its files have two, or it is not what the file gives for the noise that it has learned."""
    model = unnoise.load(run, threads=1)
    told = model.card["invented"]
    assert told == artefact.read(run / "model.safetensors")[1]["invented"]
    assert told["noise"] == model.card["training"]["noise"] == ["gaussian:25/255"]
    found = invented.figure(model.denoise, told["noise"], 1)
    assert {name: told[name] for name in found} == pytest.approx(found, abs=0.02)
    assert 0 < told["left"] < 25
    assert told["share"] == pytest.approx(told["left"] / 25, rel=0.02)


def test_the_last_step_of_a_file_counts(tmp_path):
    """Fails if a model that leaves what it does not mend is judged without that."""
    card = {"architecture": str_of(MODELS, UNET), "training": {"noise": ["masking:0.2"]}}
    export.export(network(UNET, 1), card, tmp_path, np.zeros((64, 64, 1), np.float32))
    model = unnoise.load(tmp_path, threads=1)
    assert model.card["mends"] == "missing pixels"
    told = model.card["invented"]
    assert told["left"] == pytest.approx(invented.figure(model.denoise, ["masking:0.2"], 1)["left"], abs=0.02)


@pytest.mark.parametrize("training", [{}, {"noise": ["pairs"]}, {"noise": ["own"]}, {"noise": ["blocks:count=4,size=200"]}])
def test_what_cannot_be_said_is_left_out(training):
    """Fails if a card without noises, or with blocks larger than the flat pictures, stops an export."""
    assert invented.in_card(lambda batch: batch, {"channels": 1, "training": training}) == {}


@pytest.mark.parametrize("target", ["neighbours", "blind-spot", "pairs", "clean"])
def test_noise_of_its_own_is_measured(target, photos, tmp_path, monkeypatch):
    """Fails if a model that learned from pictures with their own noise is tried with none, or with another level than theirs."""
    ground = np.tile(np.linspace(0.3, 0.7, 96, dtype=np.float32), (96, 1))
    folders = [taken(tmp_path, [ground, ground.T, 1 - ground], name, seed) for name, seed in (("one", 0), ("two", 9))]
    if target == "clean":
        for number, clean in enumerate((ground, ground.T, 1 - ground)):
            Image.fromarray((255 * clean).astype(np.uint8)).save(folders[0] / f"{number}.png")
    cards, other = [], {"noisy": folders[1]} if target in ("pairs", "clean") else {}
    monkeypatch.setattr("unnoise.run.export", lambda model, card, *rest: cards.append(card))
    unnoise.train(folders[0], tmp_path / "run", target=target, steps=1, **other, **{**TINY, "patch": 32, "batch": 2})
    (told,) = cards[0]["invented"]["noise"]
    assert unnoise.parse(told).sigma == pytest.approx(25 / 255, rel=0.1)
