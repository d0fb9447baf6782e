"""Corrupt and learn, asked from outside: what is shown is what the library gives, and a training lives, ends, is kept and is bounded."""

import base64
import io
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from serving import alive, children, everything, form, serving, until

from unnoise import artefact, image
from unnoise.config import parse_model
from unnoise.denoiser import Denoiser
from unnoise.keyed import keyed_rng
from unnoise.noise import parse
from unnoise.server import lecture

NOISES = ("gaussian:25/255", "salt-and-pepper:0.1", "masking:0.3", "blocks:count=6,size=12")
WITHOUT = "import sys\nfor name in ('torch', 'onnx'): sys.modules[name] = None\n"  # as where the extra is not installed
ENDED = ("done", "failed")
DIFFER = (
    "perceptual",
    "pixel",
    "layers",
    "features_sha256",
    "minutes",
)  # of recorded models; the first has no use for features


@pytest.fixture(scope="module")
def served(tmp_path_factory, environment):
    with serving(tmp_path_factory.mktemp("served"), environment) as server:
        yield server


@pytest.fixture(scope="module")
def gray(photos):
    """A gray photo of 128 x 120 pixels, as a file."""
    file = io.BytesIO()
    Image.open(photos / "coins.png").crop((0, 0, 120, 128)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def colour(photos):
    """A colour photo of 101 x 77 pixels, as a file."""
    file = io.BytesIO()
    Image.open(photos / "rocket.jpg").crop((90, 90, 191, 167)).save(file, "PNG")
    return file.getvalue()


def seen(address):
    """A picture inside a data: address, as floats."""
    assert address.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))) / 255


def psnr(one, other):
    return -10 * np.log10(np.mean((np.clip(one, 0, 1).astype(float) - other) ** 2))


def begun(server, *files, **fields):
    """The answer to a request to train on files."""
    bodies = [form(file, **(fields if number == 0 else {}))[0] for number, file in enumerate(files)]
    body = b"".join(part.removesuffix(b"--edge--\r\n") for part in bodies) + b"--edge--\r\n"
    return server.ask("POST", "/api/train", body, {"Content-Type": "multipart/form-data; boundary=edge"})


def lesson(server):
    return server.ask("GET", "/api/train").json()


def state(server, *states, seconds=90):
    """Wait for one of these states; what is told then."""
    until(lambda: lesson(server)["state"] in states, f"not {states}: {lesson(server)}", seconds)
    return lesson(server)


# --- corrupt --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", NOISES)
def test_what_is_shown_is_what_the_library_gives(noise, served, colour, tmp_path):
    """Fails if another noise, mask, model or PSNR is shown than is named, or the picture is not the file's."""
    (tmp_path / "a.png").write_bytes(colour)
    clean = image.read(tmp_path / "a.png").pixels
    noisy, mask = parse(noise)(clean, keyed_rng(0))
    restored = Denoiser("photo", 1).denoise(noisy)
    told = served.post("corrupt", colour, noise=noise, model="photo").json()
    for name, expected in (("clean", clean), ("noisy", noisy), ("restored", restored)):
        assert np.abs(seen(told[name]) - np.clip(expected, 0, 1)).max() <= 0.51 / 255, name
    np.testing.assert_array_equal(seen(told["mask"]) == 1, mask.any(2))
    assert told["touched"] == pytest.approx(mask.any(2).mean())
    assert told["psnr"]["noisy"] == pytest.approx(psnr(noisy, clean), abs=0.006)
    assert told["psnr"]["restored"] == pytest.approx(psnr(restored, clean), abs=0.006)
    assert (told["model"], parse(told["noise"])) == ("photo", parse(noise))
    assert [one["channels"] for one in told["code"]] == [32, 64, 96]


def test_auto_is_shown_what_the_noise_calls_for(served, colour, gray):
    """Fails if auto is asked about the clean picture, or a gray picture's code is that of the model for colour."""
    told = served.post("corrupt", colour, noise="gaussian:25/255").json()
    assert (told["model"], "Gaussian" in told["why"]) == ("photo", True)
    told = served.post("corrupt", gray, noise="gaussian:25/255").json()
    assert (told["model"], seen(told["clean"]).ndim) == ("photo", 2)
    assert len(told["code"]) == 3
    still = served.post("corrupt", colour, noise="gaussian:0").json()
    assert (still["model"], still["code"], still["psnr"]["noisy"]) == (None, [], None)
    assert "choose one" in still["code_note"]


