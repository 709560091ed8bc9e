"""A worker that follows: it passes on what is to be written, and makes what was."""

import logging
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twotower.serving.live.changes import Change, Quarantined, replay
from twotower.serving.live.feed import Feed
from twotower.serving.live.live_service import ChangeSource, LiveService
from twotower.serving.retriever import Retriever
from twotower.serving.workers.messages import ask, plain
from twotower.serving.workers.shared import InUse, Shared

LOG = logging.getLogger("twotower")
LOOK_SECONDS = 0.025
WRITE_SECONDS, RELOAD_SECONDS = 60.0, 1800.0
"""So long the writer may take for an answer, its being started again included."""


class FollowingService(LiveService):
    """A service whose changes another process keeps; see `LiveService`.

    What was acknowledged by any worker is seen here `LOOK_SECONDS` later, and what was acknowledged here at
    once. Where it cannot follow, it says so and has its process stopped, to be started again.
    """

    def __init__(self, shared: Shared, in_use: InUse, *given: Any) -> None:
        self._shared = shared
        self._generation, self._seen = in_use.generation, (0, 0)
        self._writing = threading.Lock()  # whoever holds it makes changes
        self._made = 0  # the number of the latest change that the retriever in use has
        self._ended = threading.Event()
        self._switching: threading.Thread | None = None
        super().__init__(Path(in_use.root), Path(in_use.bundle), Path(in_use.store), *given)
        self._following = threading.Thread(target=self._follow, name="follow", daemon=True)
        self._following.start()

    def is_ready(self) -> bool:
        """Tell whether all workers answer."""
        return self._shared.is_ready()

    def write(self, changes: Sequence[Change]) -> int:
        """Have changes made, and make them here before this returns; see `LiveService.write`."""
        answer = ask(self._shared.door, {"write": plain(changes)}, WRITE_SECONDS)
        self._catch_up(answer["number"])
        written: int = answer["written"]
        return written

    def reload(self, name: str) -> str:
        """Have the writer switch to another bundle, and then do so here; see `LiveService.reload`."""
        answer = ask(self._shared.door, {"reload": name}, RELOAD_SECONDS)
        self._try_switch(answer["generation"])  # where that fails, this process ends; the others switched
        version: str = answer["version"]
        return version

    def close(self) -> None:
        """Stop following."""
        self._ended.set()
        self._following.join()
        super().close()

    def _store_at(self, path: Path) -> ChangeSource:
        self._feed = Feed(path)
        return self._feed

    def _use(self, retriever: Retriever, aside: Sequence[Quarantined]) -> None:
        super()._use(retriever, aside)
        # Whoever is here has called `changes` last, and nobody else does.
        self._made = self._feed.reached

    def _catch_up(self, number: int | None = None) -> None:
        """Make what is new, unless changes up to a number were made already."""
        with self._writing:
            if number is None or self._made < number:
                self._made, changes = self._take(self._made)
                self.num_quarantined += len(changes)

    def _take(self, after: int) -> tuple[int, list[Quarantined]]:
        number, changes = self._feed.since(after)
        return number, replay(changes, self.retriever)

    def _come_after(self, generation: int) -> None:
        """Switch to what is in use by the writer, unless that was done for as new a word."""
        with self._reloading:
            told = self._shared.in_use()
            if self._generation < generation and told is not None:
                self._switch(Path(told.bundle))
                self._generation = told.generation

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception as error:
                self._give_up(error)
                return

    def _look(self) -> None:
        if self._feed.is_newer():
            self._catch_up()
        told_at = self._shared.told_at()
        if told_at != self._seen and (self._switching is None or not self._switching.is_alive()):
            self._seen = told_at
            told = self._shared.in_use()
            if told is not None and told.generation > self._generation:
                self._switching = threading.Thread(
                    target=self._try_switch, args=(told.generation,), name="switch", daemon=True
                )
                self._switching.start()

    def _try_switch(self, generation: int) -> None:
        try:
            self._come_after(generation)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Finish the requests in flight and end; the process that started this one starts it again."""
        if not self._ended.is_set():
            LOG.error("this worker cannot follow the writer and ends (%s: %s)", type(error).__name__, error)
            os.kill(os.getpid(), signal.SIGTERM)
