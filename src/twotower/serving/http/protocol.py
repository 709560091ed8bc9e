"""Connections of clients that are slow, silent, endless or too many are closed."""

import functools
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections import Counter, deque
from collections.abc import Callable, Sized
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from twotower.serving.http.errors import HttpError, error_response

VERSION_STATE = "version_header"
"""Key of the lifespan's state: a function that gives the header which names the version."""

PIECE_BYTES = 1024
"""So much is parsed at once: what asks ahead becomes at most the requests that fit into this."""


@dataclass(frozen=True)
class Limits:
    """What a connection may take.

    Args:
        connections: open at once.
        connections_of_one: open at once from one address; 0 for as many as there may be.
        head_bytes: of a request's URL and headers, and of whatever else is no part of its body.
        head_seconds: from the beginning of a connection, or the first byte of a request, to the last of its
            headers.
        unread_seconds: that an answer, or a large part of it, may wait for its client to read.
    """

    connections: int = 1024
    connections_of_one: int = 0
    head_bytes: int = 65_536
    head_seconds: float = 10.0
    unread_seconds: float = 30.0


class ImpatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with limits; without them a few clients keep everybody else out."""

    limits: ClassVar[Limits] = Limits()
    open_from: ClassVar[Counter[str]] = Counter()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = functools.partial(self._unless_gone, self.app)
        self._in_head, self._head_bytes = True, 0
        self._refusal: HttpError | None = None
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._unparsed = bytearray()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """See the base class."""
        super().connection_made(transport)
        self.flow = _ReadingNoFurther(transport, self.pipeline)
        self._head = _Deadline(self.loop, self.limits.head_seconds, transport.abort)
        self._unread = _Deadline(self.loop, self.limits.unread_seconds, transport.abort)
        self._head.start()
        self.open_from[self._address] += 1
        most = self.limits.connections_of_one
        if len(self.connections) > self.limits.connections:
            self._refuse(HttpError(503, "too many connections; try again", headers={"Retry-After": "1"}))
        elif most and self.open_from[self._address] > most:
            self._refuse(
                HttpError(503, f"more than {most} connections of one address", headers={"Retry-After": "1"})
            )

    def data_received(self, data: bytes) -> None:
        """See the base class."""
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        """Parse what was received, as far as no request waits for the answers before its own.

        The base class parses all of it: one packet becomes thousands of requests, a hundred times its size.
        """
        while self._unparsed and not self.pipeline and not self.transport.is_closing():
            piece = bytes(self._unparsed[:PIECE_BYTES])
            del self._unparsed[:PIECE_BYTES]
            if self._in_head:
                self._head.start()
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._head_bytes > self.limits.head_bytes and not self.transport.is_closing():
                self._refuse(self._too_large())

    def on_headers_complete(self) -> None:
        """See the base class."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.limits.head_bytes:
            self._refusal = self._too_large()
        elif self.parser.should_upgrade() and self.parser.get_method() not in (b"GET", b"HEAD", b"CONNECT"):
            # The parser takes the body for the other protocol's; without a body there is nothing to lose.
            self._refusal = HttpError(400, "Upgrade: only HTTP/1.1 is spoken here; leave it out", "Upgrade")
        if self._refusal is not None:
            raise self._refusal  # ends the parsing, and comes back as `send_400_response`
        self._head.stop()
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        """See the base class."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See the base class."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or what a callback of the parser refused."""
        self._refuse(self._refusal or HttpError(400, msg))

    def on_response_complete(self) -> None:
        """Close a connection whose request goes on though it is answered: nobody reads the rest."""
        unread = not self._in_head and not self.pipeline
        self._unanswered.popleft()
        super().on_response_complete()
        if unread:
            self.transport.close()
        self._parse()
        self._watch_closing()

    def pause_writing(self) -> None:
        """See the base class."""
        super().pause_writing()
        self._unread.start()

    def resume_writing(self) -> None:
        """See the base class."""
        super().resume_writing()
        self._unread.stop()
        self._watch_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See the base class, which knows of the latest request only."""
        self._head.stop()
        self._unread.stop()
        for cycle in self._unanswered:
            cycle.disconnected = True
        self.open_from[self._address] -= 1
        if not self.open_from[self._address]:
            del self.open_from[self._address]
        super().connection_lost(exc)
        self.app = self.config.loaded_app  # so that nothing here refers to itself

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, at once where its client has not even read the last answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    async def _unless_gone(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is sent to a client that has left goes nowhere, and is no failure."""
        cycle = self._unanswered[0]

        async def sent(message: Message) -> None:
            if self.transport.is_closing():
                cycle.disconnected = True
            await send(message)

        await app(scope, receive, sent)

    def _too_large(self) -> HttpError:
        return HttpError(431, f"expected at most {self.limits.head_bytes:,} bytes of URL and headers")

    def _refuse(self, error: HttpError) -> None:
        """Write an error that no endpoint knows of, and close."""
        version = self.app_state[VERSION_STATE]() if VERSION_STATE in self.app_state else {}
        error.headers |= {**version, "Connection": "close"}
        answer = error_response(error)
        lines = [b"HTTP/1.1 %d %s" % (error.status, HTTPStatus(error.status).phrase.encode())]
        lines += [b"%s: %s" % each for each in [*self.server_state.default_headers, *answer.raw_headers]]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()
        self._watch_closing()

    def _watch_closing(self) -> None:
        """Wait not for ever for a client to read the last of what it gets."""
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._unread.start()


def within(limits: Limits) -> type[ImpatientProtocol]:
    """Return the protocol with limits and a count of connections of its own."""
    return type("LimitedProtocol", (ImpatientProtocol,), {"limits": limits, "open_from": Counter()})


class _ReadingNoFurther(FlowControl):
    """Does not read on while requests wait for the answers before their own; every answer asks for it.

    Args:
        transport: of the connection.
        pipeline: the requests that wait.
    """

    def __init__(self, transport: Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class _Deadline:
    """Calls something some seconds after its start, unless it is stopped before."""

    def __init__(self, loop: AbstractEventLoop, seconds: float, then: Callable[[], None]) -> None:
        self._loop, self._seconds, self._then = loop, seconds, then
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._then)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
