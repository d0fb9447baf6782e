"""On Ray a folder becomes what one process makes of it, whoever is killed, is full or denies; and so does one in an object store."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from interruptions import tree
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unnoise import atomic, batch, desk, store
from unnoise.ledger import NAME, PARTS, Ledger, Part

ray = pytest.importorskip("ray", reason="the extra [cluster] is not installed")

POISON = """
import os, signal
from unnoise import auto

choices = auto.Models.choices
def deadly(self, source, *others):
    if b"poison" in source.read_bytes():
        os.kill(os.getpid(), signal.SIGKILL)
    return choices(self, source, *others)
auto.Models.choices = deadly
"""

BOTH = """
import socket, sys, time
import ray
place, port = sys.argv[1:]
while socket.socket().connect_ex((place, int(port))):
    time.sleep(0.1)
ray.init(f"{place}:{port}", log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.1)
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(true, seconds=60, process=None):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, true
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


@contextmanager
def started(*options, environment, within=()):
    """A machine of a cluster, in the foreground, with all that it starts; `within`: the command of its network."""
    line = [
        *within,
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--block",
        "--disable-usage-stats",
        *map(str, options),
    ]
    process = subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, text=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def running(network):
    """What runs in a network, by the ids of the processes."""
    names = {}
    for pid in subprocess.run(["ip", "netns", "pids", network], capture_output=True, text=True).stdout.split():
        with suppress(FileNotFoundError, ProcessLookupError):
            names[int(pid)] = Path(f"/proc/{pid}/comm").read_text()
    return names


def end(network):
    for pid in running(network):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def answers(address):
    host, port = address
    with socket.socket() as trial:
        return trial.connect_ex((host, port)) == 0


@pytest.fixture(scope="module")
def access():
    """What the environment says of the S3 server of the tests, which workers of the cluster must know from the start."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
    }


@pytest.fixture(scope="module")
def cluster(environment, access, tmp_path_factory):
    """The address of Ray with two cores, in another folder, whose workers end, all at once, at any picture that says poison."""
    place = tmp_path_factory.mktemp("poisoned")
    (place / "sitecustomize.py").write_text(POISON)
    port = free_port()
    options = "--head", "--port", port, "--num-cpus", 2, "--include-dashboard", "false"
    with started(
        *options,
        "--object-store-memory",
        2 * 10**8,
        environment={**environment, **access, "PYTHONPATH": str(place), "TMPDIR": str(place), "RAY_TMPDIR": "/tmp"},
    ) as process:
        until(lambda: answers(("127.0.0.1", port)), process=process)
        yield f"ray:127.0.0.1:{port}"


def photo(path, seed, size=(96, 80), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    noisy = np.random.default_rng(seed).normal(0.5, 0.1, (*size, 3)).clip(0, 1)
    Image.fromarray(np.uint8(noisy * 255)).save(path, **more)


def told(environment, cwd, *arguments):
    """What `unnoise denoise --json` in a folder says, and what a file sitecustomize.py there changes of it."""
    line = [sys.executable, "-m", "unnoise", "denoise", *map(str, arguments), "--json"]
    environment = {**environment, "PYTHONPATH": str(cwd)}
    ended = subprocess.run(line, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Twelve pictures of several kinds in two folders, one that is broken, an empty one, and a file that is no picture."""
    place = tmp_path_factory.mktemp("many") / "in"
    for number in range(12):
        photo(
            place / "ab"[number % 2] / f"{number}.{'jpg' if number in (3, 4) else 'tif' if number in (6, 7) else 'png'}", number
        )
    (place / "broken.png").write_bytes((place / "a" / "0.png").read_bytes()[:500])
    (place / "empty.jpg").touch()
    (place / "notes.txt").write_text("no picture")
    return place


