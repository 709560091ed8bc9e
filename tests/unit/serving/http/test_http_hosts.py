"""Requests in the name of another host, as a page sends whose name was made to stand for this machine."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from app_clients import Ask
from fake_live import FakeLive

from twotower.config.errors import InputError
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig

HOSTS = {
    "localhost": 200,
    "LocalHost:8080": 200,
    "127.0.0.1:9": 200,
    "[::1]:8080": 200,
    "192.0.2.7:8080": 200,
    "[2001:DB8::1]": 200,
    "shop.example:443": 200,
    "a.box.example": 200,
    "evil.example": 400,
    "localhost.evil.example": 400,
    "notlocalhost": 400,
    "127.0.0.1.evil.example": 400,
    "1.2.3": 400,
    "[abc]": 400,
    "a.shop.example": 400,
    "": 400,
    "a b": 400,
    "::1": 400,
}


def test_addresses_and_allowed_names_are_answered_for(ask: Callable[..., Ask]) -> None:
    asked = ask(allowed_hosts=["Shop.example", "*.box.example"])
    for host, status in HOSTS.items():
        headers = {"Host": host}
        found = [asked("GET", path, headers=headers) for path in ("/", "/healthz")]
        found.append(asked("POST", "/recommend", headers=headers, json={"user_id": 1}))
        assert [answer.status_code for answer in found] == [status] * 3, host
        if status == 400:
            error = {"error": {"message": "Invalid host header", "key": None}}
            assert [answer.json() for answer in found] == [error] * 3


def test_every_name_is_answered_for_if_that_is_set(ask: Callable[..., Ask]) -> None:
    assert ask(allowed_hosts=["*"])("GET", "/healthz", headers={"Host": "evil.example"}).status_code == 200


@pytest.mark.parametrize(("bound", "name"), [("0.0.0.0", socket.gethostname()), ("towers.lan", "towers.lan")])
def test_the_name_of_the_machine_or_of_host_is_answered_for(
    ask: Callable[..., Ask], bound: str, name: str
) -> None:
    asked = ask(host=bound)
    assert asked("GET", "/healthz", headers={"Host": f"{name}:8080"}).status_code == 200
    assert asked("GET", "/healthz", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("wrong", ["https://shop.example", "shop.example:80", "", "a.*.example", "a b"])
def test_what_is_no_name_is_refused_before_it_serves(wrong: str) -> None:
    with pytest.raises(InputError, match="allowed_hosts"):
        ServiceConfig.from_settings({"bundle": "run", "allowed_hosts": ["shop.example", wrong]})


BINARY = bytes(range(128, 256)) * 40
HEADERS = [
    b"host",
    b"authorization",
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"origin",
    b"access-control-request-method",
    b"access-control-request-headers",
    b"if-none-match",
    b"accept",
    b"accept-encoding",
    b"range",
    b"x-anything",
]


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/recommend"), ("OPTIONS", "/recommend"), ("GET", "/page/style.css")]
)
def test_a_binary_header_is_not_told_back(name: bytes, method: str, path: str) -> None:
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"{", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    headers = {
        b"host": b"localhost",
        b"content-type": b"application/json",
        b"origin": b"https://shop.example",
    }
    headers[name] = BINARY
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*headers.items()],
    }
    app = create_app(
        FakeLive(), ServiceConfig(bundle="run", console="quiet", cors_origins=["https://shop.example"])
    )  # type: ignore[arg-type]
    asyncio.run(app(scope, receive, send))
    start, *bodies = sent
    assert start["status"] < 500
    if start["status"] >= 400:
        assert sum(len(each["body"]) for each in bodies) < 1000
    assert sum(len(name) + len(value) for name, value in start["headers"]) < 1000
