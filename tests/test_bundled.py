"""Models that come with unnoise: found by name, a pair behind one name, described by their cards, sealed by training/ship.py."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from conftest import refusal
from PIL import Image
from test_model import UNET, network

import unnoise
from unnoise import artefact, bundled, console, export, parse
from unnoise.config import MODELS
from unnoise.errors import ModelError
from unnoise.evaluate import Request, evaluate
from unnoise.notation import str_of

PHOTO = skimage.data.chelsea()[100:161, 150:197].astype(np.float32) / 255  # 61 x 47
SHIP = Path(__file__).parents[1] / "training" / "ship.py"
TEXT = """purpose = "Photographs with additive noise."
command = "unnoise train photos -o run"
limits = ["It knows no other noise."]
failures = ["Woven cloth becomes smooth above sigma 40/255."]
"""
CORPUS = """licence = "CC BY-SA 4.0"
[[data]]
source = "somebody's photographs"
pictures = 7
licence = "CC0-1.0"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of three small models: photo in gray and in colour, and impulse, each drawn from another seed."""
    folder = tmp_path_factory.mktemp("models")
    for name, channels, seed in (("photo-gray", 1, 0), ("photo-colour", 3, 1), ("impulse", 1, 2)):
        net = network(UNET, channels, seed)
        first = {"seed": 3, "steps": 100, "noise": ["gaussian:0..0.1"]}
        card = {
            "architecture": str_of(MODELS, UNET), "purpose": f"Pictures for {name}.", "licence": "CC BY-SA 4.0",
            "training": {"seed": 4, "steps": 200, "start_from": {"sha256": "ab", "training": first}},
            "quality": {"validation_psnr": 27.5, "measured": [{"pictures": "BSD68", "noise": "gaussian:25/255", "psnr": 29.12}]},
            "limits": ["Only pictures."],
        }  # fmt: skip
        onnx = artefact.stamped(export.to_onnx(net), {**card, **export.contract(net)})
        (folder / f"{name}.onnx").write_bytes(onnx)
    return folder


@pytest.fixture
def models(made, tmp_path, monkeypatch):
    """A copy of them in place of what is bundled, and an empty folder to work in."""
    folder = shutil.copytree(made, tmp_path / "bundled")
    monkeypatch.setattr(bundled, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """A version in which no model is bundled."""
    (tmp_path / "bundled").mkdir()
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "bundled")


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(path)


# --- by name -------------------------------------------------------------------------------------------------------------------


def test_what_lies_in_the_folder_is_bundled(models):
    """Fails if a model needs more than its file to be found, or the two of a pair have two names."""
    assert bundled.names() == ["impulse", "photo"]
    assert bundled.files("photo") == [models / "photo-colour.onnx", models / "photo-gray.onnx"]
    assert bundled.files(Path("photo-gray")) == [models / "photo-gray.onnx"]
    (models / "photo-colour.onnx").unlink()
    assert bundled.names() == ["impulse", "photo"]
    assert bundled.files("photo") == [models / "photo-gray.onnx"]


def test_what_lies_here_goes_first(models, run):
    """Fails if a run of one's own is passed over for a bundled model of its name, or a folder of pictures is taken for a run."""
    save(Path("photo/a.png"), PHOTO)
    assert bundled.files("photo")[0].parent == models
    Path("photo/config.json").touch()  # an unfinished run
    with pytest.raises(ModelError, match=r"holds no model.onnx; .*: unnoise train --resume photo$"):
        unnoise.load("photo")
    shutil.copy(run / "model.onnx", "photo")
    assert unnoise.load("photo").sha256 == unnoise.load(run).sha256
    shutil.copy(run / "model.onnx", "impulse")
    assert unnoise.load("impulse").sha256 == unnoise.load(run).sha256
    assert [one["name"] for one in bundled.described()] == ["impulse", "photo", "photo"]  # those in the folder all the same


def test_a_name_that_is_none(models, tmp_path):
    """Fails if a misspelt name is not put right, or a path to somebody's file is taken for a name."""
    assert refusal(lambda: unnoise.load("phto"), ModelError) == "phto does not exist; did you mean photo?"
    words = refusal(lambda: unnoise.load("runs/a"), ModelError)
    assert words == (
        "runs/a does not exist; give a run folder, a model.onnx, or one of impulse, photo; "
        "denoise also takes nlm, wavelet, tv, bilateral, bm3d."
    )
    (tmp_path / "other.onnx").touch()
    for name in (tmp_path / "other", "../other", "../bundled/photo", ""):
        with pytest.raises(ModelError):
            bundled.files(name)


