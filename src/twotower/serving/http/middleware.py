"""The layers around the endpoints: hosts, bodies, errors, metrics and the access log."""

import asyncio
import functools
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import orjson
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twotower.config.errors import InputError
from twotower.serving.http.api_keys import BEARER, Keys
from twotower.serving.http.http_errors import HttpError, as_http, error_response
from twotower.serving.http.metrics import AccessLog, Metrics
from twotower.serving.live.change_store import StoreFailed
from twotower.serving.live.live_service import LiveService

LOG = logging.getLogger("twotower")
VERSION_HEADER = "x-bundle-version"
NO_SUCH_ROUTE = "none"
LARGE_BYTES = 16_384
"""Bodies above this size are parsed in a thread."""
CLOSE = {"Connection": "close"}

DirectEndpoints = Mapping[str, Callable[[object], Awaitable[Response]]]
"""Path of a POST -> function from the parsed body to the response."""


@functools.lru_cache(maxsize=8)
def version_header(version: str) -> Mapping[str, str]:
    """Return the header that names a version, percent-encoded where a header requires it."""
    return {VERSION_HEADER: quote(version, safe=" !#$&'()*+,/:;=?@[]~")}


class Observed:
    """Counts and logs each request, and names the version of the bundle in each response.

    HEAD is answered like GET, an unexpected error with 500, and an error of a middleware of the framework,
    which is plain text in one message, with JSON.
    """

    def __init__(
        self, app: ASGIApp, live: LiveService, metrics: Metrics, log: AccessLog, direct: DirectEndpoints
    ) -> None:
        self._app, self._live, self._metrics, self._log, self._direct = app, live, metrics, log, direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything else, such as the lifespan, passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, method, path = time.perf_counter(), scope["method"], scope["path"]
        status, plain = 0, None
        if method == "HEAD":  # the server drops the body
            scope = {**scope, "method": "GET"}

        async def send_versioned(message: Message) -> None:
            nonlocal status, plain
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                version = version_header(self._live.retriever.version)[VERSION_HEADER]
                headers.setdefault(VERSION_HEADER, version)
                if status >= 400 and headers.get("content-type", "").startswith("text/plain"):
                    plain = {key: text for key, text in headers.items() if not key.startswith("content-")}
                    return
            if plain is None:
                await send(message)
            else:
                error = HttpError(status, message["body"].decode(), headers=plain)
                await error_response(error)(scope, receive, send)

        try:
            await self._app(scope, receive, send_versioned)
        except Exception as error:
            LOG.error("%s %s failed", method, path[:300], exc_info=error)
            if not status:
                await error_response(as_http(error, self._live.root))(scope, receive, send_versioned)
        seconds = time.perf_counter() - started
        route = path if path in self._direct else getattr(scope.get("route"), "path", NO_SUCH_ROUTE)
        self._metrics.request(str(route).replace(":path}", "}"), status, seconds)
        self._log.write(scope["client"][0] if scope.get("client") else "-", method, path, status, seconds)


class TrustedHosts(TrustedHostMiddleware):
    """Refuses other host names, against DNS rebinding; IP addresses cannot be rebound and pass."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for an allowed host; case does not matter."""
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else ""
        if _is_address(host):
            await self.app(scope, receive, send)
            return
        if host:  # in place: the router writes its route into this scope
            MutableHeaders(scope=scope)["host"] = host.lower()
        await super().__call__(scope, receive, send)


class JsonBodies:
    """Limits and parses JSON bodies.

    `direct` endpoints get the parsed body from here: the router of the framework would add a fifth to the
    processor time of an answer. Others get the body as this parser understood it: NaN is an error, and an
    integer beyond 64 bits is a float.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, keys: Keys, direct: DirectEndpoints, root: Path
    ) -> None:
        self._app, self._direct, self._root = app, direct, root
        self._max_bytes, self._keys = max_body_bytes, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything else passes through."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            parsed = await asyncio.to_thread(_parse, body) if len(body) > LARGE_BYTES else _parse(body)
            answer = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
            if answer is None:
                respond, receive = self._app, _replay(parsed, receive)
            else:
                if self._keys:
                    request = Request(scope)
                    await self._keys.check(request, await BEARER(request))
                respond = await answer(parsed)
        except (HttpError, InputError, StoreFailed) as error:
            respond = error_response(as_http(error, self._root))
        await respond(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body. Raises HttpError: 413 too large, 415 not JSON, 400 incomplete."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if len(length) > 18 or (length.isdigit() and int(length) > self._max_bytes):
            raise self._too_large()
        if not headers.get(b"content-type", b"").lower().startswith(b"application/json"):
            raise HttpError(415, "Content-Type: expected application/json", "Content-Type")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise HttpError(415, "Content-Encoding: send the body as it is", "Content-Encoding", CLOSE)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HttpError(400, "the client left before its body ended")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._max_bytes:
                raise self._too_large()
        return body

    def _too_large(self) -> HttpError:
        return HttpError(413, f"body: expected at most {self._max_bytes:,} bytes", "body", CLOSE)


def _parse(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"body: not JSON: {error!s:.300}", "body") from error


def _replay(parsed: object, receive: Receive) -> Receive:
    """Return a `receive` that gives a parsed body as JSON again."""
    try:
        body = orjson.dumps(parsed)
    except TypeError as error:  # orjson reads deeper nesting than it writes
        raise HttpError(400, "body: nested too deeply", "body") from error
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


@functools.lru_cache(maxsize=100)
def _is_address(host: str) -> bool:
    name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
