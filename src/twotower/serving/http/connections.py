"""Between the network and uvicorn: clients that are slow, silent, endless or too many are closed.

uvicorn has no such limits: one packet becomes thousands of requests, a hundred times its size. So a
`Connection` stands before uvicorn's own protocol and hands on what came piece by piece. Of the requests in it
it knows because `Connections` is also the application that uvicorn calls.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twotower.serving.http.access_control import AccessControl
from twotower.serving.http.http_errors import HttpError, error_response
from twotower.serving.http.protocol import Done, Protocol, status_line

CONNECTION, VERSION = "connection", "version_header"
"""Keys of a request's state: its `Connection`; a function that gives the header which names the version."""
PIECE_BYTES = 1024
"""So much is parsed at once: what asks ahead becomes at most the requests that fit into this."""


@dataclass(frozen=True)
class Limits:
    """What a connection may take."""

    connections: int = 1024  # open at once
    connections_of_one: int = 0  # open at once from one address; 0 for as many as there may be
    head_bytes: int = 65_536  # of URL, headers and all else beside bodies; up to a piece more gets through
    head_seconds: float = 10.0  # from the first byte of a request, or of a connection, to its last header
    unread_seconds: float = 30.0  # that an answer, or a large part of it, may wait for its client to read


class Connections:
    """An application whose connections have limits: uvicorn calls it, and `protocol` for each connection.

    An `AccessControl` answers complete requests at once. With `cors_origins` the application is a middleware
    around it, which all requests go through. `open` are the connections that were not
    refused, `open_from` their number from each address.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self.limits = app, limits
        self._at_once = app.at_once if isinstance(app, AccessControl) else None
        self.open: set[Connection] = set()
        self.open_from: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or see to what is none, such as the lifespan."""
        connection: Connection | None = scope.get("state", {}).get(CONNECTION)
        if connection is None:
            await self._app(scope, receive, send)
        else:
            await connection.answer(self._app, scope, receive, send)

    def at_once(self, scope: Scope, body: bytes, done: Done) -> bool:
        """Begin to answer a request where the application can do so at once; see `AccessControl.at_once`."""
        return self._at_once is not None and self._at_once(scope, body, done)

    def protocol(self, app_state: dict[str, Any], **of_uvicorn: Any) -> "Connection":
        """Return what uvicorn takes for its protocol of a connection."""
        return Connection(self, dict(app_state), of_uvicorn)

    def refusal(self, address: str) -> HttpError | None:
        """Return why there can be no other connection from an address now; None where there can."""
        most, headers = self.limits.connections_of_one, {"Retry-After": "1"}
        if len(self.open) >= self.limits.connections:
            return HttpError(503, "too many connections; try again", headers=headers)
        if most and self.open_from[address] >= most:
            return HttpError(503, f"more than {most} connections of one address", headers=headers)
        return None


