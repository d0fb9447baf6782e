"""unnoise evaluate: the same pixels for every method, figures that are true, results that are kept, and a verdict that is earned."""

import csv
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import time
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import tifffile
from conftest import SKIMAGE, refusal
from PIL import Image
from scipy import stats
from skimage.metrics import structural_similarity

import unnoise
from unnoise import bundled, image, judging, load, testset, tuned, verdict
from unnoise import evaluate as evaluation
from unnoise.errors import BadSetting, ImageError
from unnoise.evaluate import Request, evaluate
from unnoise.noise import keyed_rng, parse

NOISE = "gaussian:25/255"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Three photos that no test trains on: 190 x 200 in gray and in colour, and one of 60 x 50 in a folder."""
    folder = tmp_path_factory.mktemp("clean")
    (folder / "sub").mkdir()
    Image.open(SKIMAGE / "camera.png").crop((100, 60, 300, 250)).save(folder / "camera.png")
    Image.open(SKIMAGE / "chelsea.png").crop((100, 60, 300, 250)).save(folder / "cat.png")
    Image.open(SKIMAGE / "coffee.png").convert("L").crop((200, 100, 250, 160)).save(folder / "sub" / "coffee.png")
    return folder


@pytest.fixture(scope="module")
def judged(clean, run, tmp_path_factory):
    """An evaluation of the small gray model beside two methods: (its folder, its document)."""
    out = tmp_path_factory.mktemp("judged") / "out"
    return out, evaluate(request(run, clean, out))


def request(run, folder, out, **changes):
    settings = {"models": [run], "clean": folder, "noises": [parse(NOISE)], "methods": ["tv", "median"], "out": out, "seed": 3}
    return Request(**(settings | changes))


def by_name(entries):
    return {entry["name"]: entry for entry in entries}


def untimed(document):
    """A document without what differs from run to run."""
    text = json.dumps(verdict.plain(document))
    document = json.loads(re.sub(r'"(seconds|seconds_per_megapixel|all_s|in_methods_s)": [^,}]+', r'"\1": 0', text))
    notes = [note for note in document["notes"] if "computed by" not in note]
    return {**document, "notes": notes, "command": "", "settings": {}}


@pytest.fixture
def counted(monkeypatch):
    """How often total variation is called on a whole picture, by its size; the first call of a method is a trial on a corner."""
    calls = []
    real = tuned.FUNCTIONS["tv"]

    def counting(noisy, sigma, **parameters):
        calls.append(noisy.shape[:2])
        return real(noisy, sigma, **parameters)

    monkeypatch.setitem(tuned.FUNCTIONS, "tv", counting)
    return calls


# --- the figures -------------------------------------------------------------------------------------------------------------


def test_scores_are_true(judged, clean, run):
    """Fails if a score is of other pixels, rounded, unclipped, or of another noise; PSNR by definition, SSIM by scikit-image."""
    _, document = judged
    (case,) = document["cases"]
    model = load(run)
    assert [picture["name"] for picture in case["pictures"]] == ["camera.png", "cat.png", "sub/coffee.png"]
    for picture in case["pictures"]:
        truth = image.read(clean / picture["name"]).pixels
        noisy = parse(NOISE)(truth, keyed_rng(3, index=zlib.crc32(picture["name"].encode())))[0]
        for name, restored in (("noisy", noisy), (case["methods"][1]["name"], model.denoise(noisy))):
            clipped = np.clip(restored, 0, 1).astype(np.float64)
            found = picture["scores"][name]
            assert found["psnr"] == pytest.approx(-10 * np.log10(np.mean((clipped - truth) ** 2)), abs=1e-4)
            expected = structural_similarity(
                clipped, truth.astype(np.float64), data_range=1, gaussian_weights=True, use_sample_covariance=False,
                channel_axis=2 if truth.ndim == 3 else None,
            )  # fmt: skip
            assert found["ssim"] == pytest.approx(expected, abs=1e-6)
            assert (found["ms_ssim"] is None) == (min(truth.shape[:2]) < 176)
    first = case["pictures"][0]
    assert first["estimated_noise"] == pytest.approx(25 / 255, rel=0.15)
    assert (first["height"], first["width"], first["channels"], case["pictures"][1]["channels"]) == (190, 200, 1, 3)


def test_means_and_intervals_are_of_the_pictures(judged):
    """Fails if a mean leaves a picture out or takes one twice, or an interval is not around its mean."""
    case = judged[1]["cases"][0]
    for method in case["methods"]:
        for metric in ("psnr", "ssim", "ms_ssim"):
            values = [picture["scores"][method["name"]][metric] for picture in case["pictures"]]
            values = [value for value in values if value is not None]
            assert method["mean"][metric] == pytest.approx(np.mean(values))
            low, high = method["interval"][metric]
            assert min(values) - 1e-9 < low <= method["mean"][metric] <= high < max(values) + 1e-9
        pixels = sum(picture["height"] * picture["width"] for picture in case["pictures"])
        seconds = sum(picture["scores"][method["name"]]["seconds"] for picture in case["pictures"])
        assert method["seconds_per_megapixel"] == pytest.approx(seconds / pixels * 1e6)
    assert {m["name"]: m["kind"] for m in case["methods"]} == {
        "noisy": "none",
        "run": "model",
        "tv": "classical",
        "median": "classical",
    }
    assert case["best_classical"] == max(("tv", "median"), key=lambda name: by_name(case["methods"])[name]["mean"]["psnr"])


def test_files_say_the_same(judged):
    """Fails if report.json is not what is returned, or report.csv lacks a row or differs in a figure."""
    out, document = judged
    told = json.loads((out / "report.json").read_text())
    assert told == json.loads(json.dumps(verdict.plain(document)))
    rows = list(csv.DictReader((out / "report.csv").read_text().splitlines()))
    assert list(rows[0]) == ["case", "picture", "method", "psnr", "ssim", "ms_ssim", "seconds"]
    assert len(rows) == 3 * 4
    scores = {picture["name"]: picture["scores"] for picture in told["cases"][0]["pictures"]}
    for row in rows:
        found = scores[row["picture"]][row["method"]]
        assert {name: float(row[name]) if row[name] else None for name in found} == found


def test_parameters_are_told(judged, clean, run, tmp_path):
    """Fails if the report does not say with which values a method ran, or what it was told of the noise."""
    methods = by_name(judged[1]["cases"][0]["methods"])
    weights = tuned.GAUSSIAN["tv"]["gray"]["weight"]
    assert methods["tv"]["parameters"]["sigma"] == round(25 / 255, 4)
    assert methods["tv"]["parameters"]["gray"]["weight"] == pytest.approx(weights[1])
    assert "every 24th" in methods["tv"]["tuned_on"]
    assert methods["run"]["parameters"]["sha256"] == load(run).card["sha256"]
    drawn = evaluate(request(run, clean, tmp_path / "out", noises=[parse("gaussian:0..0.1")], methods=["tv"]))
    told = by_name(drawn["cases"][0]["methods"])["tv"]["parameters"]
    assert told["gray"]["weight"] == weights
    assert "own" in told["sigma"]
    assert all(0 < picture["sigma"] < 0.1 for picture in drawn["cases"][0]["pictures"])
    assert {picture["sigma"] for picture in judged[1]["cases"][0]["pictures"]} == {25 / 255}


def test_untuned_methods_are_said_to_be(clean):
    """Fails if a method is said to be tuned that is not, or parameters for another noise pass for those of this one."""
    told = {text: {peer.name: peer for peer in tuned.for_noise(noise)[0]} for text, noise in
            [("pairs", None), *((text, parse(text)) for text in ("gaussian:0.1", "camera:0.1", "blocks:count=1,size=9", "masking:0.3", "salt-and-pepper:fraction=0.3,values=uniform"))]}  # fmt: skip
    assert "used here" not in told["gaussian:0.1"]["nlm"].tuned_on + told["masking:0.3"]["inpainting"].tuned_on
    assert "for Gaussian noise; used here for pairs" in told["pairs"]["nlm"].tuned_on
    assert "for Gaussian noise; used here for camera:sigma=0.1, as" in told["camera:0.1"]["nlm"].tuned_on
    assert "for missing pixels, each for itself; used here for blocks" in told["blocks:count=1,size=9"]["inpainting"].tuned_on
    assert told["masking:0.3"]["biharmonic"].tuned_on == ""
    uniform = told["salt-and-pepper:fraction=0.3,values=uniform"]["median"]
    assert "0.125" in uniform.parameters["taken for hit"]
    assert "for salt and pepper" in uniform.tuned_on


@pytest.mark.parametrize("noise", ["gaussian:0..0.2+masking:0.6", "masking:0.3+gaussian:0..0.2", "gaussian:0..0.2+salt-and-pepper:0.5"])  # fmt: skip
def test_sigma_is_told_beside_lost_pixels(noise, clean):
    """Fails if lost pixels count as noise in the sigma that the classical methods are told."""
    sample, noise = testset.Sample("camera.png", clean / "camera.png"), parse(noise)
    truth, noisy, sigma = testset.read(sample, noise, 3, 10**9)
    rng = keyed_rng(3, index=zlib.crc32(b"camera.png"))
    np.testing.assert_array_equal(noisy, noise(truth, keyed_rng(3, index=zlib.crc32(b"camera.png")))[0])
    if "masking" in str(noise.parts[0]):
        noise.parts[0](truth, rng)
    assert sigma == pytest.approx(rng.uniform(0, 0.2), rel=0.02)


@pytest.mark.parametrize("noise", ["gaussian:50/255+clip", "gaussian:50/255+clip+salt-and-pepper:0.1", "salt-and-pepper:0.1+gaussian:50/255+clip"])  # fmt: skip
def test_sigma_is_that_before_clipping(noise, clean):
    """Fails if the classical methods are told what clipping has left of the noise, or other methods are used for clipped noise than for the same unclipped."""
    _, noisy, sigma = testset.read(testset.Sample("camera.png", clean / "camera.png"), parse(noise), 3, 10**9)
    assert sigma == pytest.approx(50 / 255, rel=0.02)
    assert (noisy.min(), noisy.max()) == (0, 1)
    assert tuned.names_for(parse(noise)) == tuned.names_for(parse(noise.replace("+clip", "")))


@pytest.mark.parametrize("noise", ["camera:20/255,jpeg=90", "camera:20/255+masking:0.5", "masking:0.5+camera:20/255"])
def test_sigma_of_camera_noise_is_each_pictures_own(noise, clean):
    """Fails if the classical methods are told what mid-gray has, or lost pixels are counted as the camera's noise."""
    sample = testset.Sample("camera.png", clean / "camera.png")
    truth, noisy, sigma = testset.read(sample, parse(noise), 3, 10**9)
    kept = slice(None) if "masking" not in noise else noisy != 0
    if not noise.startswith("masking"):  # else noise of what was lost, around 0, is beside that of what was kept
        assert sigma == pytest.approx(np.sqrt(np.mean((noisy - truth)[kept].astype(float) ** 2)), rel=0.02)
    assert 5 / 255 < sigma < 40 / 255
    found, absent = tuned.for_noise(parse(noise))  # bm3d may not be installed
    assert [peer.name for peer in found] + [name for name, _ in absent] == list(tuned.GAUSSIAN)


