"""uvicorn's protocol, but that what is there whole may be answered at once: in one write, without a task.

Of the 44 us that the loop's thread takes for a request through a task and the messages of ASGI 26 are left,
and one call to the system less. uvicorn's parser and requests are used as they are: Granian in its place,
which parses in Rust, took as much processor time (33 to 44 us against 34 to 41 for a bare answer).
"""

import functools
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

Done = Callable[[Response], None]
AtOnce = Callable[[Scope, bytes, Done], bool]
"""Begins to answer a request, its scope and body, and calls what it is given with the answer, later and not
from within; False where it is for the application."""


END = b"\r\n\r\n"
MOST_HEADS = 8
"""Heads of one connection that are kept: those of a client differ by their Content-Length, if at all."""


class Protocol(HttpToolsProtocol):
    """Asks `at_once` first about requests whose bodies came with their heads; uvicorn sees to all others.

    A head that was parsed and comes again on this connection, word for word, means the same again: its scope
    is kept, so that such a request costs neither uvicorn's parser nor its objects (19 us instead of 29).
    """

    def __init__(self, at_once: AtOnce, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._ask_at_once = at_once
        self._parsing, self._is_between = False, True
        self._held: tuple[RequestResponseCycle, Any] | None = None
        self._heads: dict[bytes, tuple[Scope, int]] = {}  # with the bytes of the body
        self._answering, self._is_last = False, False  # of a request whose head was known
        self._idle_until = 0.0

    def data_received(self, data: bytes) -> None:
        """Parse what came; whether a body is there whole is known after it."""
        is_between = self._is_between
        if is_between and self._knows(data):
            return
        self._parsing = True
        try:
            super().data_received(data)
        finally:
            self._parsing = False
        if self._held is not None:
            (cycle, app), self._held = self._held, None
            if self._begins_at_once(cycle):
                if is_between:
                    self._keep_head(data, cycle)
            else:
                super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        """See `HttpToolsProtocol`."""
        self._is_between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """See `HttpToolsProtocol`; what follows a request to speak another protocol is for the parser."""
        super().on_message_complete()
        self._is_between = not self.parser.should_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._parsing:
            self._held = cycle, app
        elif not self._begins_at_once(cycle):
            super()._start_asgi_task(cycle, app)

    def _begins_at_once(self, cycle: RequestResponseCycle) -> bool:
        scope: Any = cycle.scope
        whole = not (cycle.more_body or self.flow.write_paused)
        return whole and self._ask_at_once(scope, bytes(cycle.body), functools.partial(self._answer, cycle))

    def _keep_head(self, data: bytes, cycle: RequestResponseCycle) -> None:
        """Keep the head of a request that is all that came: head and body, of a length that the head says."""
        head, end, body = data.partition(END)
        scope: Any = cycle.scope
        says = (b"content-length", b"%d" % len(body)) in scope["headers"]
        if says and body == cycle.body and cycle.keep_alive:
            if len(self._heads) == MOST_HEADS:
                self._heads.clear()
            self._heads[head + end] = scope, len(body)

    def _knows(self, data: bytes) -> bool:
        """Begin to answer what came if it is one request whose head is known."""
        end = data.find(END) + len(END)
        known = self._heads.get(data[:end])
        if known is None or known[1] != len(data) - end or self.flow.write_paused:
            return False
        if not self.cycle.response_complete:
            return False
        self._answering = self._ask_at_once(known[0], data[end:], self._answer_known)
        return self._answering

    def _answer_known(self, response: Response) -> None:
        self._answering = False
        headers = [*self.server_state.default_headers, *response.raw_headers]
        if self._is_last and all(name != b"connection" for name, _ in headers):
            headers.append((b"connection", b"close"))
        self._write(response, headers)
        self.server_state.total_requests += 1
        self._idle_until = self.loop.time() + self.timeout_keep_alive
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()

    def _answer(self, cycle: RequestResponseCycle, response: Response) -> None:
        headers = [*cycle.default_headers, *response.raw_headers]
        if any(name == b"connection" for name, _ in headers):  # ours say nothing else than to close it
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        cycle.response_started = cycle.response_complete = True
        self._write(response, headers)
        cycle.on_response()

    def _write(self, response: Response, headers: Sequence[tuple[bytes, bytes]]) -> None:
        lines = [status_line(response.status_code), *[b"%s: %s" % each for each in headers]]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        if any(name == b"connection" for name, _ in headers):
            self.transport.close()

    def shutdown(self) -> None:
        """See `HttpToolsProtocol`: close, or see to it that the next answer is the last."""
        if self._answering:
            self._is_last = True
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """See `HttpToolsProtocol`; one timer sees to many requests, since to set one takes long."""
        left = self._idle_until - self.loop.time()
        if self._answering:
            left = self.timeout_keep_alive
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()


@functools.cache
def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    return b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())
