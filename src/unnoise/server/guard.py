"""Who may ask, how much may be sent, and how slowly: every request passes here before any other line sees it.

Any web page in the user's browser can send requests to this computer. So the Host must be ours to the letter, which a rebound name
is not; what comes from another site, or from another port of this computer, is refused by Origin and Sec-Fetch-Site, before
anything is read; and beyond this computer each request needs the token.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..console import say_error

GRACE, SLOWEST = 20, 2**16  # a body may take so many seconds, and one more for each so many bytes that have come
HELD = 8  # bodies of the largest size that may be on the disk at once, of all requests together
ENVELOPE = 2**16  # bytes of a body beside the file in it
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A request that is not served: an HTTP status, one sentence, and further headers."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, dict(headers or {})

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.words}, self.status, self.headers)


def busy(words: str) -> Refused:
    """A 503: what cannot be taken now, and may be in a few seconds."""
    return Refused(503, words, {"retry-after": "5"})


class Guard:
    """An ASGI application around another one.

    hosts: what the Host header may be, such as "127.0.0.1:8377". token: what each request must bring, if it is not empty. largest: bytes
    of a file.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], token: str, largest: int) -> None:
        self.app, self.hosts, self.token, self.largest = app, hosts, token, largest
        self.cookie = f"unnoise-{hosts[0].rpartition(':')[2]}"  # cookies are of a host, whatever the port
        self.held = 0  # bytes of all bodies that are being served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, headers, started, body = Request(scope), dict(HEADERS), False, _Body(self, receive)

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                ours = [(name.encode(), value.encode()) for name, value in headers.items()]
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        try:
            self.check(request)
            if self._came_by_address(request):
                headers["set-cookie"] = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await self.app(scope, body.receive, answer)
        except Refused as refused:
            await refused.response()(scope, receive, answer)
        except Exception as error:  # a fault of ours: said without what the request held
            say_error(f"a request failed by a fault of unnoise ({type(error).__name__}); please report it.")
            if not started:
                await Refused(500, "This failed by a fault of unnoise; please report it.").response()(scope, receive, answer)
        finally:
            self.held -= body.got

    def check(self, request: Request) -> None:
        """Raises Refused for a request that may not be served."""
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            raise Refused(403, f"This is not the Host of this page; expected {self.hosts[0]}.")
        site, reading = request.headers.get("sec-fetch-site", "none"), request.method in ("GET", "HEAD")
        followed = reading and request.headers.get("sec-fetch-mode") == "navigate"  # a link to the page, anywhere
        foreign = site not in ("none", "same-origin") and not followed
        if foreign or set(origins) - {f"http://{hosts[0].lower()}"}:
            raise Refused(403, "This comes from another web page; only the page of unnoise itself may ask.")
        if self.token and not (self._same(self._brought(request)) or self._came_by_address(request)):
            words = "The token is missing or wrong; open the address that unnoise printed, or send Authorization: Bearer TOKEN."
            raise Refused(401, words, {"www-authenticate": "Bearer"})
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.largest + ENVELOPE:
            raise self.too_large()

    def too_large(self) -> Refused:
        return Refused(
            413, f"The file is larger than {self.largest / 1e6:g} MB, the limit here; start unnoise with a larger --max-mb."
        )

    def _brought(self, request: Request) -> str:
        bearer = request.headers.get("authorization", "")
        return bearer[7:] if bearer[:7].lower() == "bearer " else request.cookies.get(self.cookie, "")

    def _came_by_address(self, request: Request) -> bool:
        given = request.query_params.get("token", "")
        return bool(self.token) and (request.method, request.scope["path"]) == ("GET", "/") and self._same(given)

    def _same(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


class _Body:
    """A request's body on its way in: counted, and waited for no longer than is fair."""

    def __init__(self, guard: Guard, receive: Receive) -> None:
        self.guard, self._receive = guard, receive
        self.got, self.whole, self.began = 0, False, asyncio.get_running_loop().time()

    async def receive(self) -> Message:
        if self.whole:
            return await self._receive()
        until = self.began + GRACE + self.got / SLOWEST
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError:
            raise Refused(408, "The file came too slowly; send it again.", {"connection": "close"}) from None
        piece = len(message.get("body", b""))
        self.got += piece
        self.guard.held += piece
        self.whole = not message.get("more_body", False)
        if self.got > self.guard.largest + ENVELOPE:
            raise self.guard.too_large()
        if self.guard.held > HELD * self.guard.largest:
            raise busy("Too much is being sent at once; send it again in a few seconds.")
        return message


class Connection(H11Protocol):
    """uvicorn's connection, that ends when a request's head, or the rest of a body that was answered early, keeps it waiting."""

    PATIENCE = 10.0  # seconds

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._ending:
            self._ending.cancel()

    def _watch(self) -> None:
        """Where no request is being served, let the time run; it runs on while a head or a rest trickles in."""
        serving = self.cycle is not None and not self.cycle.response_complete
        if serving and self._ending:
            self._ending.cancel()
            self._ending = None
        elif not serving and not self._ending:
            self._ending = self.loop.call_later(self.PATIENCE, self.transport.close)
