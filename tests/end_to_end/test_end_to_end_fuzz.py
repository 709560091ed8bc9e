"""Whatever a client sends, the fault is never the service's: no answer of 500 or more."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import tiny_bundle
from hypothesis import HealthCheck, given, settings

from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.live_service import LiveService

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", params=[True, False], ids=["text", "numbers"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny bundle, whose ids are texts or whole numbers."""
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle.write(folder / "run" / "bundle", text=request.param)
    return folder


@pytest.fixture
def app(root: Path) -> Iterator[Any]:
    live = LiveService(root, root / "run" / "bundle", None, lambda folder: folder / "bundle")
    config = ServiceConfig(
        bundle="run", console="quiet", max_body_bytes=100_000, allowed_hosts=["testserver"]
    )
    yield create_app(live, config)
    live.close()


def test_no_request_that_the_page_describes_fails(app: Any) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) >= 10
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def fuzz(case: Any) -> None:
            answer = case.call()
            assert answer.status_code < 500, answer.text
            (version,) = answer.headers["x-bundle-version"]
            assert version.startswith("run-")
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == {"message", "key"}

        fuzz()


HUGE, DEEP = "9" * 400, "[" * 3000 + "]" * 3000
LESS_DEEP = "[" * 400 + "]" * 400
STRANGE = [
    *(
        "null",
        "true",
        "0",
        '"x"',
        "[]",
        "[[]]",
        "{}",
        "-1",
        "1e308",
        "1e400",
        "NaN",
        "-Infinity",
        HUGE,
        DEEP,
        LESS_DEEP,
    ),
    *(
        '"\\ud800"',
        '"\\u0000"',
        '"\\udfff\\ud800"',
        '{"": {}}',
        '{"min": 1e308, "max": -1e308}',
        '[null, "", 0]',
    ),
    *("9223372036854775808", "-9223372036854775809", "18446744073709551616", "0.1", '{"min": "x"}', '"' * 3),
    '"' + "x" * 50_000 + '"',
]
FIELDS = [
    "user_id",
    "features",
    "history",
    "history_times",
    "request_time",
    "k",
    "allow",
    "deny",
    "where",
    "context",
]
INSIDE = [
    *(f'{{"features": {{"country": {{}}}}, "k": 3, "{field}": {{}}}}' for field in ("where", "history")),
    *(
        f'{{"features": {{"{column}": {{}}}}}}'
        for column in ("country", "when", "nothing", "user_id", "\\u0000")
    ),
    *(f'{{"where": {{"{column}": {{}}}}}}' for column in ("price", "tags", "title", "mixed", "nothing")),
    *('{"history": [{}]}', '{"history": [1001, {}], "history_times": [{}]}', '{"user_id": 1, "deny": [{}]}'),
]


def bodies() -> list[tuple[str, str, str]]:
    """Every field of every body, and what lies within, with every strange value."""
    asked = [("POST", "/recommend", f'{{"{field}": {value}}}') for field in FIELDS for value in STRANGE]
    asked += [("POST", "/recommend", text.replace("{}", value)) for text in INSIDE for value in STRANGE]
    for value in STRANGE:
        asked += [
            ("POST", "/recommend", value),
            ("POST", "/recommend/batch", value),
            ("POST", "/recommend/batch", f'{{"requests": {value}}}'),
            ("POST", "/recommend/batch", f'{{"requests": [{{}}, {{"user_id": {value}}}]}}'),
            ("PUT", "/items/new", f'{{"features": {value}}}'),
            *(
                ("PUT", f"/items/{item}", f'{{"features": {{"{column}": {value}}}}}')
                for column in ("price", "title", "tags", "mixed", "item_id")
                for item in ("item-001", "1001", "77")
            ),
            ("POST", "/users/user-01/events", f'{{"item_id": {value}}}'),
            ("POST", "/users/1/events", f'{{"item_id": 1001, "time": {value}}}'),
            ("POST", "/reload", f'{{"bundle": {value}}}'),
        ]
    return asked


SEGMENTS = [
    "%00",
    "%ff",
    "%ED%A0%80",
    "..",
    "%2e%2e%2f",
    "%2F",
    "%0a",
    "9" * 4000,
    "-0",
    "1e3",
    "%F0%9F%98%80",
    "",
    " ",
]
PATHS = [
    *(("DELETE", f"/items/{part}", "") for part in SEGMENTS),
    *(("PUT", f"/items/{part}", '{"features": {}}') for part in SEGMENTS),
    *(("POST", f"/users/{part}/events", '{"item_id": 1001}') for part in SEGMENTS),
    *(("GET", f"/items/{part}/similar", "") for part in SEGMENTS),
    *(("GET", f"/page/users/{part}", "") for part in SEGMENTS),
    *(("GET", f"/page/users?query={part}&limit={part}", "") for part in SEGMENTS),
    *(("GET", f"/page/items?query={part}", "") for part in SEGMENTS),
    *(("GET", f"/items/item-001/similar?k={part}&where={part}", "") for part in SEGMENTS),
    *(
        ("GET", f"/items/1001/similar?where=%7B%22price%22:{part}%7D", "")
        for part in (*SEGMENTS, "NaN", "1e400")
    ),
    *(("GET", path, "") for path in ("/page/../store.py", "/page/%2e%2e/store.py", "//", "/%00")),
]


@pytest.mark.parametrize("wrong", [b"\xff\xfe", b"{", b"", b'{"k": 1}}', b"\x00", b'{"k": 1, "k": 2}'])
def test_bytes_that_are_no_json_are_told(app: Any, wrong: bytes) -> None:
    (answer,) = asyncio.run(answers(app, [("POST", "/recommend", wrong)]))
    assert answer.status_code == (200 if b"2" in wrong else 400)


def test_strange_values_everywhere(app: Any) -> None:
    asked = [*bodies(), *PATHS]
    assert len(asked) > 1000
    statuses: dict[int, int] = {}
    for request, answer in zip(asked, asyncio.run(answers(app, asked)), strict=True):
        assert answer.status_code < 500, (request, answer.text)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.headers["x-bundle-version"].startswith("run-")
    assert {200, 400, 404, 422} <= statuses.keys()


async def answers(app: Any, asked: list[tuple[str, str, Any]]) -> list[httpx.Response]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        found = []
        for method, path, body in asked:
            sent = body if isinstance(body, bytes) else body.encode()
            found.append(await client.request(method, path, content=sent or None, headers=JSON))
        return found
