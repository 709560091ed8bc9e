"""Live writes, in the one order that loses nothing: check and embed, keep on the disk, make them seen."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twotower.serving.live.changes import Change, ItemPut, ItemRemoved, values_of
from twotower.serving.live.store import Store, StoreFailed
from twotower.serving.live_items import ItemId
from twotower.serving.requests import UnknownItem
from twotower.serving.retriever import Retriever

Step = Callable[[], Any]


@dataclass(eq=False)
class _Write:
    changes: list[Change]
    steps: list[Step] = field(default_factory=list)
    error: Exception | None = None
    done: bool = False


class Writer:
    """One writer at a time; callers that come meanwhile are written together by the next, in one transaction.

    A commit waits for the disk, so ten callers that share one wait as long as one would.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: list[_Write] = []
        self._queueing = threading.Lock()
        self.writing = threading.Lock()  # whoever holds it holds writes back

    def write(self, changes: Sequence[Change], current: Callable[[], Retriever]) -> None:
        """Make all of a caller's changes or none; they are on the disk and seen when this returns.

        A later change may name an item that an earlier one puts; `current` gives the retriever to change,
        once no one else writes. Raises InputError (the retriever cannot take one) or StoreFailed.
        """
        mine = _Write(list(changes))
        with self._queueing:
            self._queue.append(mine)
        with self.writing:
            if not mine.done:  # else whoever wrote before took this along
                self._write_all(current())
        if not mine.done:
            raise StoreFailed(
                "whoever wrote this along with changes of others was stopped; it may be kept or not"
            )
        if mine.error is not None:
            raise mine.error

    def _write_all(self, retriever: Retriever) -> None:
        with self._queueing:
            writes, self._queue = self._queue, []
        offered: dict[ItemId, bool] = {}
        for write in writes:
            try:
                write.steps, since = _checked(write.changes, retriever, offered)
                offered |= since
            except Exception as error:
                write.error = error
        good = [write for write in writes if write.error is None]
        try:
            self._store.commit([change for write in good for change in write.changes])
        except Exception as error:
            for write in good:  # an exception of its own for each thread that raises it
                write.error = StoreFailed(f"{error}")
        for write in writes:
            try:
                for step in write.steps if write.error is None else ():
                    step()
            except Exception as error:  # the changes are on the disk, so others go on
                write.error = error
            write.done = True


def _checked(
    changes: Sequence[Change], retriever: Retriever, offered: dict[ItemId, bool]
) -> tuple[list[Step], dict[ItemId, bool]]:
    """Check changes before they are made: return what makes them, and which items they put or remove.

    `offered` are items put (True) or removed (False) by changes that wait before these.
    """
    steps: list[Step] = []
    since: dict[ItemId, bool] = {}
    for change in changes:
        values_of(change)  # what the store refuses must not fail with the changes of others
        item_id = change.item_id
        waiting = since.get(item_id, offered.get(item_id))
        if isinstance(change, ItemPut):
            prepared = retriever.prepare_items([(item_id, change.features)])
            steps.append(partial(retriever.apply_items, prepared))
            since[item_id] = True
        elif isinstance(change, ItemRemoved):
            if waiting is None:
                retriever.check_offered(item_id)
            elif not waiting:
                raise UnknownItem(
                    f"item {item_id!r:.80} was removed from the catalogue; nothing is left to do"
                )
            steps.append(partial(retriever.remove_item, item_id))
            since[item_id] = False
        else:
            retriever.check_event(change.user_id, item_id if waiting is None else None, change.time)
            steps.append(partial(retriever.add_event, change.user_id, item_id, change.time))
    return steps, since
