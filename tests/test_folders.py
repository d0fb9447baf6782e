"""Batches over folders: they go on where they stopped, replace only what is theirs, and leave no half file, however they end."""

import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from interruptions import check_whole, killed, seconds_of_work, stopped, strays, tree
from test_cli import opened, pixels, put

from unnoise import atomic, auto, image, ledger, load, preview
from unnoise.denoiser import Denoiser

NAME = ledger.NAME
VERBS = {"denoise": ["--threads", "1"], "corrupt": ["--noise", "masking:0.5", "--save-mask"]}


@pytest.fixture
def folder(tmp_path):
    """Three pictures of three kinds, one below, and a file that is no picture."""
    put(tmp_path / "in" / "a.png", pixels(33, 41))
    put(tmp_path / "in" / "b.jpg", pixels(40, 31, 3), quality=90)
    put(tmp_path / "in" / "sub" / "c.tif", pixels(20, 30))
    (tmp_path / "in" / "notes.txt").write_text("exposure 1/60")
    return tmp_path / "in"


@pytest.fixture
def batch(cli, run, folder, tmp_path):
    """`batch(verb, ...)`: a verb over the folder into OUT; what it told as JSON, and its exit code as "code"."""

    def call(verb="denoise", *more, source=folder, out=tmp_path / "out"):
        how = [*VERBS[verb], *(["--model", run] if verb == "denoise" and "--model" not in more else [])]
        ended = cli(verb, source, "-o", out, *how, *more, "--json")
        return {**json.loads(ended.out), "code": ended.code, "err": ended.err}

    return call


def counts(told):
    return len(told.get("done", told.get("would_write"))), len(told["skipped"]), len(told["failed"])


def reasons(told, fate):
    return {os.path.basename(entry["source"]): entry["reason"] for entry in told[fate]}


