"""What `kills.py` kills: the service over HTTP, or only the part of it that writes."""

import contextlib
import http.client
import json
import multiprocessing
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from multiprocessing import connection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kills_clients import Connection, Gone, Nobody, Offered
from service import SERVE, free_port

from twotower.bundle.manifest import read_manifest
from twotower.config.errors import InputError
from twotower.serving.live.change_store import StoreFailed
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved
from twotower.serving.live.live_service import LiveService
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import Request, UnknownUser

HOST = "127.0.0.1"
MOST_ITEMS = 1000
"""In one answer."""
PATIENCE_SECONDS = 600


class Killable(ABC):
    """A process that is begun, waited for and killed; see `kills_clients.Service`."""

    def __init__(self) -> None:
        self._process: Any = None
        self._begun = 0.0
        self._port = free_port()

    def begin(self) -> None:
        self._begun = time.monotonic()
        self._process = self._started()

    def start(self) -> float:
        if self._process is None:
            self.begin()
        while time.monotonic() < self._begun + PATIENCE_SECONDS:
            with contextlib.suppress(Gone):
                self.connect().offered(None)
                return time.monotonic() - self._begun
            if (problem := self._problem()) is not None:
                raise RuntimeError(f"no clean start: {problem}")
            time.sleep(0.02)
        raise RuntimeError(f"not ready within {PATIENCE_SECONDS} seconds")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._end()
            self._process = None

    @abstractmethod
    def connect(self) -> Connection: ...

    @abstractmethod
    def _started(self) -> Any: ...

    @abstractmethod
    def _problem(self) -> str | None:
        """Return why the process has ended, None where it has not."""

    @abstractmethod
    def _end(self) -> None:
        """Wait for a process that was killed."""


class HttpService(Killable):
    """`scripts/serve.py` over a bundle, with a store of its own; started from nothing every time."""

    def __init__(self, bundle: Path, store: Path) -> None:
        super().__init__()
        self._bundle, self._store = bundle, store
        folder = bundle if (bundle / "manifest.json").is_file() else bundle / "bundle"
        self._label = read_manifest(folder).item_label or "item_id"

    def connect(self) -> "HttpConnection":
        return HttpConnection(self._port, self._label)

    def _started(self) -> "subprocess.Popen[bytes]":
        settings = [f"bundle={self._bundle}", f"store={self._store}", f"port={self._port}", "console=quiet"]
        return subprocess.Popen(
            [sys.executable, SERVE, *settings], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def _problem(self) -> str | None:
        return None if self._process.poll() is None else self._process.stdout.read().decode()

    def _end(self) -> None:
        self._process.communicate()


class HttpConnection:
    """What one client asks over HTTP."""

    def __init__(self, port: int, label: str) -> None:
        self._http, self._label = http.client.HTTPConnection(HOST, port, timeout=600), label

    def put(self, item_id: ItemId, label: str) -> None:
        self._ask("PUT", f"/items/{_part(item_id)}", {"features": {self._label: label}})

    def remove(self, item_id: ItemId) -> None:
        self._ask("DELETE", f"/items/{_part(item_id)}", None)

    def event(self, user_id: UserId, item_id: ItemId, time: int) -> None:
        self._ask("POST", f"/users/{_part(user_id)}/events", {"item_id": item_id, "time": time})

    def offered(self, user_id: UserId | None) -> Offered:
        asked = {"user_id": user_id, "k": MOST_ITEMS, "exclude_seen": user_id is not None}
        found = self._ask("POST", "/recommend", asked)["items"]
        return distinct([(item["item_id"], item["label"]) for item in found])

    def _ask(self, method: str, path: str, body: Any) -> Any:
        headers = {"content-type": "application/json"}
        try:
            self._http.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._http.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Gone from error
        if answer.status == 404 and path == "/recommend":
            raise Nobody
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode()}")
        return json.loads(content)


