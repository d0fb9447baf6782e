"""The corpus of odd and hostile files: every one is read exactly or refused in one sentence, within 10 s and 1 GiB.

The corpus is written by ../shared/badimages/make.py, which is not part of the repository; test_image.py does without it.
"""

import contextlib
import json
import os
import re
import resource
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

MAKE = Path(__file__).parents[2] / "shared" / "badimages" / "make.py"
SECONDS, PEAK, ROOM = 10, 2**30, 3_000_000_000  # for one file: time, resident memory, address space
LOSSLESS = ("PNG", "TIFF", "GIF", "BMP", "PNM")

pytestmark = pytest.mark.skipif(not MAKE.exists(), reason=f"{MAKE} is absent: it writes the corpus")


# --- in a child process: one line of JSON before each file, one after ---------------------------------------------------------


def peak():
    """The most resident memory since `forget_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def differences(picture, entry):
    """What of an entry's facts is not so."""
    height, width = picture.pixels.shape[:2]
    channels = 1 if picture.pixels.ndim == 2 else picture.pixels.shape[2]
    told = {
        "width": width, "height": height, "channels": channels, "bit_depth": picture.depth, "has_alpha": channels in (2, 4),
        "has_icc": "icc_profile" in picture.keep, "n_frames": picture.frames,
    }  # fmt: skip
    wrong = [f"{key} {told[key]}, not {entry[key]}" for key in told if entry.get(key) not in (None, told[key])]
    for pixel in entry.get("pixels", []) if not wrong else []:
        value = np.atleast_1d(picture.pixels[pixel["y"], pixel["x"]])
        if np.abs(value - pixel["value"]).max() > entry["tolerance"]:
            wrong.append(f"at {pixel['x']}, {pixel['y']}: {value}, not {pixel['value']}")
    return wrong


def changes(path, copy):
    """What is other in a copy that was written from every page of a file, unchanged."""
    from unnoise import image

    said = image.convert(path, copy, lambda bands: bands)
    wrong = [said] if said and "inks" not in said else []
    pairs = list(zip(image.frames(path), image.frames(copy), strict=True))
    for before, after in pairs:
        exact = before.kind in LOSSLESS or before.keep.get("lossless")
        if exact and not np.array_equal(before.pixels, after.pixels):
            wrong.append("pixels change")
        if before.pixels.shape != after.pixels.shape or np.abs(before.pixels - after.pixels).max() > 0.2:
            wrong.append("pixels change beyond what a second coding does")
        for key in ("kind", "depth", "floating", "frames"):
            if getattr(before, key) != getattr(after, key):
                wrong.append(f"{key} {getattr(before, key)} becomes {getattr(after, key)}")
        for key in before.keep:
            if key != "beyond" and before.keep[key] != after.keep.get(key):
                wrong.append(f"{key} changes")
    return wrong


def answer(path, entry, copy):
    from unnoise import image
    from unnoise.errors import ImageError

    try:
        picture = image.read(path)
    except ImageError as error:
        return {"refused": str(error)}
    return {"read": True, "wrong": differences(picture, entry), "changed": changes(path, copy)}


def child():
    """Read (path, entry) after (path, entry) from standard input, and answer each; no library may say a word beside it."""
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    for line in sys.stdin:
        path, entry, copy = json.loads(line)
        forget_peak()
        began = time.monotonic()
        try:
            told = answer(Path(path), entry, Path(copy))
        except BaseException as error:  # anything but an ImageError
            told = {"raised": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(FileNotFoundError):
            Path(copy).unlink()
        print(json.dumps(told | {"seconds": time.monotonic() - began, "peak": peak()}), flush=True)


# --- here ---------------------------------------------------------------------------------------------------------------------


def ask(questions, environment):
    """The child's answers; one that hangs or dies is ended, the file named, and another child goes on with the next."""
    answers, process = [], None
    for question in questions:
        if process is None:
            process = subprocess.Popen(
                [sys.executable, "-c", "import test_badimages; test_badimages.child()"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parent, env=environment,
            )  # fmt: skip
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], 2 * SECONDS)
        line = process.stdout.readline() if ready else b""
        if line:
            answers.append(json.loads(line))
        else:
            process.kill()
            words = process.communicate()[1].decode(errors="replace")[-300:]
            answers.append({"died" if ready else "hung": words, "seconds": 2 * SECONDS, "peak": 0})
            process = None
    if process is not None:
        assert process.communicate()[1] == b""
    return answers


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(entry, answer) of every file of the corpus."""
    folder = tmp_path_factory.mktemp("bad") / "corpus"
    subprocess.run([sys.executable, MAKE, folder], check=True, capture_output=True)
    entries = json.loads((folder / "manifest.json").read_text())
    python = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")])}
    questions = [(str(folder / entry["file"]), entry, str(folder.parent / f"copy{n}")) for n, entry in enumerate(entries)]
    yield list(zip(entries, ask(questions, {**os.environ, **python, "OMP_NUM_THREADS": "1"}), strict=True))
    (folder / "system" / "unreadable.png").chmod(0o600)


def test_the_corpus_is_whole(corpus):
    """Fails if the corpus shrinks to nothing, and the tests below pass for want of files."""
    kinds = [entry["expectation"] for entry, _ in corpus]
    assert (kinds.count("ok") >= 179, kinds.count("refuse") >= 60, kinds.count("either") >= 40) == (True, True, True)


def test_what_is_sound_is_read_exactly(corpus):
    """Fails if a value, a channel, a bit, a page or a profile is lost or made up on the way in."""
    bad = {entry["file"]: told for entry, told in corpus if entry["expectation"] == "ok" and told.get("wrong") != []}
    assert not bad


def test_what_is_not_is_refused(corpus):
    """Fails if a damaged or hostile file comes in as a picture."""
    assert [entry["file"] for entry, told in corpus if entry["expectation"] == "refuse" and "refused" not in told] == []


def test_what_may_be_read_is_right_or_refused(corpus):
    """Fails if a file that may be left out is read as something else."""
    bad = {entry["file"]: told for entry, told in corpus if "refused" not in told and told.get("wrong") != []}
    assert not bad


def test_a_copy_is_the_same(corpus):
    """Fails if a picture that is read and written again, page by page, has other pixels, another depth, or less to say."""
    assert {entry["file"]: told["changed"] for entry, told in corpus if told.get("changed")} == {}


def test_a_refusal_is_one_sentence(corpus):
    """Fails if an error is anything but one sentence, or tells a path that the user did not give."""
    words = {entry["file"]: told["refused"] for entry, told in corpus if "refused" in told}
    assert words
    bad = {f: w for f, w in words.items() if not re.fullmatch(r"((?![.?!] +[A-Z]).)+[.?]", w) or "corpus" in w or len(w) > 250}
    assert not bad


def test_nothing_hangs_or_explodes(corpus):
    """Fails if one file takes 10 s or 1 GiB, or ends the process."""
    bad = {
        entry["file"]: told
        for entry, told in corpus
        if told["seconds"] > SECONDS or told["peak"] > PEAK or {"raised", "died", "hung"} & told.keys()
    }
    assert not bad
