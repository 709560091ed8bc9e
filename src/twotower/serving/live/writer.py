"""Live writes: checked and embedded, then committed, then applied to the retriever."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from twotower.serving.live.change_store import ChangeStore, StoreFailed
from twotower.serving.live.changes import Change, EventAdded, UserForgotten, UserPut, check
from twotower.serving.retriever import Retriever


@dataclass(eq=False)
class _Write:
    change: Change
    apply: Callable[[], object] | None = None
    error: Exception | None = None
    is_done: bool = False

    @property
    def name(self) -> tuple[str, int | str]:
        """The user or item that the change replaces or, for an event, refers to."""
        if isinstance(self.change, UserPut | UserForgotten):
            return "user", self.change.user_id
        return "item", self.change.item_id


@dataclass(eq=False)
class Writer:
    """Writes changes of many threads: those that arrive during a commit share the next one.

    A commit waits for the disk, so ten callers that share one wait as long as one caller. A change of an
    item or user that an earlier change in the queue replaces is checked after that one was applied.

    Attributes:
        store: receives the changes.
        current: returns the current retriever.
        lock: held by the thread that writes, or changes what `current` returns.
    """

    store: ChangeStore
    current: Callable[[], Retriever]
    lock: threading.Lock = field(default_factory=threading.Lock)
    _queue: list[_Write] = field(default_factory=list)

    def write(self, change: Change) -> int:
        """Make a change; when this returns, it is on disk and in effect.

        Returns the number of changes, 0 for an event that the data ignore. Raises InputError (the retriever
        refuses the change) or StoreFailed.
        """
        write = _Write(change)
        self._queue.append(write)
        with self.lock:
            while write in self._queue:  # else the thread that wrote before included it
                self._write_queue()
        if not write.is_done:
            raise StoreFailed("the thread that wrote this was stopped; the change may be stored or not")
        if write.error is not None:
            raise write.error
        return int(write.apply is not None)

    def _write_queue(self) -> None:
        writes, replaced = [], set()
        for write in self._queue[:]:
            if write.name not in replaced:
                writes.append(write)
                self._queue.remove(write)
            if not isinstance(write.change, EventAdded):
                replaced.add(write.name)
        try:
            with self.store.transaction():
                retriever = self.current()
                for write in writes:
                    try:
                        write.apply = check(write.change, retriever)
                    except Exception as error:
                        write.error = error
                self.store.insert([write.change for write in writes if write.apply is not None])
        except Exception as error:
            for write in writes:  # each thread raises its own exception
                write.error = write.error or StoreFailed(f"{error}")
        for write in writes:
            try:
                if write.error is None and write.apply is not None:
                    write.apply()
            except Exception as error:  # the change is on disk, and other writes continue
                write.error = error
            write.is_done = True
