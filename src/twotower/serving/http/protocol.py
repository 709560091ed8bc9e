"""uvicorn's protocol, but that what is there whole may be answered at once: in one write, without a task.

Of the 44 us that the loop's thread takes for a request through a task and the messages of ASGI 26 are left,
and one call to the system less. uvicorn's parser and requests are used as they are: Granian in its place,
which parses in Rust, took as much processor time (33 to 44 us against 34 to 41 for a bare answer).
"""

import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

Done = Callable[[Response], None]
AtOnce = Callable[[Scope, bytes, Done], bool]
"""Begins to answer a request, its scope and body, and calls what it is given with the answer, later and not
from within; False where it is for the application."""


class Protocol(HttpToolsProtocol):
    """Asks `at_once` first about requests whose bodies came with their heads; uvicorn sees to all others."""

    def __init__(self, at_once: AtOnce, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._ask_at_once = at_once
        self._parsing = False
        self._held: tuple[RequestResponseCycle, Any] | None = None

    def data_received(self, data: bytes) -> None:
        """Parse what came; whether a body is there whole is known after it."""
        self._parsing = True
        try:
            super().data_received(data)
        finally:
            self._parsing = False
        if self._held is not None:
            held, self._held = self._held, None
            self._start_asgi_task(*held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._parsing:
            self._held = cycle, app
            return
        whole = not (cycle.more_body or self.flow.write_paused)
        scope: Any = cycle.scope
        if not (
            whole and self._ask_at_once(scope, bytes(cycle.body), functools.partial(self._answer, cycle))
        ):
            super()._start_asgi_task(cycle, app)

    def _answer(self, cycle: RequestResponseCycle, response: Response) -> None:
        headers = [*cycle.default_headers, *response.raw_headers]
        if any(name == b"connection" for name, _ in headers):  # ours say nothing else than to close it
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        lines = [status_line(response.status_code), *(b"%s: %s" % each for each in headers)]
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()


@functools.cache
def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    return b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())