@pytest.mark.parametrize("noise", ["gaussian:50/255", "masking:0.5"])
def test_recorded_models_are_shown_by_their_weights(noise, served, colour, gray, tmp_path):
    """Fails if a picture is not that of the weights beside it, they are not in order, a tiny model does not help, or gray is no picture."""
    (tmp_path / "a.png").write_bytes(colour)
    clean = image.read(tmp_path / "a.png").pixels
    noisy, _ = parse(noise)(clean, keyed_rng(0))
    files = {}
    for file in lecture.RECORDED.glob("*.onnx"):
        training = artefact.read_onnx(file)[1]["training"]
        files[training["perceptual"], training["pixel"]] = file
    told = served.post("weights", colour, noise=noise).json()["models"]
    weights = [(one["lambda1"], one["lambda2"]) for one in told]
    assert weights == sorted(files, key=lambda pair: pair[0] / pair[1])
    assert (weights[0], len(weights)) == ((0, 1), 4)
    for pair, one in zip(weights, told, strict=True):
        restored = np.clip(Denoiser(files[pair], 1).denoise(noisy), 0, 1)
        assert np.abs(seen(one["picture"]) - restored).max() <= 0.51 / 255
        assert one["psnr"] == pytest.approx(psnr(restored, clean), abs=0.006)
        assert one["psnr"] > psnr(noisy, clean) + 3
    assert len(served.post("weights", gray, noise=noise).json()["models"]) == 4
    assert served.post("weights", colour, noise="gausian:1").status == 400


def test_recorded_models_are_alike_but_for_their_weights():
    """Fails if one was trained otherwise, or longer, than another, has no card, or all of them are too large."""
    files = sorted(lecture.RECORDED.glob("*.onnx"))
    cards = [artefact.read_onnx(file)[1] for file in files]
    assert {card["licence"] for card in cards} == {"CC BY-SA 4.0"}
    rest = [{key: value for key, value in card["training"].items() if key not in DIFFER} for card in cards]
    assert [one for one in rest if one != rest[0]] == []
    assert rest[0]["cost"] == "squared"
    assert len({card["sha256"] for card in cards}) == 4
    assert sum(file.stat().st_size for file in files) <= 100_000


@pytest.mark.parametrize(
    "shape", ["unet:widths=8-16,blocks=1", "unet:widths=8,blocks=1", "conv:widths=8-16,code=3", "dense:code=5,hidden=16"]
)
def test_the_code_is_what_the_encoder_gives(shape, tmp_path):
    """Fails if other maps than Z are taken from inside the network: a level is missing, in another order, or lies before an activation."""
    torch = pytest.importorskip("torch", reason="torch is not installed, so there is nothing to compare with")
    from unnoise.export import to_onnx
    from unnoise.model import Autoencoder

    torch.manual_seed(3)
    model = Autoencoder(parse_model(shape), 3).eval()
    (tmp_path / "model.onnx").write_bytes(to_onnx(model))
    picture = np.random.default_rng(1).random((37, 50, 3), np.float32)
    with torch.inference_mode():
        expected = model.encode(torch.from_numpy(np.moveaxis(picture, 2, 0)[None].copy())).maps
    found = lecture.code(tmp_path / "model.onnx", SimpleNamespace(channels=3, grid=model.grid), picture)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other[0].numpy(), atol=1e-4)


def test_each_channel_is_a_square_of_its_own():
    """Fails if channels lie elsewhere than beside one another, are scaled by another's values, or 0 is not middle gray."""
    maps = np.zeros((9, 2, 3), np.float32)
    maps[0], maps[1, 0, 0], maps[8] = 5, -0.1, 1
    told = lecture._level(maps)
    sheet = seen(told["picture"])
    assert (told["channels"], told["height"], told["width"], sheet.shape) == (9, 2, 3, (6, 32))
    np.testing.assert_allclose(sheet[:2, :3], 1)
    assert sheet[0, 4] == 0
    np.testing.assert_allclose(sheet[3:5, :3], 1)
    np.testing.assert_allclose(sheet[:2, 8:], 0.5, atol=1 / 255)