def test_with_nothing_bundled(nothing, cli, tmp_path):
    """Fails if a version without models promises one, or does not say how to do without."""
    save(tmp_path / "a.png", PHOTO)
    picture, out = tmp_path / "a.png", tmp_path / "out"
    assert "no model is bundled in this version; give one: --model RUN" in cli("denoise", picture, "-o", out).sentence
    assert "no model is bundled" in cli("denoise", picture, "-o", out, "--model", "photo").sentence
    assert "no model is bundled" in cli("evaluate", "photo", "--clean", tmp_path, "--noise", "gaussian:0.1", "-o", out).sentence
    assert "no model is bundled" in refusal(lambda: unnoise.denoise(PHOTO), ModelError)
    ended = cli("models")
    assert (ended.code, ended.out) == (0, "")
    assert "No model is bundled in this version" in ended.sentence
    assert json.loads(cli("models", "--json").out) == {"models": []}


# --- a pair behind one name ----------------------------------------------------------------------------------------------------


def test_the_picture_chooses_of_a_pair(models):
    """Fails if a gray picture goes through the colour model though there is one for gray, or the other way round."""
    gray, pair = PHOTO[..., 0], unnoise.load("photo")
    one, other = unnoise.load("photo-gray"), unnoise.load("photo-colour")
    alpha = np.full((61, 47, 1), 0.5, np.float32)
    for image in (gray, gray[..., None], np.concatenate([gray[..., None], alpha], 2), (gray * 255).astype(np.uint8)):
        np.testing.assert_array_equal(pair.denoise(image), one.denoise(image))
    for image in (PHOTO, np.concatenate([PHOTO, alpha], 2), np.stack([PHOTO, PHOTO[::-1]])):
        np.testing.assert_array_equal(pair.denoise(image), other.denoise(image))
    assert np.abs(one.denoise(gray) - other.denoise(gray)).max() > 0.01  # else nothing was chosen
    assert np.abs(pair.denoise(gray, tile=104) - one.denoise(gray)).max() < 1e-5
    np.testing.assert_array_equal(unnoise.denoise(PHOTO, "photo"), other.denoise(PHOTO))
    assert pair.sha256 == f"{other.sha256} {one.sha256}"
    assert pair.card["channels"] == 3


