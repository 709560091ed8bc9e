"""Requests in the name of another host, as a page sends whose name was made to stand for this machine."""

import asyncio
import socket
from collections.abc import Callable, Sequence

import httpx
import pytest
from fake_live import FakeLive

from twotower.config.errors import InputError
from twotower.serving.http.http_errors import HttpError
from twotower.serving.http.security import Hosts
from twotower.serving.http.server import create_app
from twotower.serving.http.service_config import ServiceConfig

Ask = Callable[..., httpx.Response]

OURS = [
    b"localhost",
    b"localhost:8080",
    b"LocalHost.",
    b"127.0.0.1:9",
    b"[::1]",
    b"[::1]:8080",
    b"192.0.2.7:8080",
    b"[2001:DB8::1]",
]
FOREIGN = [
    b"evil.example",
    b"evil.example:8080",
    b"localhost.evil.example",
    b"notlocalhost",
    b"127.0.0.1.evil.example",
    b"1.2.3",
    b"[abc]",
    b"shop.example",
]
UNREADABLE = [b"", b":8080", b"a b", b"localhost:x", b"localhost/x", b"a@localhost", b"::1", b"\xff" * 5000]


def status_of(hosts: Hosts, *given: bytes, version: str = "1.1") -> int:
    try:
        hosts.check([*given], version)
    except HttpError as error:
        refused = error
    else:
        return 200
    assert refused.key == "Host"
    assert len(refused.message) < 200
    return refused.status


@pytest.mark.parametrize(
    ("given", "status"),
    [
        *(([each], 200) for each in OURS),
        *(([each], 421) for each in FOREIGN),
        *(([each], 400) for each in UNREADABLE),
        ([], 400),
        ([b"localhost", b"evil.example"], 400),
        ([b"localhost", b"localhost"], 400),
        ([b"x" * 5000], 421),
    ],
)
def test_addresses_and_localhost_are_answered_for_and_other_names_are_not(
    given: Sequence[bytes], status: int
) -> None:
    assert status_of(Hosts(), *given) == status


def test_names_that_are_allowed_or_bound_are_answered_for() -> None:
    hosts = Hosts(["Shop.example", "box"], bound="towers.lan")
    for name in (b"shop.example", b"SHOP.EXAMPLE:443", b"box", b"towers.lan:8080", b"localhost"):
        assert status_of(hosts, name) == 200
    assert status_of(hosts, b"a.shop.example") == 421
    assert status_of(Hosts(["*"]), b"evil.example") == 200
    assert status_of(Hosts(["*"]), b"\x00") == 400


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
def test_bound_to_all_addresses_it_answers_for_its_own_name(bound: str) -> None:
    own = socket.gethostname().encode()
    assert status_of(Hosts(bound=bound), own) == 200
    assert status_of(Hosts(bound=bound), b"evil.example") == 421


def test_the_version_of_http_that_knows_no_host_needs_none() -> None:
    assert status_of(Hosts(), version="1.0") == 200
    assert status_of(Hosts(), b"evil.example", version="1.0") == 421


@pytest.mark.parametrize("wrong", ["https://shop.example", "shop.example:80", "", "*.shop.example", "a b"])
def test_what_is_no_name_is_refused_before_it_serves(wrong: str) -> None:
    with pytest.raises(InputError, match=r"allowed_hosts: .*without http://"):
        Hosts(["shop.example", wrong])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/healthz"),
        ("GET", "/items/7/similar"),
        ("POST", "/recommend"),
    ],
)
def test_the_application_answers_no_page_of_another_name(
    ask: Callable[..., Ask], live: FakeLive, method: str, path: str
) -> None:
    body = {"json": {"user_id": 1}} if method == "POST" else {}
    for host, status in (("evil.example", 421), ("127.0.0.1:8080", 200)):
        answer = ask()(method, path, headers={"Host": host}, **body)
        assert answer.status_code == status, answer.text
    told = ask()(method, path, headers={"Host": "evil.example:8080"}, **body).json()["error"]
    assert told["key"] == "Host"
    assert "evil.example; see allowed_hosts" in told["message"]
    named = ask(hosts=Hosts(["shop.example"]))
    assert named(method, path, headers={"Host": "shop.example"}, **body).status_code == 200


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
