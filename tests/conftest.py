"""What several test modules share: a few photos, a small model trained on them, and two ways to run the command line."""

import functools
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

import unnoise
from unnoise.errors import BadSetting, UnnoiseError

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored, for all children too
SKIMAGE = Path(skimage.__file__).parent / "data"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LEARNED_FROM = ("astronaut.png", "brick.png", "coins.png", "grass.png", "hubble_deep_field.jpg", "rocket.jpg")
SIDE = 256  # of the photos learned from: all one size, so that each is drawn as often as the next
TINY = {"model": "unet:widths=16-32,blocks=1", "channels": "gray", "precision": "float32", "threads": 1}


def refusal(call, kind=BadSetting):
    """The words of the error that `call` raises: of this kind, also a ValueError, and one sentence."""
    with pytest.raises(kind) as caught:
        call()
    words = str(caught.value)
    assert isinstance(caught.value, UnnoiseError)
    assert isinstance(caught.value, ValueError)
    assert re.fullmatch(r"((?![.?!] +[A-Z]).)+[.?]", words), f"not one sentence: {words}"
    return words


class Bomb:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def sentence(self):
        """The one line of an error; fails if there is more, or a traceback."""
        assert "Traceback" not in self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """The cache of decoded pictures: a folder of the tests' own, not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def table_of_operators():
    """torch parses its table of 500 ONNX operators anew for every export, a third of its time; the tests export often, and keep it."""
    with pytest.MonkeyPatch.context() as patch:
        if "torch" in sys.modules:
            table = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
            patch.setattr(table, "from_torchlib", staticmethod(functools.cache(table.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of six photos of 256 x 256 pixels, colour and gray, PNG and JPEG."""
    folder = tmp_path_factory.mktemp("photos")
    for name in LEARNED_FROM:
        picture = Image.open(SKIMAGE / name)
        left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
        picture.crop((left, top, left + SIDE, top + SIDE)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def held_out():
    """A photo that no test trains on, in gray: (H, W) float32 in [0, 1]."""

    def photo(name):
        assert name not in LEARNED_FROM
        return np.asarray(Image.open(SKIMAGE / name).convert("L"), np.float32) / np.float32(255)

    return photo


@pytest.fixture(scope="session")
def learning():
    """The module `unnoise.train`; as an attribute of the package, that name is the function."""
    return importlib.import_module("unnoise.train")


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, and what it told its watcher on the way."""

    folder: Path
    progress: list


@pytest.fixture
def exported(monkeypatch):
    """Takes the place of the export, which takes seconds: collects the networks that runs end with."""
    networks = []
    monkeypatch.setattr("unnoise.run.export", lambda model, *rest: networks.append(model))
    return networks


@pytest.fixture(scope="session")
def trained(photos, tmp_path_factory):
    """A small gray U-Net after 250 steps on the photos with sigma 25/255; about 6 s on one thread, export included."""
    run, progress = tmp_path_factory.mktemp("trained") / "run", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unnoise.keeper.SCORE_EVERY", 0.5)  # several reports in a run of a few seconds
        patch.setattr("unnoise.keeper.SCORE_SHARE", float("inf"))
        unnoise.train(photos, run, noise="gaussian:25/255", steps=250, watch=progress.append, **TINY)
    return Trained(run, progress)


@pytest.fixture(scope="session")
def run(trained):
    """The folder of the small trained run."""
    return trained.folder


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; modules that ask for it are skipped where it, or playwright, is absent."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def cli(capfd):
    """The command line in this process: quicker than a child, and an exception that it lets through fails the test."""
    from unnoise.cli import main

    def call(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ended(int(end.value.code or 0), out, err)

    return call


@pytest.fixture(scope="session")
def command():
    """The command line as the arguments of a child process."""

    def line(*arguments, python=()):
        return [sys.executable, *python, "-m", "unnoise", *map(str, arguments)]

    return line


@pytest.fixture(scope="session")
def environment(cache_of_the_tests):
    """For child processes: wide lines, no colour, whatever terminal the tests run in."""
    return {**{k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PYTHONWARNINGS")}, "COLUMNS": "240"}


@pytest.fixture(scope="session")
def child(command, environment):
    """The command line in a process of its own, as a user runs it. `file_limit`: no file may grow beyond so many bytes."""

    def call(*arguments, file_limit=None, cwd=None, python=()):
        def full_disk():
            import resource

            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        ended = subprocess.run(
            command(*arguments, python=python),
            capture_output=True,
            cwd=cwd,
            env=environment,
            preexec_fn=full_disk if file_limit is not None else None,
            timeout=120,
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return call


@pytest.fixture
def hosts():
    """Two hosts with a network between them: network namespaces, which need root. {name: (address, device)}."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the ip command")
    names, devices = [f"unnoise{os.getpid()}{side}" for side in "ab"], [f"un{os.getpid()}{side}" for side in "ab"]
    found = {name: (f"10.98.76.{place}", device) for place, (name, device) in enumerate(zip(names, devices, strict=True), 1)}

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, text=True)

    try:
        made = [ip("netns", "add", name) for name in names]
        made.append(ip("link", "add", devices[0], "type", "veth", "peer", "name", devices[1]))
        for name, (address, device) in found.items():
            made.append(ip("link", "set", device, "netns", name))
            made.append(ip("-n", name, "addr", "add", f"{address}/24", "dev", device))
            made += [ip("-n", name, "link", "set", one, "up") for one in ("lo", device)]
        if any(one.returncode for one in made):
            pytest.skip(f"no network namespaces here: {next(one.stderr for one in made if one.returncode)}")
        yield found
    finally:
        for name in names:
            ip("netns", "del", name)
