"""The HTTP protocol of the service, which limits the headers of a request."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 65_536
"""Bytes without the end of the headers, or without a part of the body, after which nothing more is parsed."""
REFUSAL = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class LimitedHeaders(HttpToolsProtocol):
    """Refuses long headers; the parser has no limit, and copies the header for each block received."""

    _unfinished = 0  # bytes since the last end of headers, or the last part of a body

    def data_received(self, data: bytes) -> None:
        """Parse a block, or close the connection if too many blocks have completed nothing."""
        if self._unfinished > MAX_HEADER_BYTES:
            self.transport.write(REFUSAL)
            self.transport.close()
            return
        self._unfinished += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._unfinished = 0
        super().on_body(body)