@pytest.fixture(scope="module")
def alone(many, child, run, tmp_path_factory):
    """What one process makes of them: (the folder, the JSON document)."""
    out = tmp_path_factory.mktemp("alone") / "out"
    ended = child("denoise", many, "-o", out, "--model", run, "--processes", 1, "--json")
    assert ended.code == 1
    return out, json.loads(ended.out)


def fates(document):
    return {fate: sorted(one["source"] for one in document[fate]) for fate in ("done", "skipped", "failed")}


def reasons(document):
    return {one["source"]: one["reason"] for fate in ("skipped", "failed") for one in document[fate]}


def test_ray_does_what_one_process_does(cluster, many, alone, run, child, tmp_path):
    """Fails if the files, the ledger or what is said of them are others, or what is done is done again."""
    out, document = alone
    ended = child("denoise", many, "-o", tmp_path / "out", "--model", run, "--engine", cluster, "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert fates(found) == fates(document)
    assert reasons(found) == reasons(document)
    assert [one | {"output": ""} for one in found["done"]] == [one | {"output": ""} for one in document["done"]]
    assert tree(tmp_path / "out") == tree(out)
    assert not (tmp_path / "out" / PARTS).exists()
    again = json.loads(child("denoise", many, "-o", tmp_path / "out", "--model", run, "--engine", cluster, "--json").out)
    assert fates(again)["done"] == []
    assert list(reasons(again).values()).count(batch.DONE) == 12
    assert tree(tmp_path / "out") == tree(out)


def test_a_picture_that_ends_its_workers(cluster, run, child, tmp_path):
    """Fails if it ends the command, is tried for ever, takes another picture with it, or leaves half a file."""
    for number in range(40):
        photo(tmp_path / "in" / f"{number}.png", number)
    line = ["denoise", tmp_path / "in", "--model", run]
    assert child(*line, "-o", tmp_path / "alone", "--processes", 1).code == 0
    says = PngInfo()
    says.add_text("Comment", "poison")
    photo(tmp_path / "in" / "20x.png", 40, pnginfo=says)
    ended = child(*line, "-o", tmp_path / "out", "--engine", cluster, "--json")
    assert ended.code == 1
    document = json.loads(ended.out)
    assert [Path(one["source"]).name for one in document["failed"]] == ["20x.png"]
    assert "ended the process that tried it" in document["failed"][0]["reason"]
    assert len(document["done"]) == 40
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_the_same_from_another_folder_in_several_waves(cluster, many, alone, run, environment, tmp_path):
    """Fails if workers, who stand elsewhere, look for relative paths there, or a second lot of work is lost or done otherwise."""
    (tmp_path / "sitecustomize.py").write_text("from unnoise import cluster\ncluster.WAVE, cluster.WAVES = 7, 1")
    (tmp_path / "in").symlink_to(many)
    (tmp_path / "run").symlink_to(run)
    document = told(environment, tmp_path, "in", "-o", "out", "--model", "run", "--engine", cluster)
    assert [one["source"] for one in document["done"]] == [one["source"].replace(str(many), "in") for one in alone[1]["done"]]
    assert {one["output"].partition("/")[0] for one in document["done"]} == {"out"}
    assert tree(tmp_path / "out") == tree(alone[0])


def test_two_folders_in_another_format(cluster, many, run, environment, tmp_path):
    """Fails if they are not what one process makes of them, or --dry-run changes anything."""
    line = many / "a", many / "b", "--model", run, "--format", "png"
    told(environment, tmp_path, *line, "-o", tmp_path / "alone", "--processes", 1)
    (tmp_path / "out" / "a").mkdir(parents=True)
    stray = tmp_path / "out" / "a" / f".x{atomic.ENDING}"
    stray.touch()
    would = told(environment, tmp_path, *line, "-o", tmp_path / "out", "--dry-run", "--engine", cluster)
    assert len(would["would_write"]) == 12
    assert [*tree(tmp_path / "out")] == [str(stray.relative_to(tmp_path / "out"))]
    assert len(told(environment, tmp_path, *line, "-o", tmp_path / "out", "--engine", cluster)["done"]) == 12
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_killed_commands_go_on(cluster, run, child, environment, tmp_path):
    """Fails if what a killed command has done is lost, done again or taken for somebody else's, or the end is another."""
    for number in range(40):
        photo(tmp_path / "in" / f"{number}.png", number, (320, 320))
    alone, out = tmp_path / "alone", tmp_path / "out"
    line = ["denoise", tmp_path / "in", "--model", run, "--json"]
    assert child(*line, "-o", alone, "--processes", 2).code == 0
    whole, command = tree(alone), [sys.executable, "-m", "unnoise", *map(str, line), "-o", str(out), "--engine", cluster]

    def commands():  # that have noted something; workers of one that was killed may go on for a while
        return {part.parent.name.partition("-")[0] for part in (out / PARTS).glob("*/*.jsonl")}

    for number in (signal.SIGKILL, signal.SIGINT):
        before = commands()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until(lambda before=before: commands() > before, process=process)
        process.send_signal(number)
        words = process.communicate(timeout=20)[1]
        assert process.returncode == (-number if number == signal.SIGKILL else 130), words
        assert "Traceback" not in words
    finished = {path.name for path in out.glob("*.png")}
    assert 0 < len(finished) < 40
    document = json.loads(child(*line, "-o", out, "--engine", cluster).out)
    assert document["failed"] == []
    assert finished <= {Path(one["source"]).name for one in document["skipped"]}
    assert len(document["done"]) + len(document["skipped"]) == 40
    assert tree(out) == whole


def test_the_desks_of_killed_workers(monkeypatch, tmp_path):
    """Fails if a desk at which somebody works is removed, or another command's, or one that a killed worker has left stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with desk.place("one") as held:
        assert desk.sweep("one")
        assert held.exists()
    assert not held.exists()
    left = tmp_path / f"{desk.PREFIX}one-left"
    left.mkdir()
    (left / "photo.png").touch()
    desk.left_by_all("another")
    assert not desk.sweep()  # it may be in the making
    assert left.exists()
    os.utime(left, (0, 0))
    assert not desk.sweep()
    assert not left.exists()
    left.mkdir()
    desk.left_by_all("one")
    assert not left.exists()


@pytest.fixture(scope="module")
def bucket(environment, access):
    """An S3 server on this machine with a bucket: (its fsspec file system, the environment of who uses it)."""
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("moto", reason="the S3 server of the tests is not installed")
    port = int(access["AWS_ENDPOINT_URL"].rpartition(":")[2])
    line = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(("127.0.0.1", port)), process=server)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in access.items():
                patch.setenv(name, value)
            system = fsspec.filesystem("s3", use_listings_cache=False)
            system.mkdir("bucket")
            yield system, {**environment, **access}
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def denoise(cluster, bucket, many, run):
    """Cleans what is in the store, bucket/in."""
    system, environment = bucket
    if not system.exists("bucket/in"):
        system.put(str(many), "bucket/in", recursive=True)

    def call(out, *photos):
        line = [sys.executable, "-m", "unnoise", "denoise", *(photos or ["s3://bucket/in"]), "-o", out]
        line += ["--model", str(run), "--engine", cluster]
        ended = subprocess.run([*line, "--json"], env=environment, capture_output=True, text=True, timeout=300)
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    return call


def test_a_store_that_denies_some_objects(denoise, bucket):
    """Fails if what cannot be written to a store, an output or the notes of some, takes more than these pictures with it, or writes what is not noted."""
    system, _ = bucket
    denied = [f"arn:aws:s3:::bucket/{name}" for name in ("one/a/0.png", "notes/.unnoise.parts/*.jsonl")]
    rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": denied}
    system.call_s3("put_bucket_policy", Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    document = json.loads(denoise("s3://bucket/one").stdout)
    assert len(document["done"]) == 11
    assert "cannot be written to (s3://bucket/one/a/0.png: Forbidden" in reasons(document)["s3://bucket/in/a/0.png"]
    assert len(system.glob("bucket/one/?/*")) == 11
    document = json.loads(denoise("s3://bucket/notes").stdout)
    assert document["done"] == []
    assert sum("cannot be written to (s3://bucket/notes/.unnoise.parts/" in why for why in reasons(document).values()) == 12
    assert system.glob("bucket/notes/?/*") == []


def test_what_another_worker_notes_meanwhile(tmp_path):
    """Fails if what a worker of a killed command writes, while the next command is at work, is taken for somebody else's."""
    source, output = tmp_path / "in.png", tmp_path / "out" / "in.png"
    photo(source, 0)
    late, next_one = (Ledger(output.parent, "denoise", {}, Part(name)) for name in ("late/a", "next/b"))
    origin = next_one.origin(source)
    with atomic.writing(output) as file:
        file.write(b"what is made of it")
        late.note(output, origin, file)
    assert next_one.standing(output, origin) == "done"
    output.write_bytes(b"somebody's")
    assert next_one.standing(output, origin) == "foreign"


def test_names_that_only_a_store_has(denoise, bucket, run):
    """Fails if a name that is a pattern is taken for one, a long one stops the others, or one that is no path goes without a word."""
    system, _ = bucket
    content = system.cat_file("bucket/in/a/0.png")
    for name in ("x[1]*?#%.png", f"{'long' * 75}.png", "a//b.png", "a/../b.png", ".hidden.png"):
        system.pipe_file(f"bucket/odd/{name}", content)
    system.pipe_file("bucket/o1/.unnoise.jsonl", b"another's")
    document = json.loads(denoise("s3://bucket/o[12]", "s3://bucket/odd").stdout)
    assert [one["source"] for one in document["done"]] == ["s3://bucket/odd/x[1]*?#%.png"]
    why = reasons(document)
    assert "File name too long" in why.pop(f"s3://bucket/odd/{'long' * 75}.png")
    assert why == {
        f"s3://bucket/odd/{name}.png": "has a name that is no path; copy it to another name." for name in ("a/../b", "a//b")
    }
    assert sorted(store.find(store.Url("s3://bucket/o[12]"))) == [
        f"s3://bucket/o[12]/{name}" for name in (NAME, "x[1]*?#%.png")
    ]
    assert system.cat_file("bucket/o1/.unnoise.jsonl") == b"another's"
    again = json.loads(denoise("s3://bucket/o[12]", "s3://bucket/odd/.hidden.png", "s3://bucket/odd/x[1]*?#%.png").stdout)
    assert [one["source"] for one in again["done"]] == ["s3://bucket/odd/.hidden.png"]
    assert system.cat_file(f"bucket/o[12]/{NAME}").decode().count(".hidden.png") == 1


def test_notes_outlive_a_ledger_that_cannot_be_tidied(bucket, monkeypatch):
    """Fails if what is noted of outputs is removed before it stands elsewhere, or that of another command is at all."""
    system, _ = bucket
    out = store.Url("s3://bucket/notes-stay")
    line = {"verb": "denoise", "settings": "s", "source": "c", "path": "p", "output": "0.png", "sha256": "0"}

    def ended(other):
        with store.kept(out, "denoise", {}) as ledger:
            for name in (f"{ledger.run}-0-0/a", f"{other}-0-0/b"):
                system.pipe_file(f"bucket/notes-stay/{PARTS}/{name}.jsonl", json.dumps(line).encode())
            system.pipe_file("bucket/notes-stay/0.png", b"an output")
        return sorted(name.split("/")[3].partition("-")[0] for name in system.find(f"bucket/notes-stay/{PARTS}"))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert len(ended("first")) == 2
    assert ended("second") == ["second"]
    assert json.loads(system.cat_file(f"bucket/notes-stay/{NAME}")) == line


def test_an_object_store(denoise, bucket, many, alone, tmp_path):
    """Fails if the objects are not the files that one process makes, what is done is done again, or a store that denies costs more than a sentence."""
    system, environment = bucket
    files, document = alone
    first = json.loads(denoise("s3://bucket/in/out").stdout)
    assert fates(first) == {
        fate: [source.replace(str(many), "s3://bucket/in") for source in sources] for fate, sources in fates(document).items()
    }
    assert reasons(first) == {source.replace(str(many), "s3://bucket/in"): why for source, why in reasons(document).items()}
    system.get("bucket/in/out", str(tmp_path), recursive=True)
    ledger = ".unnoise.jsonl"
    got, expected = (
        {name: digest for name, digest in tree(folder).items() if name != ledger} for folder in (tmp_path / "out", files)
    )
    assert got == expected
    notes = [[json.loads(line) for line in (folder / ledger).read_text().splitlines()] for folder in (tmp_path / "out", files)]
    assert [line | {"path": ""} for line in notes[0]] == [line | {"path": ""} for line in notes[1]]
    system.pipe("bucket/in/out/a/0.png", b"somebody's")
    second = json.loads(denoise("s3://bucket/in/out").stdout)
    assert second["done"] == []
    assert list(reasons(second).values()).count(batch.DONE) == 11
    assert "s3://bucket/in/out/a/0.png, which exists already" in reasons(second)["s3://bucket/in/a/0.png"]
    missing = denoise("s3://nobody/out")
    assert missing.returncode == 2
    assert "s3://nobody/out cannot be" in missing.stderr
    place = f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    urllib.request.urlopen(urllib.request.Request(place, b"0", {"Content-Type": "text/plain"}, method="POST"))
    denied = denoise("s3://bucket/other")
    assert denied.returncode == 2
    assert denied.stderr.count("\n") == 1
    assert "s3://bucket/in cannot be read (The AWS Access Key Id" in denied.stderr


@pytest.fixture
def two_machines(hosts, environment, tmp_path):
    """Ray on two machines of one core: (the network of the first, its engine, the network of the second, its small disk for files aside)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "unnoise", disk], capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    (first, (place, _)), (second, (other, _)) = hosts.items()
    port = free_port()
    common = "--num-cpus", 1, "--object-store-memory", 10**8
    head = "--head", "--port", port, "--node-ip-address", place, "--include-dashboard", "false", *common
    inside = {name: ("ip", "netns", "exec", name) for name in (first, second)}
    often = {"period_ms": "1000", "timeout_ms": "3000", "failure_threshold": "4"}  # so that an end is soon seen
    environment = {**environment, **{f"RAY_health_check_{name}": value for name, value in often.items()}}
    try:
        with (
            started(*head, environment=environment, within=inside[first]),
            started(
                "--address", f"{place}:{port}", "--node-ip-address", other, *common,
                environment={**environment, "TMPDIR": str(disk)}, within=inside[second],
            ),
        ):  # fmt: skip
            line = [*inside[first], sys.executable, "-c", BOTH, place, str(port)]
            subprocess.run(line, env=environment, check=True, capture_output=True, timeout=120)
            yield inside[first], f"ray:{place}:{port}", second, disk
    finally:
        for name in hosts:
            end(name)
        subprocess.run(["umount", "-l", disk])


def test_a_full_disk_and_a_machine_that_is_gone(two_machines, many, alone, run, child, environment, tmp_path):
    """Fails if a machine without room takes pictures with it, or the end of a machine does."""
    inside, engine, second, disk = two_machines
    files, document = alone
    line = [*inside, sys.executable, "-m", "unnoise", "denoise", "--model", str(run), "--engine", engine, "--json"]
    room = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(room - 4096))
    ended = subprocess.run([*line, many, "-o", tmp_path / "full"], env=environment, capture_output=True, text=True, timeout=300)
    assert fates(json.loads(ended.stdout)) == fates(document), ended.stderr
    assert reasons(json.loads(ended.stdout)) == reasons(document)
    assert tree(tmp_path / "full") == tree(files)
    (disk / "filler").unlink()

    for number in range(40):
        photo(tmp_path / "in" / f"{number}.png", number, (320, 320))
    out = tmp_path / "out"
    working = subprocess.Popen(
        [*line, tmp_path / "in", "-o", out], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: any("MapWorker" in name for name in running(second).values()), process=working)
    until(lambda: len(list(out.glob("*.png"))) > 8, process=working)
    end(second)
    words = working.communicate(timeout=240)
    assert working.returncode == 0, words
    document = json.loads(words[0])
    assert (len(document["done"]), document["skipped"], document["failed"]) == (40, [], [])
    assert child("denoise", tmp_path / "in", "-o", tmp_path / "alone", "--model", run, "--processes", 2).code == 0
    assert tree(out) == tree(tmp_path / "alone")


def refused(environment, more, *arguments):
    """The one sentence of a command that cannot begin; `more`: what Python runs before it."""
    place = Path(more).parent
    environment = {**environment, "PYTHONPATH": str(place)}
    ended = subprocess.run(
        [sys.executable, "-m", "unnoise", "denoise", *arguments], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2, ended
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr.strip().removeprefix("unnoise: ")


@pytest.mark.parametrize(
    ("before", "engine", "words"),
    [
        ("import sys; sys.modules['ray'] = None", "ray", "--engine ray needs ray; install it with: pip install \"unnoise[cluster]\"."),
        ("", "ray:127.0.0.1:9", "nobody answers at 127.0.0.1:9 (Connection refused); start Ray there: ray start --head --port 9."),
        ("", "ray:head", "--engine ray:head: expected ray:HOST:PORT, as in ray:10.0.0.1:6379."),
        ("", "spark", "--engine spark: expected ray, or ray:HOST:PORT for one that runs."),
        ("from unnoise import joining; joining.PATIENCE = 1", "ray:127.0.0.1:{silent}", "nobody answers at 127.0.0.1:{silent} (timed out); start Ray there: ray start --head --port {silent}."),
        ("", "ray:127.0.0.1:{page}", "what answers at 127.0.0.1:{page} is not Ray; give the port of its head: ray start --head --port 6379."),
        ("import unnoise; unnoise.__version__ = '9.9'", None, "{here} has unnoise 0.1.0, and this command is of 9.9; install the same on all."),
    ],
)  # fmt: skip
def test_engines_that_cannot_be_had(before, engine, words, cluster, many, environment, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(before)
    with socket.create_server(("127.0.0.1", 0)) as silent, HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as pages:
        Thread(target=pages.serve_forever, daemon=True).start()
        ports = {"silent": silent.getsockname()[1], "page": pages.server_port}
        engine = (engine or cluster).format(**ports)
        found = refused(
            environment,
            tmp_path / "sitecustomize.py",
            many,
            "-o",
            tmp_path / "out",
            "--model",
            "photo-fast",
            "--engine",
            engine,
        )
        pages.shutdown()
    assert found == words.format(here=ray.util.get_node_ip_address(), **ports)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["file:///photos", "-o", "out"],
            "file://: expected a folder of this machine, or one in an object store: s3://, gs:// or az://.",
        ),
        (["s3://bucket/in", "-o", "out"], "s3://bucket/in is not on this machine; give --engine ray, or a folder."),
        (
            ["s3://bucket/in", "-o", "out", "--engine", "ray"],
            "expected photos and -o all in object stores, or none; out is not, and s3://bucket/in is.",
        ),
        (
            ["in", "-o", "out", "--engine", "ray", "--learn", "1"],
            "--engine does not go with --learn, --mask or --preview; leave them out, or --engine.",
        ),
    ],
)
def test_what_does_not_go_together(arguments, words, child):
    assert child("denoise", *arguments).sentence == f"unnoise: {words}"
