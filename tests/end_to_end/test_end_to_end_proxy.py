"""The nginx configuration of docs/serve.md, in front of the service."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from forks import free_port
from test_end_to_end_serve import Service, runs, service

__all__ = ["runs"]  # the fixture
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
ASKED = {"user_id": "user-03", "k": 5}


def example() -> str:
    found = re.search(r"```nginx\n(.*?)```", (DOCS / "serve.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def proxied(
    runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, httpx.Client]]:
    """A service, and a client of nginx in front of it."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    with service(runs[0], 'store=""', "console=quiet", "allowed_hosts=[shop.example]") as running:
        text = example()
        for theirs, ours in (
            ("127.0.0.1:8080", f"127.0.0.1:{running.port}"),
            ("listen 80;", f"listen 127.0.0.1:{port};"),
            ("client_header_timeout 10s;", "client_header_timeout 1s;"),
        ):
            assert theirs in text
            text = text.replace(theirs, ours)
        paths = "".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(
            f"pid {folder}/pid; error_log {folder}/errors; events {{}} "
            f"http {{ access_log off; {paths}\n{text}}}\n"
        )
        command = [
            str(NGINX),
            "-p",
            str(folder),
            "-e",
            f"{folder}/errors",
            "-c",
            str(config),
            "-g",
            "daemon off;",
        ]
        process = subprocess.Popen(command)
        headers = {"Host": "shop.example"}
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=600) as client:
                wait_until_ready(client)
                yield running, client
        finally:
            process.terminate()
            process.wait(timeout=60)


def wait_until_ready(client: httpx.Client) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            assert client.get("/readyz").status_code == 200
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("nginx does not answer")


def test_the_proxy_passes_requests_and_answers(proxied: tuple[Service, httpx.Client]) -> None:
    running, client = proxied
    answer = client.post("/recommend", json=ASKED)
    assert answer.json() == running.ok("POST", "/recommend", json=ASKED)
    assert answer.headers["x-bundle-version"] == answer.json()["version"]
    assert client.put("/items/a%2Fb", json={"features": {"title": "LAMP"}}).json()["written"] == 1
    assert client.get("/items/a%2Fb").json()["item_id"] == "a/b"
    assert "<html" in client.get("/").text


def test_the_proxy_refuses_large_bodies(proxied: tuple[Service, httpx.Client]) -> None:
    answer = proxied[1].post(
        "/recommend", content=b" " * 2_000_000, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_the_proxy_closes_connections_of_slow_clients(proxied: tuple[Service, httpx.Client]) -> None:
    url = proxied[1].base_url
    with socket.create_connection((url.host, url.port or 80), timeout=600) as slow:
        slow.sendall(b"POST /recommend HTTP/1.1\r\nHost: shop.example\r\n")
        assert slow.recv(999) == b""


def test_the_proxy_limits_the_rate_of_a_client(proxied: tuple[Service, httpx.Client]) -> None:
    statuses = set()
    until = time.monotonic() + 60
    while 429 not in statuses and time.monotonic() < until:
        statuses.add(proxied[1].get("/healthz").status_code)
    assert statuses == {200, 429}
