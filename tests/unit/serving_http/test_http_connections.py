"""Clients that are slow, silent, endless or too many on purpose, over a real socket."""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from fake_live import FakeLive

from twotower.serving.http.connections import Connections, Limits
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
RECOMMEND = POST + b"Content-Length: 7\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


class Served:
    """The application in a thread, and the port it listens on."""

    def __init__(self, limits: Limits) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        app = create_app(FakeLive(), ServiceConfig(bundle="run", console="quiet"))  # type: ignore[arg-type]
        self.connections = Connections(app, limits)
        config = uvicorn.Config(
            self.connections,
            http=self.connections.protocol,  # type: ignore[arg-type]
            log_config=None,
            timeout_keep_alive=30,
            ws="none",
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, args=[[self._listening]])
        self._thread.start()
        wait_for(lambda: self.server.started)

    @property
    def num_open(self) -> int:
        return len(self.connections.open)

    def connected(self, receive_bytes: int = 0) -> socket.socket:
        client = socket.socket()
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(600)
        client.connect(("127.0.0.1", self.port))
        return client

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Limits], Served]]:
    with contextlib.ExitStack() as stack:

        def begin(limits: Limits) -> Served:
            return stack.enter_context(contextlib.closing(Served(limits)))

        yield begin


def wait_for(what: Callable[[], object], seconds: float = 600) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def answer(client: socket.socket, end: bytes = b"}]}") -> bytes:
    """Read to the end of an answer, however many pieces it comes in."""
    received = b""
    while not received.endswith(end):
        piece = client.recv(9999)
        assert piece, f"closed after {received!r}"
        received += piece
    return received


def connected_and_answered(served: Served) -> socket.socket:
    """A connection whose first request was answered; on a busy machine the headers of some come too late."""
    for _ in range(100):
        client = served.connected()
        with contextlib.suppress(ConnectionError, AssertionError):
            client.sendall(RECOMMEND + b'{"k":1}')
            assert answer(client).startswith(b"HTTP/1.1 200 ")
            return client
        client.close()
    raise AssertionError("no connection was answered")


def all_of(client: socket.socket) -> bytes:
    """Read until the connection is closed."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(9999):
            received += piece
    return received


def refusal(received: bytes, status: int) -> dict[str, str]:
    """What a refusal tells, having the shape that all errors have."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert headers["x-bundle-version"] == "run-1"
    assert headers["content-type"] == "application/json"
    assert headers["connection"].lower() == "close"
    assert int(headers["content-length"]) == len(body)
    told = json.loads(body)
    assert list(told) == ["error"]
    assert set(told["error"]) == {"message", "key"}
    return told["error"]


def test_silent_and_dripping_connections_are_closed_and_others_are_answered(
    serve: Callable[[Limits], Served],
) -> None:
    served = serve(Limits(connections=8, head_seconds=0.3))
    silent = [served.connected() for _ in range(7)]
    silent[0].sendall(b"GET /healthz HT")
    connected_and_answered(served).close()
    for each in silent:
        with each, contextlib.suppress(ConnectionResetError):
            assert each.recv(1) == b""
    wait_for(lambda: served.num_open == 0)


def test_a_connection_that_is_used_stays_open(serve: Callable[[Limits], Served]) -> None:
    with connected_and_answered(serve(Limits(head_seconds=0.3))) as client:
        for _ in range(2):
            time.sleep(0.4)  # longer than the headers of a request may take
            client.sendall(RECOMMEND + b'{"k":1}')
            assert answer(client).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(serve: Callable[[Limits], Served]) -> None:
    with serve(Limits()).connected() as client:
        client.sendall((RECOMMEND + b'{"k":1}') + (RECOMMEND + b'{"k":0}'))
        received = answer(client, end=b"}}")
    assert received.index(b"HTTP/1.1 200") < received.index(b"HTTP/1.1 422")


def test_a_request_that_goes_on_after_its_answer_is_closed(serve: Callable[[Limits], Served]) -> None:
    served = serve(Limits(head_seconds=1))
    served.server.config.timeout_keep_alive = 1  # which is what closes it
    with served.connected() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n ")
        assert all_of(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 3000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 3000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000,
    ],
    ids=["url", "header", "whole header", "headers"],
)
def test_headers_are_limited(serve: Callable[[Limits], Served], sent: bytes) -> None:
    with serve(Limits(head_bytes=1990)).connected() as client:
        client.sendall(sent)
        told = refusal(all_of(client), 431)
    assert told["message"] == "expected at most 1,990 bytes of URL and headers"