def test_larger_pictures_are_made_smaller():
    """Fails if a pixel is not the mean of those it stands for, or a long narrow picture vanishes."""
    picture = np.arange(5 * 6, dtype=np.float32).reshape(5, 6)
    np.testing.assert_array_equal(lecture.smaller(picture, 6), picture)
    np.testing.assert_array_equal(lecture.smaller(picture, 3), [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    assert lecture.smaller(np.zeros((1, 2000, 3), np.float32), 512).shape == (1, 500, 3)


def test_drawn_pictures_are_covered_and_unlike():
    """Fails if ground is left without a disc, two seeds draw alike, or one seed differently."""
    one, other = lecture.drawn(1, 128), lecture.drawn(2, 128)
    np.testing.assert_array_equal(one, lecture.drawn(1, 128))
    assert one.shape == (128, 128, 3)
    assert 0 <= one.min() < 0.3 < 0.7 < one.max() <= 1
    assert (one.max(2) == 0).mean() < 0.01
    assert np.abs(one - other).mean() > 0.1


# --- learn ------------------------------------------------------------------------------------------------------------------------


def test_a_model_is_trained_kept_and_used(tmp_path, environment, gray, photos, cli):
    """Fails if training does not improve the crop, holds up pictures, takes a second one, or what it made is not what is served and downloaded."""
    others = [(photos / name).read_bytes() for name in ("moon.png", "brick.png", "grass.png") if (photos / name).exists()]
    with serving(tmp_path / "tmp", environment) as server:
        told = begun(server, gray, *others, noise="gaussian:25/255", minutes="0.15")
        assert (told.status, told.json()["state"]) == (200, "starting")
        state(server, "learning")
        assert server.post("denoise", gray).status == 200
        assert (begun(server, gray).status, lesson(server)["state"]) == (409, "learning")
        told = state(server, *ENDED)
        assert (told["state"], told["model"], told["step"]) == ("done", "trained-1", told["steps"])
        points = told["points"]
        assert len(points) >= 3
        assert points[-1]["psnr"] > points[0]["psnr"] + 0.5
        assert points[-1]["psnr"] > told["noisy_psnr"] + 2
        sheet = np.asarray(Image.open(io.BytesIO(server.ask("GET", "/api/train/sample").body)).convert("L")) / 255
        noisy, restored, clean = (sheet[:, at : at + 120] for at in (0, 126, 252))
        assert psnr(noisy, clean) == pytest.approx(told["noisy_psnr"], abs=0.2)
        assert psnr(restored, clean) == pytest.approx(points[-1]["psnr"], abs=0.2)
        assert "trained-1" in server.ask("GET", "/api/models").json()["models"]
        answer = server.ask("GET", "/api/model?name=trained-1")
        assert 'filename="trained-1.onnx"' in answer.headers["content-disposition"]
        (tmp_path / "mine.onnx").write_bytes(answer.body)
        (tmp_path / "a.png").write_bytes(gray)
        cli("denoise", tmp_path / "a.png", "-o", tmp_path / "out", "--model", tmp_path / "mine.onnx", "--threads", 1)
        served = server.post("denoise", gray, model="trained-1")
        assert served.headers["unnoise-model"] == "trained-1"
        assert served.body == (tmp_path / "out" / "a.png").read_bytes()
        assert served.body != gray
        told = server.post("corrupt", gray, model="trained-1").json()
        assert [one["channels"] for one in told["code"]] == [16, 32, 64]
        until(lambda: [Path(path).name for path in server.kept()] == ["trained-1"], f"more is kept: {server.kept()}")
        assert (
            str(server.files)
            not in json.dumps(told) + json.dumps(lesson(server)) + server.ask("GET", "/api/models").body.decode()
        )
        server.end(signal.SIGTERM)
        assert everything(tmp_path / "tmp") == []


def test_a_training_that_is_stopped_is_kept(served, colour):
    """Fails if stopping takes long, loses what was learned, or goes on to the end."""
    told = begun(served, colour, noise="masking:0.3", minutes="0.2", shape="conv")
    assert told.status == 200, told.body
    until(lambda: lesson(served)["points"], "it learns nothing", 60)
    promised = lesson(served)["steps"]
    assert served.ask("POST", "/api/train/stop").json()["state"] == "stopping"
    began = time.monotonic()
    told = state(served, *ENDED)
    assert told["state"] == "done", told
    assert time.monotonic() - began < 30
    assert 0 < told["step"] == told["steps"] < promised
    assert served.post("denoise", colour, model=told["model"]).status == 200
    assert served.ask("POST", "/api/train/stop").status == 409
    (found,) = [one for one in served.ask("GET", "/api/models").json()["files"] if one["file"] == told["model"]]
    assert found["bytes"] > 10_000


def test_a_stop_before_the_first_step_is_no_fault(served, colour, gray):
    """Fails if a stop while it gets ready is lost, or ends the server's part of it."""
    assert begun(served, colour, gray, minutes="0.2", noise="gaussian:0").status == 200
    assert served.ask("POST", "/api/train/stop").status == 200
    told = state(served, *ENDED)
    assert (told["state"], told["noisy_psnr"]) == ("done", None)  # which is infinite: there was no noise
    assert told["steps"] < 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"minutes": "11"}, "minutes"),
        ({"minutes": "0"}, "minutes"),
        ({"minutes": "nan"}, "minutes"),
        ({"minutes": "long"}, "minutes"),
        ({"shape": "unet:widths=4096"}, "shape"),
        ({"cost": "free"}, "cost"),
        ({"noise": "gausian:1/255"}, "gaussian"),
        ({"noise": "gaussian:25"}, "25/255"),
        ({"noise": "blocks:count=1000000000,size=1"}, "1000 blocks"),
        ({"noise": "blocks:count=1..2000,size=1"}, "1000 blocks"),
        ({"steps": "1"}, "steps"),
    ],
)
def test_a_wrong_field_begins_nothing(fields, words, served, gray):
    """Fails if a training may be had that is not bounded, or what is wrong is not named."""
    answer = begun(served, gray, **fields)
    assert (answer.status, words in answer.json()["error"]) == (400, True), answer.body
    assert lesson(served)["state"] in ("none", *ENDED)


