"""Keys and scopes."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from app_clients import Ask, asking
from fake_live import FakeLive

from twotower.config.errors import InputError
from twotower.serving.http.api_keys import Keys

READ_KEY, WRITE_KEY = "r" * 32, "w" * 32
LINES = ["# keys", "", f"read {READ_KEY}", f"write {WRITE_KEY}"]
RECOMMEND = {"json": {"user_id": 1}}
WRITES = [
    ("PUT", "/items/3", {"json": {"features": {}}}),
    ("DELETE", "/items/3", {}),
    ("POST", "/users/3/events", {"json": {"item_id": 1}}),
    ("POST", "/reload", {"json": {"bundle": "other"}}),
]
READS = [
    ("POST", "/recommend", RECOMMEND),
    ("POST", "/recommend/batch", {"json": {"requests": [{"user_id": 1}]}}),
    ("GET", "/items/7/similar", {}),
    ("GET", "/metrics", {}),
]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_needed_and_a_wrong_one_is_none(ask: Callable[..., Ask]) -> None:
    asked = ask(Keys(LINES))
    wrong = [bearer(key) for key in ("x" * 32, "", READ_KEY[:-1], READ_KEY + "r")]
    wrong += [{}, {"Authorization": WRITE_KEY}, {"Authorization": f"Basic {WRITE_KEY}"}]
    for method, path, body in [*READS, *WRITES]:
        for headers in wrong:
            answer = asked(method, path, headers=headers, **body)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["key"] == "Authorization"
        assert asked(method, path, headers=bearer(WRITE_KEY), **body).status_code == 200


def test_a_key_for_reading_reads_and_changes_nothing(ask: Callable[..., Ask], live: FakeLive) -> None:
    asked = ask(Keys(LINES))
    for status, requests in ((200, READS), (403, WRITES)):
        for method, path, body in requests:
            answer = asked(method, path, headers=bearer(READ_KEY), **body)
            assert answer.status_code == status, (method, path)
    assert live.written == []


def test_what_tells_nothing_of_users_and_items_is_open(ask: Callable[..., Ask]) -> None:
    asked = ask(Keys(LINES))
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/page/docs.js"):
        assert asked("GET", path).status_code == 200
    for path in ("/items/a.css", "/page/users/a.js", "/page/users", "/page/facets"):  # not files of the page
        assert asked("GET", path).status_code == 401


def test_every_endpoint_of_the_openapi_page_but_health_needs_a_key(ask: Callable[..., Ask]) -> None:
    asked = ask(Keys(LINES))
    bodies = {(method, path): body for method, path, body in WRITES + READS}
    for path, methods in asked("GET", "/openapi.json").json()["paths"].items():
        for method in map(str.upper, methods):
            address = path.format(item_id=3, user_id=3)
            body = bodies.get((method, address), {} if method in ("GET", "DELETE") else {"json": {}})
            expected = 200 if path in ("/healthz", "/readyz") else 401
            assert asked(method, address, **body).status_code == expected, (method, path)


def test_a_file_of_keys_is_checked_and_its_keys_are_never_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    for text, told in {
        f"admin {WRITE_KEY}": "line 1: expected `read <key>`",
        f"# a\nwrite {WRITE_KEY} more": "line 2: expected",
        "read short": "16 or more ASCII characters",
        f"read {'é' * 20}": "16 or more ASCII characters",
        "# none": "has no key",
    }.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=told) as refused:
            Keys.read(str(path))
        assert WRITE_KEY not in str(refused.value)
        assert "short" not in str(refused.value)
    with pytest.raises(InputError, match="cannot be read"):
        Keys.read(str(tmp_path / "missing"))
    assert not Keys.read("")


def test_keys_are_in_no_log_and_no_dump(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(LINES)
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    with caplog.at_level(logging.DEBUG), asking(FakeLive(), keys, console="jsonl") as asked:
        path = f"/recommend?key={READ_KEY}"
        answer = asked("POST", path, headers=bearer(READ_KEY), json={"user_id": 666})
    assert answer.status_code == 500
    # the client of this test, httpx, logs what it asks; it is no part of the service
    ours = "".join(str(record.__dict__) for record in caplog.records if not record.name.startswith("httpx"))
    assert '"path":"/recommend","status":500' in out.getvalue()  # the log is written by now
    dumped = "".join((ours, out.getvalue(), answer.text, str(vars(keys))))
    assert READ_KEY not in dumped


def test_other_origins_are_refused_unless_named(ask: Callable[..., Ask]) -> None:
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in ask()("OPTIONS", "/recommend", headers=preflight).headers
    named = ask(Keys(LINES), cors_origins=["https://shop.example"])
    allowed = named("OPTIONS", "/recommend", headers=preflight)
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    other = named("OPTIONS", "/recommend", headers=preflight | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"].startswith("Origin")
    assert other.json()["error"]["message"] == "Disallowed CORS origin"


def test_a_form_of_another_page_cannot_ask(ask: Callable[..., Ask]) -> None:
    # a page may send text/plain to any address without asking first
    answer = ask()("POST", "/users/1/events", content='{"item_id":1}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
