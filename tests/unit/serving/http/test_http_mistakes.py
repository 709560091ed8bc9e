"""Mistakes, in one shape and few at a time; how bodies are read, and their limit."""

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from app_clients import Ask
from fake_live import FakeLive
from pydantic import BaseModel, ValidationError

from twotower.serving.http import middleware
from twotower.serving.http.models import BatchRequest, PutItemRequest, RecommendRequest

JSON = {"Content-Type": "application/json"}
ZIPPED = JSON | {"Content-Encoding": "gzip"}


@pytest.fixture
def asked(ask: Callable[..., Ask]) -> Ask:
    return ask()


WRONG: list[tuple[str, str, dict[str, Any], int, str | None]] = [
    ("POST", "/recommend", {"json": {"user_id": 99}}, 404, "user_id"),
    ("POST", "/recommend", {"json": {"where": {"colour": 1}}}, 422, "where"),
    ("POST", "/recommend", {"json": {"k": 0}}, 422, "k"),
    ("POST", "/recommend", {"json": {"k": 1001}}, 422, "k"),
    ("POST", "/recommend", {"json": {"k": 3.0}}, 422, "k"),
    ("POST", "/recommend", {"json": {"k": "3"}}, 422, "k"),
    ("POST", "/recommend", {"json": {"k": True}}, 422, "k"),
    ("POST", "/recommend", {"json": {"user_id": 1.5}}, 422, "user_id"),
    ("POST", "/recommend", {"json": {"user_id": [1]}}, 422, "user_id"),
    ("POST", "/recommend", {"json": {"users_id": 1}}, 422, "users_id"),
    ("POST", "/recommend", {"json": {"deny": "12"}}, 422, "deny"),
    ("POST", "/recommend", {"json": {"history": [1, None]}}, 422, "history.1"),
    ("POST", "/recommend", {"json": {"features": {"a": {"b": 1}}}}, 422, "features.a"),
    ("POST", "/recommend", {"json": {"where": {"price": {"min": "x"}}}}, 422, "where.price.min"),
    ("POST", "/recommend", {"json": {"where": {"price": {"mini": 1}}}}, 422, "where.price.mini"),
    ("POST", "/recommend", {"json": []}, 422, "body"),
    ("POST", "/recommend", {"content": b"null", "headers": JSON}, 422, "body"),
    ("POST", "/recommend/batch", {"json": {"requests": []}}, 422, "requests"),
    ("POST", "/recommend/batch", {"json": {"requests": [{"k": 0}]}}, 422, "requests.0.k"),
    ("POST", "/recommend/batch", {"json": {}}, 422, "requests"),
    ("GET", "/items/8/similar", {}, 404, "item_id"),
    ("GET", "/items/8", {}, 404, "item_id"),
    ("GET", "/items/007", {}, 422, "item_id"),
    ("GET", "/items/x/similar", {}, 422, "item_id"),
    ("GET", "/items/7/similar?k=0", {}, 422, "k"),
    ("GET", "/items/7/similar?k=1e9", {}, 422, "k"),
    ("GET", f"/items/7/similar?k={'9' * 5000}", {}, 422, "k"),
    ("GET", "/items/7/similar?where=%7B", {}, 422, "where"),
    ("GET", "/items/7/similar?where=%5B%5D", {}, 422, "where"),
    ("GET", '/items/7/similar?where={"a":{"min":"x"}}', {}, 422, "where.a.min"),
    ("PUT", "/items/007", {"json": {"features": {}}}, 422, "item_id"),
    ("PUT", "/items/%D9%A3", {"json": {"features": {}}}, 422, "item_id"),
    ("PUT", "/items/9223372036854775808", {"json": {"features": {}}}, 422, "item_id"),
    ("PUT", "/items/3", {"json": {"features": {"colour": 1}}}, 422, "features"),
    ("PUT", "/items/3", {"json": {}}, 422, "features"),
    ("DELETE", "/items/404", {}, 404, None),
    ("POST", "/users/1/events", {"json": {}}, 422, "item_id"),
    ("POST", "/users/1/events", {"json": {"item_id": 1, "time": 1.5}}, 422, "time"),
    ("PUT", "/users/007", {"json": {"features": {}}}, 422, "user_id"),
    ("PUT", "/users/1", {"json": {}}, 422, "features"),
    ("PUT", "/users/1", {"json": {"features": {"age": {"min": 1}}}}, 422, "features.age"),
    ("DELETE", "/users/x", {}, 422, "user_id"),
    ("PUT", "/items/507", {"json": {"features": {}}}, 503, None),
    ("POST", "/reload", {"json": {"bundle": ""}}, 422, "bundle"),
    ("POST", "/reload", {"json": {"bundle": "a/b"}}, 422, "bundle"),
    ("GET", "/nothing/here", {}, 404, None),
    ("GET", "/items/", {}, 422, "item_id"),
    ("PATCH", "/recommend", {"json": {}}, 405, None),
    ("POST", "/recommend", {"content": b"{}"}, 415, "Content-Type"),
    ("POST", "/recommend", {"content": b"\x1f\x8b", "headers": ZIPPED}, 415, "Content-Encoding"),
]