@pytest.mark.parametrize("begun", [b"0\r\nX: ", b"1;"], ids=["trailer", "chunk extension"])
def test_what_stands_around_the_parts_of_a_body_is_limited(
    serve: Callable[[Limits], Served], begun: bytes
) -> None:
    served = serve(Limits(head_bytes=1990))
    with served.connected() as client:
        client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        wait_for(lambda: served.server.server_state.tasks)  # the headers are read
        client.sendall(begun + b"x" * 3000)
        refusal(all_of(client), 431)


def test_bodies_count_as_no_headers(serve: Callable[[Limits], Served]) -> None:
    with serve(Limits(head_bytes=500)).connected() as client:
        for _ in range(2):
            client.sendall(POST + b"Content-Length: 60007\r\n\r\n")
            for _ in range(60):
                client.sendall(b" " * 1000)
            client.sendall(b'{"k":1}')
            assert answer(client).startswith(b"HTTP/1.1 200 ")


def test_who_never_reads_is_closed_without_a_word(
    serve: Callable[[Limits], Served], caplog: pytest.LogCaptureFixture
) -> None:
    served = serve(Limits(unread_seconds=0.3))
    page = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n"
    with (
        caplog.at_level(logging.WARNING),
        served.connected(4096) as pipelining,
        served.connected(4096) as leaving,
    ):
        pipelining.sendall((page + b"\r\n") * 300)  # many times what the buffers of the system hold
        leaving.sendall(
            b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        begun = [client.recv(1) for client in (pipelining, leaving)]
        assert begun == [b"H", b"H"]
        wait_for(lambda: served.num_open == 0)
        assert len(all_of(pipelining)) < 300 * 10_000
    assert [record.getMessage() for record in caplog.records] == []


def test_who_leaves_in_the_middle_is_no_failure(
    serve: Callable[[Limits], Served], caplog: pytest.LogCaptureFixture
) -> None:
    served = serve(Limits())
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            with served.connected(4096) as client:
                client.sendall((RECOMMEND + b'{"k":1}') * 20)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        wait_for(lambda: served.num_open == 0)
        wait_for(lambda: not served.server.server_state.tasks)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(connections=3), "too many connections; try again"),
        (Limits(connections_of_one=3), "more than 3 connections of one address"),
    ],
)
def test_too_many_connections_are_refused_until_there_is_room(
    serve: Callable[[Limits], Served], limits: Limits, message: str
) -> None:
    served = serve(limits)
    clients = [served.connected() for _ in range(3)]
    for _ in range(5):  # those that were refused take no room
        with served.connected() as refused:
            assert refusal(all_of(refused), 503)["message"] == message
    clients[0].close()
    wait_for(lambda: served.num_open == 2)
    with served.connected() as client:
        client.sendall(GET)
        assert answer(client, b"}").startswith(b"HTTP/1.1 200 ")
    for each in clients:
        each.close()


def test_what_is_no_http_is_refused(serve: Callable[[Limits], Served]) -> None:
    with serve(Limits()).connected() as client:
        client.sendall(b"no HTTP\r\n\r\n")
        assert all_of(client).startswith(b"HTTP/1.1 400 ")


def test_another_protocol_is_refused_where_a_body_would_be_lost(serve: Callable[[Limits], Served]) -> None:
    served = serve(Limits())
    for later in (False, True):
        with served.connected() as client:
            client.sendall(POST + UPGRADE + b"Content-Length: 7\r\n\r\n" + (b"" if later else b'{"k":1}'))
            told = refusal(all_of(client), 400)
            assert told["key"] == "Upgrade"
    with served.connected() as client:
        for _ in range(2):
            client.sendall(GET.replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n"))
            assert answer(client, b"}").startswith(b"HTTP/1.1 200 ")


def test_head_is_get_without_the_body(serve: Callable[[Limits], Served]) -> None:
    with serve(Limits()).connected() as client:
        client.sendall(GET.replace(b"GET", b"HEAD") + GET)
        first, second = answer(client, b"}").split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first.endswith(b"\r\n\r\n")
    assert second.endswith(b'{"version":"run-1","status":"alive"}')
    assert b"content-length: 36\r\n" in first
    assert b"content-length: 36\r\n" in second
