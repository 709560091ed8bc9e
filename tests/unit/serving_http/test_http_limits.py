"""Size and duration of bodies, and the rate of requests, by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from conftest import client_of
from fake_live import FakeLive
from starlette.types import Message

from twotower.serving.http.http_errors import HttpError
from twotower.serving.http.security import MAX_CLIENTS, RateLimit, read_body

Ask = Callable[..., httpx.Response]


def test_tokens_are_refilled_steadily() -> None:
    now = 0.0
    limit = RateLimit(2.0, clock=lambda: now)
    limit.take("a")
    limit.take("a")  # a second's worth at first
    with pytest.raises(HttpError) as refused:
        limit.take("a")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "1")
    limit.take("b")  # another's tokens are its own
    now = 0.5  # one token
    limit.take("a")
    with pytest.raises(HttpError):
        limit.take("a")
    now = 100.0  # never more than a second's worth
    limit.take("a")
    limit.take("a")
    with pytest.raises(HttpError):
        limit.take("a")


def test_a_slow_rate_says_how_long_to_wait() -> None:
    limit = RateLimit(0.1, clock=lambda: 0.0)
    limit.take("a")
    with pytest.raises(HttpError) as refused:
        limit.take("a")
    assert refused.value.headers["Retry-After"] == "10"


def test_who_waits_as_long_as_told_is_let_in() -> None:
    now = 0.0
    limit = RateLimit(0.8, clock=lambda: now)
    limit.take("a")
    with pytest.raises(HttpError) as refused:
        limit.take("a")
    now = float(refused.value.headers["Retry-After"])  # 1.25 seconds are 2
    limit.take("a")


def test_no_rate_is_no_limit_and_clients_are_forgotten() -> None:
    for _ in range(1000):
        RateLimit(0.0).take("a")
    limit = RateLimit(1.0, clock=lambda: 0.0)
    for client in range(MAX_CLIENTS + 10):
        limit.take(str(client))
    assert len(limit._buckets) == MAX_CLIENTS


def test_the_application_limits_a_client_but_not_what_anybody_may_get(live: FakeLive) -> None:
    async def main() -> list[int]:
        async with client_of(live, rate_limit_per_second=2) as client:
            page = [(await client.get(path)).status_code for path in ("/", "/page/style.css", "/docs")]
            asked = [(await client.get("/items/7/similar")).status_code for _ in range(3)]
            return [*page, *asked, (await client.get("/healthz")).status_code]

    assert asyncio.run(main()) == [200, 200, 200, 200, 200, 429, 200]


def test_a_body_is_refused_while_it_arrives(ask: Callable[..., Ask]) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b" " * 100

    json = {"Content-Type": "application/json"}
    asked = ask(max_body_bytes=1000)
    answer = asked("POST", "/recommend", content=endless(), headers=json)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert sent <= 1200
    for length in ("1001", "9" * 40):
        answer = asked("POST", "/recommend", content=b"{}", headers=json | {"Content-Length": length})
        assert answer.status_code == 413
    assert asked("POST", "/recommend", content=b'{"k":1}' + b" " * 993, headers=json).status_code == 200


def test_a_slow_body_is_cut() -> None:
    async def drip() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(HttpError) as refused:
        asyncio.run(read_body(drip, 10**6, seconds=0.1))
    assert refused.value.status == 408


def test_a_client_that_leaves_ends_its_request() -> None:
    async def left() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(HttpError):
        asyncio.run(read_body(left, 10))
