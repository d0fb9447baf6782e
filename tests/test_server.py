"""The HTTP interface as a program meets it, from outside: right answers, a guard that holds, limits, and nothing left behind."""

import contextlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import Server, alive, children, everything, form, serving, until

from unnoise import bundled, image
from unnoise.server.app import STATIC

MAKE = Path(__file__).parents[2] / "shared" / "badimages" / "make.py"
LARGEST = 4  # MB, of the server that most tests ask
SENTENCE = r"((?![.?!] +[A-Z]).)+[.?]"
STEPS = "from unnoise.server import guard, jobs\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory, environment):
    with serving(tmp_path_factory.mktemp("served"), environment, "--max-mb", LARGEST) as server:
        yield server


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photos):
    """Files of several kinds, by name; the noisy ones have sigma 20/255."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    photo = image.read(photos / "astronaut.png").pixels[:64, :96]
    noisy = (photo + rng.normal(0, 20 / 255, photo.shape)).clip(0, 1).astype(np.float32)
    for name in ("noisy.png", "noisy.jpg", "noisy.ppm", "noisy.webp"):
        image.write(folder / name, noisy)
    image.write(folder / "clean.jpg", photo)
    deep = image.Picture(noisy[..., 0], "TIFF", 16, {})
    image.write(folder / "deep.tif", noisy[..., 0], deep)
    Image.open(folder / "noisy.png").save(folder / "told.png", pnginfo=None, dpi=(300, 300), exif=_exif())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _exif():
    exif = Image.Exif()
    exif[0x010E] = "a marker"
    return exif


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A file that takes seconds: a gray picture of 2 megapixels, for quality high."""
    rng = np.random.default_rng(1)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (1200, 1600), np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def slowly(server, long, key, answers, **fields):
    """Post a file that takes seconds, in a thread of its own."""
    settings = {"model": "photo", "quality": "high", "key": key, **fields}

    def post():
        with contextlib.suppress(OSError, http.client.HTTPException):  # of a server that is ended
            answers.append(server.post("denoise", long, **settings))

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    return thread


def test_what_comes_back_is_what_the_command_line_writes(served, pictures, tmp_path, cli):
    """Fails if a byte differs: another kind, depth, quality, model or setting, or metadata that are lost."""
    (tmp_path / "in").mkdir()
    for name, content in pictures.items():
        (tmp_path / "in" / name).write_bytes(content)
    for folder, options in (
        ("auto", {}),
        ("half", {"model": "photo", "strength": "0.5"}),
        ("high", {"model": "photo", "quality": "high"}),
    ):
        given = [part for name, value in options.items() for part in (f"--{name}", value)]
        ended = cli("denoise", tmp_path / "in", "-o", tmp_path / folder, "--threads", 1, "--json", *given)
        assert ended.code == 0, ended.err
        told = {Path(one["source"]).name: one.get("models") for one in json.loads(ended.out)["done"]}
        for name, content in pictures.items():
            answer = served.post("denoise", content, **options)
            assert answer.status == 200, answer.body
            assert answer.body == (tmp_path / folder / name).read_bytes(), (folder, name)
            expected = [one["model"] or "none" for one in told[name]] if told[name] else ["photo"]
            assert answer.headers["unnoise-model"] == expected[0]
            if told[name]:
                assert told[name][0]["why"].replace("±", "+/-") in answer.headers["unnoise-why"]
    assert image.read(tmp_path / "auto" / "deep.tif").depth == 16
    assert "exif" in image.read(tmp_path / "auto" / "told.png").keep
    assert (tmp_path / "auto" / "clean.jpg").read_bytes() == pictures["clean.jpg"]
    assert (tmp_path / "auto" / "noisy.png").read_bytes() != (tmp_path / "half" / "noisy.png").read_bytes()


def test_inspect_says_what_the_command_line_says(served, pictures, tmp_path, cli):
    """Fails if the two give another estimate or other advice."""
    (tmp_path / "noisy.png").write_bytes(pictures["noisy.png"])
    (told,) = json.loads(cli("inspect", tmp_path / "noisy.png", "--json").out)["pictures"]
    del told["source"]
    assert served.post("inspect", pictures["noisy.png"]).json() == told
    assert 255 * told["sigma"]["value"] == pytest.approx(20, rel=0.15)


