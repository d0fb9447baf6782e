"""The perceptual distance in an evaluation: that of the loss, from the named weights, and its absence where torch is absent."""

import csv
import json
import shlex
import shutil
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
import torch
from conftest import SKIMAGE, refusal
from PIL import Image
from test_perceptual import save, state_of

from unnoise import distance, judging, perceptual
from unnoise.errors import ModelError
from unnoise.losses import PerceptualLoss
from unnoise.perceptual import LPIPS

NOISE = "gaussian:25/255"
BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
from unnoise.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A gray and a colour picture of odd sizes, and one of 5 x 6 pixels."""
    folder = tmp_path_factory.mktemp("clean")
    Image.open(SKIMAGE / "camera.png").crop((200, 60, 293, 131)).save(folder / "camera.png")
    Image.open(SKIMAGE / "chelsea.png").crop((100, 60, 177, 145)).save(folder / "cat.png")
    Image.open(SKIMAGE / "coffee.png").crop((300, 200, 306, 205)).save(folder / "small.png")
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of AlexNet drawn at random, others, and heads of LPIPS for them: (a file, another, the heads)."""
    folder = tmp_path_factory.mktemp("weights")
    rng = torch.Generator().manual_seed(1)
    widths = (64, 192, 384, 256, 256)
    heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=rng) for i, width in enumerate(widths)}
    one, other = (save(state_of("alexnet", seed), folder / f"alexnet{seed}.pth") for seed in (0, 1))
    return one, other, save(heads, folder / "heads.pth")


@pytest.fixture
def judged(cli, run, clean, tmp_path):
    """Runs `unnoise evaluate` with these options into one folder; gives how it ended and report.json."""

    def call(*options):
        out = tmp_path / "out"
        ended = cli("evaluate", run, "--clean", clean, "--noise", NOISE, "--methods", "median", "-o", out, *options)
        return ended, json.loads((out / "report.json").read_text()) if ended.code == 0 else None

    return call


@pytest.fixture
def without_torch(run, clean, environment, tmp_path):
    """The same in a process that cannot import torch."""

    def call(*options):
        out = tmp_path / "out"
        arguments = ["evaluate", run, "--clean", clean, "--noise", NOISE, "--methods", "median", "-o", out, *options]
        command = [sys.executable, "-c", BLOCKED, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120), out

    return call


def pixels(*shape, seed=0):
    """A smooth picture, float32 in [0, 1]."""
    steps = np.random.default_rng(seed).normal(0, 0.05, shape)
    return np.clip(np.cumsum(steps, axis=1) + 0.5, 0, 1).astype(np.float32)


def noised(picture, sigma, seed=9):
    noisy = picture + sigma * np.random.default_rng(seed).standard_normal(picture.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)


def by_hand(cost, restored, clean):
    """A cost called on the whole pictures, as batches of one with their own channels first."""
    restored, clean = (np.atleast_3d(picture).transpose(2, 0, 1)[None].copy() for picture in (restored, clean))
    return cost(torch.from_numpy(restored), torch.from_numpy(clean)).item()


@pytest.mark.parametrize("shape", [(40, 57), (64, 33, 3), (1, 1), (1, 9, 3)])
def test_it_is_the_loss(shape):
    """Fails if the distance is of other layers, weights or channels than the loss's; float32 sums in another order."""
    score, clean = distance.metric()["perceptual"].score, pixels(*shape)
    restored = noised(clean, 0.1)
    expected = by_hand(PerceptualLoss(*perceptual.load()), restored, clean)
    assert expected > 0
    assert score(restored, clean) == pytest.approx(expected, rel=1e-5)
    assert score(clean, clean) == 0


