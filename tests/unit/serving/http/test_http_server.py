"""The start of the service."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fake_live import FakeLive
from fastapi import FastAPI, Request

from twotower.config.errors import InputError
from twotower.serving.http.server import bind, find_paths, open_service, print_start, uvicorn_options
from twotower.serving.http.service_config import ServiceConfig


@pytest.mark.parametrize(
    ("bundle", "told", "root", "store"),
    [
        (
            "/outputs/default/run/bundle",
            (None, None),
            "/outputs/default",
            "/outputs/default/run/live.sqlite",
        ),
        ("/data/spring", (None, None), "/data", "/data/live.sqlite"),  # and not the whole disk
        ("/data/spring", ("/srv", "live.db"), "/srv", "live.db"),
        ("/outputs/default/run/bundle", (None, ""), "/outputs/default", None),
    ],
)
def test_bundles_and_live_changes_have_their_places(
    bundle: str, told: tuple[str | None, str | None], root: str, store: str | None
) -> None:
    assert find_paths(Path(bundle), *told) == (Path(root), None if store is None else Path(store))


def test_a_root_of_bundles_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    config = ServiceConfig(bundle="run")
    with pytest.raises(InputError, match=r"bundles_root=.*absent: there is no such folder"):
        open_service(config, tmp_path, tmp_path / "absent", None)


def test_a_port_in_use_and_a_foreign_host_are_refused_by_name() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(InputError, match=rf"host, port: 127\.0\.0\.1:{port} cannot be bound"):
            bind("127.0.0.1", port)
    with pytest.raises(InputError, match=r"192\.0\.2\.1:0 cannot be bound"):
        bind("192.0.2.1", 0)


def test_an_ipv6_address_has_brackets_in_the_url(capsys: pytest.CaptureFixture[str]) -> None:
    config = ServiceConfig(bundle="run", host="::1", port=81)
    print_start(config, FakeLive(), has_keys=True)  # type: ignore[arg-type]
    assert "items at http://[::1]:81 (API: http://[::1]:81/docs)" in capsys.readouterr().out


@pytest.mark.parametrize("console", ["full", "jsonl", "quiet"])
def test_the_start_says_up_to_when_users_are_known_and_what_is_not_known(
    console: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ServiceConfig(bundle="run", console=console)  # type: ignore[arg-type]
    print_start(config, FakeLive(), has_keys=False)  # type: ignore[arg-type]
    printed = capsys.readouterr()
    assert printed.err.startswith("warning: the bundle does not know 222 interactions of the log")
    assert "twotower train rebuild_bundle=/srv/bundles/run-1 adds them" in printed.err
    if console == "full":
        assert printed.out.endswith("users are known up to 2020-09-13 12:26:40 UTC\n")
    if console == "jsonl":
        found = json.loads(printed.out)
        assert (found["known_until"], len(found["warnings"])) == ("2020-09-13 12:26:40", 1)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """Serve an application that answers with the size of the body, with the settings of the service."""
    app = FastAPI()

    @app.api_route("/", methods=["GET", "POST"])
    async def size(request: Request) -> int:
        return len(await request.body())

    server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(ServiceConfig(bundle="run"))))
    with bind("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.001)
        yield bound.getsockname()
        server.should_exit = True
        thread.join()


GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
POST = GET.replace(b"GET", b"POST")
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n"
LONG = b"a" * 3_000_000


def answer(address: tuple[str, int], request: bytes) -> bytes:
    received = b""
    with socket.create_connection(address, timeout=600) as client, contextlib.suppress(ConnectionError):
        with contextlib.suppress(ConnectionError):
            client.sendall(request)
        while block := client.recv(65_536):
            received += block
    return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET + b"x: " + LONG + b"\r\n\r\n",
        GET + LONG + b": 1\r\n\r\n",
        GET + b"x: 1234567890\r\n" * 200_000 + b"\r\n",
        b"GET /?" + LONG + GET.removeprefix(b"GET /") + b"\r\n",
        CHUNKED + b"0\r\nx: " + LONG + b"\r\n\r\n",
        CHUNKED + b"1;" + LONG + b"\r\na\r\n0\r\n\r\n",
    ],
    ids=["value", "name", "many", "query", "trailer", "chunk extension"],
)
def test_long_headers_are_refused(request_bytes: bytes, address: tuple[str, int]) -> None:
    received = answer(address, request_bytes)
    assert received.startswith(b"HTTP/1.1 431 ")
    assert b" 200 OK" not in received


@pytest.mark.parametrize(
    ("request_bytes", "size"),
    [
        (GET + b"x: " + LONG[:50_000] + b"\r\n\r\n", 0),
        (POST + b"content-length: 3000000\r\n\r\n" + LONG, 3_000_000),
        (CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n", 50_001),
    ],
    ids=["header", "body", "chunks"],
)
def test_long_bodies_are_not_headers(request_bytes: bytes, size: int, address: tuple[str, int]) -> None:
    assert answer(address, request_bytes).endswith(b"\r\n\r\n%d" % size)
