"""What can be asked: the page, and an HTTP interface that does what the command line does, by the same code."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import re
import secrets
import shutil
import socket
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import auto, bundled, image
from ..console import say
from ..denoiser import check_quality, check_shares, check_threads
from ..errors import BadSetting
from ..report.html import THEME
from . import openapi
from .guard import Connection, Guard, Refused, busy
from .jobs import Jobs, Told, private_folder, remove
from .learner import COSTS, SHAPES
from .lecture import asked, drawn
from .lesson import FILES, LONGEST, Lesson

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
STATIC = Path(__file__).parent / "static"
PAGE = {
    "/": "index.html",
    **{f"/{name}": name for name in ("style.css", "app.js", "learn.js", "server.js", "viewer.js", "zip.js")},
}
MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
TYPES = {
    "PNG": "image/png", "JPEG": "image/jpeg", "TIFF": "image/tiff", "WebP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "PNM": "image/x-portable-anymap", "JSON": "application/json",
}  # fmt: skip
SENDING = 600  # seconds that the answer may take on its way
KEY = re.compile(r"[0-9a-zA-Z-]{8,64}")


class Sent(FileResponse):
    """A file from a folder that is removed when it has been sent, or cannot be."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(TimeoutError):  # of a client that hardly takes it in
                async with asyncio.timeout(SENDING):
                    await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(remove, Path(self.path).parent)