@pytest.mark.parametrize("shape", [(80, 91), (91, 80, 3)])
def test_it_is_lpips_with_heads(shape, files):
    """Fails if heads are ignored, or the metric does not bear the name that its values have."""
    file, _, heads = files
    (metric,) = distance.metric(f"alexnet:{file}", heads).items()
    restored, clean = noised(pixels(*shape), 0.1), pixels(*shape)
    assert metric[0] == "lpips"
    assert metric[1].score(restored, clean) == pytest.approx(
        by_hand(LPIPS(f"alexnet:{file}", heads), restored, clean), rel=1e-5
    )
    assert (metric[1].meaning.title, metric[1].meaning.better) == ("LPIPS", "lower")


def test_what_is_kept_of_the_clean_picture_is_its_own():
    """Fails if a picture is compared with the features of the one before it, as another of the same size would not tell."""
    score, cost = distance.metric()["perceptual"].score, PerceptualLoss(*perceptual.load())
    one, other = pixels(40, 40), pixels(40, 40, seed=1)
    for clean in (one, one, other, one):
        for restored in (noised(one, 0.1), noised(other, 0.05)):
            assert score(restored, clean) == pytest.approx(by_hand(cost, restored, clean), rel=1e-5)


def test_the_clean_picture_is_seen_once(monkeypatch):
    """Fails if the features of a clean picture are computed anew for each method."""
    score, clean, seen = distance.metric()["perceptual"].score, pixels(40, 40), []
    score.network.features.network[0].register_forward_hook(lambda *given: seen.append(1))
    for seed in range(3):
        score(noised(clean, 0.1, seed), clean)
    assert len(seen) == 4


def test_less_is_better():
    """Fails if a worse picture is nearer: more noise, and what a coarse blur takes away."""
    score, clean = distance.metric()["perceptual"].score, np.asarray(Image.open(SKIMAGE / "camera.png"), np.float32)[100:228, 150:278] / 255  # fmt: skip
    blurred = [np.kron(clean[::n, ::n], np.ones((n, n), np.float32)) for n in (1, 2, 4)]
    for worse in ([noised(clean, sigma) for sigma in (0, 0.02, 0.1, 0.3)], blurred):
        found = [score(picture, clean) for picture in worse]
        assert found[0] == 0
        assert sorted(set(found)) == found