def test_noise_is_that_of_corrupt(cli, tmp_path):
    """Fails if a picture whose ending is not .png gets other noise than corrupt puts on it."""
    (tmp_path / "clean" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.tif"):
        Image.open(SKIMAGE / "camera.png").resize((64, 48)).save(tmp_path / "clean" / name)
    assert cli("corrupt", tmp_path / "clean", "-o", tmp_path / "noisy", "--noise", NOISE, "--seed", 7).code == 0
    for name in ("a", "sub/b"):
        file = next((tmp_path / "clean").glob(f"{name}.*"))
        sample = testset.Sample(file.relative_to(tmp_path / "clean").as_posix(), file)
        noisy = testset.read(sample, parse(NOISE), 7, 10**9)[1]
        written = image.read(tmp_path / "noisy" / f"{name}.png").pixels
        np.testing.assert_allclose(np.clip(noisy, 0, 1), written, atol=1 / 509)


def test_crops_are_the_pictures_at_one_to_one(judged, clean, run):
    """Fails if a crop is of another place or method, is scaled, or lies elsewhere than the report says; 8 bits round by 1/510."""
    out, document = judged
    for picture in document["cases"][0]["pictures"]:
        truth = image.read(clean / picture["name"]).pixels
        noisy = parse(NOISE)(truth, keyed_rng(3, index=zlib.crc32(picture["name"].encode())))[0]
        top, left, tall, wide = picture["crop"]
        assert (tall, wide) == (min(256, *truth.shape[:2]),) * 2
        assert set(picture["crops"]) == {"clean", "noisy", "run", "tv", "median"}
        for name, whole in {"clean": truth, "noisy": noisy, "run": load(run).denoise(noisy)}.items():
            crop = np.asarray(Image.open(out / picture["crops"][name])) / 255
            np.testing.assert_allclose(crop, np.clip(whole, 0, 1)[top : top + tall, left : left + wide], rtol=0, atol=1 / 509)


def test_every_method_gets_the_same_pixels(clean, tmp_path):
    """Fails if a method sees what the one before it did to its input, or draws of its own."""
    seen = []

    def spoiling(noisy, sigma):
        seen.append((noisy.copy(), sigma))
        noisy *= 0
        return noisy

    methods = [judging.Method(name, "classical", spoiling, name) for name in ("a", "b")]
    work = judging.Work(tmp_path, 3, 10**9, {}, judging.Results(tmp_path))
    case = testset.Case(parse(NOISE), [testset.Sample("camera.png", clean / "camera.png")])
    work.picture(case, case.samples[0], methods)
    whole = [noisy for noisy, _ in seen if noisy.shape == (190, 200)]
    assert len(whole) == 2
    np.testing.assert_array_equal(*whole)
    assert {sigma for _, sigma in seen} == {25 / 255}


def test_noise_does_not_depend_on_the_other_pictures(judged, clean, run, tmp_path):
    """Fails if one picture more in the folder changes the noise of the others."""
    folder = tmp_path / "more"
    shutil.copytree(clean, folder)
    shutil.copy(SKIMAGE / "rocket.jpg", folder / "a.jpg")
    document = evaluate(request(run, folder, tmp_path / "out", methods=["median"]))
    before, after = (by_name(d["cases"][0]["pictures"]) for d in (judged[1], document))
    assert set(after) == {*before, "a.jpg"}
    for name, picture in before.items():
        assert after[name]["scores"]["noisy"]["psnr"] == picture["scores"]["noisy"]["psnr"]


def test_scores_of_small_pictures_and_further_metrics():
    """Fails if a metric that has no room raises or comes out as a number, or one that is handed in is not called on clipped values."""
    clean, restored = np.full((20, 30), 0.5, np.float32), np.full((20, 30), 1.5, np.float32)

    def further(restored, clean):
        return restored.max() - clean.max()

    def never(restored, clean):
        raise ImageError("too small.")

    given = {"further": further, "never": never, "nan": lambda *pair: math.nan, "inf": lambda *pair: math.inf}
    found = judging.scores(restored, clean, {name: judging.Metric(score, "1") for name, score in given.items()})
    assert (found["further"], found["never"], found["ms_ssim"]) == (0.5, None, None)
    assert (found["nan"], found["inf"]) == (None, None)
    assert found["ssim"] is not None
    assert judging.scores(restored[:1, :1], clean[:1, :1], {}) == {
        "psnr": pytest.approx(20 * math.log10(2)),
        "ssim": None,
        "ms_ssim": None,
    }


def test_further_metrics_are_in_the_report(clean, run, tmp_path):
    """Fails if a metric handed in is not in means and rows, or a result without it is taken for one with it."""
    out = tmp_path / "out"
    evaluate(request(run, clean, out))
    worst = judging.Metric(lambda restored, clean: float(np.abs(restored - clean).max()), "1")
    document = evaluate(request(run, clean, out), {"worst": worst})
    means = by_name(document["cases"][0]["methods"])
    assert 0 < means["run"]["mean"]["worst"] < means["noisy"]["mean"]["worst"] <= 1
    assert (out / "report.csv").read_text().startswith("case,picture,method,psnr,ssim,ms_ssim,worst,seconds\n")
    other = judging.Metric(lambda restored, clean: -1.0, "2")  # of the same name
    again = evaluate(request(run, clean, out), {"worst": other})
    assert {method["mean"]["worst"] for method in again["cases"][0]["methods"]} == {-1}


# --- results that are kept ---------------------------------------------------------------------------------------------------


def test_what_is_finished_is_not_computed_again(judged, clean, run, tmp_path, counted, monkeypatch):
    """Fails if a stopped evaluation loses finished results or computes them twice, or ends with other figures than one that was not."""
    out, stopped = tmp_path / "out", tuned.FUNCTIONS["median"]

    def stop(noisy, sigma, **parameters):
        if noisy.shape[2:] == (3,):
            raise KeyboardInterrupt
        return stopped(noisy, sigma, **parameters)

    with monkeypatch.context() as patch:
        patch.setitem(tuned.FUNCTIONS, "median", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate(request(run, clean, out))
    assert not (out / "report.json").exists()
    assert counted.count((190, 200)) == 2  # the gray picture, and the colour one, which median was stopped on
    document = evaluate(request(run, clean, out))
    assert counted.count((190, 200)) == 2
    assert untimed(document) == untimed(judged[1]) | {"date": document["date"]}
    assert any("computed by" in note for note in document["notes"]) is False  # one process: its times are of one run
    counted.clear()
    assert evaluate(request(run, clean, out))["time"]["in_methods_s"] == 0
    assert counted == []


def test_killed(command, environment, judged, clean, run, tmp_path):
    """Fails if what was finished before SIGKILL is lost, or a half-written line or crop ends up in the report."""
    out = tmp_path / "out"
    arguments = ["evaluate", run, "--clean", clean, "--noise", NOISE, "-o", out, "--methods", "tv,median", "--seed", 3]
    arguments += ["--features", "none"]  # as the call below has no further metric
    with subprocess.Popen(
        command(*arguments), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and (not (out / "results.jsonl").exists() or len(computed(out)) < 5):
            time.sleep(0.001)
        process.kill()
    before = computed(out)
    assert 5 <= len(before) <= 12
    document = evaluate(request(run, clean, out))
    assert computed(out)[: len(before)] == before
    assert len(computed(out)) == 3 * 4
    assert untimed(document) == untimed(judged[1])
    assert not list(out.rglob("*.unnoise-tmp"))


def test_what_is_finished_is_on_the_disk(clean, tmp_path, monkeypatch):
    """Fails if a line of a finished picture has not been waited for."""
    waited, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (waited.append(os.fstat(file).st_size), real(file)))
    work, case = judging.Work(tmp_path, 3, 10**9, {}, judging.Results(tmp_path)), testset.Case(parse(NOISE))
    for name in ("camera.png", "cat.png"):
        work.picture(case, testset.Sample(name, clean / name), [judging.NOISY])
        assert waited[-1] == (tmp_path / "results.jsonl").stat().st_size


def test_trials_are_time_of_the_methods(clean, tmp_path):
    """Fails if what a method loads when it is first called counts as the evaluation's own time, or as that of a picture."""
    called = []

    def loading(noisy, sigma):
        time.sleep(0 if called else 0.5)
        called.append(noisy.shape)
        return noisy

    work = judging.Work(tmp_path, 3, 10**9, {}, judging.Results(tmp_path))
    sample = testset.Sample("camera.png", clean / "camera.png")
    found = work.picture(testset.Case(parse(NOISE)), sample, [judging.Method("a", "classical", loading, "a")])
    assert called == [(128, 128), (190, 200)]
    assert found["scores"]["a"]["seconds"] < 0.5 <= work.seconds


def test_times_of_several_runs_are_told(clean, run, tmp_path, monkeypatch):
    """Fails if times that were measured at different occasions stand side by side without a word."""
    out = tmp_path / "out"
    evaluate(request(run, clean, out, methods=["median"]))
    monkeypatch.setattr(judging, "PROCESS", "another")
    assert any("computed by 2 runs" in note for note in evaluate(request(run, clean, out))["notes"])


def test_times_of_several_machines_are_told(clean, run, tmp_path, monkeypatch):
    """Fails if times of two machines stand side by side without a word, as in a folder that was copied."""
    out = tmp_path / "out"
    evaluate(request(run, clean, out, methods=["median"]))
    results = (out / "results.jsonl").read_text().splitlines()
    changed = next(index for index, line in enumerate(results) if '"method": "median"' in line)
    results[changed] = re.sub(r'"machine": "[^"]*"', '"machine": "an abacus"', results[changed])
    (out / "results.jsonl").write_text("\n".join(results) + "\n")
    (note,) = [note for note in evaluate(request(run, clean, out, methods=["median"]))["notes"] if "times" in note]
    assert "2 machines" in note
    assert "an abacus" in note


@pytest.mark.parametrize("package", ["unnoise", "numpy", "scikit-image"])
def test_another_version_is_computed_anew(package, clean, run, tmp_path, monkeypatch):
    """Fails if results of one version are taken for those of another, and all methods are compared as if by one program."""
    out = tmp_path / "out"
    evaluate(request(run, clean, out, methods=["tv"]))
    before = computed(out)
    if package == "unnoise":
        monkeypatch.setattr(judging, "__version__", "99")
    elif package == "numpy":
        monkeypatch.setattr(np, "__version__", "99")
    else:
        monkeypatch.setattr(tuned, "version", lambda package: "99" if package == "scikit-image" else "")
    evaluate(request(run, clean, out, methods=["tv"]))
    anew = computed(out)[len(before) :]
    assert anew.count("tv") == 3
    if package != "scikit-image":
        assert anew.count("noisy") == 3


def computed(out):
    """The methods of the results that were kept, in order."""
    lines = (out / "results.jsonl").read_text().splitlines()
    return [method for line in lines for method in re.findall(r'"method": "(\w+)"', line) if line.endswith("}}")]


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ("nothing", {}),
        ("picture", {"noisy": 1, "run": 1, "tv": 1}),
        ("name", {"noisy": 1, "run": 1, "tv": 1}),  # the noise is drawn by it
        ("seed", {"noisy": 3, "run": 3, "tv": 3}),
        ("noise", {"noisy": 3, "run": 3, "tv": 3}),
        ("parameters", {"tv": 3}),
        ("tile", {"run": 3}),
        ("line", {"tv": 1}),
        ("crop", {"tv": 1}),
    ],
)
def test_what_has_changed_is_computed_anew(change, anew, clean, run, tmp_path, monkeypatch):
    """Fails if a result is taken for that of another picture, seed, noise or parameter, or is believed though it is damaged."""
    folder, out, more = tmp_path / "clean", tmp_path / "out", {}
    shutil.copytree(clean, folder)
    evaluate(request(run, folder, out, methods=["tv"]))
    if change == "picture":
        Image.fromarray(255 - np.asarray(Image.open(folder / "camera.png"))).save(folder / "camera.png")
    elif change == "name":
        (folder / "camera.png").rename(folder / "photographer.png")
    elif change == "parameters":
        monkeypatch.setitem(tuned.GAUSSIAN, "tv", {kind: {"weight": (0.5,) * 3} for kind in ("gray", "colour")})
    elif change == "line":
        text = (out / "results.jsonl").read_text()
        line = next(line for line in text.splitlines() if '"method": "tv"' in line)
        (out / "results.jsonl").write_text(text.replace(line, line[: len(line) // 2]))
    elif change == "crop":
        crop = out / json.loads((out / "report.json").read_text())["cases"][0]["pictures"][0]["crops"]["tv"]
        crop.write_bytes(crop.read_bytes()[:-5])
    elif change != "nothing":
        more = {"seed": {"seed": 4}, "noise": {"noises": [parse("gaussian:26/255")]}, "tile": {"tile": 0}}[change]
    before = computed(out)
    document = evaluate(request(run, folder, out, methods=["tv"], **more))
    after = computed(out)[len(before) :]
    assert {method: after.count(method) for method in after} == anew
    for picture in document["cases"][0]["pictures"]:
        assert all((out / crop).exists() for crop in picture["crops"].values())


def test_another_model_is_computed_anew(clean, run, tmp_path, monkeypatch):
    """Fails if results of a model are taken for those of another in the same folder."""
    out, calls = tmp_path / "out", []
    evaluate(request(run, clean, out, methods=["median"]))
    methods = judging.of_models([run])
    other = judging.Method("run", "model", lambda noisy, sigma: calls.append(1) or noisy, "another SHA-256")
    monkeypatch.setattr(evaluation, "of_models", lambda paths, tile: [(other, methods[0][1])])
    document = evaluate(request(run, clean, out, methods=["median"]))
    means = by_name(document["cases"][0]["methods"])
    assert len(calls) >= 3
    assert means["run"]["mean"]["psnr"] == means["noisy"]["mean"]["psnr"]


# --- the verdict -------------------------------------------------------------------------------------------------------------


def case_of(model, classical=None, noisy=None, names=("run", "bm3d")):
    """A case with these PSNRs."""
    columns = {names[0]: model, **({names[1]: classical} if classical else {}), "noisy": noisy or [10.0] * len(model)}
    kinds = {names[0]: "model", names[1]: "classical", "noisy": "none"}
    pictures = [
        {"name": f"{index}.png", "scores": {name: {"psnr": column[index]} for name, column in columns.items()}}
        for index in range(len(model))
    ]
    methods = [
        {"name": name, "kind": kinds[name], "mean": {"psnr": float(np.mean(column))}} for name, column in columns.items()
    ]
    return {"noise": NOISE, "pictures": pictures, "methods": methods}


def test_interval_is_that_of_scipy():
    """Fails if it is not the percentile bootstrap of the mean; two resamplings of 2000 differ by a few percent of its width."""
    values = np.random.default_rng(1).gamma(2, 3, 60)
    low, high = verdict.interval(list(values))
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=2).confidence_interval
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.06 * width)
    assert high == pytest.approx(expected.high, abs=0.06 * width)
    assert verdict.interval(list(values)) == (low, high)  # the same scores, the same interval
    assert verdict.interval([3.0]) is None
    assert verdict.interval([3.0, 3.0]) == (3, 3)
    assert verdict.interval([3.0, math.inf])[1] == math.inf


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30, 200, 5000])
def test_student_is_that_of_scipy(freedom):
    """Fails if the quantile that decides a verdict is another."""
    assert verdict.student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_equal_methods_are_rarely_told_apart(count):
    """Fails if a verdict claims more than its 95 %: of two pictures the percentile bootstrap says "beats" every second time."""
    rng = np.random.default_rng(5)
    ends = [verdict.mean_and_interval(list(rng.normal(0, 1, count))) for _ in range(600)]
    assert 0.005 < np.mean([low > 0 for _, low, _ in ends]) < 0.05
    draws = [list(rng.normal(0, 1, count)) for _ in range(100)]
    assert count > 2 or np.mean([verdict.interval(draw)[0] > 0 for draw in draws]) > 0.15  # control


