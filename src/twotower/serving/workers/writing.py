"""The worker that has the store: it writes its own changes, and those that others pass on."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.live_service import ChangeSource, LiveService
from twotower.serving.workers.messages import Answer, changes_of, reply
from twotower.serving.workers.shared import InUse, Shared

LOOK_SECONDS, PAUSE_SECONDS = 0.1, 0.001


class WritingService(LiveService):
    """A service that others ask to write; see `LiveService`.

    It takes what they pass on at `door`, a socket that listens and whose backlog outlasts this process: what
    comes while there is no writer waits for the next one. `close` calls `wait_for_others`, so that what they
    were asked for before they were stopped is written.
    """

    def __init__(
        self,
        shared: Shared,
        in_use: InUse,
        door: socket.socket,
        wait_for_others: Callable[[], None],
        *given: Any,
    ) -> None:
        self._shared, self._door, self._wait_for_others = shared, door, wait_for_others
        self._told, self._telling = in_use, threading.Lock()
        self._closing, self._asked = threading.Event(), set[threading.Thread]()
        super().__init__(Path(in_use.root), Path(in_use.bundle), Path(in_use.store), *given)
        shared.use(in_use)
        door.settimeout(LOOK_SECONDS)
        self._serving = threading.Thread(target=self._serve, name="writer-door", daemon=True)
        self._serving.start()

    def is_ready(self) -> bool:
        """Tell whether all workers answer."""
        return self._shared.is_ready()

    def reload(self, name: str) -> str:
        """Switch to another bundle and tell the others, who follow; see `LiveService.reload`."""
        version = super().reload(name)
        with self._telling:
            self._told = InUse(
                self._told.generation + 1,
                str(self.retriever.bundle.folder),
                self._told.root,
                self._told.store,
            )
            self._shared.use(self._told)
        return version

    def close(self) -> None:
        """Let go of the store once nobody asks any more; twice is harmless."""
        if not self._closing.is_set():
            self._wait_for_others()
            self._closing.set()
            self._serving.join()
            for thread in list(self._asked):
                thread.join()
        super().close()

    def _store_at(self, path: Path) -> ChangeSource:
        store = super()._store_at(path)
        assert isinstance(store, ChangeStore)
        store.index_numbers()
        return store

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._door.accept()
            except OSError:  # nobody for a while, or too many files are open
                if self._closing.is_set():
                    return
                time.sleep(PAUSE_SECONDS)
                continue
            connection.setblocking(True)
            thread = threading.Thread(target=self._reply, args=(connection,), name="passed-on", daemon=True)
            self._asked.add(thread)
            thread.start()

    def _reply(self, connection: socket.socket) -> None:
        try:
            reply(connection, self._answer)
        finally:
            self._asked.discard(threading.current_thread())

    def _answer(self, question: Answer) -> Answer:
        if "reload" in question:
            version = self.reload(question["reload"])
            return {"version": version, "generation": self._told.generation}
        written = self.write(changes_of(question["write"]))
        return {"written": written, "number": self._store.last}
