"""A server in a process of its own, and ways to ask it, for the tests of the interface and of the page."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class Server:
    """A running `unnoise serve`; `files` is the folder where it keeps what it keeps."""

    process: subprocess.Popen
    address: str
    files: Path
    said: list = field(default_factory=list)

    @property
    def host(self):
        return self.address.split("/")[2]

    def ask(self, method, path, body=b"", headers=(), timeout=30):
        """A request, with the headers as they are given, and Host unless that is given."""
        connection = http.client.HTTPConnection(*self.host.split(":"), timeout=timeout)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given = dict(headers)
            for name, value in {"Host": self.host, "Content-Length": str(len(body)), **given}.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def post(self, call, file, headers=(), name="picture", timeout=60, **fields):
        body, kind = form(file, name, **fields)
        return self.ask("POST", f"/api/{call}", body, {"Content-Type": kind, **dict(headers)}, timeout)

    def working(self, key):
        """Wait until the picture with that key is at work."""
        until(lambda: self.ask("GET", f"/api/progress?key={key}").json()["state"] == "working", f"{key} is not at work")

    def worker(self):
        """The process that does the work."""
        (pid,) = children(self.process.pid)
        return pid

    def kept(self):
        """The files and folders that are kept for requests now."""
        return [str(path.relative_to(self.files)) for path in self.files.glob("unnoise-serve-*/*")]

    def end(self, number=None):
        """Its exit code, the seconds that took, and its words on standard error."""
        began = time.monotonic()
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, time.monotonic() - began, (out + err).decode()


def form(file, name="picture", **fields):
    """(body, Content-Type) of a form with a file of that name, which may be any bytes, and other fields."""
    name = name if isinstance(name, bytes) else name.encode()
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()
    ]
    parts.append(b'--edge\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n' + file + b"\r\n")
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


@contextlib.contextmanager
def serving(folder, environment, *options, before=""):
    """`unnoise serve` with its temporary files in a folder; `before`: lines of Python that change it first."""
    folder.mkdir(exist_ok=True)
    code = f"{before}\nfrom unnoise import cli\ncli.main()\n"
    line = [sys.executable, "-c", code, "serve", "--port", "0", "--threads", "1", *map(str, options)]
    env = {**environment, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=folder)
    try:
        address = process.stdout.readline().decode().strip()
        assert address.startswith("http://"), process.stderr.read().decode()
        yield Server(process, address, folder)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(true, words, seconds=30):
    """Wait for something to be so."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, words
        time.sleep(0.02)


def children(pid):
    """The processes that a process has started and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, _, rest = stat.read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return found


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def everything(folder):
    return sorted(os.path.join(place, name) for place, folders, files in os.walk(folder) for name in folders + files)
