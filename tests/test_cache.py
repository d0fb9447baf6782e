"""The cache of decoded pictures: it gives what the files hold, survives what a run can die of, and keeps within its bounds."""

import dataclasses
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from unnoise import cache, collection, data
from unnoise.cache import Cache, Streamed
from unnoise.config import TrainConfig
from unnoise.errors import ImageError
from unnoise.noise import Gaussian

SIDE = 40
BYTES = SIDE * SIDE * 3  # of a picture in the cache: a multiple of the grid of 64


@pytest.fixture
def config(tmp_path):
    return TrainConfig(patch=16, batch=4, places=1, cache=str(tmp_path / "cache"))


def put(folder, *names, seed=0):
    """Pictures of random values, a PNG each; and their pixels by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, made = np.random.default_rng(seed), {}
    for name in names:
        made[name] = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Pillow.fromarray(made[name]).save(folder / f"{name}.png")
    return made


def loaded(paths, config):
    """The pixels by the name of the file, wherever they come from."""
    pictures = data.load([paths], config)
    return {name.partition(".")[0]: pictures.pixels(index) for index, name in enumerate(pictures.names)}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def stored(config):
    """Bytes of pixels in the cache."""
    return sum(path.stat().st_size for path in (collection.place(config.cache)).rglob("*.pixels"))


@pytest.fixture
def unopened(monkeypatch):
    """Let every look into a file fail."""

    def refuse(*_):
        raise AssertionError("a file was opened")

    def forbid():
        monkeypatch.setattr(cache.image, "kind_of", refuse)
        monkeypatch.setattr(cache.image, "pages", refuse)

    return forbid


# --- it gives what the files hold --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", ["colour", "gray"])
def test_a_second_run_opens_no_file(channels, tmp_path, config, unopened):
    """Fails if anything is opened or decoded again (notes, small and broken pictures too), or comes back otherwise."""
    config = dataclasses.replace(config, channels=channels)
    put(tmp_path / "in", *"abcde")
    deep = np.arange(65536, dtype=np.uint16)[::7][: SIDE * SIDE].reshape(SIDE, SIDE)
    Pillow.fromarray(deep).save(tmp_path / "in" / "f.png")
    with tifffile.TiffWriter(tmp_path / "in" / "g.tif") as file:
        for n in range(3):
            file.write(np.full((SIDE, SIDE - n), 100 + n, np.uint8))
    Pillow.new("RGB", (9, 9)).save(tmp_path / "in" / "small.png")
    (tmp_path / "in" / "broken.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:600])
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    first = data.load([tmp_path / "in"], config)
    before = [array.copy() for array in first.arrays]
    unopened()
    second = data.load([tmp_path / "in"], config)
    assert second.names == first.names == [*(f"{x}.png" for x in "abcdef"), *["g.tif"] * 3]
    assert (second.small, second.unreadable) == (first.small, first.unreadable)
    assert [path.name for path, _ in second.unreadable] == ["broken.png"]
    assert second.contents == first.contents
    for one, other in zip(before, second.arrays, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        assert not other.flags.writeable
    np.testing.assert_array_equal(second.arrays[5], deep)


def test_batches_are_the_same_with_and_without_the_cache(tmp_path, config, monkeypatch):
    """SHA-256 of the first 50 batches. Fails if they depend on where a picture comes from: the file, a store, or some of both."""
    put(tmp_path / "in", *"abcdefgh")

    def digest(config):
        pictures, sha256 = data.load([tmp_path / "in"], config), hashlib.sha256()
        for step in range(50):
            for part in data.batch(pictures, (Gaussian((0, 0.2)),), config, step):
                sha256.update(np.ascontiguousarray(part))
        return sha256.hexdigest(), sum(isinstance(picture, Streamed) for picture in pictures.arrays)

    monkeypatch.setattr(collection, "MEMORY", 2 * BYTES)  # two of the streamed ones are kept decoded
    none, some = (dataclasses.replace(config, cache_gb=gb, cache=f"{config.cache}{gb}") for gb in (0, 3.5 * BYTES / 1e9))
    found = [digest(c) for c in (config, config, none, none, some, some)]
    assert [streamed for _, streamed in found] == [0, 0, 8, 8, 5, 5]
    assert len({sha256 for sha256, _ in found}) == 1
    assert digest(dataclasses.replace(config, seed=1))[0] != found[0][0]


def test_a_store_that_another_run_removes_meanwhile_is_streamed(tmp_path, config):
    """Fails if a run ends because another one has just made room by the store that it was about to open."""
    put(tmp_path / "in", *"abc")
    files = sorted((tmp_path / "in").iterdir())
    before = [np.array(pixels) for pixels in data.load([tmp_path / "in"], config).arrays]
    cache = Cache(Path(config.cache), config.channels, 10**8, 10**9)
    lines = cache.look(files)
    for store in Path(config.cache).rglob("*.pixels"):
        store.unlink()
    pictures = [picture for file, line in zip(files, lines, strict=True) for picture in cache.pictures(file, line)]
    assert all(isinstance(picture, Streamed) for picture in pictures)
    for picture, pixels in zip(pictures, before, strict=True):
        np.testing.assert_array_equal(picture.read(), pixels)


def test_what_changes_is_decoded_anew(tmp_path, config):
    """Fails if a new content is taken for the old one, or a touched file for a new one, or a copy is stored twice."""
    made = put(tmp_path / "in", *"abc")
    first = data.load([tmp_path / "in"], config)
    assert stored(config) == 3 * BYTES
    os.utime(tmp_path / "in" / "a.png", (1, 1))
    made |= put(tmp_path / "in", "b", seed=1)
    Pillow.fromarray(made["c"]).save(tmp_path / "in" / "d.tif")  # the same pixels in another file
    assert_same(loaded(tmp_path / "in", config), {**made, "d": made["c"]})
    assert stored(config) == 4 * BYTES
    second = data.load([tmp_path / "in"], config)
    assert [a == b for a, b in zip(first.contents, second.contents, strict=False)] == [True, False, True]
    assert second.contents[2] == second.contents[3]


def test_a_refusal_lasts_as_long_as_its_limit(tmp_path, config):
    """Fails if a picture that was too large stays out when the limit is raised, or one that was stored comes in when it falls."""
    put(tmp_path / "in", *"abcd")
    Pillow.new("RGB", (SIDE, 2 * SIDE)).save(tmp_path / "in" / "e.png")
    low = dataclasses.replace(config, max_megapixels=0.002)
    for settings, left_out in ((low, 1), (config, 0), (low, 1), (config, 0)):
        pictures = data.load([tmp_path / "in"], settings)
        assert (len(pictures.arrays), len(pictures.unreadable)) == (5 - left_out, left_out)


# --- it survives -------------------------------------------------------------------------------------------------------------


def test_a_killed_run_leaves_a_cache_that_works(tmp_path, config):
    """Fails if a run that dies while it decodes leaves wrong pixels, or nothing of what it had done."""
    made = put(tmp_path / "in", *(f"p{n:03}" for n in range(60)))
    code = "import sys; from pathlib import Path; from unnoise import cache, data; from unnoise.config import TrainConfig; cache.SYNC_EVERY = 0; print(1, flush=True); data.load([Path(sys.argv[1])], TrainConfig(patch=16, cache=sys.argv[2]))"
    kept = []
    for chance in range(4):
        child = subprocess.Popen([sys.executable, "-c", code, tmp_path / "in", config.cache], stdout=subprocess.PIPE)
        child.stdout.read(1)
        time.sleep(0.01 + 0.02 * chance)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        kept.append(sum(len(path.read_bytes().splitlines()) for path in (tmp_path / "cache").rglob("*.jsonl")))
    assert kept == sorted(kept)
    assert kept[-1] > 0
    assert_same(loaded(tmp_path / "in", config), made)
    assert_same(loaded(tmp_path / "in", config), made)


@pytest.mark.parametrize("ending", ["jsonl", "pixels"])
@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_a_damaged_store_is_decoded_anew(ending, damage, tmp_path, config):
    """Fails if half a line, half a store, or none stops a run or gives wrong pixels. Garbage in the pixels alone is not noticed."""
    made = put(tmp_path / "in", *"abc")
    data.load([tmp_path / "in"], config)
    [file] = (tmp_path / "cache").rglob(f"*.{ending}")
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        file.write_bytes(b'[]\n{"a": 1}\n[1, 2]\nnull\n\xff\xfe\n' if ending == "jsonl" else content + bytes(99))
    for _ in range(2):
        assert_same(loaded(tmp_path / "in", config), made)


def test_two_runs_at_once_share_one_cache(tmp_path, config):
    """Fails if runs that begin together spoil each other's stores, or both decode and store the same pictures."""
    made = put(tmp_path / "in", *(f"p{n:03}" for n in range(40)))
    code = "import sys; from pathlib import Path; from unnoise import data; from unnoise.config import TrainConfig; print(len(data.load([Path(sys.argv[1])], TrainConfig(patch=16, cache=sys.argv[2])).arrays))"
    line = [sys.executable, "-c", code, tmp_path / "in", config.cache]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [child.communicate(timeout=60)[0].strip() for child in both] == ["40", "40"]
    assert stored(config) == 40 * BYTES
    assert_same(loaded(tmp_path / "in", config), made)


