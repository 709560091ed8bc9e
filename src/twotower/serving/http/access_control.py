"""What every request passes before it reaches an endpoint, and every answer after it."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twotower.serving.http.direct import Directs
from twotower.serving.http.http_errors import HttpError, error_response
from twotower.serving.http.metrics import AccessLog, Metrics
from twotower.serving.http.security import CLOSE, Hosts, Keys, RateLimit, is_open, read_body, too_large
from twotower.serving.live.live_service import LiveService

LOG = logging.getLogger("twotower")
VERSION_HEADER = "x-bundle-version"
NO_SUCH_ROUTE = "none"
LARGE_BYTES = 16_384

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class AccessControl:
    """Hosts, keys, limits, well-formed JSON; then the endpoint; then the version, metrics and the access log.

    `direct` has the endpoints that are asked most.
    """

    app: ASGIApp
    direct: Directs
    live: LiveService
    hosts: Hosts
    keys: Keys
    rate: RateLimit
    max_body_bytes: int
    metrics: Metrics
    log: AccessLog

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; everything else, such as the lifespan, goes through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, method = time.perf_counter(), 0, scope["method"]
        if method == "HEAD":  # the server leaves out the body
            scope = {**scope, "method": "GET"}

        async def versioned(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _name_version(message.setdefault("headers", []), self.live.retriever.version)
            await send(message)

        try:
            await self._pass(scope, receive, versioned)
        except Exception as error:
            failed = _failure(error, scope, method)
            if not status:
                await failed(scope, receive, versioned)
        self._note(scope, method, status, started)

    def at_once(self, scope: Scope, body: bytes, done: Callable[[Response], object]) -> bool:
        """Begin to answer a request that is there whole, and call `done` later; False: it is for `__call__`.

        Says what `__call__` does, without what a body that is on its way and the framework take.
        """
        method = scope["method"]
        direct = self.direct.get((method, scope["path"]))
        if direct is None or len(body) > LARGE_BYTES:
            return False
        started = time.perf_counter()

        def finish(answer: Callable[[], Response]) -> None:
            try:
                response = answer()
            except Exception as error:
                response = _failure(error, scope, method)
            tell(response)

        def tell(response: Response) -> None:
            _name_version(response.raw_headers, self.live.retriever.version)
            done(response)
            self._note(scope, method, response.status_code, started)

        try:
            headers = dict(scope["headers"])
            self._admit(scope, method, scope["path"], headers)
            self._check_head(headers)
            if len(body) > self.max_body_bytes:
                raise too_large(self.max_body_bytes)
            direct.begin(direct.check(_parsed(body)), finish)
        except Exception as error:
            # Not at once: a hundred wrong requests that wait behind one another would call one another.
            asyncio.get_running_loop().call_soon(tell, _failure(error, scope, method))
        return True

    def _note(self, scope: Scope, method: str, status: int, started: float) -> None:
        seconds = time.perf_counter() - started
        self.metrics.request(_route(scope, self.direct), status, seconds)
        client = scope["client"][0] if scope.get("client") else "-"
        self.log.write(client, method, scope["path"], status, seconds)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        headers = dict(scope["headers"])
        self._admit(scope, method, path, headers)
        if method not in ("POST", "PUT", "PATCH"):
            await self.app(scope, receive, send)
            return
        body = await self._body(headers, receive)
        direct = self.direct.get((method, path))
        if direct is None:
            body = await _read(body, lambda: _as_understood(body))
            await self.app(scope, _again(body, receive), send)
            return
        response = await direct.call(await _read(body, lambda: direct.check(_parsed(body))))
        await response(scope, receive, send)

    def _admit(self, scope: Scope, method: str, path: str, headers: Mapping[bytes, bytes]) -> None:
        if b"upgrade" in headers and method not in ("GET", "HEAD"):
            # The server's parser takes the body for the other protocol's; without a body nothing is lost.
            raise HttpError(400, "Upgrade: only HTTP/1.1 is spoken here; leave it out", "Upgrade", CLOSE)
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        self.hosts.check(hosts, scope["http_version"])
        key = self.keys.known(headers.get(b"authorization"))
        if not is_open(method, path):
            self.rate.take(key or (scope["client"][0] if scope.get("client") else ""))
        self.keys.check(method, path, key)
        raw = scope.get("raw_path") or b""
        if b"%" in raw:
            try:
                unquote_to_bytes(raw).decode()
            except UnicodeDecodeError as error:
                raise HttpError(400, "the path is not UTF-8 once its %xx are read") from error

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        self._check_head(headers)
        return await read_body(receive, self.max_body_bytes)

    def _check_head(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a body for what the headers say of it."""
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > self.max_body_bytes):
            raise too_large(self.max_body_bytes)
        if not headers.get(b"content-type", b"").lower().startswith(b"application/json"):
            raise HttpError(415, "Content-Type: expected application/json", "Content-Type")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise HttpError(415, "Content-Encoding: send the body as it is", "Content-Encoding", CLOSE)


@functools.lru_cache(maxsize=8)
def version_header(version: str) -> Mapping[str, str]:
    """Return the header that names a version; what a header cannot hold (a run's name may) as %xx."""
    return {VERSION_HEADER: quote(version, safe=" !#$&'()*+,/:;=?@[]~")}


def _name_version(headers: list[tuple[bytes, bytes]], version: str) -> None:
    """Add the header that names the version, unless it is there."""
    name = VERSION_HEADER.encode()
    if all(key != name for key, _ in headers):
        headers.append((name, version_header(version)[VERSION_HEADER].encode()))


async def _read(body: bytes, work: Callable[[], T]) -> T:
    """Do what reads a body; where that is long, in a thread, so that others are answered meanwhile."""
    return await asyncio.to_thread(work) if len(body) > LARGE_BYTES else work()


def _parsed(body: bytes) -> object:
    """Return the values of a JSON text; NaN, infinities, halves of surrogates and deep nesting are none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"body: not JSON: {error!s:.300}", "body") from error


def _as_understood(body: bytes) -> bytes:
    """Return a JSON text as it was understood here: the framework's own parser takes some otherwise."""
    try:
        return orjson.dumps(_parsed(body))
    except TypeError as error:  # orjson reads deeper nesting than it writes
        raise HttpError(400, "body: nested too deeply", "body") from error


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _failure(error: Exception, scope: Scope, method: str) -> Response:
    """Return what a client is told of an error; who runs the service is told where it is none of theirs."""
    if isinstance(error, HttpError):
        return error_response(error)
    LOG.error("%s %s failed", method, scope["path"][:300], exc_info=error)
    return error_response(HttpError(500, "the service failed; its log says how"))


def _route(scope: Scope, direct: Directs) -> str:
    if (scope["method"], scope["path"]) in direct:
        return str(scope["path"])
    return str(getattr(scope.get("route"), "path", NO_SUCH_ROUTE)).replace(":path}", "}")
