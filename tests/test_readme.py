"""The README and the docs are part of the product: their commands run, their tables are the results, their links lead somewhere.

Every command runs as it is written, but that training is made shorter where it says minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import skimage

import unnoise
from unnoise import image
from unnoise.profiles import Group

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
HELD_OUT = ("camera.png", "coins.png")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.S | re.M)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files in a folder of their own, with this environment as its .venv: a second `make` reuses the install."""
    if not Path(sys.prefix, "installed").exists():
        pytest.skip("the README's commands run inside the .venv that make installs: use make test")
    folder = tmp_path_factory.mktemp("clone")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(folder / name, (0, 0))  # older than the install, or make would point this environment at the copy
    (folder / ".venv").symlink_to(sys.prefix)
    for where, names in (("photos", PHOTOS), ("held-out", HELD_OUT)):
        (folder / where).mkdir()
        for name in names:
            shutil.copy(Path(skimage.__file__).parent / "data" / name, folder / where)
    return folder


def run(command: str, where: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(command, shell=True, cwd=where, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def run_two_at_a_time(commands: Sequence[str], where: Path) -> None:
    """Commands that do not need one another, on both cores: their start and their export keep one busy each."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda command: run(command, where), commands))


def test_the_two_commands(clone: Path) -> None:
    """Fails if a newcomer's first commands do not work as written, but for the two minutes, or the demo's page is not self-contained."""
    commands = blocks(ROOT / "README.md", "sh")[0].split("\n")
    assert commands[:2] == ["make demo", "make test"]
    assert "unnoise demo --out demo --minutes 2\n" in run("make -n demo", clone).stdout
    done = run(f"{commands[0]} MINUTES=0.1", clone)
    assert "demo/report.html" in done.stderr
    assert "gaussian:25/255" in done.stdout
    page = (clone / "demo" / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<figure>") == 4 * 4 * 3  # four pictures, four noises, three photos
    assert "pytest" in run("make -n test", clone).stdout  # running it here would run this test again, without end


def test_clean_pictures(clone: Path) -> None:
    """Fails if the README's commands for cleaning do not work as written, or the bundled model does not remove what it is for."""
    run(".venv/bin/unnoise corrupt photos -o spoilt --noise gaussian:25/255 --seed 8", clone)
    for command in blocks(ROOT / "README.md", "sh")[1].strip().split("\n"):
        run(command, clone)
        done = run(command.replace("photos", "spoilt").replace("cleaned", "mended").replace("-o one", "-o one-mended"), clone)
    assert done.stderr.count("through photo") == len(PHOTOS)
    for name in PHOTOS:
        clean = image.read(clone / "photos" / name).pixels
        noisy, restored = (image.read((clone / where / name).with_suffix(".png")).pixels for where in ("spoilt", "mended"))
        assert np.square(restored - clean).mean() < 0.25 * np.square(noisy - clean).mean()


def test_other_models(clone: Path) -> None:
    """Fails if the README's commands for the other bundled models do not work as written, or one writes nothing."""
    for command in blocks(ROOT / "README.md", "sh")[2].strip().split("\n"):
        run(command, clone)
    assert {len(list((clone / where).glob("[!.]*"))) for where in ("from-camera", "carefully")} == {len(PHOTOS)}


def test_own_pictures(clone: Path) -> None:
    """Fails if the README's commands for one's own pictures do not work as written, but for the minute, or cleaning brings a picture no nearer."""
    block = blocks(ROOT / "README.md", "sh")[3].strip()
    assert "--minutes 1\n" in block
    for command in block.replace("--minutes 1\n", "--steps 200\n").split("\n"):
        run(command, clone)
    for name in PHOTOS:
        clean = image.read(clone / "photos" / name).pixels
        noisy, restored = (image.read((clone / where / name).with_suffix(".png")).pixels for where in ("noisy", "clean"))
        assert np.square(restored - clean).mean() < 0.8 * np.square(noisy - clean).mean()  # so few steps leave about half


def test_python_example(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the README's Python does not run as written."""
    import torch

    monkeypatch.chdir(clone)
    rng = np.random.default_rng(0)
    names: dict[str, object] = {"noisy": rng.random((40, 50, 3), np.float32), "batch": torch.rand(2, 3, 40, 50)}
    exec(blocks(ROOT / "README.md", "python")[0], names)
    assert np.shape(names["clean"]) == (40, 50, 3)
    assert tuple(names["batch"].shape) == (2, 3, 40, 50)  # type: ignore[attr-defined]


def test_commands_without_clean_pictures(clone: Path) -> None:
    """Fails if the commands of docs/noisy-only.md do not work as written, but for their minutes, or a model is not written."""
    for seed, where in enumerate(("first-takes", "second-takes", "takes")):
        run(f".venv/bin/unnoise corrupt held-out -o {where} --noise gaussian:15/255 --seed {seed}", clone)
    ways, folder = (block.strip() for block in blocks(ROOT / "docs" / "noisy-only.md", "sh"))
    commands = ways.replace(" noisy", " takes").replace("--minutes 20", "--steps 4").split("\n")
    run_two_at_a_time(
        [f".venv/bin/{command.replace('-o run', f'-o way{number}')}" for number, command in enumerate(commands)], clone
    )
    assert all((clone / f"way{number}" / "model.onnx").exists() for number in range(3))
    told = run(
        f".venv/bin/{folder.replace(' noisy', ' takes').replace('cleaned', 'own').replace('--learn 10', '--learn 0.05')}", clone
    )
    assert "bundled models" in told.stderr  # which a few steps do not pass
    assert len(list((clone / "own").glob("[!.]*"))) == len(HELD_OUT)


def test_profile_commands(clone: Path) -> None:
    """Fails if the commands of docs/profile.md do not work as written, but for their minutes, or the run does not hold the noise."""
    sensor = unnoise.Profile((Group((8e-4,) * 3, (0.006,) * 3),))
    for folder, exposures in (("flats", (0.1, 0.3, 0.6)), ("frames", (0.4, 0.4))):
        (clone / folder).mkdir()
        for number, exposure in enumerate(exposures):
            picture = sensor(np.full((128, 160, 3), exposure, np.float32), np.random.default_rng(number))[0]
            keep = {
                "exif": bytes.fromhex(
                    "49492a0008000000010069870400010000001a00000000000000010027880300010000002003000000000000"
                )
            }
            image.write(clone / folder / f"{number}.tif", picture, image.Picture(picture, "TIFF", 16, keep))
    for block in blocks(ROOT / "docs" / "profile.md", "sh"):
        for command in block.strip().split("\n"):
            run(f".venv/bin/{command.replace('--minutes 20', '--steps 2')}", clone)
    (group,) = json.loads((clone / "camera.json").read_text())["groups"]
    assert (group["iso"], group["correlation"]) == (800, None)
    assert json.loads((clone / "mine" / "config.json").read_text())["config"]["noise"][0].startswith("profile:gain=0.000")
    assert (clone / "camera2.json").exists()


def test_losses_commands(clone: Path) -> None:
    """Fails if the commands of docs/losses.md do not work as written, or lambda 1 is not in the run's settings."""
    commands = blocks(ROOT / "docs" / "losses.md", "sh")[0].strip().split("\n")
    run_two_at_a_time([f".venv/bin/{command}" for command in commands], clone)
    found = [json.loads((clone / name / "config.json").read_text())["config"] for name in ("losses", "losses2")]
    assert found[0]["perceptual"] > 0
    assert (found[1]["perceptual"], found[1]["layers"]) == (0.1, "level1=1.0,level2=0.5")


def test_scale_commands(clone: Path) -> None:
    """Fails if the commands of docs/scale.md for one machine do not work as written, but for the number of steps."""
    for block in blocks(ROOT / "docs" / "scale.md", "sh"):
        run(f".venv/bin/{block.strip().replace('--steps 2000', '--steps 4')}", clone)
    assert (clone / "team2" / "model.onnx").exists()


def test_training_commands(clone: Path) -> None:
    """Fails if the commands or the settings of docs/training.md do not work as written, but for the minutes, or no run was made longer."""
    for command in (
        blocks(ROOT / "docs" / "training.md", "sh")[0].replace("--minutes 0.2", "--minutes 0.05").strip().split("\n")
    ):
        told = run(f".venv/bin/{command}", clone)
    assert "long" in told.stdout
    for command in blocks(ROOT / "docs" / "training.md", "sh")[1].strip().split("\n"):
        run(f".venv/bin/{command}", clone)
    assert (clone / "next" / "model.onnx").exists()
    config = json.loads((clone / "long" / "config.json").read_text())["config"]
    assert config["steps"] == config["schedule_from"] + 20
    (clone / "settings.toml").write_text(blocks(ROOT / "docs" / "training.md", "toml")[0])
    done = run(".venv/bin/unnoise train photos --dry-run --json --config settings.toml --steps 2", clone)
    found = json.loads(done.stdout)["config"]
    told = {"noise": ["gaussian:0..55/255"], "model": "unet:widths=24-48-96", "optimiser": "sgd", "minutes": None, "steps": 2}
    assert {name: found[name] for name in told} == told


def test_models_commands(clone: Path) -> None:
    """Fails if the first commands of docs/models.md do not work as written, or the card of a run's model is not shown."""
    for command in blocks(ROOT / "docs" / "models.md", "sh")[0].strip().split("\n"):
        done = run(f".venv/bin/{command}", clone)
    assert "architecture: unet" in done.stdout


def test_a_mask_is_filled_in(clone: Path) -> None:
    """Fails if the commands of docs/models.md for missing pixels do not work as written, or more changes than what is missing."""
    for command in blocks(ROOT / "docs" / "models.md", "sh")[2].strip().split("\n"):
        run(f".venv/bin/{command}", clone)
    for name in PHOTOS:
        where = Path("torn", name).with_suffix(".png")
        clean, torn, mended = (
            image.read(clone / file).pixels for file in ("photos/" + name, where, Path("whole") / where.name)
        )
        lost = image.read(clone / where.with_suffix(".mask.png")).pixels > 0.5
        assert (mended[~lost] == torn[~lost]).all()
        assert np.square(mended - clean)[lost].mean() < 0.3 * np.square(torn - clean)[lost].mean()


def test_evaluate_commands(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the commands or the Python of docs/evaluate.md do not work as written, or end without a verdict."""
    for command in blocks(ROOT / "docs" / "evaluate.md", "sh")[0].strip().split("\n"):
        done = run(f".venv/bin/{command}", clone)
    assert "On pairs, " in done.stdout
    judged = json.loads((clone / "judged" / "report.json").read_text())
    assert len(judged["cases"][0]["pictures"]) == len(HELD_OUT)
    assert not any("has learned from" in note for note in judged["notes"])
    monkeypatch.chdir(clone)
    names: dict[str, object] = {}
    exec(blocks(ROOT / "docs" / "evaluate.md", "python")[0], names)
    assert [method["name"] for method in names["document"]["cases"][0]["methods"]] == ["noisy", "judged-run", "halved", "nlm"]  # type: ignore[index]


def test_losses_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if the Python of docs/losses.md does not run as written, or prints no cost."""
    exec(blocks(ROOT / "docs" / "losses.md", "python")[0], {})
    assert float(re.findall(r"tensor\(([0-9.]+)", capsys.readouterr().out)[0]) > 0


def test_tables_are_the_results() -> None:
    """Fails if a figure in the README or docs is not what benchmarks/results says."""
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "table.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_published_means_are_reproduced() -> None:
    """Fails if a published network or BM3D, through the harness, is further than 0.1 dB from its published mean on gray BSD68."""
    found = json.loads((ROOT / "benchmarks" / "results" / "testset_bsd68.json").read_text())
    assert set(found["published"]) == {"bm3d", "DnCNN-B", "FFDNet"}
    for method, published in found["published"].items():
        means = [case[method]["psnr"] for case in found["cases"].values()]
        assert means == pytest.approx(published, abs=0.1)


def test_a_stale_table_is_found(tmp_path: Path) -> None:
    """Control for the test above: a table with one digit changed must be found."""
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("runs"))
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    text = (ROOT / "README.md").read_text()
    (tmp_path / "README.md").write_text(text.replace("| BM3D, told sigma | 31", "| BM3D, told sigma | 32"))
    command = [sys.executable, tmp_path / "benchmarks" / "table.py", "--check"]
    assert subprocess.run(command, capture_output=True).returncode == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Fails if a page names a file that is not there."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_make_target_in_the_docs_exists() -> None:
    """Fails if a page tells the reader to run a make target that is gone."""
    targets = {word for page in PAGES for block in blocks(page, "sh") for word in re.findall(r"^make (\w+)", block, flags=re.M)}
    assert targets
    assert targets <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.M))


def test_results_say_how_they_were_made() -> None:
    """Fails if a result does not name the command that makes it again, or names one that does not exist."""
    results = [path for path in (ROOT / "benchmarks" / "results").glob("*.json") if path.name != "demo.json"]
    assert results
    for path in results:
        script = json.loads(path.read_text())["command"].split()[1]
        assert (ROOT / script).exists()


def test_version_is_told_once() -> None:
    """Fails if the package, its metadata and the citation disagree on the version."""
    assert f'version = "{unnoise.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"version: {unnoise.__version__}" in (ROOT / "CITATION.cff").read_text()
