"""Every endpoint over a service that answers by rule."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import httpx
import pytest
from app_clients import Ask, client_of
from fake_live import FakeLive, FakeRetriever

from twotower.serving.http.models import RecommendRequest
from twotower.serving.live.changes import EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.requests import Request


@pytest.fixture
def asked(ask: Callable[..., Ask]) -> Ask:
    return ask()


def test_a_request_has_the_fields_that_the_retriever_takes() -> None:
    assert set(RecommendRequest.model_fields) == {field.name for field in fields(Request)}
    for name, field in RecommendRequest.model_fields.items():
        default = field.get_default(call_default_factory=True)
        ours = getattr(Request(), name)
        assert (list(default) if default == [] else default) == (list(ours) if ours == () else ours)


def test_recommend(asked: Ask) -> None:
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


def test_a_batch_is_answered_in_order_and_its_mistakes_one_by_one(asked: Ask, live: FakeLive) -> None:
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


def test_a_batch_is_limited(ask: Callable[..., Ask]) -> None:
    asked = ask(max_batch=2)
    assert asked("POST", "/recommend/batch", json={"requests": [{}, {}]}).status_code == 200
    assert asked("POST", "/recommend/batch", json={"requests": [{}, {}, {}]}).status_code == 413


def test_a_batch_is_counted_before_any_of_it_is_looked_at(ask: Callable[..., Ask]) -> None:
    answer = ask(max_batch=2)("POST", "/recommend/batch", json={"requests": [1, {"k": 0}, None]})
    assert (answer.status_code, answer.json()["error"]["key"]) == (413, "requests")


def test_a_large_batch_is_answered_by_one_version_though_another_comes_meanwhile() -> None:
    live = FakeLive()

    async def main() -> httpx.Response:
        async with client_of(live) as client:
            answer = first.answer

            def switching(requests: Sequence[Request]) -> Any:
                live.retriever = FakeRetriever("run-2")
                return answer(requests)

            first.answer = switching  # type: ignore[method-assign]
            return await client.post("/recommend/batch", json={"requests": [{"k": 10}] * 70})

    first = live.retriever
    answer = asyncio.run(main())
    assert first.batches == [1, 64, 6]  # after the warm-up, two batches
    assert (answer.headers["x-bundle-version"], answer.json()["version"]) == ("run-1", "run-1")
    assert len(answer.json()["answers"]) == 70
    assert live.retriever.version == "run-2"
    assert live.retriever.batches == []


def test_similar(asked: Ask) -> None:
    answer = asked("GET", "/items/7/similar", params={"k": 3, "where": '{"price":{"max":2}}'})
    assert answer.json() == {"version": "run-1", "items": [{"item_id": 8, "score": 0.5, "label": None}]}
    assert answer.headers["x-bundle-version"] == "run-1"


def test_writes_reach_the_service(asked: Ask, live: FakeLive) -> None:
    written = {"version": "run-1", "written": 1}
    assert asked("PUT", "/items/12", json={"features": {"price": 1.5, "tags": ["a"]}}).json() == written
    assert asked("DELETE", "/items/12").json() == written
    assert asked("POST", "/users/-5/events", json={"item_id": 3, "time": 60}).json() == written
    assert asked("PUT", "/users/-5", json={"features": {"age": None}}).json() == written
    assert asked("DELETE", "/users/-5").json() == written
    assert live.written == [
        ItemPut(12, {"price": 1.5, "tags": ["a"]}),
        ItemRemoved(12),
        EventAdded(-5, 3, 60),
        UserPut(-5, {"age": None}),
        UserForgotten(-5),
    ]


def test_ids_of_text_may_hold_anything(asked: Ask, live: FakeLive) -> None:
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
    for path, text in {
        "a%2Fsimilar": "a/similar",
        "a%2Fsimilar/similar": "a/similar",
        "a/similar": "a",
    }.items():
        answer = asked("GET", f"/items/{path}")
        assert answer.status_code == 404
        assert f"item '{text}' is not in the catalogue" in answer.json()["error"]["message"]
    assert (
        "first" in asked("GET", "/items/a%2Fsimilar/similar").json()["error"]["message"]
    )  # of similar items
    assert "first" not in asked("GET", "/items/a%2Fsimilar").json()["error"]["message"]


def test_reload(asked: Ask) -> None:
    answer = asked("POST", "/reload", json={"bundle": "run-2"})
    assert answer.json() == {"version": "run-2", "status": "ready"}
    assert answer.headers["x-bundle-version"] == "run-2"
    answer = asked("POST", "/reload", json={"bundle": "../run-3"})
    assert (answer.status_code, answer.headers["x-bundle-version"]) == (422, "run-2")


def test_a_reload_while_another_is_under_way_is_refused() -> None:
    live = FakeLive()

    async def main() -> tuple[httpx.Response, httpx.Response]:
        async with client_of(live) as client:
            live.go_on.clear()
            first = asyncio.create_task(client.post("/reload", json={"bundle": "run-2"}))
            assert await asyncio.to_thread(live.reloading.wait, 10)
            second = await client.post("/reload", json={"bundle": "run-3"})
            live.go_on.set()
            return await first, second

    first, second = asyncio.run(main())
    assert (first.status_code, second.status_code) == (200, 409)
    assert second.json()["error"]["key"] == "reload"
    assert live.retriever.version == "run-2"


def test_whoever_switches_to_another_bundle_it_is_told_once(
    live: FakeLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twotower.serving.http.server.WATCH_SECONDS", 0.001)
    told: list[str] = []

    async def until(number: int) -> None:
        async with asyncio.timeout(600):
            while len(told) < number:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)  # for what should not come

    async def main() -> None:
        async with client_of(live, on_bundle_change=lambda: told.append(live.retriever.version)) as client:
            await until(1)
            await client.post("/reload", json={"bundle": "run-2"})
            await until(2)
            live.retriever = FakeRetriever("run-3")  # as when it is opened anew in the background
            await until(3)

    asyncio.run(main())
    assert told == ["run-1", "run-2", "run-3"]


def test_no_error_tells_where_on_this_machine_files_are(asked: Ask) -> None:
    told = asked("POST", "/reload", json={"bundle": "damaged"}).json()["error"]["message"]
    assert told == "damaged/manifest.json: does not exist beside run-1"
    told = asked("PUT", "/items/507", json={"features": {}}).json()["error"]["message"]
    assert told == "live.sqlite: nothing was stored (disk I/O error)"


def test_readyz_says_what_the_bundle_does_not_know(asked: Ask, live: FakeLive) -> None:
    found = asked("GET", "/readyz").json()
    assert (found["status"], found["known_until"]) == ("ready", "2020-09-13 12:26:40")
    (warning,) = found["warnings"]
    assert "does not know 222 interactions" in warning
    assert "twotower train rebuild_bundle=run-1 adds them" in warning
    live.retriever.bundle.manifest.index.report = {"ok": False, "problems": ["too low a recall"]}
    assert "too low a recall" in asked("GET", "/readyz").json()["warnings"][0]


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/items/7/similar"])
def test_what_can_be_got_has_a_head(asked: Ask, path: str) -> None:
    assert asked("HEAD", path).status_code == 200
    assert asked("HEAD", "/recommend").status_code == 405


def test_the_openapi_page_has_examples_for_every_body_and_no_framework_error(asked: Ask) -> None:
    page = asked("GET", "/openapi.json").json()
    schemas = page["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    assert page["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    assert page["paths"]["/recommend"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in page["paths"]["/healthz"]["get"]
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                assert schemas[schema["$ref"].rpartition("/")[2]]["examples"], f"{method} {path}"


def test_each_error_of_the_openapi_page_has_an_example(asked: Ask) -> None:
    for path, methods in asked("GET", "/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            errors = {key: each for key, each in operation["responses"].items() if key != "200"}
            assert errors or path in ("/healthz", "/readyz")
            assert not {"400", "415"} & errors.keys() or method in ("post", "put"), path
            for each in errors.values():
                content = each["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
                assert content["example"]["error"]["message"]


def test_messages_name_endpoints_where_python_calls_methods(asked: Ask) -> None:
    message = asked("GET", "/items/8/similar").json()["error"]["message"]
    assert message.endswith("put it in first with PUT /items/{item_id}")
    message = asked("GET", "/nowhere").json()["error"]["message"]
    assert message == "no endpoint has this path; /docs shows all endpoints"
    assert "/docs" in asked("PATCH", "/recommend", json={}).json()["error"]["message"]


def test_the_page_of_the_api_is_complete_and_names_no_other_host(asked: Ask) -> None:
    page = asked("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert sorted(named) == [
        "data:,",
        "docs/swagger-ui-bundle.js",
        "docs/swagger-ui.css",
        "page/docs.js",
    ]
    for path in named[1:]:
        assert asked("GET", f"/{path}").status_code == 200
    start = asked("GET", "/page/docs.js").text
    assert 'url: "openapi.json"' in start
    assert "//" not in page.text.replace("</", "") + start.partition("\n")[2]


def test_a_context_and_the_word_of_an_event_are_passed_on(live: FakeLive, ask: Callable[..., Ask]) -> None:
    asked = ask()
    assert asked("POST", "/recommend", json={"user_id": 1, "context": {"device": "phone"}}).status_code == 200
    assert asked("POST", "/recommend", json={"user_id": 1, "context": {"device": {}}}).status_code == 422
    answer = asked("POST", "/users/3/events", json={"item_id": 7, "time": 5, "event": "view"})
    assert answer.json()["written"] == 1
    assert live.written == [EventAdded(3, 7, 5, "view")]
    assert asked("POST", "/users/3/events", json={"item_id": 7, "event": 3}).status_code == 422