def test_denoise_by_name(models, cli):
    """Fails if files are not denoised as arrays are, or a model that changed passes for the old one."""
    save(Path("in/gray.png"), PHOTO[..., 0])
    save(Path("in/colour.png"), PHOTO)
    ended = cli("denoise", "in", "-o", "out", "--model", "photo", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["model"] == "photo"
    for name, kind in (("gray", "photo-gray"), ("colour", "photo-colour")):
        expected = unnoise.load(models / f"{kind}.onnx").denoise(np.asarray(Image.open(f"in/{name}.png")))
        np.testing.assert_array_equal(np.asarray(Image.open(f"out/{name}.png")), expected)
    assert len(json.loads(cli("denoise", "in", "-o", "out", "--model", "photo", "--json").out)["skipped"]) == 2
    shutil.copy(models / "impulse.onnx", models / "photo-gray.onnx")
    assert len(json.loads(cli("denoise", "in", "-o", "out", "--model", "photo", "--json").out)["done"]) == 2
    assert cli("denoise", "in", "-o", "sheet", "--model", "photo", "--preview").code == 0
    assert cli("denoise", "in", "--model", "photo", "--verify-tiling", "--tile", 104).code == 0


def test_evaluate_by_name(models, run, photos, monkeypatch):
    """Fails if a bundled model is judged under another name, the gray one of a pair takes no part, or the place counts as its run."""
    monkeypatch.chdir(shutil.copytree(run, "run"))
    Path("clean").mkdir()
    shutil.copy(photos / "brick.png", "clean")  # which the run here knows, and no bundled model
    names = [Path("photo"), Path("photo-gray"), Path("photo-colour")]
    asked = {"clean": Path("clean"), "noises": [parse("gaussian:0.1")], "methods": ["median"], "out": Path("out")}
    document = evaluate(Request(models=names, **asked))
    (case,) = document["cases"]
    assert [method["name"] for method in case["methods"]] == ["noisy", "photo", "photo-gray", "photo-colour", "median"]
    photo, gray, colour = (case["pictures"][0]["scores"][str(name)]["psnr"] for name in names)
    assert photo == gray != colour
    assert case["methods"][1]["parameters"]["sha256"] == unnoise.load("photo").sha256
    assert [note for note in document["notes"] if "model for" in note] == [
        "photo-colour is a model for colour; gray pictures went through it as three equal channels."
    ]
    assert "learned" not in str(document["notes"])
    words = refusal(lambda: evaluate(Request(models=[Path("photo"), models / "photo-gray.onnx", Path("photo-gray")], **asked)))
    assert words == "photo-gray is given twice; leave one out."


# --- what they say of themselves -----------------------------------------------------------------------------------------------


def test_models_lists_what_is_bundled(models, cli):
    """Fails if the table or the JSON lacks a model, or what decides whether to use it; or a card of before, without a figure, stops it."""
    onnx, card = artefact.read_onnx(models / "photo-gray.onnx")
    card = {**{key: card[key] for key in card if key != "sha256"}, "invented": {"left": 0.657}}
    (models / "photo-gray.onnx").write_bytes(artefact.stamped(artefact.unstamped(onnx), card))
    told = json.loads(cli("models", "--json").out)["models"]
    assert [(one["name"], one["card"]["channels"]) for one in told] == [("impulse", 1), ("photo", 3), ("photo", 1)]
    for one in told:
        assert one["bytes"] == Path(one["file"]).stat().st_size
        assert one["card"] == artefact.read_onnx(Path(one["file"]))[1]
    table = " ".join(cli("models").out.replace("│", " ").split())
    for words in ("photo Pictures for", "colour 29.12 dB on", "gray", "0.66/255", "CC BY-SA", "0.1"):
        assert words in table, table


def test_models_shows_a_card(models, run, cli, tmp_path):
    """Fails if a file's card is not told whole, a piece of its training is lost, or what is no model ends in a traceback."""
    told = json.loads(cli("models", "photo", "--json").out)["models"]
    assert [Path(one["file"]).stem for one in told] == ["photo-colour", "photo-gray"]
    lines = cli("models", "photo-gray").out.splitlines()
    assert re.fullmatch(r".*photo-gray\.onnx: \d\.\d MB", lines[0])
    assert lines[1:4] == ["purpose: Pictures for photo-gray.", "licence: CC BY-SA 4.0", "channels: 1"]
    assert "    - pictures BSD68, noise gaussian:25/255, psnr 29.12" in lines
    at = lines.index("training:")
    assert lines[at + 1 : at + 3] == ["  - seed 3, steps 100, noise gaussian:0..0.1", "  - seed 4, steps 200"]
    for file in (run, run / "model.onnx", run / "model.safetensors"):
        shown = cli("models", file).out
        assert "architecture: unet:widths=16-32,blocks=1,fold=2" in shown
        assert f"sha256: {unnoise.load(run).sha256}" in shown or file.suffix == ".safetensors"
    assert json.loads(cli("models", run, "--json").out)["models"][0]["name"] == "run"
    assert cli("models", "phto").sentence == "unnoise: phto does not exist; did you mean photo?"
    (tmp_path / "a.onnx").write_bytes(b"no model")
    assert "there is no card of unnoise" in cli("models", tmp_path / "a.onnx").sentence


def test_a_card_of_any_kind_can_be_told():
    """Fails if a card that somebody else has made stops the reader, or hides what it holds."""
    deep = nested = {}
    for _ in range(300):
        nested["a"] = nested = {}
    nested["a"] = "bottom"
    card = {
        "licence": ["x" * 70, None, 1.5],
        "training": "long",
        "empty": {},
        "none": None,
        "deep": deep,
        "quality": [[1, [2]]],
    }
    lines = list(console._of_card(card))
    assert lines[:4] == ["licence:", f"  - {'x' * 70}", "  - 1.5", "training: long"]
    assert "bottom" in lines[-5]
    assert max(len(line) - len(line.lstrip()) for line in lines) <= console.DEEPEST + 2
    assert lines[-4:] == ["quality:", "  -", "    - 1", "    - 2"]
    assert artefact.pieces("long") == artefact.pieces(None) == []


# --- shipping ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ship(models, tmp_path, monkeypatch):
    """training/ship.py as a module, with a text for photo and no results beside it."""
    spec = importlib.util.spec_from_file_location("ship", SHIP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    (tmp_path / "photo.toml").write_text(TEXT)
    (tmp_path / "corpus.toml").write_text(CORPUS)
    return module


def measured(folder, **psnr):
    """A result of benchmarks/testsets.py, with these models in it."""
    methods = {name: {"kind": "model", "psnr": value, "ssim": 0.9, "every_psnr": {}} for name, value in psnr.items()}
    result = {"set": "BSD68", "cases": {"gaussian:sigma=25/255": methods}}
    (folder / "testset_bsd68.json").write_text(json.dumps(result))
    return {"pictures": "BSD68", "noise": "gaussian:sigma=25/255", "ssim": 0.9}


def test_a_run_is_shipped(ship, models, run):
    """Fails if the file is not the run's network in float16, or its card lacks a word of the run's, the text's or the results'."""
    (models / "photo-colour.onnx").unlink()
    figures = measured(ship.RESULTS, **{"photo-gray": 20.5, "photo-colour": 20.25})
    file = ship.ship("photo-gray", run)
    shipped, card = unnoise.load("photo"), artefact.read(run / "model.safetensors")[1]
    assert file == models / "photo-gray.onnx"
    assert np.abs(shipped.denoise(PHOTO) - unnoise.load(run).denoise(PHOTO)).max() < 1e-2
    assert file.stat().st_size < 0.62 * (run / "model.onnx").stat().st_size
    told = {key: shipped.card[key] for key in ("purpose", "licence", "weights", "limits", "data")}
    assert told == {
        "purpose": "Photographs with additive noise.", "licence": "CC BY-SA 4.0", "weights": "float16",
        "limits": ["It knows no other noise."],
        "data": [{"source": "somebody's photographs", "pictures": 7, "licence": "CC0-1.0"}],
    }  # fmt: skip
    assert shipped.card["training"] == {**card["training"], "command": "unnoise train photos -o run"}
    assert shipped.card["quality"] == {**card["quality"], "measured": [{**figures, "psnr": 20.5}]}
    assert shipped.card["invented"]["left"] == pytest.approx(card["invented"]["left"], abs=0.05)  # its weights are rounded


def test_a_card_is_written_anew(ship, models, tmp_path):
    """Fails if new figures or words change the network, need its run, or leave the old ones beside them."""
    network, old = artefact.read_onnx(models / "photo-gray.onnx")
    figures = measured(ship.RESULTS, **{"photo-gray": 30.0})
    for purpose in ("Other words.", "Photographs with additive noise."):
        (tmp_path / "photo.toml").write_text(TEXT.replace("Photographs with additive noise.", purpose))
        ship.ship("photo-gray", None)
        data, card = artefact.read_onnx(models / "photo-gray.onnx")
        assert artefact.unstamped(data) == artefact.unstamped(network)
        assert (card["purpose"], card["quality"]["measured"]) == (purpose, [{**figures, "psnr": 30.0}])
        assert {key: card["training"][key] for key in old["training"]} == old["training"]


def test_what_may_not_ship(ship, models, run, made, tmp_path, monkeypatch):
    """Fails if a model of other channels hides behind a name, a pair tiles in two ways, the wheel grows beyond its size, or a card
    lacks what a user must know; and if a file is changed by any of it."""

    def refused(name, words, run=None):
        with pytest.raises(SystemExit, match=words):
            ship.ship(name, run)

    refused("../x", "expected small letters", run)
    refused("photo-colour", "the model has 1 channels", run)
    refused("photo-gray", "is not tiled as photo-colour", run)
    monkeypatch.setattr(bundled, "LARGEST", sum(file.stat().st_size for file in models.iterdir()))
    refused("photo-gray", "bytes bundled")  # the new card is longer
    (tmp_path / "photo.toml").write_text(TEXT.replace("purpose", "purposes"))
    refused("photo-gray", "expected purpose, a str")
    (tmp_path / "photo.toml").write_text(TEXT)
    (tmp_path / "corpus.toml").write_text(CORPUS.replace("CC BY-SA 4.0", ""))
    refused("photo-gray", "expected licence, a str")
    (tmp_path / "corpus.toml").write_text(CORPUS)
    (tmp_path / "photo.toml").write_text(TEXT.replace('limits = ["It knows no other noise."]', "limits = []"))
    refused("photo-gray", "expected limits, a list")
    (tmp_path / "photo.toml").write_text("speed = 3\n" + TEXT)
    refused("photo-gray", "nothing is known of speed")
    assert {file.name: file.read_bytes() for file in models.iterdir()} == {
        file.name: file.read_bytes() for file in made.iterdir()
    }


def test_all_that_is_bundled_is_small():
    """Fails if the wheel grows beyond what was promised, or the feature network is gone."""
    files = [file for file in bundled.FOLDER.iterdir() if file.suffix in (".onnx", ".safetensors")]
    assert bundled.FOLDER / "features.safetensors" in files
    assert sum(file.stat().st_size for file in files) <= bundled.LARGEST


@pytest.mark.parametrize("one", bundled.described(), ids=lambda one: Path(one["file"]).stem)
def test_what_is_bundled_says_what_it_is(one):
    """Fails if a model ships without what a user must know, measured figures included, or as float32."""
    card = one["card"]
    for key in ("purpose", "licence", "data", "limits", "failures"):
        assert card[key], key
    assert card["quality"]["measured"]
    assert card["invented"].keys() == {"noise", "left", "share", "correlation"}
    assert card["training"]["command"]
    assert card["weights"] == "float16"
    pair = {tuple(other["card"][key] for key in ("alignment", "overlap", "tile")) for other in bundled.described(one["name"])}
    assert len(pair) == 1