def test_a_mistake_is_told_with_its_key(asked: Ask) -> None:
    for method, path, arguments, status, key in WRONG:
        answer = asked(method, path, **arguments)
        assert answer.status_code == status, (method, path, arguments, answer.text)
        assert list(answer.json()) == ["error"]
        assert set(answer.json()["error"]) == {"message", "key"}
        assert answer.json()["error"]["key"] == key, (method, path, arguments)
        assert answer.headers["x-bundle-version"] == "run-1"


MALFORMED = [
    b"",
    b"{",
    b"{'k': 1}",
    b'{"k": NaN}',
    b'{"features": {"price": Infinity}}',
    b'{"features": {"price": -Infinity}}',
    b'{"features": {"price": 1e400}}',
    b'{"features": {"a": "\\ud800"}}',
    b"\xff\xfe{}",
    b'{"k": 1}trailing',
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
]


def test_what_is_no_json_is_refused(asked: Ask) -> None:
    for path in ("/recommend", "/recommend/batch", "/users/1/events", "/reload"):
        for body in MALFORMED:
            answer = asked("POST", path, content=body, headers=JSON)
            assert (answer.status_code, answer.json()["error"]["key"]) == (400, "body"), body[:30]


def test_numbers_beyond_64_bits_are_no_ids(asked: Ask) -> None:
    for digits in (20, 30, 400):
        body = b'{"user_id": ' + b"9" * digits + b"}"
        assert asked("POST", "/recommend", content=body, headers=JSON).status_code in (400, 422)


def test_one_parser_decides_what_a_number_is(asked: Ask, live: FakeLive) -> None:
    body = b'{"features": {"price": 100000000000000000000}}'
    assert asked("PUT", "/items/12", content=body, headers=JSON).status_code == 200
    assert repr(live.written[-1].features["price"]) == "1e+20"  # type: ignore[union-attr]


def many(number: int, value: object) -> dict[str, object]:
    return {f"{place}": value for place in range(number)}


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (RecommendRequest, many(1000, 0)),
        (RecommendRequest, {"history": [None] * 1000}),
        (RecommendRequest, {"history_times": [None] * 1000}),
        (RecommendRequest, {"allow": [None] * 1000, "deny": [None] * 1000}),
        (RecommendRequest, {"features": many(1001, None)}),
        (RecommendRequest, {"features": {"a": [{}] * 1000}}),
        (RecommendRequest, {"features": many(100_000, {})}),
        (RecommendRequest, {"where": many(100, [{}])}),
        (RecommendRequest, {"where": {"price": many(1000, None)}}),
        (BatchRequest, {"requests": [None] * 1000}),
        (BatchRequest, {"requests": [{"k": 0}] * 1000}),
        (PutItemRequest, {"features": many(2000, {})}),
        (PutItemRequest, many(1000, 0)),
    ],
)
def test_a_body_of_many_mistakes_has_few(model: type[BaseModel], given: object) -> None:
    with pytest.raises(ValidationError) as mistakes:
        model.model_validate(given)
    assert mistakes.value.error_count() <= 10


@pytest.mark.parametrize(("path", "content"), [("/recommend", b'{"k": 1}'), ("/reload", b'{"bundle": "b"}')])
def test_large_bodies_are_read_off_the_loop(
    asked: Ask, monkeypatch: pytest.MonkeyPatch, path: str, content: bytes
) -> None:
    parsed, threads = middleware._parse, []

    def spied(body: bytes) -> object:
        threads.append(threading.current_thread() is threading.main_thread())
        return parsed(body)

    monkeypatch.setattr(middleware, "_parse", spied)
    for spaces in (0, middleware.LARGE_BYTES):
        assert asked("POST", path, content=content + b" " * spaces, headers=JSON).status_code == 200
    assert threads == [True, False]


def test_a_failure_of_ours_is_told_without_its_inside(asked: Ask) -> None:
    answer = asked("POST", "/recommend", json={"user_id": 666})
    assert answer.status_code == 500
    assert answer.json() == {"error": {"message": "the service failed; see its log", "key": None}}


def test_a_body_is_refused_while_it_arrives(ask: Callable[..., Ask]) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b" " * 100

    asked = ask(max_body_bytes=1000)
    answer = asked("POST", "/recommend", content=endless(), headers=JSON)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert sent <= 1200


@pytest.mark.parametrize("path", ["/recommend", "/reload"])
def test_the_length_of_a_body_is_limited(ask: Callable[..., Ask], path: str) -> None:
    asked = ask(max_body_bytes=1000)
    for length in ("1001", "9" * 40):
        answer = asked("POST", path, content=b"{}", headers=JSON | {"Content-Length": length})
        assert answer.status_code == 413
    content = b'{"k":1}' if path == "/recommend" else b'{"bundle":"run-2"}'
    assert asked("POST", path, content=content.ljust(1000), headers=JSON).status_code == 200
    assert asked("POST", path, content=content.ljust(1001), headers=JSON).status_code == 413
