"""The job examples are what their systems can read, and their commands what unnoise and torchrun know."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML, which the dev extra brings with schemathesis, is not installed")
EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = sorted(path for path in EXAMPLES.glob("*") if path.suffix in (".slurm", ".yaml"))


def jobs(path):
    return [one for one in yaml.safe_load_all(path.read_text()) if one["kind"] == "Job"]


def scripts(path):
    """The shell text of an example."""
    if path.suffix == ".slurm":
        return [path.read_text()]
    return [container["args"][0] for job in jobs(path) for container in job["spec"]["template"]["spec"]["containers"]]


def commands(path):
    """(verb, its options) of every unnoise command in an example."""
    text = "\n".join(scripts(path)).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = [re.search(r"\bunnoise (denoise|train) (.*)", line) for line in lines]
    return [(one[1], re.findall(r"(?<!\S)--[a-z-]+", one[2])) for one in found if one]


def test_there_are_examples():
    assert [path.name for path in FILES] == ["denoise.slurm", "denoise.yaml", "train.slurm", "train.yaml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_bash_reads_the_script(path):
    """Fails if a quote is left open, a loop without its end, or a script goes on after an error."""
    for script in scripts(path):
        told = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert (told.returncode, told.stderr) == (0, "")
    broken = subprocess.run(["bash", "-n"], input=scripts(path)[0] + '"', capture_output=True, text=True)
    assert broken.returncode != 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_commands_are_known(path, child):
    """Fails if an example gives an option that its command does not have."""
    assert commands(path)
    for verb, options in commands(path):
        told = child(verb, "--help").out
        assert options
        assert [option for option in options if not re.search(rf"{option}\b(?!-)", told)] == []


@pytest.mark.parametrize("path", [path for path in FILES if "train" in path.name], ids=lambda path: path.name)
def test_torchrun_knows_its_options(path):
    told = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--help"], capture_output=True, text=True).stdout
    [line] = re.findall(r"torchrun (.*?) -m unnoise", " ".join("\n".join(scripts(path)).replace("\\\n", " ").split()))
    options = re.findall(r"(?<!\S)--[a-z-]+", line)
    assert len(options) >= 6
    assert [option for option in options if option not in told] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".slurm"], ids=lambda path: path.name)
def test_slurm_finds_its_lines(path):
    """Fails if a line for Slurm stands after the first command, where it is passed over, or is no option."""
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    asked = [line for line in lines if line.startswith("#SBATCH")]
    assert asked == [line for line in lines[:first] if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in asked)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_every_volume_is_declared_and_every_task_has_its_own_share(path):
    for job in jobs(path):
        assert job["apiVersion"] == "batch/v1"
        spec = job["spec"]
        assert spec["completionMode"] == "Indexed"
        pod = spec["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert "JOB_COMPLETION_INDEX" in container["args"][0]
            if "denoise" in path.name:
                assert f"number += {spec['completions']}" in container["args"][0]


def test_the_tasks_of_the_array_share_the_folders(tmp_path):
    """Fails if a folder is left out or done by two tasks: the script with commands of ours in the place of Slurm's and unnoise."""
    folders = [f"day {number}" for number in range(7)]
    for folder in folders:
        (tmp_path / "photos" / folder).mkdir(parents=True)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "srun").write_text('#!/bin/bash\nexec "$@"\n')
    (bin_ / "unnoise").write_text(f'#!/bin/bash\necho "$2" >> "{tmp_path}/said"\n')
    for file in bin_.iterdir():
        file.chmod(0o755)
    for task in range(3):
        environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_CPUS_PER_TASK": "2"}  # fmt: skip
        line = ["bash", EXAMPLES / "denoise.slurm", tmp_path / "photos", tmp_path / "out"]
        subprocess.run(line, env=environment, check=True)
    assert sorted((tmp_path / "said").read_text().splitlines()) == [str(tmp_path / "photos" / folder) for folder in folders]