# --- going on -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_done_is_not_done_again(verb, batch, tmp_path, monkeypatch):
    """Fails if a second run computes, writes or refuses what the first has done, or the first is not what it said."""
    first, out = batch(verb), tmp_path / "out"
    assert (counts(first), first["code"]) == ((3, 1, 0), 0)
    before, times = tree(out), {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr(Denoiser, "denoise", None)  # a call would raise
    monkeypatch.setattr(image, "write_frames", None)
    again = batch(verb)
    assert (counts(again), again["code"]) == ((0, 4, 0), 0)
    assert set(reasons(again, "skipped").values()) == {"is done already", "is not a picture"}
    assert tree(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_another_place_is_no_other_source(batch, folder, tmp_path):
    """Fails if moving the pictures makes a batch do again what is done; the content counts, not where it lies."""
    batch()
    folder.rename(tmp_path / "elsewhere")
    assert counts(batch(source=tmp_path / "elsewhere")) == (0, 4, 0)


@pytest.mark.parametrize(
    "more", [["--strength", "0.5"], ["--tile", "0"], ["--tile", "152"], ["--format", "png"], ["--model", "other"]]
)
def test_other_settings_are_done_again(more, batch, run, tmp_path):
    """Fails if a changed setting is taken for the same job; or what it gives lies beside a ledger that says otherwise."""
    batch()
    before = tree(tmp_path / "out")
    if more[0] == "--model":  # the same network, but its file says something else of itself
        from unnoise import artefact, export, load_autoencoder

        net = load_autoencoder(run)
        more = ["--model", tmp_path / "other.onnx"]
        more[1].write_bytes(artefact.stamped(export.to_onnx(net), {**export.contract(net), "licence": "another"}))
    told = batch("denoise", *more)
    assert (told["code"], counts(told)) == (0, (3, 1, 0))
    if more[0] == "--strength":
        assert all(tree(tmp_path / "out")[name] != before[name] for name in before)
    assert counts(batch("denoise", *more)) == (0, 4, 0)
    assert counts(batch("denoise", *more, "--max-megapixels", "1")) == (0, 4, 0)  # not in the pixels


def test_a_changed_source_is_done_again(batch, folder, tmp_path):
    """Fails if the name alone, or the date, decides what is done."""
    batch()
    before, times = tree(tmp_path / "out"), os.stat(folder / "a.png")
    put(folder / "a.png", pixels(33, 41, seed=2))
    os.utime(folder / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    told = batch()
    assert [os.path.basename(entry["output"]) for entry in told["done"]] == ["a.png"]
    after = tree(tmp_path / "out")
    assert {name for name in after if after[name] != before[name]} == {"a.png", NAME}


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_output_is_made_again(verb, batch, tmp_path):
    """Fails if the ledger alone decides: what is noted, but gone, must come back; of a mask too."""
    batch(verb)
    before = tree(tmp_path / "out")
    for name in ["sub/c.tif"] if verb == "denoise" else ["sub/c.mask.png", "a.png"]:
        (tmp_path / "out" / name).unlink()
    assert batch(verb)["code"] == 0
    assert tree(tmp_path / "out") == before


# --- other people's files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_only_its_own_is_replaced(verb, batch, tmp_path):
    """Fails if a file that somebody edited, put there, or made from another source is replaced unasked, or not when asked."""
    out = tmp_path / "out"
    put(out / "a.png", pixels(9, 9))
    told = batch(verb)
    assert (told["code"], counts(told)) == (1, (2, 1, 1))
    assert reasons(told, "failed") == {
        "a.png": f"would be written to {out / 'a.png'}, which exists already; give --overwrite to replace it."
    }
    edited = out / "sub" / ("c.tif" if verb == "denoise" else "c.mask.png")
    put(edited, pixels(20, 30, seed=3))
    before = tree(out)
    more = ["--strength", "0.5"] if verb == "denoise" else ["--seed", "1"]
    told = batch(verb, *more)
    assert set(reasons(told, "failed")) == {"a.png", "c.tif"}
    changed = {"b.jpg"} if verb == "denoise" else {"b.png", "b.mask.png"}
    assert {name for name in before if tree(out)[name] != before[name]} == {*changed, NAME}
    told = batch(verb, *more, "--overwrite")
    assert (told["code"], counts(told)) == (0, (2, 2, 0))
    assert opened(out / "a.png").shape == (33, 41)
    assert counts(batch(verb, *more)) == (0, 4, 0)


def test_another_folder_of_the_same_names(batch, tmp_path):
    """Fails if a second card's IMG_0001 silently takes the place of the first card's."""
    batch()
    before = tree(tmp_path / "out")
    put(tmp_path / "second" / "a.png", pixels(33, 41, seed=5))
    told = batch(source=tmp_path / "second")
    assert (told["code"], set(reasons(told, "failed"))) == (1, {"a.png"})
    assert tree(tmp_path / "out") == before


def test_another_command_into_the_same_folder(batch, tmp_path):
    """Fails if denoise replaces what corrupt wrote, because it is unnoise's: it is the noisy picture that was asked for."""
    batch("corrupt")
    before = tree(tmp_path / "out")
    told = batch("denoise")
    assert set(reasons(told, "failed")) == {"a.png"}
    assert tree(tmp_path / "out").items() >= {name: digest for name, digest in before.items() if name != NAME}.items()


def test_a_link_is_not_followed_to_what_it_names(batch, run, tmp_path):
    """Fails if an output that is a link, to a file or a pipe, is written through, waited for, or thought to be ours."""
    other = put(tmp_path / "other.png", pixels(9, 9))
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "a.png").symlink_to(other)
    os.mkfifo(tmp_path / "out" / "sub" / "c.tif")
    before = other.read_bytes()
    assert counts(batch()) == (1, 1, 2)
    assert counts(batch("denoise", "--overwrite")) == (2, 2, 0)
    assert other.read_bytes() == before
    assert not (tmp_path / "out" / "a.png").is_symlink()
    (tmp_path / "out" / "a.png").rename(tmp_path / "kept.png")
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "kept.png")  # the bytes are ours, the link is somebody's
    assert set(reasons(batch(), "failed")) == {"a.png"}


@pytest.mark.parametrize("verb", VERBS)
def test_into_the_folder_itself(verb, batch, folder):
    """Fails if -o naming the input changes a source, or a second run takes the first one's outputs for sources."""
    sources = tree(folder)
    more = ["--format", "webp"] if verb == "denoise" else []
    told = batch(verb, *more, "--overwrite", out=folder)
    assert counts(told) == ((3, 1, 0) if verb == "denoise" else (2, 1, 1))  # a.png would replace a source
    once = tree(folder)
    told = batch(verb, *more, out=folder)
    assert len(told["failed"]) == (0 if verb == "denoise" else 1)
    assert "was written here by an earlier run" in reasons(told, "skipped").values()
    assert tree(folder) == once
    assert once.items() >= sources.items()


# --- the ledger ---------------------------------------------------------------------------------------------------------------


def test_the_ledger_tells_no_path(batch, tmp_path, folder):
    """Fails if it names a source or a place, or is not one sorted line for each output."""
    batch()
    lines = [json.loads(line) for line in (tmp_path / "out" / NAME).read_text().splitlines()]
    assert [line["output"] for line in lines] == ["a.png", "b.jpg", "sub/c.tif"]
    assert all(set(line) == {"output", "sha256", "verb", "settings", "source", "path"} for line in lines)
    assert str(tmp_path) not in (tmp_path / "out" / NAME).read_text()
    assert lines[0]["sha256"] == ledger.sha256(tmp_path / "out" / "a.png")
    assert lines[0]["source"] == ledger.sha256(folder / "a.png")


RUBBISH = (
    b"\n\n[1]\n3\nnull\n{}\n\xff\xfe\x00\n"
    + b"[" * 5000
    + b'\n{"output": "a.png"}\n'
    + bytes(300)
    + b'\n{"output": 3, "sha256": 4}\n'
)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-20], lambda data: data.rstrip(), lambda data: RUBBISH + data, lambda data: RUBBISH]
)
def test_a_spoilt_ledger(spoil, batch, tmp_path):
    """Fails if a cut line or rubbish ends the batch, is taken for a line, or swallows the next one; or is kept for ever."""
    batch()
    out, file = tmp_path / "out", tmp_path / "out" / NAME
    before, whole = tree(out), file.read_bytes()
    file.write_bytes(spoil(whole))
    lost = 3 if spoil(whole) == RUBBISH else int(spoil(whole) != whole.rstrip() and not spoil(whole).endswith(whole))
    told = batch()
    assert counts(told) == (0, 4 - lost, lost)  # a file that no line vouches for is not replaced
    assert counts(batch("denoise", "--overwrite")) == (lost, 4 - lost, 0)
    assert tree(out) == before