def test_preview_is_a_png_of_the_same_pixels(served, pictures, tmp_path):
    """Fails if a browser would be shown something else than the file's pixels."""
    answer = served.post("preview", pictures["deep.tif"])
    (tmp_path / "a.png").write_bytes(answer.body)
    (tmp_path / "b.tif").write_bytes(pictures["deep.tif"])
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(image.read(tmp_path / "a.png").pixels, image.read(tmp_path / "b.tif").pixels)


# --- who may ask --------------------------------------------------------------------------------------------------------------

OWN, CROSS = "http://{host}", {"Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Origin": OWN}, 200),
        ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:{port}", "Host": "localhost:{port}"}, 200),
        ({"Host": "evil.test"}, 403),
        ({"Host": "evil.test:{port}"}, 403),  # a name that was bound anew to this computer
        ({"Host": "localhost.evil.test:{port}"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Host": "127.0.0.1:{port}."}, 403),
        ({"Host": "user@127.0.0.1:{port}"}, 403),
        ({"Host": "[::1]:{port}"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "https://{host}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),  # not the name that was asked
        ({"Origin": "http://{host}.evil.test"}, 403),
        (CROSS, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this computer
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),  # a form without a preflight
        ({"Origin": OWN, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 403),
    ],
)
def test_who_may_post(headers, status, served, pictures):
    """Fails if another web page can have something computed, or a program or the page itself cannot."""
    port = served.host.rpartition(":")[2]
    headers = {name: value.format(host=served.host, port=port) for name, value in headers.items()}
    answer = served.post("inspect", pictures["noisy.png"], headers)
    assert answer.status == status, answer.body
    if status != 200:
        assert re.fullmatch(SENTENCE, answer.json()["error"])


def test_two_hosts_are_none(served):
    """Fails if the first Host is checked and another one is believed."""
    with socket.create_connection(served.host.split(":"), 10) as line:
        line.sendall(f"GET / HTTP/1.1\r\nHost: {served.host}\r\nHost: evil.test\r\n\r\n".encode())
        assert line.recv(100).split()[1] in (b"400", b"403")


def test_a_refusal_does_not_wait_for_the_file(served):
    """Fails if a file of another page is taken in before its sender is looked at."""
    headers = {"Origin": "null", "Content-Length": "1000000", "Content-Type": "multipart/form-data; boundary=edge"}
    answer = served.ask("POST", "/api/denoise", b"", headers, timeout=5)
    assert (answer.status, served.kept()) == (403, [])


@pytest.mark.parametrize(
    ("headers", "status"), [(CROSS, 403), ({**CROSS, "Sec-Fetch-Mode": "navigate"}, 200), ({"Sec-Fetch-Site": "none"}, 200)]
)
def test_who_may_read(headers, status, served):
    """Fails if another page can embed this one's parts, or a link from another page does not open it."""
    assert served.ask("GET", "/", headers=headers).status == status


def test_every_answer_forbids_what_it_can(served, pictures):
    """Fails if an answer, of an error too, may be sniffed, framed, cached or run as something else."""
    answers = [served.ask("GET", path) for path in ("/", "/app.js", "/nothing", "/api/models")]
    answers += [
        served.post("denoise", pictures["noisy.png"]),
        served.post("denoise", b""),
        served.ask("GET", "/", headers={"Host": "x"}),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_beyond_this_computer_the_token_is_needed(tmp_path, environment):
    """Fails if anything is answered without the token, it stays weak in a cookie, or another call takes it from the address."""
    with serving(tmp_path, environment, "--listen", "127.0.0.1") as server:
        path, token = "/" + server.address.partition("/?")[2].join(["?", ""]), server.address.partition("token=")[2]
        assert len(token) >= 32
        wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
        for bad in ({}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": "Bearer "}, {"Cookie": f"x={token}"}):
            for url in (
                "/",
                "/app.js",
                "/api/models",
                f"/api/models?token={token}",
                "/?token=",
                f"/?token={wrong}",
                "/?token=%e9%00",
            ):
                refused = server.ask("GET", url, headers=bad)
                assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer"), (url, bad)
                assert "set-cookie" not in refused.headers
        assert server.ask("GET", "/api/models", headers={"Authorization": f"Bearer {token}"}).status == 200
        opened = server.ask("GET", path)
        assert opened.status == 200
        cookie, *attributes = opened.headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
        assert server.ask("GET", "/api/models", headers={"Cookie": cookie}).status == 200
        assert server.post("inspect", b"x", {"Cookie": cookie, "Origin": "http://evil.test"}).status == 403
        for host in (f"localhost:{server.host.rpartition(':')[2]}", "[evil"):
            elsewhere = server.ask("GET", path, headers={"Cookie": cookie, "Host": host})
            assert (elsewhere.status, "set-cookie" in elsewhere.headers) == (403, False)


# --- how much, and how slowly -------------------------------------------------------------------------------------------------


def test_too_large_is_refused_by_what_it_says(served):
    """Fails if a length beyond the limit is waited for."""
    headers = {"Content-Length": str((LARGEST + 1) * 10**6), "Content-Type": "multipart/form-data; boundary=edge"}
    answer = served.ask("POST", "/api/denoise", b"", headers, timeout=5)
    assert answer.status == 413
    assert f"{LARGEST} MB" in answer.json()["error"]


def test_too_large_is_refused_while_it_is_read(served):
    """Fails if a file without a length is taken in to its end, however long."""
    body, kind = form(bytes(10**6))
    head = f"POST /api/denoise HTTP/1.1\r\nHost: {served.host}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(served.host.split(":"), 10) as line:
        line.sendall(head.encode() + f"{len(body) - 12:x}\r\n".encode() + body[:-12] + b"\r\n")
        for _ in range(LARGEST):
            line.sendall(f"{10**6:x}\r\n".encode() + bytes(10**6) + b"\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")
    until(lambda: served.kept() == [], "the file stays")


def test_slow_ones_wait_for_nobody(tmp_path, environment, pictures):
    """Fails if a head or a body that trickles in holds its line open, or keeps others from being served."""
    patience = STEPS + "guard.GRACE = guard.Connection.PATIENCE = 1.5"
    with serving(tmp_path, environment, before=patience) as server:
        address = server.host.split(":")
        heads, bodies = ([socket.create_connection(address, 30) for _ in range(40)] for _ in range(2))
        for line in heads:
            line.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        start = f"POST /api/denoise HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        for line in bodies:
            line.sendall(f"{start}Content-Length: 9000\r\n\r\n--edge\r\n".encode())
        assert server.post("denoise", pictures["noisy.png"]).status == 200
        began, trickling = time.monotonic(), threading.Event()

        def trickle():
            while not trickling.wait(0.2):
                for line in heads + bodies:
                    try:
                        line.sendall(b"x")
                    except OSError:
                        continue

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert {line.recv(12) for line in bodies} == {b"HTTP/1.1 408"}
            for line in heads:
                assert _ended(line)
        finally:
            trickling.set()
            thread.join()
        assert time.monotonic() - began < 6
        assert server.post("denoise", pictures["noisy.png"]).status == 200
        until(lambda: server.kept() == [], "a file stays")


def _ended(line):
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_full_queue_says_so(tmp_path, environment, long, pictures):
    """Fails if more is taken in than there are places for, or places are lost."""
    with serving(tmp_path, environment, before=STEPS + "jobs.PLACES = 1") as server:
        answers = []
        thread = slowly(server, long, "the-first", answers)
        server.working("the-first")
        full = server.post("inspect", pictures["noisy.png"])
        assert (full.status, full.headers["retry-after"]) == (503, "5")
        _kill(server.worker())  # sooner than to wait for it
        thread.join()
        assert answers[0].status == 422
        assert server.post("inspect", pictures["noisy.png"]).status == 200


def test_all_together_may_not_fill_the_disk(tmp_path, environment):
    """Fails if many uploads at once are kept without a bound."""
    with serving(tmp_path, environment, "--max-mb", 1, before=STEPS + "guard.HELD = 2") as server:
        start = f"POST /api/denoise HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        part = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + bytes(900_000)
        lines = [socket.create_connection(server.host.split(":"), 10) for _ in range(4)]
        for line in lines:
            line.sendall(f"{start}Content-Length: 1000000\r\n\r\n".encode() + part)
            time.sleep(0.3)
        answers = []
        for line in lines:
            line.settimeout(1)
            try:
                answers.append(line.recv(12))
            except TimeoutError:
                answers.append(b"waits")
            line.close()
        assert sorted(answers) == [b"HTTP/1.1 503"] * 2 + [b"waits"] * 2
        until(lambda: server.kept() == [], "what was not sent to its end stays")
        assert [server.post("inspect", bytes(900_000)).status for _ in range(3)] == [422] * 3  # one after another there is room


# --- what cannot be done ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "../photo"}, "model"),
        ({"model": "/etc/passwd"}, "model"),
        ({"strength": "2"}, "strength"),
        ({"strength": "nan"}, "strength"),
        ({"strength": "much"}, "strength"),
        ({"quality": "best"}, "quality"),
        ({"key": "../../x"}, "key"),
        ({"key": ""}, "key"),
        ({"tile": "4"}, "tile"),
        ({"model": "x" * 900}, "model"),
    ],
)
def test_a_wrong_field_is_named(fields, words, served, pictures):
    """Fails if a setting that cannot be used is passed over, or what was given comes back at any length."""
    answer = served.post("denoise", pictures["noisy.png"], **fields)
    assert answer.status == 400, answer.body
    assert re.fullmatch(SENTENCE, answer.json()["error"])
    assert words in answer.json()["error"]
    assert len(answer.body) < 300


def test_a_progress_without_a_key_is_refused(served):
    """Fails if what every job without a key has in common could be asked for."""
    assert [served.ask("GET", f"/api/progress{query}").status for query in ("", "?key=", "?key=abcdefgh")] == [400, 400, 200]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("image/png", b"x", 415),
        (None, b"x", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=edge", b"x", 400),
        ("multipart/form-data; boundary=edge", b"--edge--\r\n", 400),
        (
            "multipart/form-data; boundary=edge",
            b'--edge\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--edge--\r\n',
            400,
        ),
        ("multipart/form-data; boundary=edge", form(b"a")[0].removesuffix(b"--edge--\r\n") + form(b"b")[0], 400),
        ("multipart/form-data; boundary=edge", form(b"a", model="x" * 5000)[0], 400),
    ],
)
def test_what_is_no_form_with_one_file_is_refused(kind, body, status, served):
    """Fails if a form that is broken, empty or holds too much is a fault of the server."""
    answer = served.ask("POST", "/api/denoise", body, {"Content-Type": kind})
    assert answer.status == status, answer.body
    assert re.fullmatch(SENTENCE, answer.json()["error"])


@pytest.mark.parametrize("name", ["../x", "/etc/x", "x" * 4096, b"a\0b", b"a\nb", b"\xff\xfe", "..", "", "con", "a;b", "%00"])
def test_no_name_is_a_path(name, served, pictures, tmp_path):
    """Fails if a name that a client gives decides where anything is written."""
    before = everything(served.files.parent)
    answer = served.post("denoise", pictures["noisy.png"], name=name)
    assert answer.status == (200 if name != "" else answer.status) or b"\n" in name
    assert answer.status in (200, 400)
    until(lambda: everything(served.files.parent) == before, "a file was left")


def test_hostile_pictures_are_answered(served, tmp_path):
    """Fails if one of the corpus is a 5xx, takes the server along, or is told in more than a sentence."""
    if not MAKE.exists():
        pytest.skip(f"{MAKE} is absent: it writes the corpus")
    subprocess.run([sys.executable, MAKE, tmp_path / "corpus"], check=True, capture_output=True)
    entries = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    worker, bad, seen = served.worker(), {}, set()
    for entry in entries:
        path = tmp_path / "corpus" / entry["file"]
        if not path.is_file() or "system" in path.parts or path.stat().st_size > LARGEST * 10**6:
            continue  # those of the file system cannot be sent
        answer = served.post("denoise", path.read_bytes(), name=os.fsencode(path.name), model="photo", strength="0")
        seen.add(answer.status)
        if answer.status not in (200, 422) or (entry["expectation"] == "refuse" and answer.status == 200):
            bad[entry["file"]] = answer.status, answer.body[:200]
        elif (answer.status == 422 and not re.fullmatch(r"The file " + SENTENCE, answer.json()["error"])) or (
            answer.status == 422 and ("--" in answer.json()["error"] or "unnoise-serve" in answer.json()["error"])
        ):
            bad[entry["file"]] = answer.body
    assert not bad
    assert seen == {200, 422}
    assert served.worker() == worker
    until(lambda: served.kept() == [], "a file stays")


def test_a_worker_that_ends_is_started_again(tmp_path, environment, long, pictures):
    """Fails if a picture that ends the process takes others along, is done again and again, or is a fault of the server."""
    with serving(tmp_path, environment) as server:
        answers, waiting = [], []
        thread = slowly(server, long, "ends-the-worker", answers)
        server.working("ends-the-worker")
        behind = threading.Thread(target=lambda: waiting.append(server.post("denoise", pictures["noisy.png"])))
        behind.start()
        time.sleep(0.3)
        _kill(server.worker())
        thread.join()
        behind.join()
        assert (answers[0].status, waiting[0].status) == (422, 200)
        assert re.fullmatch(SENTENCE, answers[0].json()["error"])
        _kill(server.worker())  # while it has nothing to do
        assert server.post("denoise", pictures["noisy.png"]).status == 200
        until(lambda: server.kept() == [], "a file stays")


def test_a_worker_that_has_ended_is_no_fault_of_the_next_picture(tmp_path, environment, pictures):
    """Fails if a picture is refused because the process ended before it was begun."""
    ends = """
from unnoise.server import jobs
ask, ended = jobs.Jobs._ask, []
async def once(self, what):
    if "what" in what and not ended:
        ended.append(self.process.kill())
    return await ask(self, what)
jobs.Jobs._ask = once
"""
    with serving(tmp_path, environment, before=ends) as server:
        assert server.post("inspect", pictures["noisy.png"]).status == 200


def _kill(pid):
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), "it does not die")