class InsideService(Killable):
    """A `LiveService` in a process forked from one that has imported everything: it starts at once."""

    def __init__(self, bundle: Path, store: Path) -> None:
        super().__init__()
        self._arguments = str(bundle), str(store)
        self._context = multiprocessing.get_context("forkserver")
        # Torch and Arrow load the latter two when a bundle is opened, which would take each start a second.
        preload = ["twotower.serving.live.live_service", "torch._dynamo", "pyarrow.dataset"]
        self._context.set_forkserver_preload(preload)

    def connect(self) -> "PipeConnection":
        return PipeConnection(self._port)

    def _started(self) -> Any:
        arguments = (*self._arguments, self._port)
        process = self._context.Process(target=answer_all, args=arguments, daemon=True)
        process.start()
        return process

    def _problem(self) -> str | None:
        return None if self._process.is_alive() else f"exit status {self._process.exitcode}"

    def _end(self) -> None:
        self._process.join()
        self._process.close()


class PipeConnection:
    """What one client asks over a socket."""

    def __init__(self, port: int) -> None:
        try:
            self._pipe = connection.Client((HOST, port))
        except OSError as error:
            raise Gone from error

    def put(self, item_id: ItemId, label: str) -> None:
        self._ask("put", item_id, label)

    def remove(self, item_id: ItemId) -> None:
        self._ask("remove", item_id)

    def event(self, user_id: UserId, item_id: ItemId, time: int) -> None:
        self._ask("event", user_id, item_id, time)

    def offered(self, user_id: UserId | None) -> Offered:
        return distinct(self._ask("offered", user_id))

    def _ask(self, *question: Any) -> Any:
        try:
            self._pipe.send_bytes(json.dumps(question).encode())
            answer = json.loads(self._pipe.recv_bytes())
        except (OSError, EOFError) as error:
            raise Gone from error
        if answer.get("nobody"):
            raise Nobody
        if "error" in answer:
            raise RuntimeError(f"{question}: {answer['error']}")
        return answer["found"]


def answer_all(bundle: str, store: str, port: int) -> None:
    """Answer all clients, until the process that started this one ends."""
    live = LiveService(Path(bundle).parent, Path(bundle), Path(store))
    listener = connection.Listener((HOST, port), backlog=16)

    def accept() -> None:
        while True:
            threading.Thread(target=_answer, args=(live, listener.accept()), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()


def _answer(live: LiveService, pipe: "connection.Connection[Any, Any]") -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            what, *given = json.loads(pipe.recv_bytes())
            answer: Mapping[str, Any]
            try:
                if what == "offered":
                    answer = {"found": _offered(live, *given)}
                else:
                    live.write(_change(live, what, given))
                    answer = {"found": None}
            except (InputError, StoreFailed) as error:
                answer = {"error": str(error), "nobody": isinstance(error, UnknownUser)}
            pipe.send_bytes(json.dumps(answer).encode())


def _change(live: LiveService, what: str, given: list[Any]) -> Change:
    if what == "put":
        return ItemPut(given[0], {str(live.retriever.bundle.manifest.item_label): given[1]})
    return ItemRemoved(*given) if what == "remove" else EventAdded(*given)


def _offered(live: LiveService, user_id: UserId | None) -> list[tuple[ItemId, str | None]]:
    (found,) = live.retriever.answer(
        [Request(user_id=user_id, k=MOST_ITEMS, exclude_seen=user_id is not None)]
    )
    if isinstance(found, InputError):
        raise found
    return [(each.item_id, each.label) for each in found]


def distinct(found: list[Any]) -> Offered:
    """Return labels by id, refusing an id that comes twice."""
    offered: Offered = dict(found)
    if len(offered) != len(found):
        raise RuntimeError("an item came twice in one answer")
    return offered


def _part(value: ItemId) -> str:
    """Return an id as one part of a path."""
    return quote(str(value), safe="")