class Interface:
    """The calls. models: by the names that may be asked for, the path, bundled name or `auto` of each; what is trained is added."""

    def __init__(self, jobs: Jobs, lesson: Lesson, folder: Path, models: dict[str, str], model: str, max_bytes: int) -> None:
        self.jobs, self.lesson, self.folder, self.models, self.model = jobs, lesson, folder, models, model
        self.max_bytes = max_bytes
        self.about: dict[str, list[Told]] = {}  # what the files of each model say of themselves

    async def denoise(self, request: Request) -> Response:
        """A file in, the file denoised out: of the same kind and depth, with the same metadata."""
        async with self._upload(request, "model", "strength", "quality", "key") as (folder, fields):
            strength, quality = _number(fields, "strength", 1), fields.get("quality", "normal")
            settings = {"what": "denoise", **self._model(fields), "strength": strength, "quality": quality}
            check_shares(strength=strength)
            check_quality(quality)
            told = await self._done(request, folder, settings, _key(fields["key"]) if "key" in fields else "")
            said = {"unnoise-model": ", ".join(told["models"]), "unnoise-why": told["why"], "unnoise-note": told["note"]}
            return self._sent(folder, told["kind"], {name: _ascii(words) for name, words in said.items() if words})

    async def preview(self, request: Request) -> Response:
        """The first page of a file as a PNG, for what a browser does not show."""
        async with self._upload(request) as (folder, _):
            told = await self._done(request, folder, {"what": "preview"})
            return self._sent(folder, told["kind"], {})

    async def inspect(self, request: Request) -> Response:
        """What noise is in the first page of a file."""
        async with self._upload(request) as (folder, _):
            told = await self._done(request, folder, {"what": "inspect"})
        return JSONResponse(told)

    async def progress(self, request: Request) -> Response:
        """How far the job with that key is."""
        key = _key(request.query_params.get("key", ""))
        return JSONResponse(self.jobs.progress.get(key, {"state": "unknown", "page": 0, "share": 0.0}))

    async def list_models(self, request: Request) -> Response:
        """The models that can be asked for, and what their files say of themselves."""
        for path in {*self.models.values()} - self.about.keys() - {auto.AUTO}:
            self.about[path] = await run_in_threadpool(_described, path)
        files = [one for path in self.models.values() for one in self.about.get(path, [])]
        return JSONResponse({"default": self.model, "models": list(self.models), "files": files, "max_bytes": self.max_bytes})

    async def corrupt(self, request: Request) -> Response:
        """A picture, spoilt; what a model makes of it; and its code."""
        async with self._upload(request, "model", "noise") as (folder, fields):
            settings = {"what": "corrupt", **self._model(fields), "noise": _noise(fields)}
            told = await self._done(request, folder, settings)
            return self._sent(folder, told["kind"], {})

    async def weights(self, request: Request) -> Response:
        """A picture, spoilt, and what the recorded models make of it."""
        async with self._upload(request, "noise") as (folder, fields):
            told = await self._done(request, folder, {"what": "weights", "noise": _noise(fields)})
            return self._sent(folder, told["kind"], {})

    async def train(self, request: Request) -> Response:
        """Begin to train a small model."""
        self.lesson.check()
        async with self._upload(request, "noise", "shape", "cost", "minutes", most=FILES) as (folder, fields):
            minutes = _number(fields, "minutes", 2)
            if not 0 < minutes <= LONGEST:
                raise Refused(400, f"minutes={minutes:g}: expected a number above 0, up to {LONGEST:g}.")
            choices = {name: _one_of(fields, name, known) for name, known in (("shape", SHAPES), ("cost", COSTS))}
            self.lesson.begin(folder, {**choices, "noise": _noise(fields), "minutes": minutes})
        return JSONResponse(self.lesson.state())

    async def stop(self, request: Request) -> Response:
        """Stop training, and keep the model as it stands."""
        self.lesson.stop()
        return JSONResponse(self.lesson.state())

    async def lesson_state(self, request: Request) -> Response:
        """How far the training is."""
        return JSONResponse(self.lesson.state())

    async def sample(self, request: Request) -> Response:
        """The newest crop of the picture that the training is scored on: noisy, restored, clean."""
        return Response(await run_in_threadpool(self.lesson.sample), media_type="image/png")

    async def model_file(self, request: Request) -> Response:
        """A model that was trained here, as a file."""
        name = request.query_params.get("name", "")
        if name not in self.lesson.done:
            raise Refused(404, f"name={_short(name)}: there is no model of that name that was trained here.")
        return FileResponse(self.lesson.done[name], filename=f"{name}.onnx", media_type="application/octet-stream")

    async def example(self, request: Request) -> Response:
        """A picture to begin with."""
        return Response(await run_in_threadpool(lambda: image.encoded(drawn(0), "PNG")), media_type="image/png")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi.document(list(self.models), self.model))

    def _model(self, fields: dict[str, str]) -> dict[str, str]:
        """Name and path of the model that is asked for."""
        model = fields.get("model", self.model)
        if model not in self.models:
            raise Refused(400, f"model={_short(model)}: expected one of {', '.join(self.models)}.")
        return {"model": model, "path": self.models[model]}

    @contextlib.asynccontextmanager
    async def _upload(self, request: Request, *known: str, most: int = 1) -> AsyncIterator[tuple[Path, dict[str, str]]]:
        """A folder of its own with the files that were sent, called `in`, `in1` ... whatever their names were, and the other fields.

        The folder is removed if what follows fails; else by who sends the answer, or here if none is there to be sent.
        """
        if self.jobs.full():
            raise busy("Too many pictures are waiting; send it again in a few seconds.")
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise Refused(415, "Expected a form of the kind multipart/form-data, with the picture as its field file.")
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            async with request.form(max_files=most, max_fields=8, max_part_size=1024) as form:
                items = form.multi_items()
                if wrong := [name for name, _ in items if name not in ("file", *known)]:
                    raise Refused(400, f"field {_short(wrong[0])}: expected {', '.join(('file', *known))}.")
                files, fields = form.getlist("file"), {name: value for name, value in items if isinstance(value, str)}
                uploads = [one for one in files if isinstance(one, UploadFile)]
                if not uploads or len(uploads) != len(files):
                    raise Refused(400, "Expected the picture, and nothing else, as a file in the field file.")
                if len(files) + len(fields) != len(items):
                    raise Refused(400, "A field was given twice, or as a file; give each once, as words.")
                for number, upload in enumerate(uploads):
                    with (folder / f"in{number or ''}").open("xb") as file:
                        await run_in_threadpool(shutil.copyfileobj, upload.file, file)
            yield folder, fields
        except BadSetting as error:
            await run_in_threadpool(remove, folder)
            raise Refused(400, str(error)) from None
        except BaseException:
            await asyncio.shield(run_in_threadpool(remove, folder))
            raise
        if not (folder / "out").exists():
            await run_in_threadpool(remove, folder)

    async def _done(self, request: Request, folder: Path, settings: dict[str, Any], key: str = "") -> Told:
        """What came of a job; stopped when who asked for it goes away."""
        if key in self.jobs.progress:
            raise Refused(400, "key: another picture has this one now; choose another.")
        job = {**settings, "source": str(folder / "in"), "output": str(folder / "out")}
        work, gone = asyncio.create_task(self.jobs.do(job, key)), asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientDisconnect
            return work.result()
        finally:
            gone.cancel()
            if work.cancel():
                await asyncio.wait({work})  # until the process is told to end, so that it writes no more

    def _sent(self, folder: Path, kind: str, headers: dict[str, str]) -> Response:
        return Sent(folder / "out", headers={**headers, "content-disposition": "attachment"}, media_type=TYPES[kind])