def test_a_line_after_a_cut_one(batch, tmp_path, monkeypatch):
    """Fails if a cut line swallows the next, and a second kill, before the ledger is tidied, leaves an output nobody owns."""
    batch()
    file = tmp_path / "out" / NAME
    file.write_bytes(file.read_bytes()[:-20])
    (tmp_path / "out" / "sub" / "c.tif").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, "tidy", lambda self: None)
        assert counts(batch()) == (1, 3, 0)
    assert counts(batch()) == (0, 4, 0)


@pytest.mark.parametrize("hostile", ["/etc/passwd", "../../x", "a\0b", "x" * 5000, "\udcff", ""])
def test_a_hostile_line(hostile, batch, tmp_path):
    """Fails if a name in the ledger leads out of the folder, or ends the batch."""
    batch()
    before = tree(tmp_path)
    line = json.loads((tmp_path / "out" / NAME).read_text().splitlines()[0])
    with open(tmp_path / "out" / NAME, "a") as file:
        for digest in ("0", "1"):
            file.write(json.dumps({**line, "output": hostile, "sha256": digest}) + "\n")
    assert counts(batch()) == (0, 4, 0)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_a_ledger_that_is_no_file(kind, cli, folder, run, tmp_path):
    """Fails if a pipe is waited for, or a link's target written to."""
    (tmp_path / "out").mkdir()
    file, target = tmp_path / "out" / NAME, tmp_path / "mine.txt"
    target.write_text("mine\n")
    {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to(target)}[kind](file)
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--model", run)
    assert (ended.code, f"{file} is no regular file" in ended.sentence) == (2, True)
    assert target.read_text() == "mine\n"


