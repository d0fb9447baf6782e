"""The wheel, made from the sdist, in a clean environment without torch: the runtime works, training says what it needs."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
OFFLINE = (
    "NewConnectionError",
    "NameResolutionError",
    "Failed to establish",
    "ConnectTimeoutError",
    "ProxyError",
    "Network is unreachable",
)


def done(*line, **options):
    return subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=600, **options)


def or_skip(ended):
    """Skip if pip found no index to take packages from; any other failure is one."""
    if ended.returncode and any(sign in ended.stdout + ended.stderr for sign in OFFLINE):
        pytest.skip("pip cannot reach a package index")
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel): `python -m build` makes the second from the first."""
    out = tmp_path_factory.mktemp("dist")
    try:
        import hatchling  # noqa: F401

        isolation = ["--no-isolation"]
    except ImportError:
        isolation = []
    or_skip(done(sys.executable, "-m", "build", *isolation, "--outdir", out, ROOT))
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def clean(built, tmp_path_factory):
    """The folder of programs of a new environment that holds the wheel and what it asks for, and nothing else."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    constraints = ROOT / "constraints.txt"
    pinned = ["--constraint", constraints] if constraints.exists() else []
    or_skip(done(programs / "python", "-m", "pip", "install", "--quiet", *pinned, built[1]))
    return programs


@pytest.fixture(scope="module")
def outside():
    """The environment of a user: no path leads to this repository or to packages elsewhere."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}


def test_archives_hold_what_they_should(built):
    """Fails if types, the licences, a bundled model, a page's style or script, or a module are missing, or tests, benchmarks or other models travel along."""
    sdist, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "unnoise").rglob("*.py")}
    pages = ("index.html", "style.css", "app.js", "learn.js", "server.js", "viewer.js", "zip.js")
    served = {f"unnoise/server/static/{name}" for name in pages}
    models = (file for place in ("bundled", "server/recorded") for file in (ROOT / "src" / "unnoise" / place).iterdir())
    bundled = {file.relative_to(ROOT / "src").as_posix() for file in models if file.suffix in (".onnx", ".safetensors")}
    assert {"unnoise/bundled/features.safetensors", "unnoise/server/recorded/4.onnx"} <= bundled
    looks = {f"unnoise/report/{name}" for name in ("theme.css", "page.css", "compare.js")}
    assert modules | {"unnoise/py.typed"} | looks | served | bundled <= names
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert {name.split("/")[0] for name in names} == {"unnoise", wheel.name.split("-py3")[0] + ".dist-info"}
    assert not [name for name in names if name.endswith((".pyc", ".onnx", ".safetensors", ".json")) and name not in bundled]
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in modules | bundled} | {"pyproject.toml", "README.md", "LICENSE", "NOTICE"} <= packed
    assert not [name for name in packed if name.split("/")[0] in ("tests", "benchmarks", "training", "demo", ".ci")]


def test_clean_environment_has_no_torch(clean, outside, tmp_path):
    """Fails if the core asks for torch, or the tests below are of the repository and not of the wheel."""
    code = "import importlib.util as u, unnoise; print(unnoise.__file__, *map(u.find_spec, ['torch', 'onnx', 'skimage']))"
    ended = done(clean / "python", "-c", code, env=outside, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    file, *found = ended.stdout.split()
    assert Path(file).is_relative_to(clean.parent)
    assert found == ["None"] * 3


def test_command_works_there(clean, outside, tmp_path, run, held_out):
    """Fails if the wheel lacks a dependency or the command, or the runtime needs torch; the pixels are those of here."""
    import unnoise

    photo = held_out("camera.png")[100:201, 50:117]
    Image.fromarray(np.rint(photo * 255).astype(np.uint8)).save(tmp_path / "photo.png")
    helped = done(clean / "unnoise", "--help", env=outside, cwd=tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "denoise" in helped.stdout
    ended = done(clean / "unnoise", "denoise", "photo.png", "-o", "out", "--model", run, "--json", env=outside, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["done"] == [{"source": "photo.png", "output": "out/photo.png"}]
    with Image.open(tmp_path / "out" / "photo.png") as picture:
        restored = np.asarray(picture).astype(int)
    expected = np.rint(np.clip(unnoise.load(run).denoise(photo), 0, 1) * 255)
    assert np.abs(restored - expected).max() <= 1  # a rounding apart, should onnxruntime differ in its last bits


@pytest.mark.parametrize("verb", ["train", "demo"])
def test_training_there_says_what_to_install(verb, clean, outside, tmp_path, photos):
    """Fails if a missing torch is a traceback, or the sentence is not the command that mends it."""
    arguments = [photos, "-o", "run", "--steps", "1"] if verb == "train" else ["-o", "demo"]
    ended = done(clean / "unnoise", verb, *arguments, env=outside, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "pip install" in ended.stderr
    assert "unnoise[train" in ended.stderr
    assert not list(tmp_path.iterdir())
