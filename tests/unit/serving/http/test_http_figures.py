"""Metrics and the access log, and ids in paths."""

import asyncio
import io
import json
import re
import threading
from types import SimpleNamespace

import pytest
from app_clients import client_of
from fake_live import FakeLive

from twotower.config.errors import InputError
from twotower.serving.http.metrics import MAX_LINES, AccessLog
from twotower.serving.http.routes import id_of


def test_metrics_count_by_route_and_status() -> None:
    async def main() -> str:
        async with client_of(FakeLive()) as client:
            for user in (1, 2, 99):
                await client.post("/recommend", json={"user_id": user})
            await client.get("/items/7/similar")
            await client.get("/items/8/similar")
            await client.get("/nothing/8")
            return (await client.get("/metrics")).text

    text = asyncio.run(main())
    for line in (
        'twotower_requests_total{route="/recommend",status="200"} 2.0',
        'twotower_requests_total{route="/recommend",status="404"} 1.0',
        'twotower_requests_total{route="/items/{item_id}/similar",status="200"} 1.0',
        'twotower_requests_total{route="/items/{item_id}/similar",status="404"} 1.0',
        'twotower_requests_total{route="none",status="404"} 1.0',
        'twotower_request_seconds_count{route="/recommend"} 3.0',
        "twotower_batch_size_sum 4.0",  # with the one that warms it up
        "twotower_items 3.0",
        "twotower_live_share 0.25",
        "twotower_removed_share 0.125",
        'twotower_bundle_info{version="run-1"} 1.0',
    ):
        assert f"\n{line}\n" in text


def written(console: str, *paths: str) -> str:
    stream = io.StringIO()
    log = AccessLog(console, stream)
    for path in paths:
        log.write("127.0.0.1", "GET", path, 200, 0.0125)
    log.close()
    return stream.getvalue()


def test_the_access_log_has_a_line_for_each_request() -> None:
    lines = [json.loads(line) for line in written("jsonl", "/a", "/b").splitlines()]
    assert [line["path"] for line in lines] == ["/a", "/b"]
    assert (lines[0]["status"], lines[0]["ms"], lines[0]["method"]) == (200, 12.5, "GET")
    assert re.fullmatch(r"\S+Z 127.0.0.1 GET '/a' 200 12.50 ms\n", written("full", "/a"))
    assert written("quiet", "/a") == ""


def test_a_path_makes_no_line_of_its_own() -> None:
    for console in ("full", "jsonl"):
        assert written(console, "/a\nGET /forged").count("\n") == 1


class Stuck(io.StringIO):
    """A stream that takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.begun.set()
        assert self.go.wait(10)
        return super().write(text)


def test_a_stuck_stream_blocks_no_request() -> None:
    stream = Stuck()
    log = AccessLog("jsonl", stream)
    log.write("-", "GET", "/", 200, 0.0)
    assert stream.begun.wait(10)  # the thread waits for the stream, and takes no lines meanwhile
    for _ in range(MAX_LINES + 7):
        log.write("-", "GET", "/", 200, 0.0)
    stream.go.set()
    log.close()
    assert len(stream.getvalue().splitlines()) == MAX_LINES + 1


@pytest.mark.parametrize(
    "text", ["", "-0", "00", "+1", "1.0", " 1", "1 ", "1_0", "٣", "x", str(2**63), "9" * 5000]
)
def test_other_names_of_numbers_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="whole numbers of 64 bits"):
        id_of(text, SimpleNamespace(is_text=False), "item")
    if text:
        assert id_of(text, SimpleNamespace(is_text=True), "item") == text


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0\u2003"])
def test_what_nobody_can_see_is_no_id(text: str) -> None:
    with pytest.raises(InputError, match="item_id: expected more than white space"):
        id_of(text, SimpleNamespace(is_text=True), "item")