@pytest.mark.parametrize(
    ("model", "classical", "says"),
    [
        ([30, 31, 29, 30], [29, 30, 28, 29.5], "run beats bm3d, the best classical method of those compared, by 0.88 dB PSNR (95 % interval 0.48 to 1.27, 4 pictures); it is worse on no picture."),
        ([30, 31, 29, 30], [31, 32, 30, 30.5], "run loses to bm3d, the best classical method of those compared, by 0.88 dB PSNR (95 % interval 0.48 to 1.27, 4 pictures); it is worse on 4 of 4, most on 0.png, by 1.00 dB."),
        ([30, 31, 29, 33], [31, 32, 28, 30], "4 pictures are too few to tell run from bm3d, the best classical method of those compared: +0.50 dB PSNR (95 % interval -2.55 to 3.55, 4 pictures); it is worse on 2 of 4, most on 0.png, by 1.00 dB."),
        ([30, 31, 29, 33] * 2, [31, 32, 28, 30] * 2, "run cannot be told from bm3d, the best classical method of those compared: +0.50 dB PSNR"),
        ([30], [29], "one picture is too few to tell run from bm3d, the best classical method of those compared: +1.00 dB PSNR (one picture); it is worse on no picture."),
        ([math.inf, 30], [math.inf, 29], "+0.50 dB PSNR (95 % interval -5.85 to 6.85, 2 pictures)"),
    ],
)  # fmt: skip
def test_verdict(model, classical, says):
    """Fails if the words do not follow from the interval, a sign is wrong, or the worst picture is another."""
    words = verdict.of_case(case_of(model, classical), [])
    assert words.startswith(f"On {NOISE}, ")
    assert says in words
    assert words.count(". ") == 0
    assert words.endswith(".")


