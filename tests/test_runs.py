"""The table of runs: what differs, and nothing else; what is no run is passed over."""

import json
from pathlib import Path

import pytest
from conftest import refusal

from unnoise import runs


def put(folder, metrics, finished=True, **settings):
    folder.mkdir(parents=True)
    config = {"noise": ["gaussian:0.1"], "rate": 0.002, "steps": 100, "seed": 0} | settings
    (folder / "config.json").write_text(json.dumps({"unnoise": "0.1.0", "config": config}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    if finished:
        (folder / "model.onnx").touch()


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "a", [{"step": 50, "psnr": 20.0, "seconds": 5.0}, {"step": 100, "psnr": 28.126, "seconds": 71.2}])
    put(tmp_path / "b" / "c", [{"step": 40, "psnr": 25.0, "seconds": 30.0}], finished=False, rate=0.01)
    put(tmp_path / "d", [], finished=False, noise=["gaussian:0.1", "masking:0.3"])
    with open(tmp_path / "a" / "metrics.jsonl", "a") as file:
        file.write('{"step": 1')  # cut by a power cut
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "config.json").write_text("[1, 2]")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "config.json").write_text("not JSON")
    return tmp_path


def test_the_table(folder):
    """Fails if a setting unlike most is missing, one like most is there, or a run's figures are another's."""
    columns, rows = runs.table(runs.find(folder), folder)
    assert columns == ["run", "settings unlike most", "steps", "PSNR, dB", "time"]
    assert rows == [
        ["a", "", "100", "28.13", "1:11"],
        ["b/c", "rate=0.01", "40 of 100", "25.00", "0:30"],
        ["d", "noise=gaussian:0.1, masking:0.3", "0 of 100", "", ""],
    ]


def test_a_single_run_has_no_settings_unlike_most(folder):
    """Fails if there is a column that is empty for every run."""
    columns, rows = runs.table(runs.find(folder / "a"), folder)
    assert (columns, rows) == (["run", "steps", "PSNR, dB", "time"], [["a", "100", "28.13", "1:11"]])


def test_on_the_command_line(cli, folder, run, tmp_path):
    """Fails if --json is no document of what the table holds, or a real run has no score and no time in it."""
    told = json.loads(cli("runs", folder, "--json").out)["runs"]
    assert [(Path(run["folder"]).name, run["step"]) for run in told] == [("a", 100), ("c", 40), ("d", 0)]
    assert "gaussian:0.1, masking:0.3" in cli("runs", folder).out
    [real] = json.loads(cli("runs", run, "--json").out)["runs"]
    assert (real["finished"], real["step"]) == (True, 250)
    assert real["psnr"] > 20
    assert 0.5 < real["seconds"] < 120


def test_names_are_no_markup(cli, tmp_path):
    """Fails if a folder's name is obeyed by the table, or by the terminal."""
    put(tmp_path / "ex[" / "b]", [])
    put(tmp_path / "a[red]x\x1b[31m", [])
    ended = cli("runs", tmp_path)
    assert ended.code == 0
    assert "a[red]x\\x1b[31m" in ended.out


def test_no_runs(tmp_path):
    """Fails if an empty answer passes for a table."""
    assert "holds no training run" in refusal(lambda: runs.find(tmp_path))
    assert "is no folder" in refusal(lambda: runs.find(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0:00"), (59.7, "1:00"), (119.7, "2:00"), (3599.6, "1:00:00"), (93662, "26:01:02")]
)
def test_clock(seconds, words):
    """Fails if a minute has sixty seconds too many, or days are told in minutes."""
    assert runs.clock(seconds) == words