def test_two_at_once(cli, folder, run, tmp_path):
    """Fails if two batches write to one folder, or the second is not refused in one sentence."""
    line = ["denoise", folder, "-o", tmp_path / "out", "--model", run]
    with ledger.kept(tmp_path / "out", "denoise", {}):
        ended = cli(*line)
        assert (ended.code, "another unnoise is writing" in ended.sentence) == (2, True)
        assert cli(*line, "--dry-run").code == 0
    assert cli(*line).code == 0


@pytest.mark.parametrize("earlier", [[], ["--strength", "0.5"]], ids=["new", "redone"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_crash_between_the_line_and_the_name(verb, earlier, batch, tmp_path, monkeypatch):
    """Fails if a line without its file counts as done, or an older output, whose line was followed by another, is disowned."""
    undisturbed = tmp_path / "undisturbed"
    assert batch(verb, out=undisturbed)["code"] == 0
    earlier = ["--seed", "1"] if earlier and verb == "corrupt" else earlier
    if earlier:
        batch(verb, *earlier)
    out, name = tmp_path / "out", "c.tif" if verb == "denoise" else "c.mask.png"

    class Crash(BaseException):
        pass

    def crashing(give):
        def crash(aside, path):
            if path.name == name:
                raise Crash
            give(aside, path)

        return crash

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_link", crashing(atomic._link))
        patch.setattr(os, "replace", crashing(os.replace))
        patch.setattr(ledger.Ledger, "tidy", lambda self: None)  # a crash tidies nothing
        with pytest.raises(Crash):
            batch(verb)
    noted = [json.loads(line)["output"] for line in (out / NAME).read_text().splitlines() if line]
    assert noted.count(f"sub/{name}") == (2 if earlier else 1)
    told = batch(verb)
    assert (told["code"], counts(told)) == (0, (1, 3, 0))
    assert tree(out) == tree(undisturbed)


# --- saying what would be done ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_says_what_a_run_does(verb, batch, cli, folder, run, tmp_path, monkeypatch):
    """Fails if a dry run writes or decodes anything, or says otherwise than what the run then does."""
    put(tmp_path / "out" / "a.png", pixels(9, 9))
    (folder / "layers.psd").write_bytes(b"8BPS\0\1" + bytes(20))
    before = tree(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(image, "frames", None)
        dry = batch(verb, "--dry-run")
        untouched = batch(verb, "--dry-run", out=tmp_path / "nowhere")
    assert (dry["code"], untouched["code"]) == (1, 0)
    assert not (tmp_path / "nowhere").exists()
    assert tree(tmp_path) == before
    (folder / "layers.psd").unlink()
    told = batch(verb)
    assert [one for one in dry["would_write"] if not one["source"].endswith("psd")] == told["done"]
    assert (dry["skipped"], dry["failed"]) == (told["skipped"], told["failed"])
    again = batch(verb, "--dry-run")
    assert counts(again) == (0, 3, 1)
    how = [*VERBS[verb], *(["--model", run] if verb == "denoise" else [])]
    ended = cli(verb, folder, "-o", tmp_path / "nowhere", *how, "--dry-run")
    lines = [
        f"would write {one['source']} -> {one['output']}" for one in untouched["would_write"] if "psd" not in one["source"]
    ]
    assert ended.out.splitlines() == lines
    assert "3 would be written, 1 skipped, 0 would fail" in ended.err


def test_folders_that_are_not_gone_into(batch, folder, tmp_path):
    """Fails if a link to a folder is followed, round and round, or passed over without a word."""
    (folder / "up").symlink_to("..")
    (folder / "sub" / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    told = batch()
    assert counts(told) == (3, 3, 1)
    words = "is a link to a folder; give it by name to include it"
    assert {name: reason for name, reason in reasons(told, "skipped").items() if reason == words} == {
        "up": words,
        "round": words,
    }
    assert "is no regular file" in reasons(told, "failed")["pipe.png"]
    assert all((tmp_path / "out").resolve() in path.resolve().parents for path in (tmp_path / "out").rglob("*"))
    assert counts(batch(source=folder / "up", out=tmp_path / "other")) == (6, 3, 1)  # by name: what lies in `in`, and in `out`


# --- preview ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(301, 523, 0), (700, 261, 3), (64, 900, 4), (40, 50, 0), (1, 600, 0)]
)
def test_a_preview_is_what_the_whole_run_gives(height, width, channels, run):
    """Fails if the crop lies off the model's grid, sees too little around it, or ends where the picture does not."""
    picture = pixels(height, width, channels) / np.float32(255)
    rng = np.random.default_rng(0)
    model = load(run)
    whole = model.denoise(picture, 0.8)[..., : 3 if channels else None] if channels else model.denoise(picture, 0.8)
    for corner in [
        "busy",
        *[(rng.integers(max(height - 256, 0) + 1), rng.integers(max(width - 256, 0) + 1)) for _ in range(4)],
    ]:
        with pytest.MonkeyPatch.context() as patch:
            if corner != "busy":
                patch.setattr(preview, "busiest", lambda image, side, corner=corner: corner)
            before, after = preview.crops(auto.Choice((model,), ("run",), ""), picture, 0.8)
        assert before.shape == (min(height, 256), min(width, 256), *[3] * bool(channels))
        rows = range(height - before.shape[0] + 1)
        places = [
            (top, left) for top in rows for left in range(width - before.shape[1] + 1)
            if np.array_equal(picture[top, left : left + before.shape[1]][..., : 3 if channels else None] if channels else picture[top, left : left + before.shape[1]], before[0])
        ]  # fmt: skip
        assert len(places) == 1
        assert corner == "busy" or places[0] == corner
        cut = whole[places[0][0] :, places[0][1] :][: before.shape[0], : before.shape[1]]
        assert np.abs(after - cut).max() <= 1e-5


def test_the_sheet(cli, folder, run, tmp_path):
    """Fails if more than the sheet is written, a picture is missing from it, or the difference is not four times as strong."""
    out = tmp_path / "out"
    ended = cli("denoise", folder, "-o", out, "--model", run, "--preview", "--json")
    told = json.loads(ended.out)
    assert (ended.code, set(tree(out))) == (0, {"preview.png", NAME})
    assert [os.path.basename(one["source"]) for one in told["done"]] == ["a.png", "b.jpg", "c.tif"]
    assert str(out / "preview.png") in ended.err
    assert f"{run} is a model for gray, so each channel of 1 colour picture went through it alone." in ended.err  # b.jpg
    sheet = opened(out / "preview.png").astype(int)
    assert sheet.shape == (33 + 40 + 20 + 2 * 6, 3 * 41 + 2 * 6, 3)
    assert (sheet[:33, :41] == opened(folder / "a.png")[..., None]).all()
    assert (sheet[39:79, 105:] == 255).all()  # beside the narrower b.jpg
    before, after, gone = sheet[:33, :41], sheet[:33, 47:88], sheet[:33, 94:]
    assert (before != after).mean() > 0.3
    inside = (gone > 0) & (gone < 255)
    assert np.abs(gone - 127.5 - 4 * (before - after))[inside].max() <= 2.5  # both are rounded, the second four times
    cli("denoise", folder, "-o", out, "--model", run, "--preview", "--strength", 0)
    still = opened(out / "preview.png")
    assert (still[:33, 94:] == 128).all()
    cli("denoise", folder, "-o", out, "--model", run)
    assert set(tree(out)) == {"preview.png", NAME, "a.png", "b.jpg", "sub/c.tif"}
    put(out / "preview.png", pixels(9, 9))
    mine = tree(out)
    ended = cli("denoise", folder, "-o", out, "--model", run, "--preview")
    assert (ended.code, "preview.png exists already; give --overwrite" in ended.sentence) == (2, True)
    assert tree(out) == mine


def test_a_preview_takes_the_first_six_that_can_be_read(cli, folder, run, tmp_path):
    """Fails if a bad file ends the preview, or is not named, or all pictures are read for it."""
    (folder / "A-cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
    for number in range(6):
        put(folder / f"z{number}.png", pixels(20, 30))
    ended = cli("denoise", folder, "-o", tmp_path / "out", "--model", run, "--preview", "--json")
    told = json.loads(ended.out)
    assert (ended.code, set(reasons(told, "failed"))) == (1, {"A-cut.png"})
    assert [os.path.basename(one["source"]) for one in told["done"]] == [
        "a.png",
        "b.jpg",
        "z0.png",
        "z1.png",
        "z2.png",
        "z3.png",
    ]
    ended = cli("denoise", folder / "A-cut.png", "-o", tmp_path / "none", "--model", run, "--preview")
    assert (ended.code, "no picture to preview" in ended.sentence) == (2, True)
    assert not (tmp_path / "none").exists()


# --- ending early -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(command, environment, run, tmp_path_factory):
    """(command line into a folder, the files of an undisturbed run, how long that works) of a batch that writes all the time."""
    place = tmp_path_factory.mktemp("work")
    for number in range(60):
        kind = (".png", ".tif", ".jpg")[number % 3]
        put(place / "in" / str(number // 20) / f"{number}{kind}", pixels(160, 160 + number, 3 * (number % 2), seed=number))

    def line(out):
        return command("denoise", place / "in", "-o", out, "--model", run, "--threads", "1")

    seconds = seconds_of_work(line(place / "whole"), place / "whole", environment)
    return line, tree(place / "whole"), seconds


def test_killed_and_gone_on(work, environment, tmp_path):
    """Fails if a kill leaves half a file under a name, or what is made after five of them is not what one quiet run makes."""
    (line, whole, seconds), out, draw = work, tmp_path / "out", random.Random(1)
    killed(line, out, [draw.uniform(0, seconds / 8) for _ in range(5)], whole, environment)
    assert 0 < check_whole(out, whole) < 60
    stray = put(out / f".0.png.0123abcd{atomic.ENDING}", pixels(9, 9), format="PNG")
    seconds_of_work(line(out), tmp_path / "none", environment)
    assert not stray.exists()
    assert tree(out) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop(number, code, work, environment, tmp_path):
    """Fails if a batch that is asked to stop takes 5 s, leaves a temporary file, shows a traceback, or forgets what it did."""
    (line, whole, seconds), out, draw = work, tmp_path / "out", random.Random(number)
    for _ in range(2):
        ended, taken, words = stopped(line(out), out, draw.uniform(0, seconds / 4), number, environment)
        assert (ended, words) == (code, "unnoise: stopped; the same command goes on\n")
        assert taken < 5
        assert strays(out) == []
    assert 0 < check_whole(out, whole) < 60
    seconds_of_work(line(out), tmp_path / "none", environment)
    assert tree(out) == whole


def test_a_file_that_is_still_written_is_not_swept(tmp_path):
    """Fails if a batch takes away the file that another process is writing into the same folder."""
    code = "import sys, time; from pathlib import Path; from unnoise import atomic\nwith atomic.writing(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "model.onnx"], stdout=subprocess.PIPE)
    process.stdout.readline()
    atomic.sweep(tmp_path)
    assert len(strays(tmp_path)) == 1
    process.kill()
    process.wait()
    atomic.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plain_user(command, environment, run, folder, tmp_path):
    """Fails if a folder that may not be written to, or read, is more than a sentence, or hides the others."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become a plain user, with setpriv, whom permissions bind")
    shutil.copytree(folder, tmp_path / "pictures")
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_mode & stat.S_IXOTH == 0:
            path.chmod(path.stat().st_mode | stat.S_IXOTH)
    (tmp_path / "pictures" / "closed").mkdir(mode=0o700)
    (tmp_path / "readonly").mkdir(mode=0o555)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    shutil.copy(run / "model.onnx", tmp_path / "model.onnx")
    environment = {**environment, "HOME": str(tmp_path / "open")}

    def as_plain_user(out):
        line = command("denoise", tmp_path / "pictures", "-o", out, "--model", tmp_path / "model.onnx", "--json")
        user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        ended = subprocess.run([*user, *line], capture_output=True, text=True, env=environment, timeout=60)
        assert "Traceback" not in ended.stderr
        return ended

    if as_plain_user(tmp_path / "open").returncode not in (0, 1):
        pytest.skip("this Python is not for a plain user to run")
    ended = as_plain_user(tmp_path / "open" / "new")
    assert reasons(json.loads(ended.stdout), "failed") == {
        "closed": "cannot be opened (Permission denied); check its permissions."
    }
    assert counts(json.loads(ended.stdout)) == (3, 1, 1)
    ended = as_plain_user(tmp_path / "readonly")
    assert (ended.returncode, counts(json.loads(ended.stdout))) == (1, (0, 1, 4))
    assert reasons(json.loads(ended.stdout), "failed")["a.png"] == (
        f"cannot be written to {tmp_path / 'readonly' / 'a.png'} (Permission denied); choose a folder that you may write to."
    )
    ended = as_plain_user(tmp_path / "readonly" / "new")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert list((tmp_path / "readonly").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "; choose a folder that you may write to."),
        (errno.EROFS, "; choose a folder that you may write to."),
        (errno.ENOSPC, "; free some space there, or choose another -o."),
        (errno.EIO, "."),
    ],
)
def test_the_advice_fits_what_the_disk_says(number, advice, cli, folder, tmp_path, monkeypatch):
    """Fails if who may not write is told to free some space, or an error that tells nothing is guessed at."""

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refuse)
    ended = cli("corrupt", folder / "a.png", "-o", tmp_path / "out", "--noise", "masking:0.5", "--json")
    words = f"cannot be written to {tmp_path / 'out' / 'a.png'} ({os.strerror(number)}){advice}"
    assert reasons(json.loads(ended.out), "failed") == {"a.png": words}


def test_the_name_aside_is_not_told(tmp_path, monkeypatch):
    """Fails if an error names the file under the name that it is written by, which nobody has chosen."""
    monkeypatch.setattr("secrets.token_hex", lambda count: "f" * 300)  # longer than a name may be
    with pytest.raises(OSError, match="File name too long") as caught:
        atomic.write_bytes(tmp_path / "model.onnx", b"")
    assert caught.value.filename == str(tmp_path / "model.onnx")


def test_a_gray_model_on_colour_is_said_once(batch, folder):
    """Fails if colours go through a model for gray without a word, or gray pictures, or those done before, count as such."""
    put(folder / "d.png", pixels(20, 20, 4))
    words = "is a model for gray, so each channel of 2 colour pictures went through it alone."
    assert batch()["err"].count(words) == 1
    assert "model for gray" not in batch()["err"]


def test_a_preview_never_replaces_a_source(cli, run, tmp_path):
    """Fails if a picture of the user's that is called preview.png is taken for ours, even with --overwrite."""
    put(tmp_path / "in" / "preview.png", pixels(33, 41))
    before = tree(tmp_path)
    ended = cli("denoise", tmp_path / "in", "-o", tmp_path / "in", "--model", run, "--preview", "--overwrite")
    assert (ended.code, "one of the sources" in ended.sentence) == (2, True)
    assert tree(tmp_path) == before


def test_want_of_memory_is_a_sentence(batch, monkeypatch):
    """Fails if one picture that is too large for the memory ends the batch."""

    def too_large(self, picture, *settings):
        if len(picture.shape) == 3:
            raise MemoryError
        return picture

    monkeypatch.setattr(Denoiser, "in_bands", too_large)
    told = batch("denoise")
    assert counts(told)[0] == 2
    assert "more memory than there is" in reasons(told, "failed")["b.jpg"]


def test_floats_of_0_to_255_are_refused(cli, run, tmp_path):
    """Fails if a TIFF of floats from 0 to 255 goes through a model made for 0 to 1."""
    tifffile.imwrite(tmp_path / "a.tif", np.full((40, 50), 128, np.float32))
    ended = cli("denoise", tmp_path / "a.tif", "-o", tmp_path / "out", "--model", run)
    assert (ended.code, "divide them by 255" in ended.err) == (1, True)
    assert not (tmp_path / "out" / "a.tif").exists()


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_pages_of_several_sizes_are_no_animation(format, cli, run, tmp_path):
    """Fails if a page is cut to the size of another, or the refusal is a traceback."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        for side in (40, 48):
            out.write(np.zeros((side, side), np.uint8), photometric="minisblack")
    ended = cli("denoise", tmp_path / "a.tif", "-o", tmp_path / "out", "--model", run, "--format", format)
    assert (ended.code, "pages of several sizes" in ended.err) == (1, True)