def test_verdict_names_what_is_absent():
    """Fails if a method that is not installed is passed over, or a model is said to beat what it was not compared with."""
    words = verdict.of_case(case_of([30, 31, 30], [29, 30, 29.1], names=("run", "nlm")), ["bm3d"], ["tv", "wavelet"])
    assert "run beats nlm, the best classical method of those compared" in words
    assert words.endswith("; tv and wavelet were not asked for.")
    assert "bm3d could not be compared with, not being installed" in words
    words = verdict.of_case(case_of([30, 31]), ["bm3d", "nlm"])
    assert "there was no classical method" in words
    assert "bm3d and nlm could not be compared with" in words


def test_verdict_tells_of_pictures_made_worse():
    """Fails if a model that spoils what it should clean is not said to."""
    words = verdict.of_case(case_of([30, 31, 20], [29, 30, 28], noisy=[20, 20, 25]), [])
    assert "and worse than the noisy picture itself on 1" in words


def test_verdict_over_several_cases():
    """Fails if a case is not counted, or counted where it does not belong."""
    won, lost = case_of([30, 31, 30], [29, 30, 29.1]), case_of([30, 31, 30], [31, 32, 31.1])
    words = verdict.over_all([won, lost, won], [])
    assert "beats it in 2" in words
    assert "loses to it in 1 (gaussian:25/255: by 1.03 dB to bm3d)" in words
    assert "run, beside the best classical method of those compared in each of 3 cases" in words


def test_verdict_is_for_each_model():
    """Fails if one model is praised for the cases that another has won."""
    cases = [case_of([30, 31, 30], [29, 30, 29.1]), case_of([30, 31, 30], [31, 32, 31.1])]
    for case, psnr in zip(cases, (25.0, 35.0), strict=True):
        case["methods"].append({"name": "other", "kind": "model", "mean": {"psnr": psnr}})
        for index, picture in enumerate(case["pictures"]):
            picture["scores"]["other"] = {"psnr": psnr + index / 10}
        case["verdict"] = verdict.of_case(case, [])
    first, second = verdict.over_all(cases, ["nlm"]).split(". ")
    for name, words in (("run", first), ("other", second)):
        assert words.startswith(f"{name}, beside")
        assert "beats it in 1" in words
        assert "loses to it in 1" in words
    assert second.endswith("; nlm could not be compared with, not being installed.")
    assert "run beats" in cases[0]["verdict"]
    assert "other loses" in cases[0]["verdict"]


