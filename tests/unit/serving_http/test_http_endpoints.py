"""Every endpoint over a service that answers by rule, and every mistake in one shape."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import httpx
import pytest
from fake_live import FakeLive

from twotower.serving.changes import Event, ItemPut, ItemRemoved
from twotower.serving.http.models import RecommendRequest
from twotower.serving.requests import Request

Asked = Callable[..., httpx.Response]
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def asked(ask: Callable[..., Asked]) -> Asked:
    return ask()


def test_a_request_has_the_fields_that_the_retriever_takes() -> None:
    assert set(RecommendRequest.model_fields) == {field.name for field in fields(Request)}
    for name, field in RecommendRequest.model_fields.items():
        default = field.get_default(call_default_factory=True)
        ours = getattr(Request(), name)
        assert (list(default) if default == [] else default) == (list(ours) if ours == () else ours)


def test_recommend(asked: Asked) -> None:
    answer = asked("POST", "/recommend", json={"user_id": 1, "k": 2})
    assert answer.status_code == 200
    assert answer.headers["x-bundle-version"] == "run-1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "version": "run-1",
        "items": [
            {"item_id": 100, "score": 100.0, "label": "item 100"},
            {"item_id": 99, "score": 99.0, "label": "item 99"},
        ],
    }


def test_a_batch_is_answered_in_order_and_its_mistakes_one_by_one(asked: Asked, live: FakeLive) -> None:
    body = {"requests": [{"user_id": 1, "k": 1}, {"user_id": 77}, {"where": {"colour": "red"}}, {"k": 1}]}
    answer = asked("POST", "/recommend/batch", json=body)
    assert answer.status_code == 200
    one = {"items": [{"item_id": 100, "score": 100.0, "label": "item 100"}]}
    assert answer.json() == {
        "version": "run-1",
        "answers": [
            one,
            {"error": {"message": "user_id: nobody is 77", "key": "user_id"}},
            {"error": {"message": "where: there is no column colour", "key": "where"}},
            one,
        ],
    }
    assert live.retriever.batches == [4]


def test_a_batch_is_limited(ask: Callable[..., Asked]) -> None:
    asked = ask(max_batch=2)
    assert asked("POST", "/recommend/batch", json={"requests": [{}, {}]}).status_code == 200
    assert asked("POST", "/recommend/batch", json={"requests": [{}, {}, {}]}).status_code == 413


def test_similar(asked: Asked) -> None:
    answer = asked("GET", "/items/7/similar", params={"k": 3, "where": '{"price":{"max":2}}'})
    assert answer.json() == {"version": "run-1", "items": [{"item_id": 8, "score": 0.5, "label": None}]}
    assert answer.headers["x-bundle-version"] == "run-1"


def test_writes_reach_the_service(asked: Asked, live: FakeLive) -> None:
    written = {"version": "run-1", "written": 1}
    assert asked("PUT", "/items/12", json={"features": {"price": 1.5, "tags": ["a"]}}).json() == written
    assert asked("DELETE", "/items/12").json() == written
    assert asked("POST", "/users/-5/events", json={"item_id": 3, "time": 60}).json() == written
    assert live.written == [
        ItemPut(12, {"price": 1.5, "tags": ["a"]}),
        ItemRemoved(12),
        Event(-5, 3, 60),
    ]


def test_ids_of_text_may_hold_anything(asked: Asked, live: FakeLive) -> None:
    live.retriever.bundle.items.is_text = True
    for text, path in {
        "a/b": "a%2Fb",
        "é 1": "%C3%A9%201",
        "similar": "similar",
        "007": "007",
        "?": "%3F",
    }.items():
        assert asked("DELETE", f"/items/{path}").status_code == 200
        assert live.written[-1] == ItemRemoved(text)
    assert asked("GET", "/items/a%2Fsimilar/similar").status_code == 404
    assert asked("DELETE", "/items/%ff").status_code == 400


def test_reload(asked: Asked) -> None:
    answer = asked("POST", "/reload", json={"bundle": "run-2"})
    assert answer.json() == {"version": "run-2", "status": "ready"}
    assert answer.headers["x-bundle-version"] == "run-2"
    answer = asked("POST", "/reload", json={"bundle": "../run-3"})
    assert (answer.status_code, answer.headers["x-bundle-version"]) == (422, "run-2")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health(asked: Asked, path: str) -> None:
    assert asked("GET", path).json()["version"] == "run-1"


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
    ("GET", "/items/8/similar", {}, 404, "similar"),
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
    ("PUT", "/items/507", {"json": {"features": {}}}, 503, None),
    ("POST", "/reload", {"json": {"bundle": ""}}, 422, "bundle"),
    ("GET", "/nothing/here", {}, 404, None),
    ("GET", "/items/", {}, 405, None),
    ("PATCH", "/recommend", {"json": {}}, 405, None),
    ("POST", "/recommend", {"content": b"{}"}, 415, "Content-Type"),
]


@pytest.mark.parametrize(("method", "path", "arguments", "status", "key"), WRONG)
def test_a_mistake_is_told_with_its_key(
    asked: Asked, method: str, path: str, arguments: dict[str, Any], status: int, key: str | None
) -> None:
    answer = asked(method, path, **arguments)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert set(answer.json()["error"]) == {"message", "key"}
    assert answer.json()["error"]["key"] == key
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


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:30]))
@pytest.mark.parametrize("path", ["/recommend", "/recommend/batch", "/users/1/events", "/reload"])
def test_what_is_no_json_is_refused(asked: Asked, path: str, body: bytes) -> None:
    answer = asked("POST", path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["key"]) == (400, "body")


@pytest.mark.parametrize("digits", [20, 30, 400])
def test_numbers_beyond_64_bits_are_no_ids(asked: Asked, digits: int) -> None:
    body = b'{"user_id": ' + b"9" * digits + b"}"
    assert asked("POST", "/recommend", content=body, headers=JSON).status_code in (400, 422)


def test_a_failure_of_ours_is_told_without_its_inside(asked: Asked) -> None:
    answer = asked("POST", "/recommend", json={"user_id": 666})
    assert answer.status_code == 500
    assert answer.json() == {"error": {"message": "the service failed; its log says how", "key": None}}


def test_the_openapi_page_has_examples_for_every_body_and_no_framework_error(asked: Asked) -> None:
    page = asked("GET", "/openapi.json").json()
    schemas = page["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            for content in [operation.get("requestBody", {}), operation["responses"]["200"]]:
                schema = content.get("content", {}).get("application/json", {}).get("schema", {})
                name = schema.get("$ref", "").rpartition("/")[2]
                if name and name != "Answers":
                    assert schemas[name]["examples"], f"{method} {path}: {name}"
    assert page["paths"]["/recommend"]["post"]["responses"]["422"]["content"]["application/json"][
        "schema"
    ] == {"$ref": "#/components/schemas/Problem"}