def test_too_many_pictures_are_refused(served, gray):
    """Fails if a training may have any number of pictures."""
    assert begun(served, *[gray] * 17).status == 400
    assert served.ask("GET", "/api/model?name=../../x").status == 404
    assert served.ask("GET", "/api/model").status == 404


@pytest.mark.parametrize("path", ["/api/train", "/api/train/stop", "/api/corrupt", "/api/weights"])
@pytest.mark.parametrize("headers", [{"Origin": "http://evil.test"}, {"Sec-Fetch-Site": "same-site"}, {"Host": "evil.test"}])
def test_no_other_page_can_train(path, headers, served, gray):
    """Fails if a page from elsewhere can begin or stop a training."""
    body, kind = form(gray)
    assert served.ask("POST", path, body, {"Content-Type": kind, **headers}).status == 403
    assert lesson(served)["state"] in ("none", *ENDED)


@pytest.mark.parametrize(
    ("file", "words"),
    [(b"nothing", "not a picture"), (b"P5 9 9 255\n" + bytes(81), "48 pixels"), (b"P5 8000 8000 255\n", "")],
    ids=["nothing", "small", "cut"],
)
def test_a_picture_that_cannot_be_learned_from_is_said(file, words, served):
    """Fails if a bad picture is a fault, its words name a path or an option, or anything of it stays."""
    assert begun(served, file).status == 200
    told = state(served, *ENDED)
    assert (told["state"], words in told["words"]) == ("failed", True), told
    assert "--" not in told["words"]
    assert "unnoise-serve" not in told["words"]
    assert not list(served.files.glob("*/lesson-*"))
    assert served.post("inspect", b"P5 9 9 255\n" + bytes(81)).status == 200


def test_without_torch_it_says_so(tmp_path, environment, colour):
    """Fails if the page, a training or the code is a fault where the extra is not installed, or it is not said how to have it."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    path = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])
    with serving(tmp_path / "tmp", {**environment, "PYTHONPATH": path}) as server:
        assert "unnoise[train]" in lesson(server)["words"]
        answer = begun(server, colour)
        assert (answer.status, "unnoise[train]" in answer.json()["error"]) == (501, True)
        told = server.post("corrupt", colour, model="photo").json()
        assert (told["code"], "unnoise[train]" in told["code_note"]) == ([], True)
        assert told["psnr"]["restored"] > told["psnr"]["noisy"]


@pytest.mark.parametrize(("number", "when"), [(signal.SIGTERM, "learning"), (signal.SIGKILL, "starting")])
def test_a_training_ends_with_the_server(number, when, tmp_path, environment, gray, colour):
    """Fails if it goes on without anybody to see it, or leaves anything after a tidy end."""
    with serving(tmp_path, environment) as server:
        worker = server.worker()
        begun(server, gray, colour, minutes="0.2")
        state(server, when)
        until(lambda: len(children(server.process.pid)) == 2, "it does not begin")
        (learner,) = set(children(server.process.pid)) - {worker}
        server.end(number)
        until(lambda: not alive(learner), "it goes on")
        assert number == signal.SIGKILL or everything(tmp_path) == []


def test_a_training_that_is_killed_is_said(served, gray):
    """Fails if a process that ends by itself leaves the page waiting for ever, or stands in the way of the next."""
    worker = served.worker()
    begun(served, gray)
    until(lambda: len(children(served.process.pid)) == 2, "it does not begin")
    (learner,) = set(children(served.process.pid)) - {worker}
    os.kill(learner, signal.SIGKILL)
    told = state(served, *ENDED)
    assert (told["state"], "before its time" in told["words"]) == ("failed", True)
