"""Several processes for one bundle: writes through any, reads from all, and any of them killed."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from forks import ForkedWorker, free_port
from in_process import run_command
from test_end_to_end_serve import Service, runs, service

from twotower.serving.http.metrics import MULTIPROCESS_FOLDER
from twotower.serving.http.workers import SETTINGS, create_worker_app
from twotower.serving.live.change_store import read_changes
from twotower.serving.live.changes import ItemPut

__all__ = ["runs"]  # the fixture
ASKED = {"user_id": "user-03", "k": 100}


def workers_of(running: Service) -> list[int]:
    """Return the processes that answer; Python starts one more, which tracks resources."""
    parent = running.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def on_many(running: Service, call: Callable[[httpx.Client], object], number: int = 12) -> list[object]:
    """What is answered on connections of their own, which the system hands to either worker."""
    found = []
    for _ in range(number):
        with httpx.Client(base_url=running.url, timeout=600) as client:
            found.append(call(client))
    return found


def offered(client: httpx.Client) -> set[str]:
    return {each["item_id"] for each in client.post("/recommend", json=ASKED).json()["items"]}


def versions(running: Service) -> set[object]:
    return set(on_many(running, lambda client: client.get("/healthz").json()["version"]))


def once(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def kill_one(running: Service) -> None:
    """Kill a worker and wait until another has taken its place."""
    killed = workers_of(running)[0]
    os.kill(killed, signal.SIGKILL)
    once(lambda: len(workers_of(running)) == 2 and killed not in workers_of(running))


def test_any_worker_writes_is_followed_and_may_be_killed(runs: tuple[Path, Path], tmp_path: Path) -> None:
    store = tmp_path / "live.sqlite"
    with service(runs[0], "workers=2", f"store={store}", "console=quiet") as running:
        once(lambda: len(workers_of(running)) == 2)
        refused = run_command("serve", f"bundle={runs[0]}", f"store={store}", f"port={free_port()}")
        assert refused.returncode == 2
        assert "in use by another process" in refused.stderr
        names = iter(f"new-{number}" for number in range(100))

        def put(client: httpx.Client) -> str:
            name, features = next(names), {"title": "RED LAMP", "price": 2.0}
            assert client.put(f"/items/{name}", json={"features": features}).json()["written"] == 1
            assert name in offered(client)  # on the same connection, at once
            return name

        written = set(on_many(running, put))
        once(lambda: all(written <= found for found in on_many(running, offered)))
        version = running.ok("POST", "/reload", json={"bundle": "run-b"})["version"]
        assert running.ok("GET", "/healthz")["version"] == version  # on the same connection, at once
        once(lambda: versions(running) == {version})

        kill_one(running)
        written.add(on_many(running, put, number=1)[0])
        once(lambda: all(written <= found for found in on_many(running, offered)))
        assert versions(running) == {version}

        running.client.close()
        running.client = httpx.Client(base_url=running.url, timeout=600)
        figures = running.client.get("/metrics").text
        puts = re.search(r'requests_total{route="/items/{item_id}",status="200"} (.*)', figures)
        assert puts is not None
        assert float(puts[1]) == 13  # including those of the killed worker
        left = workers_of(running)
        status, _, _ = running.end(signal.SIGTERM)
    assert status == 0
    assert not any(Path(f"/proc/{each}").exists() for each in left)
    assert {each.item_id for each in read_changes(store) if isinstance(each, ItemPut)} == written


@pytest.mark.slow
def test_no_worker_outlives_the_service(runs: tuple[Path, Path]) -> None:
    with service(runs[0], "workers=2", 'store=""', "console=quiet") as running:
        left = workers_of(running)
        assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
        once(lambda: not any(Path(f"/proc/{each}").exists() for each in left))


@pytest.fixture
def damaged(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A run whose bundle no worker can load."""
    damaged = shutil.copytree(runs[0], tmp_path / "damaged")
    vectors = damaged / "bundle" / "item_embeddings.npy"
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"x")
    return damaged


def test_a_worker_that_cannot_start_ends_the_service_with_its_message(damaged: Path) -> None:
    ended = run_command("serve", f"bundle={damaged}", "workers=2", f"port={free_port()}")
    assert ended.returncode == 2
    assert "item_embeddings.npy: damaged" in ended.stderr


def test_a_worker_that_cannot_start_ends_though_nobody_stops_it(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where uvicorn stopped it while it was importing, and will not do so again."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    settings = {
        "bundle": f"{damaged}/bundle",
        "bundles_root": str(tmp_path),
        "store": f"{tmp_path}/live.sqlite",
    }
    monkeypatch.setenv(SETTINGS, json.dumps(settings))
    monkeypatch.setenv(MULTIPROCESS_FOLDER, str(tmp_path))
    worker = ForkedWorker(target=create_worker_app)
    worker.start()
    worker.join(600)
    assert worker.exitcode == 1
    assert asked == [signal.SIGTERM]
    assert "item_embeddings.npy: damaged" in (tmp_path / "failure").read_text()


def test_a_mistake_is_reported_once() -> None:
    ended = run_command("serve", "bundle=nowhere", "workers=2", "port=0")
    assert ended.returncode == 2
    assert ended.stderr.count("error: ") == 1
    assert "nowhere" in ended.stderr