def test_who_goes_away_is_not_worked_for(tmp_path, environment, long, pictures):
    """Fails if a request that was cancelled goes on to be computed, or its file stays."""
    with serving(tmp_path, environment) as server:
        body, kind = form(long, model="photo", quality="high", key="goes-away")
        head = (
            f"POST /api/denoise HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(server.host.split(":"), 10) as line:
            line.sendall(head.encode() + body)
            server.working("goes-away")
        began = time.monotonic()
        assert server.post("denoise", pictures["noisy.png"]).status == 200
        assert time.monotonic() - began < 6  # the picture would take longer, and this one starts a process
        until(lambda: server.kept() == [], "a file stays")


# --- what stays ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stops_at_once_and_tidily(number, code, tmp_path, environment, long):
    """Fails if it takes more than 5 s in the middle of work, or a file, a process or a traceback stays."""
    with serving(tmp_path, environment) as server:
        slowly(server, long, "in-the-middle", [])
        server.working("in-the-middle")
        idle = socket.create_connection(server.host.split(":"))
        worker = server.worker()
        ended, seconds, words = server.end(number)
        idle.close()
        assert (ended, words) == (code, "unnoise: stopped\n")
        assert seconds < 5
        until(lambda: not alive(worker), "the worker stays")
        assert everything(tmp_path) == []


def test_nothing_stays_after_a_kill(tmp_path, environment, long, pictures):
    """Fails if what was being sent, or worked on, outlives a server that was killed and started again; or one that lives loses its files."""
    with serving(tmp_path, environment) as server, serving(tmp_path, environment) as other:
        slowly(server, long, "in-the-middle", [])
        server.working("in-the-middle")
        line = socket.create_connection(server.host.split(":"))
        body, kind = form(long)
        line.sendall(
            f"POST /api/denoise HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        line.sendall(body[:-1000])
        worker = server.worker()
        until(lambda: len(server.kept()) >= 2, "the second one does not come in")
        _kill(server.process.pid)
        line.close()
        until(lambda: not alive(worker), "the worker stays")
        assert [path for path in everything(tmp_path) if path.endswith("/in")]  # control: a kill leaves something
        with serving(tmp_path, environment) as again:
            left = [path for path in everything(tmp_path) if path.endswith(("/in", "/out"))]
            assert left == []
            assert other.post("denoise", pictures["noisy.png"]).status == 200
            again.end(signal.SIGTERM)
        other.end(signal.SIGTERM)
    assert everything(tmp_path) == []


def test_says_nothing_but_its_address(tmp_path, environment, pictures):
    """Fails if a name, a content or a request is written down anywhere."""
    with serving(tmp_path, environment) as server:
        server.post("denoise", pictures["told.png"], name="secret-name.png")
        server.post("denoise", b"secret-content", name="secret-name.png", model="secret-model")
        server.post("inspect", pictures["told.png"][:900], name="secret-name.png")
        server.ask("GET", "/secret-path")
        with socket.create_connection(server.host.split(":")) as line:
            line.sendall(b"secret nonsense\r\n\r\n")
            line.recv(100)
        assert server.end(signal.SIGTERM)[2] == "unnoise: stopped\n"


# --- the document, and the command --------------------------------------------------------------------------------------------


def test_the_document_tells_the_calls_there_are(served, pictures):
    """Fails if a call is not in the OpenAPI document, one in it is not there, or an answer lacks what it promises."""
    from unnoise.server.app import Interface, application

    interface = Interface(None, None, None, {}, "auto", 1)
    routes = {(route.path, method) for route in application(interface, ("x:1",), "").app.routes for method in route.methods}
    document = served.ask("GET", "/api/openapi.json").json()
    told = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert told == {(path, method) for path, method in routes if path.startswith("/api/") and method != "HEAD"}
    asked = {
        "/api/models": served.ask("GET", "/api/models"),
        "/api/progress": served.ask("GET", "/api/progress?key=12345678"),
        "/api/inspect": served.post("inspect", pictures["noisy.png"]),
    }
    for path, answer in asked.items():
        (call,) = document["paths"][path].values()
        schema = call["responses"]["200"]["content"]["application/json"]["schema"]
        assert set(schema["required"]) == set(answer.json()), path
    models = served.ask("GET", "/api/models").json()
    (form_of,) = document["paths"]["/api/denoise"]["post"]["requestBody"]["content"].values()
    assert form_of["schema"]["properties"]["model"]["enum"] == models["models"]
    assert models["max_bytes"] == LARGEST * 10**6


@pytest.mark.skipif(shutil.which("tsc") is None, reason="there is no tsc (npm install --global typescript) to check types with")
def test_the_scripts_keep_to_their_types():
    """Fails if a script of the page calls what is not there, reads a field under another name, or uses what may be null."""
    line = [
        "tsc",
        "--allowJs",
        "--checkJs",
        "--noEmit",
        "--strict",
        "--noUnusedLocals",
        "--target",
        "esnext",
        "--module",
        "esnext",
    ]
    ended = subprocess.run([*line, *sorted(STATIC.glob("*.js"))], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout


def test_the_examples_of_the_docs_work(served, pictures, tmp_path):
    """Fails if the curl or the Python of docs/serve.md does not work as written, but for the port."""
    page = (Path(__file__).parents[1] / "docs" / "serve.md").read_text().replace("8377", served.host.rpartition(":")[2])
    expected = served.post("denoise", pictures["noisy.png"]).body
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)
    assert names["denoise"](pictures["noisy.png"]) == expected
    with pytest.raises(RuntimeError, match="strength"):
        names["denoise"](pictures["noisy.png"], strength="2")
    if shutil.which("curl"):
        (tmp_path / "noisy.png").write_bytes(pictures["noisy.png"])
        (line,) = re.findall(r"^curl .*$", page, re.MULTILINE)
        ended = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert "unnoise-model: photo" in ended.stdout
        assert (tmp_path / "clean.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "99999"), "port=99999"),
        (("--port", "-1"), "port=-1"),
        (("--listen", "0.0.0.0"), "one address"),
        (("--listen", "example.org"), "in numbers"),
        (("--listen", "192.0.2.1"), "no address of this computer"),
        (("--max-mb", "0"), "max-mb"),
        (("--model", "phot"), "did you mean photo?"),
        (("--threads", "-1"), "threads=-1"),
    ],
)
def test_what_cannot_be_served_is_said(options, words, cli):
    """Fails if a wrong option starts a server, or is a traceback."""
    ended = cli("serve", "--port", "0", *options) if "--port" not in options else cli("serve", *options)
    assert ended.code == 2
    assert words in ended.sentence


def test_a_port_that_is_taken_is_said(served, cli):
    """Fails if a second server at one port is a traceback, or takes requests from the first."""
    ended = cli("serve", "--port", served.host.rpartition(":")[2])
    assert (ended.code, "is taken" in ended.sentence) == (2, True)


def test_a_model_of_ones_own(tmp_path, environment, pictures):
    """Fails if a run folder cannot be served by its name, from another folder, or its path is told."""
    run = tmp_path / "mine"
    run.mkdir()
    shutil.copy(bundled.FOLDER / "photo-gray.onnx", run / "model.onnx")
    with serving(tmp_path / "tmp", environment, "--model", run) as server:
        told = server.ask("GET", "/api/models").json()
        assert told["default"] == run.name
        assert str(run.parent) not in json.dumps(told)
        answer = server.post("denoise", pictures["noisy.png"])
        assert (answer.status, answer.headers["unnoise-model"]) == (200, run.name)


def test_a_model_that_cannot_be_used_is_said(tmp_path, environment, command):
    """Fails if a broken model starts a server that can do nothing, or is a traceback."""
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    line = command("serve", "--port", 0, "--model", tmp_path / "model.onnx")
    ended = subprocess.run(line, capture_output=True, text=True, env={**environment, "TMPDIR": str(tmp_path)}, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert everything(tmp_path) == [str(tmp_path / "model.onnx")]


def test_children_are_seen(served):
    """Control: the tests above would see a process that stays."""
    assert children(served.process.pid) == [served.worker()]
    assert isinstance(served, Server)
