"""The service as it runs: a process of its own, real sockets, signals, and two bundles that switch."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import forks
import httpx
import pytest
import swap
import tiny_bundle
from filelock import FileLock
from forks import free_port
from in_process import run_script

from twotower.serving.retriever import Retriever

SCRIPTS = Path(__file__).parents[2] / "scripts"
KEYS = {"read": "r" * 32, "write": "w" * 32}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs in one folder with the same users and items, but other towers; nothing may change them.

    All processes of the suite share them: an export takes seconds.
    """
    place = tmp_path_factory.getbasetemp()
    root = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "served"
    with FileLock(root.with_suffix(".lock")):
        for name, history_items in (("run-a", "table"), ("run-b", "tower")):
            if not (root / name / "bundle").exists():
                tiny_bundle.write(root / name / "bundle", history_items=history_items)
        (root / "empty").mkdir(exist_ok=True)
    return root / "run-a", root / "run-b"


class Service:
    """One process of twotower serve: a fork, or a fresh one where how it begins is tested."""

    def __init__(self, run: Path, *overrides: str, fresh: bool = False) -> None:
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory()
        self.out, self.err = (Path(self.folder.name, name) for name in ("out", "err"))
        settings = [f"bundle={run}", f"port={self.port}", *overrides]
        self.process: subprocess.Popen[bytes] | forks.Fork
        if fresh:
            command = [sys.executable, str(SCRIPTS / "serve.py"), *settings]
            with self.out.open("wb") as out, self.err.open("wb") as err:
                self.process = subprocess.Popen(command, stdout=out, stderr=err)
        else:
            self.process = forks.serve(*settings, out=self.out, err=self.err)
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=600)

    def wait(self) -> "Service":
        until = time.monotonic() + 600
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if self.client.get("/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(self.end(signal.SIGKILL))

    def end(self, how: signal.Signals) -> tuple[int, str, str]:
        self.client.close()
        self.process.send_signal(how)
        status = self.process.wait(timeout=600)
        return status, self.out.read_text(), self.err.read_text()

    def ok(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self.client.request(method, path, **arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def service(run: Path, *overrides: str) -> Iterator[Service]:
    started = Service(run, *overrides)
    try:
        yield started.wait()
    finally:
        started.end(signal.SIGKILL)  # harmless where it has ended
        started.folder.cleanup()


@pytest.fixture(scope="module")
def guarded(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of few connections that wants keys, with a client that has one; tests share it."""
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(f"write {KEYS['write']}\nread {KEYS['read']}\n")
    settings = [
        'store=""',
        "console=quiet",
        f"api_keys_file={keys}",
        "allowed_hosts=[shop.example]",
        "max_connections=40",
    ]
    with service(runs[0], *settings) as running:
        running.client.headers["Authorization"] = f"Bearer {KEYS['write']}"
        yield running


def test_it_answers_as_the_retriever_and_keeps_what_it_acknowledged(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    store = f"store={tmp_path / 'live.sqlite'}"
    retriever = Retriever.open(runs[0] / "bundle")
    asked = {"user_id": "user-03", "k": 5}
    with service(runs[0], store, "console=quiet") as first:
        answer = first.ok("POST", "/recommend", json=asked)
        expected = [each.item_id for each in retriever.recommend("user-03", k=5)]
        assert [each["item_id"] for each in answer["items"]] == expected
        assert answer["version"] == retriever.version
        first.ok("PUT", "/items/new-1", json={"features": {"title": "RED LAMP", "price": 2.0}})
        first.ok("POST", "/users/stranger/events", json={"item_id": "new-1"})
        first.ok("DELETE", f"/items/{expected[0]}")
        first.ok("PUT", "/users/user-03", json={"features": {}})
        first.ok("PUT", "/users/late", json={"features": {"country": "FR"}})
        kept = first.ok("POST", "/recommend", json={"user_id": "late", "k": 5})["items"]
        moment = {"features": {"country": "FR"}, "k": 5, "deny": [expected[0]]}
        assert kept == first.ok("POST", "/recommend", json=moment)["items"]
        changed = {**asked, "features": {"country": "DE"}, "history": ["item-050"]}
        given = first.ok("POST", "/recommend", json=changed)["items"]
        assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with service(runs[0], store, "console=quiet") as second:
        items = [
            each["item_id"] for each in second.ok("POST", "/recommend", json={**asked, "k": 60})["items"]
        ]
        assert "new-1" in items
        assert expected[0] not in items
        theirs = second.ok("POST", "/recommend", json={"user_id": "stranger", "k": 60})["items"]
        assert "new-1" not in [each["item_id"] for each in theirs]  # seen
        assert second.ok("GET", "/users/user-03")["features"] == {"country": None}
        assert second.ok("POST", "/recommend", json={"user_id": "late", "k": 5})["items"] == kept
        assert second.ok("POST", "/recommend", json=changed)["items"] == given
        assert second.end(signal.SIGTERM)[0] == 0


def connects(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=600).close()
    except ConnectionError:
        return False
    return True


def test_sigterm_finishes_the_requests_in_flight(runs: tuple[Path, Path]) -> None:
    body = b'{"user_id": "user-03", "k": 5}'
    head = (
        b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body)
    )
    with service(runs[0], 'store=""', "console=quiet") as running, ExitStack() as stack:
        address = ("127.0.0.1", running.port)
        clients = [stack.enter_context(socket.create_connection(address, timeout=600)) for _ in range(20)]
        for client in clients:
            client.sendall(head)
        for client in clients:
            assert client.recv(999).startswith(b"HTTP/1.1 100 ")  # the service has begun to read
        running.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 15  # requests in flight have 20 seconds
        while connects(address):
            assert time.monotonic() < until
            time.sleep(0.01)
        for client in clients:
            client.sendall(body)
        for client in clients:
            assert client.recv(9999).startswith(b"HTTP/1.1 200 ")
        assert running.process.wait(timeout=600) == 0


def handles(process: "subprocess.Popen[bytes] | forks.Fork", what: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (what - 1) & 1)


def test_sigterm_ends_it_at_once_while_it_loads(runs: tuple[Path, Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys")  # nobody writes into it, so that the loading goes on until the signal
    starting = Service(runs[0], 'store=""', "console=jsonl", f"api_keys_file={tmp_path / 'keys'}", fresh=True)
    until = time.monotonic() + 600
    while not handles(starting.process, signal.SIGTERM):
        assert time.monotonic() < until
        assert starting.process.poll() is None
        time.sleep(0.001)
    # By a handler, which the first process of a container needs; and before there was anything to tell.
    assert starting.end(signal.SIGTERM) == (0, "", "")
    starting.folder.cleanup()


def test_more_than_the_allowed_connections_get_503(guarded: Service) -> None:
    assert guarded.ok("GET", "/readyz")["status"] == "ready"
    address = ("127.0.0.1", guarded.port)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address, timeout=600)) for _ in range(45)]
        clients[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[-1].recv(999).startswith(b"HTTP/1.1 503 ")
    until = time.monotonic() + 600
    while guarded.client.get("/readyz").status_code != 200:
        assert time.monotonic() < until


def test_it_opens_no_telemetry_file_of_onnx_runtime(guarded: Service) -> None:
    opened = []
    for path in Path(f"/proc/{guarded.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            opened.append(str(path.readlink()))
    assert opened
    assert [path for path in opened if "onnxruntime" in path] == []


def test_it_answers_for_the_names_it_was_given_only(guarded: Service) -> None:
    statuses = {"localhost:1": 200, "shop.example": 200, "evil.example": 400}
    for host, status in statuses.items():
        assert guarded.client.get("/items/item-001/similar", headers={"Host": host}).status_code == status


def test_keys_guard_it_and_its_log_holds_none(runs: tuple[Path, Path], tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{scope} {key}\n" for scope, key in KEYS.items()))
    with service(runs[0], 'store=""', "console=jsonl", f"api_keys_file={keys}") as running:
        for scope, statuses in (("read", (200, 403)), ("write", (200, 200)), (None, (401, 401))):
            headers = {"Authorization": f"Bearer {KEYS[scope]}"} if scope else {}
            told = (
                running.client.post("/recommend?secret=1", json={"user_id": "user-03"}, headers=headers),
                running.client.post("/users/user-03/events", json={"item_id": "item-001"}, headers=headers),
            )
            assert tuple(each.status_code for each in told) == statuses
        status, out, err = running.end(signal.SIGINT)
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0]["api_keys"] is True
    assert [line["status"] for line in lines if line.get("path") == "/recommend"] == [200, 200, 401]
    assert not any(secret in out + err for secret in (*KEYS.values(), "secret"))


def test_no_path_of_a_request_is_opened_and_a_bad_bundle_changes_nothing(guarded: Service) -> None:
    before = guarded.ok("GET", "/readyz")["version"]
    for name in ("../run-b", "/etc", "run-b/bundle", "empty", "nothing", ".", "run-b\0"):
        answer = guarded.client.post("/reload", json={"bundle": name})
        assert answer.status_code == 422
    assert guarded.ok("GET", "/readyz")["version"] == before
    version = guarded.ok("POST", "/reload", json={"bundle": "run-b"})["version"]
    assert version != before
    assert guarded.ok("POST", "/recommend", json={"user_id": "user-03"})["version"] == version


@pytest.mark.slow
def test_switching_under_load_fails_no_request_and_mixes_no_versions(
    runs: tuple[Path, Path],
) -> None:
    seen = swap.measure(runs, lambda seen: len(seen.swaps) >= 3, every=50)
    assert seen.mistakes == []
    assert len(seen.answers) == 2
    assert sum(seen.kinds.values()) > 100


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["port=70000", "prot=80", "threads=0", "max_batch=x"],
            [
                "4 mistakes",
                "port: expected less than 65536, got 70000",
                "prot: unknown key; did you mean 'port'?",
            ],
        ),
        (["api_keys_file=missing.txt"], ["api_keys_file: missing.txt cannot be read"]),
        (["bundle=nowhere"], ["nowhere"]),
    ],
)
def test_mistakes_are_told_before_it_serves(
    runs: tuple[Path, Path],
    overrides: list[str],
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run_script("serve", f"bundle={runs[0]}", *overrides)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert all(each in ended.stderr for each in told)
    assert "Traceback" not in ended.stderr