@pytest.mark.parametrize(
    ("model", "classical", "better"),
    [
        ([30, 31, 30], [29, 30, 29.1], True),
        ([30], [20], False),
        ([30, 31], [29, 30.9], False),
        ([30, 31], [30, 31], False),
        ([30, 31, 29, 33], [31, 32, 28, 30], False),
        ([30, 31], [31, 32], False),
    ],
)
def test_is_better_needs_the_whole_interval(model, classical, better):
    """Fails if equal, worse, or uncertain passes for better."""
    assert verdict.is_better(case_of(model, classical), "run", "bm3d") is better


def test_the_gate(cli, clean, run, tmp_path):
    """Fails if the exit code does not say whether a requirement is met, or is 1 where none was made."""
    common = ["evaluate", run, "--clean", clean, "-o", tmp_path / "out", "--methods", "median"]
    assert cli(*common, "--noise", NOISE, "--require-better-than", "noisy").code == 0
    ended = cli(*common, "--noise", "masking:0.3", "--require-better-than", "median")
    assert ended.code == 1
    assert "not better than median: run on masking:0.3" in ended.err
    ended = cli(*common, "--noise", "masking:0.3")
    assert ended.code == 0
    assert " median, the best classical method of those compared" in ended.out.splitlines()[-1]


def test_the_gate_does_not_pass_on_nothing(clean, run, tmp_path):
    """Fails if a gate is passed by a model that is compared with itself, by one picture, or in a case without a picture."""
    words = refusal(lambda: evaluate(request(run, clean, tmp_path / "out", better_than="run")))
    assert "there is no other model" in words
    (tmp_path / "one").mkdir()
    shutil.copy(clean / "sub" / "coffee.png", tmp_path / "one")
    one = evaluate(request(run, tmp_path / "one", tmp_path / "out", better_than="noisy"))
    assert one["required"] == {"better_than": "noisy", "met": False, "not_better": ["run on gaussian:25/255"]}
    noises = [parse(NOISE), parse("blocks:count=1,size=195")]  # which fit no picture
    both = evaluate(request(run, clean, tmp_path / "both", noises=noises, methods=["median"], better_than="noisy"))
    assert not both["required"]["met"]
    assert any("where no picture could be compared on" in words for words in both["required"]["not_better"])
    assert {one["cases"][0] for one in both["left_out"]} == {str(noises[1])}


# --- the command -------------------------------------------------------------------------------------------------------------


def test_the_command(child, clean, run, tmp_path):
    """Fails if the verdict is not the last line, a word goes to the wrong stream, or --json is not the report."""
    out = tmp_path / "out"
    arguments = ["evaluate", run, "--clean", clean, "--noise", NOISE, "-o", out, "--methods", "tv,median"]
    ended = child(*arguments)
    assert ended.code == 0
    assert re.match("On gaussian:25/255, .*run .* tv, the best", ended.out.splitlines()[-1])
    assert "PSNR, dB" in ended.out
    ended = child(*arguments, "--json")
    told = json.loads((out / "report.json").read_text())
    assert (ended.code, json.loads(ended.out)) == (0, told)
    assert shlex.split(told["command"]) == [
        "unnoise", "evaluate", str(run), "--clean", str(clean), "--noise", "gaussian:sigma=25/255", "--methods", "tv,median", "--seed", "0", "--out", str(out),
    ]  # fmt: skip
    assert told["settings"]["max_megapixels"] == 128
    assert told["settings"]["tile"] is None
    again = child(*shlex.split(told["command"])[1:], "--tile", "0", "--json")
    assert json.loads(again.out)["settings"]["tile"] == 0
    assert "--tile 0" in json.loads(again.out)["command"]


def test_interrupted(cli, clean, run, tmp_path, monkeypatch):
    """Fails if Ctrl-C is not exit code 130 with one sentence."""

    def stop(noisy, sigma, **parameters):
        raise KeyboardInterrupt

    monkeypatch.setitem(tuned.FUNCTIONS, "median", stop)
    ended = cli("evaluate", run, "--clean", clean, "--noise", NOISE, "-o", tmp_path / "out")
    assert (ended.code, ended.sentence) == (130, "unnoise: stopped; the same command goes on")


def missing(monkeypatch, *packages, error=ModuleNotFoundError):
    """Make some packages impossible to import."""
    real = tuned.import_module

    def imported(module):
        if module.partition(".")[0] in packages:
            raise error(f"no {module}", name=module.partition(".")[0]) if error is ModuleNotFoundError else error("libGL.so.1")
        return real(module)

    monkeypatch.setattr(tuned, "import_module", imported)


def test_a_package_that_does_not_import_is_absent(clean, run, tmp_path, monkeypatch):
    """Fails if a package that is there and broken takes every picture from all the other methods."""
    missing(monkeypatch, "cv2", error=ImportError)
    document = evaluate(request(run, clean, tmp_path / "out", methods=["bilateral", "median"]))
    assert document["absent"] == [{"method": "bilateral", "reason": "cv2 cannot be imported (ImportError)"}]
    assert len(document["cases"][0]["pictures"]) == 3
    assert "bilateral could not be compared with" in document["verdict"]


def test_what_denoise_does_by_itself_is_beside_a_model(clean, run, tmp_path, monkeypatch):
    """Fails if a model is judged without the bundled ones, the verdict or the gate is on them, or they come unasked or twice."""
    monkeypatch.setattr(tuned, "names_for", lambda noise: ["median"])
    document = evaluate(request(run, clean, tmp_path / "out", methods=None, tile=0, better_than="median"))
    (case,) = document["cases"]
    kinds = {method["name"]: method["kind"] for method in case["methods"]}
    assert kinds == {"noisy": "none", "run": "model", "auto": "bundled", "median": "classical"}
    truth = image.read(clean / "cat.png").pixels
    noisy = parse(NOISE)(truth, keyed_rng(3, index=zlib.crc32(b"cat.png")))[0]
    restored = np.clip(unnoise.denoise(noisy), 0, 1)
    assert case["pictures"][1]["scores"]["auto"]["psnr"] == pytest.approx(
        -10 * np.log10(np.mean((restored - truth) ** 2)), abs=1e-3
    )
    assert "auto" not in document["verdict"]
    assert all("auto" not in words for words in document["required"]["not_better"])
    assert document["settings"]["models"] == [str(run)]
    assert "auto" in (tmp_path / "out" / "report.html").read_text()
    assert [model.name for model in request("auto", clean, tmp_path, methods=None).judged] == ["auto"]
    assert not request("auto", clean, tmp_path, methods=None).beside
    monkeypatch.setattr(bundled, "names", list)
    assert not request(run, clean, tmp_path, methods=None).beside


def test_methods_that_were_not_asked_for_are_named(judged):
    """Fails if a model is praised beside weak methods without a word of the strong ones that were there."""
    assert re.search(r"; nlm, wavelet(, | and )bilateral.* were not asked for\.$", judged[1]["verdict"])


