"""Connections that send nothing, or their headers drop by drop, are closed."""

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""From the beginning of a connection, or the first byte of a request, to the last of its headers."""


class ImpatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with a limit on the time that the headers of a request may take.

    Without one, as many silent connections as there may be at once keep everybody else out.
    """

    _head_timer: TimerHandle | None = None
    _in_head = True

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """See the base class."""
        super().connection_made(transport)
        self._start_head()

    def data_received(self, data: bytes) -> None:
        """See the base class."""
        if self._in_head and self._head_timer is None:
            self._start_head()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """See the base class."""
        self._stop_head()
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See the base class."""
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Close a connection whose request goes on though it is answered: nobody reads the rest."""
        unread = not self._in_head and not self.pipeline
        super().on_response_complete()
        if unread:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See the base class."""
        self._stop_head()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, at once where its client has not even read the last answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _start_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self, *_: Any) -> None:
        self.transport.abort()