@pytest.mark.parametrize("why", ["read-only", "a file", "full"])
def test_a_cache_that_cannot_be_written_is_done_without(why, tmp_path, config, monkeypatch):
    """Fails if a run ends for want of a cache, or the cache takes the last of the disk."""
    made = put(tmp_path / "in", *"abc")
    if why == "a file":
        (tmp_path / "cache").write_text("mine")
    elif why == "full":
        monkeypatch.setattr(cache, "SPARE", 10**18)
    else:

        def denied(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(cache.os, "open", denied)
    assert_same(loaded(tmp_path / "in", config), made)
    assert stored(config) == 0


def test_a_disk_that_fills_up_loses_no_picture(tmp_path, config, monkeypatch):
    """Fails if a write that fails in the middle ends the run, or half a picture is learned from."""
    made, real = put(tmp_path / "in", *"abcd"), os.write

    def full(file, content):
        if os.fstat(file).st_size + len(content) > 2.5 * BYTES:
            if len(content) < 1000:
                raise OSError(28, "No space left on device")
            return real(file, content[:1000])
        return real(file, content)

    monkeypatch.setattr(cache.os, "write", full)
    assert_same(loaded(tmp_path / "in", config), made)
    monkeypatch.undo()
    assert_same(loaded(tmp_path / "in", config), made)


# --- within its bounds -------------------------------------------------------------------------------------------------------


def test_the_cache_keeps_to_its_size(tmp_path, config):
    """Fails if it grows beyond --cache-gb, keeps what nobody has used for longest, or drops what this run needs."""
    config = dataclasses.replace(config, cache_gb=5 * BYTES / 1e9)
    folders = [tmp_path / name for name in ("old", "newer", "newest")]
    made = [put(folder, "a", "b", seed=seed) for seed, folder in enumerate(folders)]
    data.load([folders[0]], config)
    [old] = (tmp_path / "cache").rglob("*.jsonl")
    data.load([folders[1]], config)
    [newer] = {*(tmp_path / "cache").rglob("*.jsonl")} - {old}  # not by their times, which may be the same
    assert stored(config) == 4 * BYTES
    os.utime(old, (1, 1))
    os.utime(newer, (2, 2))
    data.load([folders[0]], config)  # used again: now it is the other one that makes way
    assert_same(loaded(folders[2], config), made[2])
    assert stored(config) <= 5 * BYTES
    assert old.exists()
    assert not newer.exists()
    pictures = data.load(folders, config)
    assert [isinstance(picture, Streamed) for picture in pictures.arrays].count(False) == 5
    assert stored(config) == 5 * BYTES


def test_a_file_that_fails_late_leaves_no_page(tmp_path, config):
    """Fails if the first pages of a torn scan stay in the store, or are learned from."""
    made = put(tmp_path / "in", *"abcd")
    with tifffile.TiffWriter(tmp_path / "in" / "0.tif") as file:
        for _ in range(3):
            file.write(np.random.default_rng(0).random((SIDE, SIDE), np.float32))
        file.write(np.full((SIDE, SIDE), 1.5, np.float32))
    assert_same(loaded(tmp_path / "in", config), made)
    assert stored(config) == 4 * BYTES


def test_the_cache_is_the_users_own(tmp_path, config):
    """Fails if others on the machine can read the user's pictures."""
    put(tmp_path / "in", "a")
    data.load([tmp_path / "in"], config)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_cache_lies_with_the_users_caches(monkeypatch, tmp_path):
    """Fails if the default place is another than the help says, or XDG_CACHE_HOME is not heeded."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(collection.place("")) == "/somewhere/unnoise"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(collection.place("")) == "/home/me/.cache/unnoise"
    assert str(collection.place("x")) == "x"


def test_a_streamed_picture_that_is_no_longer_the_same_is_refused(tmp_path, config):
    """Fails if a crop is taken from a picture other than the one whose size and content were noted."""
    put(tmp_path / "in", "a")
    pictures = data.load([tmp_path / "in"], dataclasses.replace(config, cache_gb=0))
    put(tmp_path / "in", "a", seed=1)
    with pytest.raises(ImageError, match="has changed since the run began"):
        pictures.pixels(0)
