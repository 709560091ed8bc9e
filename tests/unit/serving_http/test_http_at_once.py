"""What is answered at once is answered as the application would, in order, and each for itself."""

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from conftest import app_of
from fake_live import FakeLive, FakeRetriever
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp
from test_http_mistakes import MALFORMED, WRONG
from test_http_pipelining import Wire

from twotower.serving.http.connections import Limits
from twotower.serving.http.http_errors import HttpError, checked
from twotower.serving.http.models import RecommendRequest
from twotower.serving.http.recommend_routes import asked
from twotower.serving.http.security import Keys
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.requests import Request

Told = tuple[int, str, str | None, str | None, Any]


def sent(path: str, body: bytes, *headers: bytes) -> bytes:
    head = b"".join(
        b"\r\n" + each for each in (b"Host: localhost", b"Content-Length: %d" % len(body), *headers)
    )
    return b"POST %s HTTP/1.1%s\r\n\r\n%s" % (path.encode(), head, body)


JSON = b"Content-Type: application/json"
ASKED = [
    sent("/recommend", b'{"user_id": 3, "k": 2}', JSON),
    sent("/recommend", b'{"k": 1}', JSON),
    sent("/recommend/batch", b'{"requests": [{"user_id": 3}, {"user_id": 99}]}', JSON),
    sent("/recommend", b'{"user_id": 666}', JSON),
    sent("/recommend", b"{}"),
    sent("/recommend", b"{}", JSON, b"Content-Encoding: gzip"),
    sent("/recommend", b"{}", JSON, b"Host: localhost"),
    sent("/recommend", b"{}", JSON, b"Authorization: Bearer " + b"k" * 16),
    sent("/recommend", b" " * 500, JSON),
    *(sent(path, json.dumps(each["json"]).encode(), JSON) for _, path, each, *_ in WRONG if "json" in each),
    *(sent("/recommend", body, JSON) for body in MALFORMED if len(body) < 500),
]


