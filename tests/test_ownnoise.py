"""`denoise --learn`, and the judgement without truth that decides what is used."""

import json

import numpy as np
import pytest
import torch
from conftest import TINY, refusal
from PIL import Image
from test_targets import rng, taken

import unnoise
from unnoise import atomic, auto, bundled, heldout, ownnoise
from unnoise.errors import Interrupted

LIMIT = 10**8


def box(picture, side):
    """Means of `side` x `side` pixels, those beyond the edge repeated."""
    around = np.pad(picture, side // 2, "edge")
    return np.mean([around[y : y + picture.shape[0], x : x + picture.shape[1]] for y in range(side) for x in range(side)], 0)


# --- hidden pixels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 80), (37, 41, 3), (16, 16)])
def test_what_is_hidden_is_not_told(shape):
    """Fails if a method is shown what it is judged by: one that gives its input back would win."""
    picture, shown = rng().random(shape, np.float32), []
    heldout.blind(lambda given: shown.append(given) or given, picture)
    hidden = [(given != picture).reshape(*shape[:2], -1).any(2) for given in shown]
    assert not np.any(np.sum(hidden, 0) > 1)
    assert np.sum(hidden) == pytest.approx(np.prod(shape[:2]) / 4, rel=0.1)
    others = np.where(hidden[1].reshape(*shape[:2], *[1] * (len(shape) - 2)), rng(9).random(shape, np.float32), picture)
    again = []
    heldout.blind(lambda given: again.append(given) or given, others)
    np.testing.assert_array_equal(again[1], shown[1])


def test_the_error_is_that_against_the_truth_and_the_noise():
    """Fails if what is compared are other pixels, or a constant is missing: sigma^2 + the true squared error, within chance."""
    clean = np.tile(np.sin(np.linspace(0, 20, 256))[:, None] * 0.2 + 0.5, (1, 256))
    noisy = clean + 0.1 * rng().standard_normal(clean.shape)

    def found(method):
        known = heldout.blind(lambda given: box(given, 5), noisy)
        return heldout.errors(method, noisy, heldout.blind(method, noisy), known)

    assert found(lambda given: clean).shape == (16,)
    chance = 4 * 0.01 * np.sqrt(2 / (noisy.size / 4))  # 4 standard errors of a mean of squares of N(0, 0.1^2)
    assert found(lambda given: clean).mean() == pytest.approx(0.01, abs=chance)
    assert found(lambda given: clean + 0.1).mean() == pytest.approx(0.02, abs=3 * chance)
    methods = {
        3: lambda given: box(given, 3),
        9: lambda given: box(given, 9),
        1: lambda given: given,
        0: lambda given: clean + 0.08,
    }
    truth = {name: np.mean((method(noisy) - clean) ** 2) for name, method in methods.items()}
    parts = {name: found(method) for name, method in methods.items()}
    for name, risk in truth.items():  # the one that leaves all noise in would win against the last by hidden pixels alone
        assert parts[name].mean() == pytest.approx(risk + 0.01, rel=0.06)
    low, high = sorted(truth, key=truth.get)[:2]
    mean, least, most = heldout.gain([parts[low]], [parts[high]])
    assert 0 < least < mean < most
    assert heldout.gain([parts[0]], [parts[1]])[1] > 0
    assert mean == pytest.approx((truth[high] - truth[low]) / (0.01 + truth[high]), rel=0.2)


@pytest.mark.parametrize(("error", "width", "sigma"), [(0.05, 5, 0.1), (0.02, 5, 0.05), (0.05, 7, 0.05), (0, 5, 0.1)])
def test_the_share_of_its_own_value_is_told_by_what_residuals_share(error, width, sigma):
    """Fails if noise counts as error, or error as noise: the share is v / (v + sigma^2), whatever the noise is at each place.

    Errors are alike nearby, by a triangle three times over, nearly a Gaussian; noise is stronger on the right. A third: what the
    shape of the errors may differ from a Gaussian by, and chance.
    """
    size = 256
    pattern = box(box(box(rng(1).standard_normal((size, size)), width), width), 1)
    wrong = error * pattern / max(pattern.std(), 1e-9)
    noisy = 0.5 + sigma * np.sqrt(np.linspace(0.2, 1.8, size)) * rng(2).standard_normal((size, size))
    share = heldout.own_share(lambda given: (0.5 + wrong)[..., None], [noisy[..., None]])
    assert share == pytest.approx(error**2 / (error**2 + sigma**2), rel=1 / 3, abs=0.03)


def test_the_share_is_measured_on_hidden_pixels():
    """Fails if a model sees the pixels whose residuals are taken, at their place or in that of their partner."""
    picture, shown = np.arange(40 * 40, dtype=np.float32).reshape(40, 40, 1) / 1600, []
    heldout.own_share(lambda given: shown.append(given) or given, [picture])
    assert len(shown) == 4
    for given in shown:
        hidden = given != picture
        assert hidden.sum() == 2 * 6 * 6  # every sixth row and column from 2 to 36, and their partners
        assert not np.isin(picture[hidden], given).any()


def test_a_blind_spot_model_keeps_its_share(noisy, tmp_path):
    """Fails if the last step of the file is left out, turned round or lost at export, or is put on a model that needs none."""
    from unnoise.export import export_again, loaded

    settings = {**TINY, "patch": 32, "warmup": 5, "steps": 30}
    unnoise.train(noisy, tmp_path / "run", target="blind-spot", **settings)
    net, card = loaded(tmp_path / "run")
    share = card["keeps"]
    assert 0.02 < share <= 1
    picture = rng().random((40, 48), np.float32)
    with torch.inference_mode():
        blind = net(torch.from_numpy(picture)[None, None])[0, 0].numpy()
    expected = (1 - share) * blind + share * picture
    assert export_again(tmp_path / "run", tmp_path / "again.onnx")["keeps"] == share
    for model in (tmp_path / "run", tmp_path / "again.onnx"):
        np.testing.assert_allclose(unnoise.load(model).denoise(picture), expected, atol=1e-5)  # float32 in another order
    unnoise.train(noisy, tmp_path / "other", target="neighbours", **settings | {"steps": 1})
    assert "keeps" not in loaded(tmp_path / "other")[1]


# --- denoise --learn ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def noisy(photos, tmp_path):
    """A folder with noisy takes of the photos in gray, 96 x 96 pixels."""
    clean = [np.asarray(Image.open(file).convert("L"), np.float32)[64:160, 64:160] / 255 for file in sorted(photos.iterdir())]
    return taken(tmp_path, clean, "noisy", 0)


@pytest.fixture
def short(monkeypatch):
    """Runs of a few steps of a small model."""

    def of(steps):
        settings = {**TINY, "minutes": None, "steps": steps}
        del settings["channels"]
        monkeypatch.setattr(ownnoise, "SETTINGS", settings)

    of(2)
    return of


def learn(folder, out, fallback=True):
    return ownnoise.learn(sorted(folder.rglob("*.png")), out, 1, fallback, LIMIT, 1, None)


def test_a_bad_model_is_not_used(noisy, short, tmp_path, cli):
    """Fails if two steps of training win, it goes unsaid which model was used, or --no-fallback is forgotten."""
    ended = cli("denoise", noisy, "-o", tmp_path / "a", "--learn", 1, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert (told["model"], told["learned"]["model"], len(told["done"])) == ("auto", "auto", 6)
    assert told["learned"]["lower_error_by"] < told["learned"]["interval"][1] < 0
    last = ended.err.strip().split("\n")[-1]
    assert last.startswith("The bundled models are used, not the learned one: by hidden pixels of 6 of the pictures")
    assert "% higher" in last
    ended = cli("denoise", noisy, "-o", tmp_path / "b", "--learn", 1, "--no-fallback")
    assert f"The learned model {tmp_path / 'b' / '.learned'} is used" in ended.err
    name = sorted(noisy.iterdir())[0].name
    given, kept = (np.asarray(Image.open(tmp_path / way / name), int) for way in "ab")
    own = unnoise.load(tmp_path / "b" / ".learned").denoise(np.asarray(Image.open(noisy / name)))
    assert np.abs(kept - own).max() <= 1
    assert np.abs(kept - given).max() > 1


def test_a_better_model_is_used(noisy, short, tmp_path, monkeypatch):
    """Fails if the comparison is turned round, or hears of no truth and never dares."""
    short(60)
    monkeypatch.setattr(ownnoise, "_chosen", lambda models, noisy: np.zeros_like)
    found = learn(noisy, tmp_path / "out")
    assert found.model == str(tmp_path / "out" / ".learned")
    assert found.gain[1] > 0
    assert "% lower than that of the bundled models" in found.sentence


def test_the_same_request_learns_once(noisy, short, tmp_path, monkeypatch):
    """Fails if the minutes are spent again, or an old model is used for other pictures or another request."""
    learn(noisy, tmp_path / "out")
    stamp = (tmp_path / "out" / ".learned" / "model.onnx").stat().st_mtime_ns
    learn(noisy, tmp_path / "out")
    assert (tmp_path / "out" / ".learned" / "model.onnx").stat().st_mtime_ns == stamp
    file = sorted(noisy.iterdir())[0]
    Image.fromarray(np.asarray(Image.open(file)).T.copy()).save(file)
    learn(noisy, tmp_path / "out")
    changed = (tmp_path / "out" / ".learned" / "model.onnx").stat().st_mtime_ns
    assert changed != stamp
    short(3)
    learn(noisy, tmp_path / "out")
    assert json.loads((tmp_path / "out" / ".learned" / "config.json").read_text())["config"]["steps"] == 3


def test_an_interrupted_one_is_gone_on_with(noisy, short, tmp_path, monkeypatch):
    """Fails if what was learned before Ctrl-C is lost, or people are sent to another command."""
    from unnoise import run

    short(4)
    real = run.fit

    def stopping(trainee, pictures, config, each_step, ours):
        ours.asked.set()
        real(trainee, pictures, config, each_step, ours)

    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", stopping)
        with pytest.raises(Interrupted, match=r"the same command goes on$"):
            learn(noisy, tmp_path / "out")
    begun = []
    monkeypatch.setattr(run, "fit", lambda trainee, *rest: begun.append(trainee.step) or real(trainee, *rest))
    learn(noisy, tmp_path / "out")
    assert begun == [1]


def test_clean_pictures_are_not_learned_from(photos, short, tmp_path):
    """Fails if what no noise is in is smoothed by a model of its texture."""
    clean = [np.full((64, 64), 0.5, np.float32)]
    found = learn(taken(tmp_path, clean, "noisy", 0).parent, tmp_path / "out")
    assert "Nothing was learned" not in found.sentence
    Image.fromarray(np.full((64, 64), 128, np.uint8)).save(tmp_path / "noisy" / "0.png")
    found = learn(tmp_path / "noisy", tmp_path / "other")
    assert (found.model, found.sentence[:46]) == (auto.AUTO, "Nothing was learned: in 1 of 1 pictures looked")
    assert not (tmp_path / "other").exists()


def test_correlated_noise_is_left_to_the_bundled_models(noisy, short, tmp_path):
    """Fails if noise that neighbours share is learned and kept; without the fallback that is refused."""
    for index, file in enumerate(noisy.iterdir()):
        noise = rng(index).standard_normal((97, 97)) * 0.1
        smooth = 0.5 + (noise[1:, 1:] + noise[:-1, 1:] + noise[1:, :-1] + noise[:-1, :-1]) / 2
        Image.fromarray((smooth.clip(0, 1) * 255).astype(np.uint8)).save(file)
    found = learn(noisy, tmp_path / "out")
    assert (found.model, "correlated between neighbours" in found.sentence) == (auto.AUTO, True)
    assert "correlated" in refusal(lambda: learn(noisy, tmp_path / "out", fallback=False))


@pytest.mark.parametrize(("side", "channels", "patch"), [(16, 1, 8), (50, 3, 24), (200, 3, 48)])
def test_small_pictures_and_colour(side, channels, patch, short, tmp_path):
    """Fails if a single small picture stops it, or colour is learned in gray."""
    shape = (side, side) if channels == 1 else (side, side, channels)
    folder = taken(tmp_path, [np.full(shape, 0.5, np.float32)], "noisy", 0)
    learn(folder, tmp_path / "out", fallback=False)
    config = json.loads((tmp_path / "out" / ".learned" / "config.json").read_text())["config"]
    assert (config["channels"], config["patch"]) == ("gray" if channels == 1 else "colour", patch)


def test_what_is_too_small_to_judge_on(short, tmp_path):
    """Fails if pictures of fewer than 16 pixels end in a traceback, alone or beside a larger one that is not looked at."""
    small = [np.full((12, 40), 0.5, np.float32)] * 15
    folder = taken(tmp_path, small, "noisy", 0)
    assert "every picture is smaller than a patch of 16" in learn(folder, tmp_path / "a").sentence
    taken(tmp_path / "more", [np.full((64, 64), 0.5, np.float32)], "noisy", 0)
    files = sorted(folder.iterdir())
    files.insert(1, tmp_path / "more" / "noisy" / "0.png")
    assert "too small to compare" in ownnoise.learn(files, tmp_path / "b", 1, True, LIMIT, 1, None).sentence


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--learn", 0), "expected minutes above 0"),
        (("--learn", 1, "--model", "photo"), "leave out --model"),
        (("--learn", 1, "--dry-run"), "leave out --model"),
        (("--no-fallback",), "belongs to --learn"),
    ],
)
def test_requests_that_cannot_be(options, says, noisy, tmp_path, cli):
    """Fails if an option that does not go with --learn is taken and forgotten."""
    ended = cli("denoise", noisy, "-o", tmp_path / "out", *options)
    assert (ended.code, says in ended.sentence) == (2, True)
    assert bundled.names()


def test_a_run_at_work_is_not_touched(noisy, short, tmp_path):
    """Fails if what another process is learning is removed, or a finished run is, before anything new is there."""
    learn(noisy, tmp_path / "out")
    run = tmp_path / "out" / ".learned"
    before = (run / "model.onnx").read_bytes()
    short(3)
    with atomic.held(run, ""):
        assert "another unnoise is training in" in refusal(lambda: learn(noisy, tmp_path / "out", fallback=False))
    assert (run / "model.onnx").read_bytes() == before
    learn(noisy, tmp_path / "out")
    assert (tmp_path / "out" / ".learned-before" / "model.onnx").read_bytes() == before


def test_what_it_wrote_is_not_learned_from(noisy, short, cli):
    """Fails if the second command in a folder that holds its own results learns from these too."""
    for _ in range(2):
        ended = cli("denoise", noisy, "-o", noisy, "--format", "tiff", "--learn", 1, "--no-fallback")
        assert ended.code == 0, ended.err
    assert not (noisy / ".learned-before").exists()
