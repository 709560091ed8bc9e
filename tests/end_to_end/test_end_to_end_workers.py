"""Several processes for one bundle: writes through any, reads from all, and any of them killed."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from in_process import run_command
from test_end_to_end_serve import Service, runs, service

from twotower.serving.live.stored_changes import read_stored_changes

__all__ = ["runs"]  # the fixture
DIR = "PROMETHEUS_MULTIPROC_DIR="
ASKED = {"user_id": "user-03", "k": 100}


def workers_of(running: Service) -> tuple[int, int]:
    """The processes of the worker that writes, which has one argument more, and of the other."""
    parent = running.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    commands = {int(each): Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")[:-1] for each in children}
    writer, other = sorted(commands, key=lambda each: -len(commands[each]))
    return writer, other


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


def killed(running: Service, place: int) -> None:
    """Kill the worker at a place of `workers_of`, and wait until the system has closed what it had."""
    process = workers_of(running)[place]
    subprocess.run(["kill", "-KILL", str(process)], check=True)
    once(lambda: not Path(f"/proc/{process}").exists())


def all_ready(running: Service) -> None:
    once(lambda: running.client.get("/readyz").status_code == 200)


def test_any_worker_may_be_asked_and_killed(runs: tuple[Path, Path], tmp_path: Path) -> None:
    store = tmp_path / "live.sqlite"
    with service(runs[0], "workers=2", f"store={store}", "console=quiet") as running:
        names = iter(f"new-{number}" for number in range(100))

        def put(client: httpx.Client) -> str:
            name, features = next(names), {"title": "RED LAMP", "price": 2.0}
            assert client.put(f"/items/{name}", json={"features": features}).json()["written"] == 1
            assert name in offered(client)  # where it was written, at once
            return name

        written = set(on_many(running, put))
        once(lambda: all(written <= found for found in on_many(running, offered)))
        refusals = on_many(running, lambda client: client.delete("/items/nobody").text)
        assert len(set(refusals)) == 1
        assert "nobody" in str(refusals[0])

        version = running.ok("POST", "/reload", json={"bundle": "run-b"})["version"]
        assert running.ok("GET", "/healthz")["version"] == version  # where it was asked for, at once
        once(lambda: versions(running) == {version})

        killed(running, 1)
        assert all(written <= found for found in on_many(running, offered))  # the writer alone
        all_ready(running)
        killed(running, 0)
        assert running.client.delete("/items/new-0").status_code == 200  # waits for the next writer
        all_ready(running)
        written -= {"new-0"}
        changed = written | {"new-0"}
        once(lambda: all(found & changed == written for found in on_many(running, offered)))
        assert versions(running) == {version}

        figures = running.client.get("/metrics").text
        puts = re.search(r'requests_total{route="/items/{item_id}",status="200"} (.*)', figures)
        assert puts is not None
        assert float(puts[1]) == 13  # those of workers that are gone too
        left = workers_of(running)
        status, _, err = running.end(signal.SIGTERM)
    assert status == 0
    assert not any(Path(f"/proc/{each}").exists() for each in left)
    assert err.count("by SIGKILL; it is started again") == 2
    assert {put.item_id for put in read_stored_changes(store).puts} == written


@pytest.mark.slow
def test_no_worker_outlives_the_service(runs: tuple[Path, Path]) -> None:
    with service(runs[0], "workers=2", 'store=""', "console=quiet") as running:
        left = workers_of(running)
        folder = next(
            each for each in Path(f"/proc/{left[1]}/environ").read_text().split("\0") if DIR in each
        )
        assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
        once(lambda: not any(Path(f"/proc/{each}").exists() for each in left))
        assert not Path(folder.removeprefix(DIR)).parent.exists()


def test_a_mistake_is_told_once(runs: tuple[Path, Path]) -> None:
    ended = run_command("serve", "bundle=nowhere", "workers=2", "port=0")
    assert ended.returncode == 2
    assert ended.stderr.count("error: ") == 1
    assert "nowhere" in ended.stderr
