"""`denoise --learn`, and the judgement without truth that decides what is used."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import TINY, refusal
from onnx import TensorProto, helper
from PIL import Image
from test_targets import rng, taken

import unnoise
from unnoise import artefact, atomic, auto, bundled, classical, doctor, heldout, image, ownnoise, referee
from unnoise.errors import Interrupted

LIMIT = 10**8


def box(picture, side):
    """Means of `side` x `side` pixels, those beyond the edge repeated."""
    around = np.pad(picture, side // 2, "edge")
    return np.mean([around[y : y + picture.shape[0], x : x + picture.shape[1]] for y in range(side) for x in range(side)], 0)


# --- without the truth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 80), (37, 41, 3), (16, 16)])
def test_what_is_hidden_is_not_told(shape):
    """Fails if a method is shown what it is judged by: one that gives its input back would err by nothing."""
    picture, shown = rng().random(shape, np.float32), []
    found = heldout.blind_error(lambda given: shown.append(given) or given, picture)
    hidden = [(given != picture).reshape(*shape[:2], -1).any(2) for given in shown]
    assert not np.any(np.sum(hidden, 0) > 1)
    assert np.sum(hidden) == pytest.approx(np.prod(shape[:2]) / 4, rel=0.1)
    assert 0.25 < found < 0.4  # of independent values in [0, 1] and means of four: sqrt(5 / 4 / 12) = 0.32
    others = np.where(hidden[1].reshape(*shape[:2], *[1] * (len(shape) - 2)), rng(9).random(shape, np.float32), picture)
    again = []
    heldout.blind_error(lambda given: again.append(given) or given, others)
    np.testing.assert_array_equal(again[1], shown[1])


@pytest.mark.parametrize("clipped", [False, True])
def test_the_risk_is_the_error_against_the_truth(clipped):
    """Fails if a term of Stein's estimate is missing or has the wrong sign, or clipped parts are believed."""
    clean = np.tile(np.sin(np.linspace(0, 20, 256))[:, None] * 0.2 + 0.5, (1, 256))
    clean[:, :64] = 0.0 if clipped else 0.4
    noisy = clean + 0.1 * rng().standard_normal(clean.shape)
    noisy = noisy.clip(0, 1) if clipped else noisy
    methods = {
        "means": lambda given: box(given, 3),
        "wide means": lambda given: box(given, 9),
        "nothing": lambda given: given,
        "too light": lambda given: clean + 0.08,
        "truth": lambda given: clean,
        "half of it": lambda given: (given + 0.5) / 2,
    }
    if clipped:  # half of it is half as light where it is black: what most find is not the mean there
        del methods["half of it"]
    found, answers = heldout.risks(methods, noisy, 0.1)
    np.testing.assert_array_equal(answers["means"], box(noisy, 3))
    for name, method in methods.items():
        truth = np.mean((method(noisy) - clean) ** 2)
        assert found[name].shape == (16,)
        assert np.nanmean(found[name]) == pytest.approx(truth, abs=0.0012 if clipped else 0.0005), name
    order = sorted(methods, key=lambda name: np.nanmean(found[name]))
    assert (order[0], order[-1]) == ("truth", "nothing")
    mean, least, most = heldout.better_by([found["means"]], [found["nothing"]], [0.01])
    assert 0 < least < mean < most
    truth = [np.mean((methods[name](noisy) - clean) ** 2) for name in ("means", "nothing")]
    assert mean == pytest.approx((truth[1] - truth[0]) / 0.01, abs=0.12)
    assert heldout.better_by([found["nothing"]], [found["means"]], [0.01])[2] < 0


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


# --- which model -----------------------------------------------------------------------------------------------------------------