def test_absent_methods_are_named(cli, clean, run, tmp_path, monkeypatch):
    """Fails if a method whose package is missing stops the others, or is not named, or could be required."""
    missing(monkeypatch, "bm3d")
    common = ["evaluate", run, "--clean", clean, "--noise", NOISE, "-o", tmp_path / "out"]
    ended = cli(*common, "--methods", "bm3d,median")
    assert ended.code == 0
    assert "not compared with: bm3d (bm3d not installed)" in ended.err
    assert "bm3d could not be compared with" in ended.out.splitlines()[-1]
    assert [method["name"] for method in json.loads((tmp_path / "out" / "report.json").read_text())["cases"][0]["methods"]] == [
        "noisy",
        "run",
        "median",
    ]
    ended = cli(*common, "--require-better-than", "bm3d")
    assert ended.code == 2
    assert "require-better-than=bm3d: bm3d not installed; expected one of noisy, run," in ended.sentence


def test_without_any_classical_method(cli, clean, run, tmp_path, monkeypatch):
    """Fails if the core alone, without the extra [peers], cannot evaluate, or claims to have beaten anything but the noise."""
    missing(monkeypatch, "skimage", "cv2", "scipy", "bm3d", "pywt")
    ended = cli("evaluate", run, "--clean", clean, "--noise", NOISE, "-o", tmp_path / "out")
    assert ended.code == 0
    last = ended.out.splitlines()[-1]
    assert "there was no classical method" in last
    for name in ("nlm", "wavelet", "tv", "bilateral", "median", "bm3d"):
        assert f"not compared with: {name}" in ended.err
        assert name in last.partition("; ")[2]


def test_models_of_one_name(run, tmp_path):
    """Fails if two models of one name, or one with the name of a classical method, fall together."""
    shutil.copytree(run, tmp_path / "a" / "run")
    shutil.copytree(run, tmp_path / "nlm")
    shutil.copy(run / "model.onnx", tmp_path / "small.onnx")
    shutil.copytree(run, tmp_path / "clean")
    paths = [run, tmp_path / "a" / "run", tmp_path / "nlm", tmp_path / "small.onnx", tmp_path / "clean"]
    assert [method.name for method, _ in judging.of_models(paths)] == ["run", "run-2", "nlm-2", "small", "clean-2"]
    words = refusal(lambda: judging.of_models([*paths, tmp_path / "a" / "run" / "model.onnx"]))
    assert "is given twice" in words


def test_a_model_named_clean_keeps_the_clean_crop(clean, run, tmp_path):
    """Fails if the crop of a model takes the place of the clean one, so that the model has no error."""
    shutil.copytree(run, tmp_path / "clean")
    out = tmp_path / "out"
    document = evaluate(request(tmp_path / "clean", clean, out, methods=["median"]))
    picture = document["cases"][0]["pictures"][0]
    top, left, tall, wide = picture["crop"]
    shown = np.asarray(Image.open(out / picture["crops"]["clean"]))
    np.testing.assert_array_equal(shown, np.asarray(Image.open(clean / picture["name"]))[top : top + tall, left : left + wide])
    assert "clean-2" in picture["crops"]


def test_functions_are_models_too(clean, run, tmp_path):
    """Fails if a function from Python does not go through the same comparison, or its results are kept for another one."""
    calls = []

    def function(noisy):
        calls.append(noisy.shape)
        return 0.9 * noisy

    asked = request(run, clean, tmp_path / "out", models=[run, ("mine", function)], methods=["median"])
    document = evaluate(asked)
    assert [method["kind"] for method in document["cases"][0]["methods"]] == ["none", "model", "model", "classical"]
    for picture in document["cases"][0]["pictures"]:
        truth, noisy, _ = testset.read(testset.Sample(picture["name"], clean / picture["name"]), parse(NOISE), 3, 10**9)
        expected = -10 * np.log10(np.mean((np.clip(0.9 * noisy, 0, 1) - truth) ** 2))
        assert picture["scores"]["mine"]["psnr"] == pytest.approx(expected, abs=1e-4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "PROCESS", "another")
        calls.clear()
        evaluate(asked)
    assert calls


def test_pictures_that_a_model_knows_are_told(photos, clean, run, tmp_path):
    """Fails if a model is judged on what it has learned from without a word, its path given as text too; by what they show, whatever
    their names."""
    (tmp_path / "clean").mkdir()
    Image.open(photos / "brick.png").save(tmp_path / "clean" / "other.tif")
    shutil.copy(clean / "camera.png", tmp_path / "clean")
    notes = evaluate(request(run, tmp_path / "clean", tmp_path / "out", methods=["median"]))["notes"]
    (note,) = [note for note in notes if "has learned from" in note]
    assert "1 of the 2 pictures, the first of them other.tif" in note
    by_text = evaluate(request(run, tmp_path / "clean", tmp_path / "out", models=[str(run)], methods=["median"]))
    assert note in by_text["notes"]


def test_every_method_is_tried_first_in_gray_and_in_colour(clean, run, tmp_path, monkeypatch):
    """Fails if what a library sets up at its first call, in gray or in colour, is within a time that is told."""
    shapes = []
    monkeypatch.setitem(tuned.FUNCTIONS, "tv", lambda noisy, sigma, **more: shapes.append(noisy.shape) or noisy)
    evaluate(request(run, clean, tmp_path / "out", methods=["tv"]))
    side = judging.TRIAL
    assert shapes == [(side, side), (190, 200), (side, side, 3), (190, 200, 3), (60, 50)]


def test_tiles_that_are_too_small(clean, run, tmp_path):
    """Fails if a tile that no model can take is noticed at the first picture, or leaves a folder."""
    assert "tile=3" in refusal(lambda: evaluate(request(run, clean, tmp_path / "out", tile=3)))
    assert not (tmp_path / "out").exists()


# --- pairs -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(clean, tmp_path):
    """Folders of noisy and clean pictures, 8 bits."""
    rng = np.random.default_rng(1)
    for name in ("camera.png", "cat.png", "sub/coffee.png"):
        pixels = np.asarray(Image.open(clean / name))
        for side, array in (
            ("clean", pixels),
            ("noisy", np.clip(pixels + rng.normal(0, 10, pixels.shape), 0, 255).astype(np.uint8)),
        ):
            (tmp_path / side / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / side / name)
    return tmp_path / "noisy", tmp_path / "clean"


def test_pairs(pairs, run, tmp_path):
    """Fails if noise is put on pairs, noisy and clean are confused, or the methods are not told the noise that is there."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        real = tuned.FUNCTIONS["tv"]
        patch.setitem(tuned.FUNCTIONS, "tv", lambda noisy, sigma, **more: told.append(sigma) or real(noisy, sigma, **more))
        document = evaluate(request(run, None, tmp_path / "out", noises=(), pairs=pairs, methods=["tv"]))
    (case,) = document["cases"]
    assert case["noise"] == "pairs"
    for picture in case["pictures"]:
        noisy, truth = (np.asarray(Image.open(folder / picture["name"])) / 255 for folder in pairs)
        assert picture["scores"]["noisy"]["psnr"] == pytest.approx(-10 * np.log10(np.mean((noisy - truth) ** 2)), abs=1e-4)
        assert any(sigma == pytest.approx(np.sqrt(np.mean((noisy - truth) ** 2)), rel=1e-4) for sigma in told)


def test_pairs_that_do_not_match_are_named(pairs, cli, run, tmp_path):
    """Fails if a picture without a partner, or with one of another size or kind, is passed over, or stops the others."""
    noisy, clean = pairs
    Image.open(noisy / "camera.png").save(noisy / "camera.bmp")  # the same name again
    Image.open(noisy / "camera.png").save(noisy / "alone.png")
    Image.open(clean / "camera.png").save(clean / "lonely.png")
    Image.open(clean / "camera.png").save(clean / "turned.png")
    Image.open(clean / "camera.png").resize((30, 40)).save(noisy / "turned.png")
    Image.open(clean / "cat.png").convert("L").save(clean / "cat.png")
    ended = cli("evaluate", run, "--pairs", noisy, clean, "-o", tmp_path / "out", "--methods", "median")
    assert ended.code == 1
    lines = [line for line in ended.err.splitlines() if line.startswith("left out")]
    assert len(lines) == 5
    for words in ("alone.png has no clean partner", "lonely.png has no noisy partner", "camera.bmp has the name of camera.png",
                  "turned.png is 200x190 in gray, and its noisy partner is 30x40 in gray", "cat.png is 200x190 in gray, and its noisy partner is 200x190 in colour"):  # fmt: skip
        assert any(words in line for line in lines), words
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [picture["name"] for picture in document["cases"][0]["pictures"]] == ["camera.png", "sub/coffee.png"]
    assert len(document["left_out"]) == 5


def test_partners_by_name_before_partners_by_ending(tmp_path):
    """Fails if a dot in a name is taken for the start of an ending, or a picture takes the partner that is another's by name."""
    for side, names in (("noisy", ("scan.001", "scan.002.png", "a.jpg", "a.png", "b.png", "v1.0")), ("clean", ("scan.002", "scan.003", "a.png", "a.tif", "b.bmp", "b.jpg", "v1.0"))):  # fmt: skip
        (tmp_path / side).mkdir()
        for name in names:
            Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / side / name, "PNG")
    left_out = []
    (case,) = testset.cases(None, [], (tmp_path / "noisy", tmp_path / "clean"), tmp_path / "out", left_out)
    assert {sample.name: sample.noisy.name for sample in case.samples} == {
        "scan.002": "scan.002.png", "a.png": "a.png", "a.tif": "a.jpg", "b.bmp": "b.png", "v1.0": "v1.0",
    }  # fmt: skip
    assert {file.name: reason.split(" in /")[0] for file, reason in left_out} == {
        "b.jpg": "its partner b.png was taken by b.bmp.", "scan.003": "has no noisy partner", "scan.001": "has no clean partner",
    }  # fmt: skip


