"""A server in a process of its own, and ways to ask it, for the tests of the interface and of the page."""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
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


def uploaded(server, files, clients):
    """The answers to files, in their order, sent by so many clients at a time, each on a connection of its own; and the seconds that took."""
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda file: server.post("denoise", file, timeout=600), files))
    return answers, time.monotonic() - began


@contextlib.contextmanager
def slow(server, count):
    """So many connections that send a byte each second, half of them of a head and half of a body, and come again when they are ended.

    Gives a function that says how many are open now.
    """
    head = f"POST /api/denoise HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
    body = f"{head}Content-Length: 1000000\r\n\r\n--edge\r\n"
    loop, open_now = asyncio.new_event_loop(), set()

    async def trickle(number):
        await asyncio.sleep(number / count)
        while True:
            with contextlib.suppress(OSError):
                _, line = await asyncio.open_connection(*server.host.split(":"))
                open_now.add(line)
                try:
                    line.write((body if number % 2 else f"{head}X-A: ").encode())
                    while not line.is_closing():
                        await asyncio.sleep(1)
                        line.write(b"x")
                        await line.drain()
                finally:
                    open_now.discard(line)
                    line.close()

    async def all_of_them():
        await asyncio.gather(*map(trickle, range(count)))

    task = loop.create_task(all_of_them())

    def turn():
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        until(lambda: len(open_now) == count, "they do not all come in")
        yield lambda: len(open_now)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def memory(pid):
    """Megabytes that a process holds of its own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


@contextlib.contextmanager
def serving(folder, environment, *options, before="", threads=1):
    """`unnoise serve` with its temporary files in a folder; `before`: lines of Python that change it first."""
    folder.mkdir(exist_ok=True)
    code = f"{before}\nfrom unnoise import cli\ncli.main()\n"
    line = [sys.executable, "-c", code, "serve", "--port", "0", "--threads", str(threads), *map(str, options)]
    env = {**environment, "TMPDIR": str(folder)} | ({"OMP_NUM_THREADS": "1"} if threads == 1 else {})
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
