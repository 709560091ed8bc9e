"""One of several processes that answer: what it does between its start by the parent and its end."""

import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import orjson

from twotower.config.exits import exit_status
from twotower.config.working_folder import import_from_working_folder
from twotower.serving.http import server
from twotower.serving.http.bundle_finder import bundle_finder
from twotower.serving.http.security import Hosts, Keys
from twotower.serving.http.service_config import ServiceConfig
from twotower.serving.live.live_service import LiveService
from twotower.serving.workers.addresses import bound
from twotower.serving.workers.following import FollowingService
from twotower.serving.workers.shared import CLOSING, OTHERS_GONE, READY, WRITER, InUse, Shared
from twotower.serving.workers.worker_metrics import SharedMetrics
from twotower.serving.workers.writing import WritingService


class ParentProcess:
    """The process that started this one, at the other end of a socket; when that is gone, this one stops."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self.is_gone = False
        self._others_gone = threading.Event()
        with control.makefile("rb") as lines:
            self.told: dict[str, Any] = orjson.loads(lines.readline())
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def say(self, word: bytes) -> None:
        """Tell it something."""
        with contextlib.suppress(OSError):
            self._control.sendall(word)

    def wait_for_others(self) -> None:
        """Say that this one closes, and wait until nobody passes anything on any more."""
        self.say(CLOSING)
        self._others_gone.wait()

    def _listen(self) -> None:
        while word := self._control.recv(1):
            if word == OTHERS_GONE:
                self._others_gone.set()
        self.is_gone = True
        self._others_gone.set()
        os.kill(os.getpid(), signal.SIGTERM)


class LinesTogether:
    """A stream into which several processes write whole lines: each holds a lock as long as it writes."""

    def __init__(self, stream: TextIO, lock: Path) -> None:
        self._stream = stream
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, text: str) -> int:
        """Write, to the end, before anybody else does."""
        with self._alone():
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Do nothing: what was written is out."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def main() -> None:
    """Do as the parent says on an inherited socket, the first argument; the second is the writer's door."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing is begun yet
    import_from_working_folder()
    parent = ParentProcess(_inherited(int(sys.argv[1])))
    debug = bool(parent.told["settings"]["debug"])
    raise SystemExit(exit_status(lambda: _serve(parent), debug))


def _inherited(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def _serve(parent: ParentProcess) -> int:
    told = parent.told
    shared = Shared(Path(told["folder"]), told["num_workers"])
    sys.stdout = LinesTogether(sys.stdout, shared.log_lock)  # type: ignore[assignment]
    config = ServiceConfig.of(told["settings"])
    keys, hosts = Keys.read(config.api_keys_file), Hosts(config.allowed_hosts, config.host)
    sys.setswitchinterval(server.SWITCH_SECONDS)
    live = _live(parent, shared, config)

    def bundle_changed() -> None:
        server.gc_freeze()
        parent.say(READY)

    with contextlib.ExitStack() as stack:
        if told["number"] == WRITER:
            stack.callback(lambda: shared.remove() if parent.is_gone else None)  # it would have done so
        stack.enter_context(contextlib.closing(live))
        if told["is_first"]:
            server.print_start(config, live, bool(keys))
        application = server.create_app(
            live, config, keys, hosts, bundle_changed, SharedMetrics(live, shared)
        )
        return server.run(config, application, bound(told["addresses"]))


def _live(parent: ParentProcess, shared: Shared, config: ServiceConfig) -> LiveService:
    bundle_of = bundle_finder(config)
    in_use = shared.in_use()
    if in_use is None:
        bundle = bundle_of(Path(config.bundle))
        root, store = server.find_paths(bundle, config.bundles_root, config.store)
        in_use = InUse(0, str(bundle), str(root), str(store or shared.own_store))
    given = bundle_of, config.trusted_packages
    if parent.told["number"] == WRITER:
        door = _inherited(int(sys.argv[2]))
        return WritingService(shared, in_use, door, parent.wait_for_others, *given)
    return FollowingService(shared, in_use, *given)


if __name__ == "__main__":
    main()