class Connection(asyncio.Protocol):
    """One connection; hands on to uvicorn's protocol what it can work on now, and reads no further before."""

    def __init__(self, connections: Connections, state: dict[str, Any], of_uvicorn: dict[str, Any]) -> None:
        self._all, self._limits = connections, connections.limits
        self._version: Callable[[], dict[str, str]] = state.get(VERSION, dict)
        self._parser = Protocol(self._at_once, app_state=state | {CONNECTION: self}, **of_uvicorn)
        self._loop = asyncio.get_running_loop()
        self._unparsed = bytearray()
        self._turn: asyncio.Handle | None = None
        self._num_answering, self._asks_for_body = 0, False
        self._num_beside = 0  # bytes beside bodies since the latest request began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse to."""
        self._transport = transport
        self._address = str((transport.get_extra_info("peername") or [""])[0])
        if refusal := self._all.refusal(self._address):
            self._refuse(refusal)
            return
        self._all.open.add(self)
        self._all.open_from[self._address] += 1
        self._head_since, self._unread_since = self._loop.time(), math.inf
        self._close_where_overdue()
        self._parser.connection_made(_Transport(transport))  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        if self in self._all.open:
            self._all.open.remove(self)
            self._all.open_from -= Counter([self._address])  # keeps no zeros
            self._timer.cancel()
            self._parser.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        self._unparsed += data
        if self._turn is None:
            self._parse()
        if self._unparsed and not self._transport.is_closing():
            self._transport.pause_reading()

    def _parse(self) -> None:
        """Hand on a piece, unless a request waits for its answer, and the next not before a turn of the loop.

        By then `answer` is called for a request that begins in this piece, or was given what is of a body.
        """
        self._turn = None
        if not self._unparsed or self._transport.is_closing():
            return
        if self._num_answering and not self._asks_for_body:
            return
        if self._num_beside > self._limits.head_bytes:
            most = f"{self._limits.head_bytes:,} bytes of URL and headers"
            self._refuse(HttpError(431, f"expected at most {most}"))
            return
        piece = bytes(self._unparsed[:PIECE_BYTES])
        del self._unparsed[:PIECE_BYTES]
        self._num_beside += len(piece)
        if not self._num_answering:
            self._head_since = min(self._head_since, self._loop.time())
        self._parser.data_received(piece)
        if self._unparsed or self._asks_for_body or not self._num_answering:
            self._parse_in_a_turn()
        if not (self._unparsed or self._transport.is_closing() or self._transport.is_reading()):
            self._transport.resume_reading()

    def _parse_in_a_turn(self) -> None:
        """Parse nothing, not even what comes meanwhile, before all had their turn that are to have it now."""
        if self._turn is not None:
            self._turn.cancel()
        self._turn = self._loop.call_soon(self._parse)

    def _at_once(self, scope: Scope, body: bytes, done: Done) -> bool:
        def answered(response: Response) -> None:
            done(response)
            self._num_answering -= 1
            self._parse_in_a_turn()

        if not self._all.at_once(scope, body, answered):
            return False
        self._num_answering += 1
        self._head_since, self._num_beside = math.inf, 0
        return True

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of this connection."""
        self._num_answering += 1
        self._head_since, self._num_beside = math.inf, 0

        async def part_of_body() -> Message:
            self._asks_for_body = True
            self._parse_in_a_turn()
            try:
                message = await receive()
            finally:
                self._asks_for_body = False
            self._num_beside -= len(message.get("body", b""))
            return message

        try:
            await app(scope, part_of_body, send)
        finally:
            self._num_answering -= 1
            self._parse_in_a_turn()  # when a request that waited for this answer has begun

    def _close_where_overdue(self) -> None:
        """Close without a word where the client has not kept to the limits in time; look again in a while."""
        now, limits = self._loop.time(), self._limits
        unread = self._transport.get_write_buffer_size() > 0
        self._unread_since = min(self._unread_since, now) if unread else math.inf
        if now - self._head_since > limits.head_seconds or now - self._unread_since > limits.unread_seconds:
            self._transport.abort()
        pause = min(1.0, limits.head_seconds / 4, limits.unread_seconds / 4)
        self._timer = self._loop.call_later(pause, self._close_where_overdue)

    def pause_writing(self) -> None:
        """Tell uvicorn that the client does not read."""
        self._parser.pause_writing()

    def resume_writing(self) -> None:
        """Tell uvicorn that the client has read most of what there was."""
        self._unread_since = math.inf
        self._parser.resume_writing()

    def _refuse(self, error: HttpError) -> None:
        error.headers |= {**self._version(), "Connection": "close"}
        answer = error_response(error)
        lines = [status_line(error.status), *(b"%s: %s" % each for each in answer.raw_headers)]
        self._transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self._transport.close()


class _Transport:
    """A transport as uvicorn gets it: when to read is not for it to say.

    What it writes to a client that has left goes nowhere, and is no failure.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