def test_the_noisy_file_is_named_where_it_is_wrong(pairs, run, tmp_path):
    """Fails if what is wrong with a noisy picture is said of the clean one."""
    noisy = pairs[0]
    (noisy / "cat.png").write_bytes((noisy / "cat.png").read_bytes()[:900])
    document = evaluate(request(run, None, tmp_path / "out", noises=(), pairs=pairs, methods=["median"]))
    (left,) = document["left_out"]
    assert left["source"] == str(noisy / "cat.png")
    assert left["cases"] == ["pairs"]


def test_noisy_pictures_may_be_beyond_0_to_1(run, tmp_path):
    """Fails if float noise is refused as it is, or clipped; or a clean picture is not refused."""
    clean, noisy = np.full((40, 40), 0.1, np.float32), np.full((40, 40), 0.1, np.float32)
    noisy[::2] = -0.3
    for side, pixels in (("clean", clean), ("noisy", noisy)):
        (tmp_path / side).mkdir()
        tifffile.imwrite(tmp_path / side / "a.tif", pixels)
    pair = testset.Sample("a.tif", tmp_path / "clean" / "a.tif", tmp_path / "noisy" / "a.tif")
    _, given, sigma = testset.read(pair, None, 0, 10**9)
    np.testing.assert_array_equal(given, noisy)
    assert sigma == pytest.approx(math.sqrt(0.4**2 / 2), rel=1e-5)
    with pytest.raises(ImageError, match=r"outside 0\.\.1"):
        testset.read(testset.Sample("a.tif", tmp_path / "noisy" / "a.tif"), parse(NOISE), 0, 10**9)


# --- bad input ---------------------------------------------------------------------------------------------------------------


def test_a_clean_folder_that_is_not_clean(clean, run, tmp_path):
    """Fails if noise in the clean pictures is not told, or not how much; and, as a control, if it is told of clean ones."""
    folder = tmp_path / "noisy"
    folder.mkdir()
    for index, name in enumerate(("camera", "coins", "moon")):
        pixels = getattr(skimage.data, name)()[:200, :200] + np.random.default_rng(index).normal(0, 12, (200, 200))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    (note,) = [note for note in evaluate(request(run, folder, tmp_path / "out"))["notes"] if "hold noise" in note]
    assert 10 < float(re.search(r"estimated ([\d.]+)/255", note)[1]) < 14
    assert len(re.findall(r"(?:camera|coins|moon)\.png \(1[\d.]+/255\)", note)) == 3
    assert not any("hold noise" in note for note in evaluate(request(run, clean, tmp_path / "clean"))["notes"])


def test_saturated_pictures_are_named(clean, run, tmp_path):
    """Fails if a picture that clipping alone restores passes without a word."""
    folder = tmp_path / "clean"
    shutil.copytree(clean, folder)
    pixels = np.asarray(Image.open(folder / "camera.png")).copy()
    pixels[:100] = 255
    Image.fromarray(pixels).save(folder / "white.png")
    (note,) = [note for note in evaluate(request(run, folder, tmp_path / "out"))["notes"] if "saturated" in note]
    assert "1 of the 4 clean pictures is saturated" in note
    assert "white.png, where 5" in note  # 100 of 190 rows and a few more


def test_a_gray_model_on_colour_is_said(judged):
    """Fails if it is not said that colours went through a gray model one by one."""
    assert "run is a model for gray pictures; colour ones went through it channel by channel." in judged[1]["notes"]


def test_what_a_model_was_trained_on_is_said(judged):
    """Fails if the report is silent on what a model is for, as its card tells it."""
    assert "run was trained on gaussian:25/255." in judged[1]["notes"]
    assert "run was trained on gaussian:25/255." in (judged[0] / "report.html").read_text()


def test_a_colour_model_on_gray_is_said():
    """Fails if it is not said that gray pictures went through a colour model, or it is said of models that fit."""
    seen = {"cases": [{"pictures": [{"channels": 1}]}]}
    models = [(judging.NOISY, SimpleNamespace(channels=channels, gray=None, card={})) for channels in (1, 3)]
    models.append((judging.NOISY, SimpleNamespace(channels=3, gray=models[0][1], card={})))
    (note,) = evaluation._notes_on_models(models, seen)
    assert "is a model for colour; gray pictures went through it as three equal channels" in note


@pytest.mark.parametrize(
    "noise", [NOISE, "masking:0.3", "salt-and-pepper:0.3", "gaussian:0.1+masking:0.3", "blocks:count=1,size=1"]
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 40), (17, 3, 3)])
def test_smallest_pictures(shape, noise, run, tmp_path):
    """Fails if a picture of a single pixel stops a method, or its SSIM is a number."""
    (tmp_path / "clean").mkdir()
    pixels = np.random.default_rng(1).integers(1, 255, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "clean" / "small.png")
    methods = None if shape == (1, 1) else ["median"]
    document = evaluate(request(run, tmp_path / "clean", tmp_path / "out", noises=[parse(noise)], methods=methods))
    (case,) = document["cases"]
    assert document["left_out"] == []
    for found in case["pictures"][0]["scores"].values():
        assert (found["ssim"], found["ms_ssim"]) == (None, None)
        assert found["psnr"] > 0
    json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_pictures_that_cannot_be_compared_are_named(clean, cli, run, tmp_path):
    """Fails if a broken file, pages, or too many pixels stop the others or are passed over."""
    folder = tmp_path / "clean"
    shutil.copytree(clean, folder)
    (folder / "cut.png").write_bytes((folder / "cat.png").read_bytes()[:2000])
    (folder / "notes.txt").write_text("no picture")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(
        folder / "pages.tif", save_all=True, append_images=[Image.fromarray(np.ones((9, 9), np.uint8))]
    )
    Image.fromarray(np.full((300, 400), 99, np.uint8)).save(folder / "large.png")
    ended = cli(
        "evaluate",
        run,
        "--clean",
        folder,
        "--noise",
        NOISE,
        "-o",
        tmp_path / "out",
        "--methods",
        "median",
        "--max-megapixels",
        0.1,
    )
    assert ended.code == 1
    lines = [line for line in ended.err.splitlines() if line.startswith("left out")]
    assert [re.search(r"(\w+\.\w+) ", line)[1] for line in lines] == ["cut.png", "large.png", "pages.tif"]
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["cases"][0]["pictures"]) == 3