def application(interface: Interface, hosts: tuple[str, ...], token: str) -> ASGIApp:
    """The ASGI application: the page and the calls, behind the guard."""
    calls = {
        "/api/denoise": interface.denoise, "/api/inspect": interface.inspect, "/api/preview": interface.preview,
        "/api/corrupt": interface.corrupt, "/api/weights": interface.weights, "/api/train": interface.train,
        "/api/train/stop": interface.stop,
    }  # fmt: skip
    reads = {
        "/api/models": interface.list_models, "/api/progress": interface.progress, "/api/openapi.json": interface.openapi,
        "/api/train": interface.lesson_state, "/api/train/sample": interface.sample, "/api/model": interface.model_file,
        "/example.png": interface.example,
    }  # fmt: skip
    routes = [Route(path, call, methods=["POST"]) for path, call in calls.items()]
    routes += [Route(path, call, methods=["GET"]) for path, call in reads.items()]
    routes += [Route(path, _page(STATIC / name), methods=["GET"]) for path, name in PAGE.items()]
    handlers: Any = {Refused: _refused, HTTPException: _http_error, ClientDisconnect: _nobody, Exception: _fault}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), hosts, token, interface.max_bytes)


def _page(file: Path) -> Any:
    content = (THEME.encode() if file.suffix == ".css" else b"") + file.read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=MEDIA[file.suffix])

    return answer


async def _refused(request: Request, error: Refused) -> Response:
    return error.response()


async def _http_error(request: Request, error: HTTPException) -> Response:
    words = {
        400: "The form cannot be read; expected multipart/form-data with one file and a few short fields.",
        404: "There is nothing here; /api/openapi.json says what there is.",
        405: "This address does not take that method.",
    }
    return JSONResponse({"error": words.get(error.status_code, error.detail)}, error.status_code, error.headers)


async def _nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # whoever asked has gone


async def _fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "This failed by a fault of unnoise; please report it."}, 500)


def _number(fields: dict[str, str], name: str, usual: float) -> float:
    given = fields.get(name, str(usual))
    try:
        return float(given)
    except ValueError:
        raise Refused(400, f"{name}={_short(given)}: expected a number.") from None


def _one_of(fields: dict[str, str], name: str, known: Mapping[str, Any]) -> str:
    given = fields.get(name, next(iter(known)))
    if given not in known:
        raise Refused(400, f"{name}={_short(given)}: expected one of {', '.join(known)}.")
    return given


def _noise(fields: dict[str, str]) -> str:
    """The noise that is asked for. Raises BadSetting."""
    return str(asked(fields.get("noise", "gaussian:25/255")))


