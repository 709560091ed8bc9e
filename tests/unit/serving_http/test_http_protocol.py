"""Clients that are slow on purpose, over a real socket."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fake_live import FakeLive

from twotower.serving.http import protocol
from twotower.serving.http.app import Settings, create_app

RECOMMEND = (
    b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n"
)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(FakeLive(), Settings()),  # type: ignore[arg-type]
        http=protocol.ImpatientProtocol,
        log_config=None,
        limit_concurrency=8,
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def answer(client: socket.socket) -> bytes:
    """Read one answer to the end of its body, however many pieces it comes in."""
    received = b""
    while not received.endswith(b"}]}"):
        piece = client.recv(9999)
        assert piece, f"closed after {received!r}"
        received += piece
    return received


def test_silent_and_dripping_connections_are_closed_and_others_are_answered(port: int) -> None:
    silent = [connected(port) for _ in range(6)]
    silent[0].sendall(b"GET /healthz HT")
    with connected(port) as client:
        client.sendall(RECOMMEND + b'{"k":1}')
        assert client.recv(9999).startswith(b"HTTP/1.1 200 ")
    for each in silent:
        with each, contextlib.suppress(ConnectionResetError):
            assert each.recv(1) == b""
    # there is room again
    with connected(port) as client:
        client.sendall(RECOMMEND + b'{"k":1}')
        assert client.recv(9999).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_is_used_stays_open(port: int) -> None:
    with connected(port) as client:
        for _ in range(3):
            client.sendall(RECOMMEND + b'{"k":1}')
            assert answer(client).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.4)  # longer than the headers of a request may take


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    with connected(port) as client:
        client.sendall((RECOMMEND + b'{"k":1}') + (RECOMMEND + b'{"k":0}'))
        received = b""
        while received.count(b"HTTP/1.1") < 2 or not received.endswith(b"}}"):
            received += client.recv(9999)
    assert received.index(b"HTTP/1.1 200") < received.index(b"HTTP/1.1 422")


def test_a_request_that_goes_on_after_its_answer_is_closed(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n ")
        received = b""
        while chunk := client.recv(9999):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200")