@pytest.mark.parametrize("shape", [(200, 70), (65, 193, 3)])
def test_large_pictures_are_compared_in_pieces(shape, monkeypatch):
    """Fails if a piece is lost, seen twice or counts for more than its pixels, or memory follows the whole picture."""
    metric, clean, sides = distance.metric()["perceptual"], pixels(*shape), []
    restored, cost = noised(clean, 0.1), PerceptualLoss(*perceptual.load())
    restored[:64] = clean[:64]  # pieces that differ: a wrong weight shows
    metric.score.network.features.network[0].register_forward_hook(lambda _, given, out: sides.append(given[0].shape[2:]))
    monkeypatch.setattr(distance, "SIDE", 64)
    found = metric.score(restored, clean)
    assert max(max(side) for side in sides) <= 64
    places = list(distance._pieces(*shape[:2]))
    seen = np.zeros(shape[:2], int)
    for rows, columns in places:
        seen[rows, columns] += 1
        assert rows.start % distance.CELL == columns.start % distance.CELL == 0
    assert (seen == 1).all()
    parts = [by_hand(cost, restored[place], clean[place]) * clean[place].size for place in places]
    assert found == pytest.approx(sum(parts) / clean.size, rel=1e-5)
    assert metric.score(restored, clean) == found


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 2047, 2049, 5001])
def test_pieces_are_few_and_alike(length):
    """Fails if a thin piece is left over, which a network could be too deep for."""
    lengths = [rows.stop - rows.start for rows, _ in distance._pieces(length, 1)]
    assert len(lengths) == -(-length // 1024)
    assert sum(lengths) == length
    assert max(lengths) <= 1024
    assert max(lengths) - min(lengths) < 64


@pytest.mark.parametrize("side", range(1, 40, 2))
@pytest.mark.parametrize("learned", [False, True])
def test_too_small_is_no_value(side, learned, files):
    """Fails if a picture with less than a network needs raises anything but the error that means None, or has a value all the same."""
    file, _, heads = files
    metrics = distance.metric(f"alexnet:{file}", heads if learned else None)
    (found,) = list(judging.scores(noised(pixels(side, 50), 0.1), pixels(side, 50), metrics).values())[3:]
    assert (found is not None) == (
        side >= (31 if learned else 15)
    )  # conv1 and pool1 take 15 pixels to 1; so the other two do 31


def test_identity_tells_networks_apart(files, tmp_path):
    """Fails if results by other weights, heads, or another input of the same weights pass for the same, or a renamed file's do not."""
    one, other, heads = files
    shutil.copy(one, tmp_path / "renamed.pth")
    halved = save({name: head / 2 for name, head in torch.load(heads).items()}, tmp_path / "heads.pth")
    caffe = save(state_of("squeezenet1_0"), tmp_path / "squeezenet.pth")

    def identity(*given):
        (metric,) = distance.metric(*given).values()
        return metric.identity

    found = {
        identity("bundled"), identity(f"alexnet:{one}"), identity(f"alexnet:{other}"), identity(f"alexnet:{one}", heads),
        identity(f"alexnet:{one}", halved), identity(f"squeezenet1_0:{caffe}"), identity(f"squeezenet1_0-caffe:{caffe}"),
    }  # fmt: skip
    assert len(found) == 7
    assert identity(f"alexnet:{tmp_path / 'renamed.pth'}") == identity(f"alexnet:{one}")


def test_layer_weights_are_in_the_identity(monkeypatch):
    """Fails if results of other layer weights are taken for those of the present ones."""
    before = distance.metric()["perceptual"].identity
    network, weights = perceptual.load()
    monkeypatch.setattr(perceptual, "load", lambda text: (network, {**weights, "level1": 1.0}))
    assert distance.metric()["perceptual"].identity != before


def test_the_command_hands_it_in(judged, clean, tmp_path):
    """Fails if report.json, report.csv, the page or the table lacks the distance, its definition, direction or source; or it is not of these pixels."""
    ended, report = judged()
    about = report["metrics"]["perceptual"]
    assert list(report["metrics"]) == ["psnr", "ssim", "ms_ssim", "perceptual"]
    assert about["better"] == "lower"
    assert "level1 (10.67), level2 (39.32), level3 (271.2)" in about["definition"]
    assert perceptual.fingerprint("bundled")[:12] in about["definition"]
    assert "Johnson et al. 2016" in about["source"]
    assert "from 0" in about["range"]
    means = {method["name"]: method["mean"]["perceptual"] for method in report["cases"][0]["methods"]}
    assert 0 < means["run"] < means["noisy"]
    rows = list(csv.DictReader((tmp_path / "out" / "report.csv").read_text().splitlines()))
    assert [float(row["perceptual"]) for row in rows] == [
        found["perceptual"] for picture in report["cases"][0]["pictures"] for found in picture["scores"].values()
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("Perceptual distance<small>lower is better</small>") == 1
    assert about["source"] in page
    assert "distance" in ended.out
    assert "lower is better" in " ".join(ended.out.split())
    assert not any("perceptual" in note for note in report["notes"])
    assert report["versions"]["torch"] == metadata.version("torch")
    for picture in report["cases"][0]["pictures"]:
        assert picture["scores"]["noisy"]["perceptual"] > 0  # the bundled network takes any size


def test_results_are_kept_with_their_weights(judged, files, tmp_path):
    """Fails if the same weights are computed with again, or results of one file are shown as those of another."""
    one, other, heads = files

    def of(*options):
        _, report = judged(*options)
        (name,) = list(report["metrics"])[3:]
        found = [method["mean"][name] for method in report["cases"][0]["methods"]]
        return report["time"]["in_methods_s"] > 0, found

    computed, first = of("--features", f"alexnet:{one}")
    assert computed
    shutil.copy(one, tmp_path / "renamed.pth")
    assert of("--features", f"alexnet:{tmp_path / 'renamed.pth'}") == (False, first)
    computed, second = of("--features", f"alexnet:{other}")
    assert computed
    assert not set(first) & set(second)
    computed, third = of("--features", f"alexnet:{one}", "--heads", heads)
    assert computed
    assert not set(first) & set(third)
    assert of("--features", f"alexnet:{one}") == (False, first)


def test_weights_of_ones_own(judged, files, tmp_path):
    """Fails if --features or --heads has no effect, the report's command does not ask for the same, or a small picture is no n/a."""
    one, _, heads = files
    _, report = judged("--features", f"alexnet:{one}", "--heads", heads)
    assert list(report["metrics"])[3:] == ["lpips"]
    assert {"--features", f"alexnet:{one}", "--heads", str(heads)} <= set(shlex.split(report["command"]))
    small = next(picture for picture in report["cases"][0]["pictures"] if picture["name"] == "small.png")
    assert {found["lpips"] for found in small["scores"].values()} == {None}
    assert "LPIPS n/a" in (tmp_path / "out" / "report.html").read_text()
    _, report = judged("--features", "none")
    assert list(report["metrics"]) == ["psnr", "ssim", "ms_ssim"]
    assert "--features none" in report["command"]
    assert not any("perceptual" in note for note in report["notes"])


def test_without_torch(without_torch):
    """Fails if torch is needed to evaluate, its absence goes unsaid, or there is a column without a figure."""
    ended, out = without_torch()
    assert ended.returncode == 0, ended.stderr
    said = 'There is no perceptual distance (torch not installed); pip install "unnoise[train]" brings what it needs.'
    assert said in ended.stderr.splitlines()
    report = json.loads((out / "report.json").read_text())
    assert report["notes"].count(said) == 1
    assert list(report["metrics"]) == ["psnr", "ssim", "ms_ssim"]
    assert "no perceptual distance" in (out / "report.html").read_text()
    assert "perceptual" not in (out / "report.csv").read_text()
    assert len(report["cases"][0]["pictures"]) == 3


def test_without_torch_on_purpose(without_torch):
    """Fails if `none` wants torch, or says that something is missing."""
    ended, out = without_torch("--features", "none")
    assert ended.returncode == 0, ended.stderr
    assert "perceptual" not in ended.stderr
    assert json.loads((out / "report.json").read_text())["settings"]["features"] == "none"


def test_asked_for_without_torch(without_torch):
    """Fails if a distance that was asked for is left out without a word, is a traceback, or leaves a folder."""
    ended, out = without_torch("--features", "bundled")
    assert ended.returncode == 2
    assert ended.stderr == 'unnoise: the perceptual distance needs torch; install it with: pip install "unnoise[train]".\n'
    assert not out.exists()


def test_without_the_weights(monkeypatch, tmp_path):
    """Fails if an installation without the bundled network cannot evaluate; asked for by name, it is missed."""
    monkeypatch.setattr(perceptual, "BUNDLED", tmp_path / "gone.safetensors")
    further, (note,) = distance.for_evaluation()
    assert further == {}
    assert "There is no perceptual distance: " in note
    assert "gone.safetensors cannot be read" in note
    assert "gone.safetensors" in refusal(lambda: distance.for_evaluation("bundled"), ModelError)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--features", "vgg61:x.pth"), "features 'vgg61:x.pth': there is no 'vgg61'; did you mean vgg16?"),
        (("--features", "vgg16:no-such.pth"), "no-such.pth does not exist"),
        (("--heads", "heads.pth"), "LPIPS has no heads for 'bundled'; expected one of alexnet, vgg16, squeezenet1_1."),
        (("--features", "none", "--heads", "heads.pth"), "LPIPS has no heads for 'none'"),
    ],
)
def test_what_cannot_be_measured_by(options, says, judged, tmp_path):
    """Fails if a wrong network is noticed late, leaves a folder, or is more than a sentence."""
    ended, _ = judged(*options)
    assert ended.code == 2
    assert says in ended.sentence
    assert not (tmp_path / "out").exists()