def _described(path: str) -> list[Told]:
    """What the files of a model say of themselves."""
    found = []
    for one in bundled.described(path):
        stem, card = Path(one["file"]).stem, one["card"]
        name = one["name"] if stem == "model" else stem  # a run's file is called after its folder
        found.append({"file": name, "bytes": one["bytes"], "purpose": card.get("purpose"), "licence": card.get("licence")})
    return found


def _key(given: str) -> str:
    if not KEY.fullmatch(given):
        raise Refused(400, f"key={_short(given)}: expected 8 to 64 letters, digits or hyphens.")
    return given


def _short(given: str) -> str:
    return repr(given if len(given) < 60 else given[:60] + "...")


def _ascii(words: str) -> str:
    """Words for a header: printable ASCII."""
    plain = words.replace("±", "+/-").encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in plain)


def serve(port: int, listen: str | None, opened: bool, max_mb: float, model: str, threads: int) -> None:
    """Serve until Ctrl-C or SIGTERM; the address is printed when it can be used. Raises BadSetting and ModelError.

    listen: None is this computer alone; an address, also that of this computer, is for whoever has the token.
    """
    if not 0 < max_mb < 1e5:
        raise BadSetting(f"max-mb={max_mb:g}: expected millions of bytes above 0; the usual limit is 256.")
    check_threads(threads)
    models = {name: str(bundled.FOLDER / name) for name in bundled.names()}
    models = {auto.AUTO: auto.AUTO, **models} if models else {}
    if model not in models:
        models[bundled.name_of(model)] = str(Path(model).resolve()) if Path(model).exists() else model
        model = bundled.name_of(model)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)  # what clients do wrong is told to them
    at = _address(listen)
    with _socket(at, port) as door, private_folder() as folder:
        tempfile.tempdir = str(folder)  # where Starlette lays what does not fit into memory
        host = f"[{at}]" if at.version == 6 else str(at)
        number, token = door.getsockname()[1], secrets.token_urlsafe(24) if listen else ""
        hosts = (f"{host}:{number}",) + (() if listen else (f"localhost:{number}",))
        hosts += tuple(name.rpartition(":")[0] for name in hosts if number == 80)  # which browsers leave out
        address = f"http://{hosts[0]}/" + (f"?token={token}" if token else "")
        jobs, lesson = Jobs({"path": models[model], "threads": threads}), Lesson(folder, threads, models)
        app = application(Interface(jobs, lesson, folder, models, model, round(max_mb * 1e6)), hosts, token)
        asyncio.run(_serve(app, jobs, lesson, door, address, opened))


async def _serve(app: ASGIApp, jobs: Jobs, lesson: Lesson, door: socket.socket, address: str, opened: bool) -> None:
    config = uvicorn.Config(
        app, http=Connection, ws="none", loop="asyncio", lifespan="off", interface="asgi3", log_config=None, access_log=False,
        log_level=logging.CRITICAL + 1, proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    try:
        await jobs.start()
        say(address, result=True)
        if opened:
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, address)
        await uvicorn.Server(config).serve([door])
    finally:
        await lesson.end()
        await jobs.end()


def _address(listen: str | None) -> Address:
    """What `--listen` means. Raises BadSetting."""
    try:
        address = ipaddress.ip_address(listen or "127.0.0.1")
    except ValueError:
        raise BadSetting(f"--listen {listen}: expected an address of this computer in numbers, such as 192.168.1.20.") from None
    if address.is_unspecified:
        raise BadSetting(
            f"--listen {listen}: expected one address of this computer, as each request must name the one it is for."
        )
    return address


def _socket(address: Address, port: int) -> socket.socket:
    """Listening there. Raises BadSetting."""
    if not 0 <= port < 2**16:
        raise BadSetting(f"port={port}: expected 1 to 65535, or 0 for any that is free.")
    try:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        return socket.create_server((str(address), port), family=family, backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadSetting(f"port={port} is taken; choose another --port, or 0 for any that is free.") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise BadSetting(f"--listen {address} is no address of this computer; `ip address` lists them.") from None
        raise BadSetting(f"cannot listen at {address}, port {port} ({error.strerror}); choose another --port.") from None
