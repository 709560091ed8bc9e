"""Whoever asks ahead of the answers is answered in order, and takes no more of the service than others."""

import asyncio
import io
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from twotower.serving.http.connections import PIECE_BYTES, Connection, Connections, Limits
from twotower.serving.http.metrics import AccessLog
from twotower.serving.http.security import read_body

GET = b"GET /%d HTTP/1.1\r\nHost:x\r\n\r\n"
MOST_SECONDS = 600
MOST_AT_ONCE = PIECE_BYTES // len(b"GET / HTTP/1.1\r\n\r\n") + 1


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the method, the path and the body of a request."""
    body = await read_body(receive, 10**6)
    told = b"<%s %s %s>" % (scope["method"].encode(), scope["path"].encode(), body)
    headers = [(b"content-length", b"%d" % len(told))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


class Wire(asyncio.Transport):
    """To a client that has packets to send, each given to the protocol once it reads."""

    def __init__(self, packets: list[bytes]) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.packets, self.received = packets, b""
        self.reading, self.closed, self.aborted = True, False, False
        self.unread_bytes = self.num_writes = 0
        self.most_waiting = self.most_unparsed = 0

    def begin(self, limits: Limits, app: ASGIApp = echo) -> Connection:
        connections = Connections(app, limits)
        config = uvicorn.Config(connections, log_config=None)
        self.protocol = connections.protocol(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self)
        self._deliver_soon()
        return self.protocol

    def _deliver_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        if self.reading and self.packets and not self.closed:
            self.protocol.data_received(self.packets.pop(0))
            self.most_waiting = max(self.most_waiting, len(self.protocol._parser.pipeline))
            self.most_unparsed = max(self.most_unparsed, len(self.protocol._unparsed))
            self._deliver_soon()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        self._deliver_soon()

    def is_reading(self) -> bool:
        return self.reading

    def write(self, data: Any) -> None:
        if self.closed:  # as uvloop has it
            raise RuntimeError("the handler is closed")
        self.received += bytes(data)
        self.num_writes += 1

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    @property
    def answers(self) -> list[bytes]:
        return [each.split(b">")[0] for each in self.received.split(b"<")[1:]]

    async def until(self, what: Callable[[], bool]) -> None:
        """Let everything here have its turn, as often as it takes."""
        until = time.monotonic() + MOST_SECONDS
        while time.monotonic() < until:
            if what():
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{len(self.answers)} answers, {len(self.packets)} packets left")


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


@pytest.mark.parametrize("per_packet", [1, 10, 2000], ids=["singly", "a few", "bursts"])
def test_few_requests_wait_however_many_are_asked_ahead(per_packet: int) -> None:
    number = 2000
    packets = [
        b"".join(GET % place for place in range(start, start + per_packet))
        for start in range(0, number, per_packet)
    ]
    most = max(len(packet) for packet in packets)

    async def main() -> None:
        wire = Wire(packets)
        protocol = wire.begin(Limits())
        await wire.until(lambda: len(wire.answers) == number)
        assert wire.answers == [b"GET /%d " % place for place in range(number)]
        assert wire.most_waiting <= MOST_AT_ONCE
        assert wire.most_unparsed <= most  # no more than what one reading brought
        await wire.until(lambda: wire.reading)  # for what may come next
        protocol.connection_lost(None)

    run(main())


def test_no_answer_is_made_for_who_reads_none() -> None:
    async def main() -> None:
        wire = Wire([GET % 1 * 50 for _ in range(20)])
        protocol = wire.begin(Limits())
        protocol.pause_writing()  # as the transport does once its buffer is full
        await wire.until(lambda: not wire.reading)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert wire.answers == []
        assert len(wire.packets) == 19
        assert len(protocol._parser.pipeline) <= MOST_AT_ONCE
        protocol.resume_writing()
        await wire.until(lambda: len(wire.answers) == 1000)
        protocol.connection_lost(None)

    run(main())


def test_a_request_that_the_service_does_not_read_on_is_not_called_slow() -> None:
    async def main() -> None:
        wire = Wire([(GET % 1) * (PIECE_BYTES // len(GET % 1)) + (GET % 2)[:9], (GET % 2)[9:]])
        protocol = wire.begin(Limits(head_seconds=0.05))
        protocol.pause_writing()
        await wire.until(lambda: not wire.reading)
        await asyncio.sleep(0.2)  # longer than the headers of a request may take
        assert not wire.aborted
        protocol.resume_writing()
        await wire.until(lambda: bool(wire.answers) and wire.answers[-1] == b"GET /2 ")
        protocol.connection_lost(None)

    run(main())


REQUESTS = st.lists(
    st.one_of(
        st.integers(0, 99).map(lambda place: (GET % place, b"GET /%d " % place)),
        st.binary(max_size=3000).map(
            lambda body: (
                b"POST /p HTTP/1.1\r\nHost:x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
                b"POST /p " + body,
            )
        ),
        st.lists(st.binary(min_size=1, max_size=700), max_size=4).map(
            lambda parts: (
                b"PUT /c HTTP/1.1\r\nHost:x\r\nTransfer-Encoding: chunked\r\n\r\n"
                + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
                + b"0\r\n\r\n",
                b"PUT /c " + b"".join(parts),
            )
        ),
    ),
    min_size=1,
    max_size=8,
)


@given(REQUESTS, st.lists(st.integers(1, 2000), max_size=12))
def test_however_requests_are_cut_and_joined_they_are_answered_alike(
    requests: list[tuple[bytes, bytes]], sizes: list[int]
) -> None:
    stream, packets = b"".join(sent for sent, _ in requests), []
    for size in [*sizes, len(stream)]:
        packets.append(stream[:size])
        stream = stream[size:]
    told = b"".join(b"<%s>" % each for _, each in requests)

    async def main() -> None:
        wire = Wire([each for each in packets if each])
        protocol = wire.begin(Limits())
        head = b"HTTP/1.1 200 OK\r\ncontent-length: "

        def plain() -> bytes:
            found, rest = b"", wire.received
            while rest.startswith(head):
                length, _, rest = rest.removeprefix(head).partition(b"\r\n\r\n")
                found, rest = found + rest[: int(length)], rest[int(length) :]
            assert rest == b""
            return found

        await wire.until(lambda: len(plain()) >= len(told))
        assert plain() == told
        protocol.connection_lost(None)

    run(main())


def test_the_last_of_an_answer_does_not_wait_for_ever_either() -> None:
    async def main() -> None:
        wire = Wire([])
        protocol = wire.begin(Limits(head_seconds=3600, unread_seconds=0.05))
        wire.unread_bytes = 10  # too little for the transport to tell
        wire.close()
        async with asyncio.timeout(600):
            while not wire.aborted:
                await asyncio.sleep(0.01)
        protocol.connection_lost(None)

    run(main())


def test_what_is_sent_before_the_end_is_known_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        wire = Wire([GET % 1 * 3])
        protocol = wire.begin(Limits())
        await wire.until(lambda: bool(protocol._parser.tasks))
        wire.abort()  # the protocol is told later
        await asyncio.gather(*protocol._parser.tasks)
        protocol.connection_lost(ConnectionResetError())

    with caplog.at_level(logging.WARNING):
        run(main())
    assert [record.getMessage() for record in caplog.records] == []


def test_a_log_that_nobody_reads_keeps_little_of_a_long_path() -> None:
    log = AccessLog("jsonl", io.StringIO())
    log.close()  # the thread that takes lines out has ended
    log.write("127.0.0.1", "GET", "/" + "x" * 60_000, 404, 0.1)
    assert len(log._lines[0]) < 500