def test_what_is_removed_is_white_only_if_it_is_noise():
    """Fails if structure in what was taken away is not told from noise, or the figure is of another distance."""
    white = rng().standard_normal((256, 256, 3))
    found = heldout.whiteness(white)
    assert abs(found.value) < 3 / np.sqrt(white.size)
    assert abs(found.value) < 4 * found.error < 0.02
    smooth = (white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2
    assert heldout.whiteness(smooth).value == pytest.approx(0.5, abs=0.02)
    edges = 0.3 * np.sin(np.arange(256) / 3)[:, None, None] + white
    assert heldout.whiteness(edges).beyond(0.02)


def blur(folder, side):
    """The folder of a run whose model gives the means of `side` x `side` pixels."""
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["N", 1, "H", "W"]) for end in ("noisy", "restored")]
    pool = helper.make_node("AveragePool", ["noisy"], ["restored"], kernel_shape=[side, side], pads=[side // 2] * 4)
    graph = helper.make_graph([pool], "blur", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    card = {"contract": 1, "channels": 1, "alignment": 8, "overlap": 8, "tile": 512}
    (folder / "model.onnx").write_bytes(artefact.stamped(model.SerializeToString(), card))
    return str(folder)


def test_the_best_of_all_that_is_there_is_taken(tmp_path, monkeypatch):
    """Fails if what is worse is taken, --no-fallback is not heard, or a method is asked again for what it has answered."""
    clean = np.tile(np.sin(np.linspace(0, 12, 200))[:, None] * 0.3 + 0.5, (1, 200))
    noisy = [(clean + 0.1 * rng(seed).standard_normal(clean.shape)).astype(np.float32) for seed in range(2)]
    looked = [referee.Looked(str(at), one, doctor.examine(one)) for at, one in enumerate(noisy)]
    sides = {"nlm": 5, "tv": 3, "wavelet": 7}
    monkeypatch.setattr(bundled, "names", list)
    monkeypatch.setattr(classical, "installed", lambda: (["nlm", "tv", "wavelet"], ["bm3d"]))
    asked = []
    monkeypatch.setattr(classical, "_restored", lambda name, found, noisy: asked.append(name) or box(noisy, sides[name]))
    bad, good = blur(tmp_path / "bad", 1), blur(tmp_path / "good", 9)
    found = referee.choose(bad, looked, True)
    assert (found.model, found.against) == ("wavelet", "wavelet")
    assert asked.count("wavelet") == 2 * (2 + 4)  # of each picture: Stein's two answers, and hidden pixels in four turns
    assert found.sentence.startswith("The classical wavelet is used, not the learned model")
    assert found.better_by[2] < 0 < found.whiteness.error
    assert 0.1 < found.blind_error < 0.12
    assert referee.choose(bad, looked, False).model == bad
    found = referee.choose(good, looked, True)
    assert (found.model, found.against) == (good, "wavelet")
    assert found.better_by[1] > 0
    assert not found.mixed
    louder = clean + 0.25 * rng(7).standard_normal(clean.shape)
    found = referee.choose(good, [*looked, referee.Looked("loud", louder.astype(np.float32), doctor.examine(louder))], True)
    assert "is of 2 sorts; learn each by itself" in found.words
    assert ": loud" in found.words


# --- denoise --learn ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def noisy(photos, tmp_path):
    """A folder with noisy takes of the photos in gray, 96 x 96 pixels."""
    clean = [np.asarray(Image.open(file).convert("L"), np.float32)[64:160, 64:160] / 255 for file in sorted(photos.iterdir())]
    return taken(tmp_path, clean, "noisy", 0)


@pytest.fixture
def short(monkeypatch):
    """Runs of a few steps of a small model, beside the bundled ones and the quickest classical method."""
    monkeypatch.setattr(classical, "installed", lambda: (["nlm"], ["bm3d"]))

    def of(steps):
        settings = {**TINY, "minutes": None, "steps": steps}
        del settings["channels"]
        monkeypatch.setattr(ownnoise, "SETTINGS", settings)

    of(2)
    return of


@pytest.fixture
def any_model(run, monkeypatch):
    """In place of the export, which takes a second: the files of another run, where only that there is a model counts."""

    def copied(model, card, folder, probe):
        for name in ("model.safetensors", "model.onnx"):
            shutil.copy(run / name, folder)

    monkeypatch.setattr("unnoise.run.export", copied)


def learn(folder, out, fallback=True):
    return ownnoise.learn(sorted(folder.rglob("*.png")), out, 1, fallback, LIMIT, 1, None)


def test_a_bad_model_is_not_used(noisy, short, tmp_path, cli):
    """Fails if two steps of training win, it goes unsaid which model was used, or --no-fallback is forgotten."""
    ended = cli("denoise", noisy, "-o", tmp_path / "a", "--learn", 1, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert (told["model"], told["learned"]["model"], len(told["done"])) == ("auto", "auto", 6)
    assert told["learned"]["lower_error_by"] < told["learned"]["interval"][1] < 0
    told, seen = ended.err.strip().split("\n")[-2:]  # not of unlike noise
    assert told.startswith("The bundled models are used, not the learned model: by Stein's estimate on 6 of the pictures")
    assert "its squared error is higher than that of the bundled models, the best of the others, by" in told
    assert "nothing is said of bm3d, not installed" in told
    assert str(tmp_path / "a" / ".learned" / "removed.png") in seen
    assert image.read(tmp_path / "a" / ".learned" / "removed.png").pixels.shape == (3 * 96 + 2 * 6, 3 * 96 + 2 * 6, 3)
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
    monkeypatch.setattr(bundled, "names", list)
    monkeypatch.setattr(classical, "_restored", lambda name, found, noisy: np.zeros_like(noisy))
    found = learn(noisy, tmp_path / "out")
    assert found.model == str(tmp_path / "out" / ".learned")
    assert found.better_by[1] > 0
    assert "lower than that of nlm" in found.sentence


def test_the_same_request_learns_once(noisy, short, any_model, tmp_path):
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


def test_an_interrupted_one_is_gone_on_with(noisy, short, any_model, tmp_path, monkeypatch):
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
        (("--learn", 1, "--quality", "high"), "leave out --quality and --tile"),
        (("--learn", 1, "--tile", 512), "leave out --quality and --tile"),
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


def test_what_it_wrote_is_not_learned_from(noisy, short, any_model, cli):
    """Fails if the second command in a folder that holds its own results learns from these too."""
    for _ in range(2):
        ended = cli("denoise", noisy, "-o", noisy, "--format", "tiff", "--learn", 1, "--no-fallback")
        assert ended.code == 0, ended.err
    assert not (noisy / ".learned-before").exists()