def answers_in(received: bytes) -> list[Told]:
    """Status, content type, version, connection and body of each answer."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = httpx.Headers([line.split(": ", 1) for line in lines])
        body, received = rest[: int(headers["content-length"])], rest[int(headers["content-length"]) :]
        told = (headers["content-type"], headers.get("x-bundle-version"), headers.get("connection"))
        found.append((int(status.split()[1]), *told, json.loads(body)))
    return found


async def over(app: ASGIApp, packets: Sequence[bytes], number: int, at_once: bool = True) -> Wire:
    """A connection whose client sent these packets, once there are so many answers or it is closed."""

    async def as_any_application(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    wire = Wire([*packets])
    protocol = wire.begin(Limits(), app if at_once else as_any_application)
    await wire.until(lambda: wire.closed or len(answers_in(wire.received)) == number)
    protocol.connection_lost(None)
    return wire


@pytest.mark.parametrize("keys", [None, Keys(["read " + "k" * 16])], ids=["open", "keys"])
def test_the_answer_is_that_of_the_application_in_one_write(keys: Keys | None) -> None:
    async def main() -> None:
        async with app_of(FakeLive(), keys, max_body_bytes=450, max_batch=2) as app:
            for request in ASKED:
                ours = await over(app, [request], 1)
                theirs = await over(app, [request], 1, at_once=False)
                assert answers_in(ours.received) == answers_in(theirs.received), request
                direct = request.startswith(b"POST /recommend")
                assert (ours.num_writes, ours.closed) == (1 if direct else 2, theirs.closed)

    asyncio.run(main())


@pytest.fixture(scope="module")
def app() -> ASGIApp:
    """The application without its beginning and its end: one for all examples."""
    return create_app(FakeLive(), ServiceConfig(bundle="run", console="quiet"))  # type: ignore[arg-type]


@given(
    st.lists(st.sampled_from(range(5)), min_size=1, max_size=12), st.lists(st.integers(1, 400), max_size=8)
)
def test_whatever_is_asked_ahead_is_answered_in_order(
    app: ASGIApp, kinds: list[int], sizes: list[int]
) -> None:
    requests = [
        *ASKED[:3],
        sent("/recommend", b'{"k": 0}', JSON),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    requests[4] = requests[4].replace(b"Host: x", b"Host: localhost")
    stream, packets = b"".join(requests[kind] for kind in kinds), []
    for size in [*sizes, len(stream)]:
        packets.append(stream[:size])
        stream = stream[size:]

    async def main() -> None:
        wire = await over(app, [each for each in packets if each], len(kinds))
        expected = [(200, "items"), (200, "items"), (200, "answers"), (422, "error"), (200, "status")]
        found = [
            (status, next(key for key in body if key != "version"))
            for status, *_, body in answers_in(wire.received)
        ]
        assert found == [expected[kind] for kind in kinds]

    asyncio.run(main())


class Held(FakeRetriever):
    """Answers once it is let."""

    def __init__(self) -> None:
        super().__init__("run-1")
        self.busy, self.go = threading.Event(), threading.Event()

    def answer(self, requests: Sequence[Request]) -> Any:
        self.busy.set()
        assert self.go.wait(600)
        return super().answer(requests)


def test_who_leaves_meanwhile_harms_nobody() -> None:
    async def main() -> None:
        live = FakeLive()
        async with app_of(live) as app:
            live.retriever = held = Held()
            leaving, staying = (Wire([ASKED[0]]) for _ in range(2))
            protocols = [wire.begin(Limits(), app) for wire in (leaving, staying)]
            await asyncio.to_thread(held.busy.wait, 600)
            leaving.closed = True
            protocols[0].connection_lost(ConnectionResetError())
            held.go.set()
            await staying.until(lambda: bool(staying.received))
            protocols[1].connection_lost(None)
            assert [told[0] for told in answers_in(staying.received)] == [200]
            assert leaving.received == b""

    asyncio.run(main())


def test_a_head_that_comes_again_is_not_parsed_again() -> None:
    one, other = ASKED[0], sent("/recommend", b'{"user_id": 1, "k": 2}', JSON)
    wrong, longer = one.replace(b'"k": 2', b'"k": 0'), sent("/recommend", b'{"user_id": 3, "k": 20}', JSON)
    others_words = one.replace(b"Host", b"HOST")
    cut, get = (one[:-9], one[-9:]), b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    turns = [
        *((one, True), (one, False), (other, False), (wrong, False), (longer, True), (longer, False)),
        *((others_words, True), (get, True), (one, False)),
    ]

    async def main() -> None:
        async with app_of(FakeLive()) as app:
            wire = Wire([])
            protocol = wire.begin(Limits(), app)
            number = 0

            async def ask(*packets: bytes) -> list[Told]:
                nonlocal number
                number, before = number + 1, len(wire.received)
                for packet in packets:
                    protocol.data_received(packet)
                await wire.until(lambda: len(answers_in(wire.received)) == number)
                return answers_in(wire.received[before:])

            for request, is_parsed in turns:
                scope, alone = protocol._parser.scope, await over(app, [request], 1)
                assert await ask(request) == answers_in(alone.received)
                assert (protocol._parser.scope is not scope) == is_parsed, request
            assert [each[0] for each in await ask(*cut) + await ask(one)] == [200, 200]
            protocol.connection_lost(None)

    asyncio.run(main())


def test_a_request_whose_head_is_known_is_the_last_of_a_service_that_stops() -> None:
    async def main() -> None:
        live = FakeLive()
        async with app_of(live) as app:
            live.retriever = held = Held()
            wire = Wire([])
            protocol = wire.begin(Limits(), app)
            for number in (1, 2):
                held.go.clear()
                protocol.data_received(ASKED[0])
                await asyncio.to_thread(held.busy.wait, 600)
                if number == 2:
                    protocol._parser.shutdown()
                    assert not wire.closed
                held.busy.clear()
                held.go.set()
                await wire.until(lambda number=number: len(answers_in(wire.received)) == number)  # type: ignore[misc]
            assert [told[3] for told in answers_in(wire.received)] == [None, "close"]
            assert wire.closed
            protocol.connection_lost(None)

    asyncio.run(main())


def test_who_asks_no_more_is_closed() -> None:
    async def main() -> None:
        async with app_of(FakeLive()) as app:
            wire = Wire([])
            protocol = wire.begin(Limits(), app)
            for number in (1, 2, 3):
                protocol.data_received(ASKED[0])
                await wire.until(lambda number=number: len(answers_in(wire.received)) == number)  # type: ignore[misc]
                protocol._parser.timeout_keep_alive = 0.05
            while not wire.closed:
                await asyncio.sleep(0.01)
            protocol.connection_lost(None)

    asyncio.run(main())


VALUES = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-2, 1002),
    st.text(max_size=3),
    st.none(),
    st.booleans(),
    st.floats(),
)


@given(st.fixed_dictionaries({}, optional={"user_id": VALUES, "k": VALUES, "users": VALUES}))
def test_what_is_seen_at_a_glance_is_what_pydantic_sees(parsed: dict[str, Any]) -> None:
    def seen(read: Any) -> Any:
        try:
            return read()
        except HttpError as error:
            return error.status, error.message, error.key

    def of_pydantic() -> Request:
        given = vars(checked(RecommendRequest, parsed))
        return Request(**given | {"history": tuple(given["history"]), "deny": tuple(given["deny"])})

    expected = seen(lambda: [of_pydantic()])
    if "user_id" in parsed and parsed["user_id"] is not None:  # others are read by pydantic all the same
        assert seen(lambda: asked(parsed)) == expected