def test_noise_that_does_not_fit_a_picture(clean, run, tmp_path):
    """Fails if blocks larger than one picture keep the others from being compared."""
    document = evaluate(request(run, clean, tmp_path / "out", noises=[parse("blocks:count=1,size=55")], methods=["median"]))
    assert [Path(one["source"]).name for one in document["left_out"]] == ["coffee.png"]
    assert "does not fit a picture of 60x50" in document["left_out"][0]["reason"]
    assert len(document["cases"][0]["pictures"]) == 2


@pytest.mark.parametrize("wrong", ["raises", "shape", "nan"])
def test_a_method_that_fails_is_named(wrong, clean, run, tmp_path, monkeypatch):
    """Fails if what somebody else's code does stops the evaluation, comes out as a score, or is not said."""

    def failing(noisy, sigma, **parameters):
        if noisy.shape[:2] == (60, 50):
            if wrong == "raises":
                raise RuntimeError("it is no good")
            return noisy[1:] if wrong == "shape" else noisy * np.nan
        return noisy

    monkeypatch.setitem(tuned.FUNCTIONS, "median", failing)
    document = evaluate(request(run, clean, tmp_path / "out"))
    (left,) = document["left_out"]
    assert left["source"].endswith("coffee.png")
    assert "median" in left["reason"]
    assert ("it is no good" in left["reason"]) == (wrong == "raises")
    assert len(document["cases"][0]["pictures"]) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clean": None}, "--clean and --noise belong together"),
        ({"noises": ()}, "--clean and --noise belong together"),
        ({"clean": None, "noises": ()}, "there is nothing to compare on"),
        ({"clean": Path("nowhere")}, "nowhere does not exist"),
        ({"methods": ["blm"]}, "methods=blm: there is no such classical method; did you mean nlm?"),
        ({"methods": ["biharmonic"]}, "methods=biharmonic: it is not for gaussian:sigma=25/255"),
        ({"better_than": "bm4d"}, "require-better-than=bm4d: it has no part in gaussian:sigma=25/255; expected one of noisy, run, tv, median"),
        ({"seed": -1}, "seed=-1"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_done(changes, says, clean, run, tmp_path):
    """Fails if a mistake is found late, or leaves a folder."""
    assert says in refusal(lambda: evaluate(request(run, clean, tmp_path / "out", **changes)))
    assert not (tmp_path / "out").exists()


def test_folders_that_are_not_for_it(clean, run, tmp_path):
    """Fails if somebody's file is replaced, an empty folder is judged on, or two processes write to one folder."""
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refusal(lambda: evaluate(request(run, clean, tmp_path / "file")))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "report.html").write_text("mine")
    assert "would be replaced" in refusal(lambda: evaluate(request(run, clean, tmp_path / "foreign")))
    assert (tmp_path / "foreign" / "report.html").read_text() == "mine"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "results.jsonl").write_text('{"score": 1}\n')
    assert "is not of an evaluation" in refusal(lambda: evaluate(request(run, clean, tmp_path / "theirs")))
    assert (tmp_path / "theirs" / "results.jsonl").read_text() == '{"score": 1}\n'
    evaluate(request(run, clean, tmp_path / "edited", methods=["median"]))
    (tmp_path / "edited" / "report.csv").write_text("my notes")
    assert "report.csv is not as" in refusal(lambda: evaluate(request(run, clean, tmp_path / "edited", methods=["median"])))
    assert (tmp_path / "edited" / "report.csv").read_text() == "my notes"
    (tmp_path / "empty").mkdir()
    assert "holds no picture" in refusal(lambda: evaluate(request(run, tmp_path / "empty", tmp_path / "out")))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no PNG")
    assert "no picture could be compared" in refusal(lambda: evaluate(request(run, tmp_path / "broken", tmp_path / "out")))


def test_out_below_the_pictures(clean, run, tmp_path):
    """Fails if the crops of the first evaluation are pictures to the second, or a source is changed."""
    folder = tmp_path / "clean"
    shutil.copytree(clean, folder)
    sources = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*.png")}
    first = evaluate(request(run, folder, folder / "judged"))
    assert untimed(evaluate(request(run, folder, folder / "judged"))) == untimed(first)
    assert {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in sources} == sources


def test_out_above_the_pictures(clean, run, tmp_path, monkeypatch):
    """Fails if -o may not be a folder that holds the pictures' one, or may be the pictures' own."""
    shutil.copytree(clean, tmp_path / "clean")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        document = evaluate(request(run, Path("clean"), Path("."), methods=["median"]))
        assert len(document["cases"][0]["pictures"]) == 3
    for folder, out in (("clean", "clean"), ("crops", ".")):
        asked = request(run, Path(folder), Path(out))
        assert "would lie among the pictures" in refusal(partial(evaluate, asked))


def test_folders_that_are_not_gone_into_are_named(clean, run, tmp_path):
    """Fails if a link to a folder, or one that cannot be opened, is passed over without a word."""
    shutil.copytree(clean, tmp_path / "clean")
    (tmp_path / "more").mkdir()
    (tmp_path / "clean" / "link").symlink_to(tmp_path / "more")
    document = evaluate(request(run, tmp_path / "clean", tmp_path / "out", methods=["median"]))
    (left,) = document["left_out"]
    assert left["source"].endswith("link")
    assert "is a link to a folder" in left["reason"]


def test_want_of_memory_is_one_picture(clean, run, tmp_path, monkeypatch):
    """Fails if a picture that needs more memory than there is stops the others."""

    def small(restored, clean):
        raise MemoryError

    monkeypatch.setattr(judging, "ssim", small)
    document = evaluate(request(run, clean, tmp_path / "out", methods=["median"]))
    (left,) = document["left_out"]
    assert left["source"].endswith("coffee.png")
    assert "more memory" in left["reason"]


def test_alpha_plays_no_part(clean, run, tmp_path):
    """Fails if a picture with alpha is refused, or its alpha is scored."""
    document = {}
    for name in ("plain", "alpha"):
        (tmp_path / name).mkdir()
        picture = Image.open(clean / "cat.png")
        if name == "alpha":
            picture.putalpha(Image.fromarray(np.random.default_rng(1).integers(0, 255, (190, 200), dtype=np.uint8)))
        picture.save(tmp_path / name / "cat.png")
        document[name] = evaluate(request(run, tmp_path / name, tmp_path / f"out-{name}"))["cases"][0]["pictures"][0]
    assert document["alpha"]["channels"] == 3
    for method, found in document["plain"]["scores"].items():
        assert document["alpha"]["scores"][method]["psnr"] == found["psnr"]


def test_infinity_is_told_in_json(run, tmp_path):
    """Fails if the PSNR of equal pictures is written as what JSON does not have, or is lost when results are read again."""
    (tmp_path / "clean").mkdir()
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(tmp_path / "clean" / "white.png")
    for _ in range(2):
        evaluate(request(run, tmp_path / "clean", tmp_path / "out", noises=[parse("masking:count=0")], methods=["median"]))
        told = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
        assert told["cases"][0]["pictures"][0]["scores"]["noisy"]["psnr"] == "inf"
        assert by_name(told["cases"][0]["methods"])["noisy"]["mean"]["psnr"] == "inf"
    assert ",inf," in (tmp_path / "out" / "report.csv").read_text()


def test_settings_refuse_themselves():
    """Fails if a request with a seed that no draw can have is made."""
    with pytest.raises(BadSetting):
        Request(models=[], out=Path("x"), seed=2**63)
