"""Live writes: checked and embedded, then committed, then applied to the retriever."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twotower.serving.live.change_store import ChangeStore, StoreFailed, row_of
from twotower.serving.live.changes import (
    Change,
    EventAdded,
    ItemPut,
    ItemRemoved,
    UserForgotten,
    UserPut,
    prepare_puts,
)
from twotower.serving.requests import UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever

Step = Callable[[], Any]
Pending = dict[tuple[str, int | str], bool]
"""("item" or "user", id) -> whether earlier changes of the same commit put it (True) or delete it (False)."""


@dataclass(eq=False)
class _Write:
    changes: list[Change]
    steps: list[Step] = field(default_factory=list)
    error: Exception | None = None
    is_done: bool = False


class Writer:
    """Writes changes of many threads: those that arrive during a commit share the next one.

    A commit waits for the disk, so ten callers that share one wait as long as one caller.

    Args:
        store: receives the changes.
        catch_up: returns the current retriever, with all changes of other processes applied. Called within
            the transaction, so no other process writes meanwhile.
    """

    def __init__(self, store: ChangeStore, catch_up: Callable[[], Retriever]) -> None:
        self._store, self._catch_up = store, catch_up
        self._queue: list[_Write] = []
        self._queue_lock = threading.Lock()
        self.lock = threading.Lock()
        """Held by the thread that writes, or changes what `catch_up` returns."""

    def write(self, changes: Sequence[Change]) -> int:
        """Make all of the changes or none; when this returns, they are on disk and in effect.

        A change may name an item that an earlier one puts. Returns the number of changes, without events that
        the data ignore. Raises InputError (the retriever refuses a change) or StoreFailed.
        """
        write = _Write(list(changes))
        with self._queue_lock:
            self._queue.append(write)
        with self.lock:
            if not write.is_done:  # else the thread that wrote before included it
                self._write_queue()
        if not write.is_done:
            raise StoreFailed("the thread that wrote this was stopped; the change may be stored or not")
        if write.error is not None:
            raise write.error
        return len(write.changes)

    def _write_queue(self) -> None:
        with self._queue_lock:
            writes, self._queue = self._queue, []
        try:
            with self._store.transaction():
                retriever, pending = self._catch_up(), Pending()
                for write in writes:
                    try:
                        write.changes = [each for each in write.changes if _is_stored(each, retriever)]
                        write.steps, since = _check(write.changes, retriever, pending)
                        pending |= since
                    except Exception as error:
                        write.error = error
                self._store.insert(
                    [change for write in writes if write.error is None for change in write.changes]
                )
        except Exception as error:
            for write in writes:  # each thread raises its own exception
                write.error = write.error or StoreFailed(f"{error}")
        for write in writes:
            try:
                for step in write.steps if write.error is None else ():
                    step()
            except Exception as error:  # the changes are on disk, and other writes continue
                write.error = error
            write.is_done = True


def _is_stored(change: Change, retriever: Retriever) -> bool:
    """Return False for an event whose type the data ignore; it is only checked."""
    if (
        not isinstance(change, EventAdded)
        or change.event is None
        or retriever.event_types.type_of(change.event).is_stored
    ):
        return True
    retriever.check_event(change.user_id, None, change.time, change.event)
    return False


def _check(changes: Sequence[Change], retriever: Retriever, pending: Pending) -> tuple[list[Step], Pending]:
    """Check changes; return the steps that apply them, and what they put or delete."""
    steps: list[Step] = []
    since: Pending = {}
    for change in changes:
        row_of(change)  # raises here, not in the commit that other writes share
        is_user = isinstance(change, UserPut | UserForgotten)
        name = ("user", change.user_id) if is_user else ("item", change.item_id)  # type: ignore[union-attr]
        is_put = since.get(name, pending.get(name))
        steps.append(_step(change, retriever, is_put))
        if not isinstance(change, EventAdded):
            since[name] = isinstance(change, ItemPut | UserPut)
    return steps, since


def _step(change: Change, retriever: Retriever, is_put: bool | None) -> Step:
    """Check a change; return what applies it. `is_put`: see `Pending`, None if no earlier change names it."""
    match change:
        case ItemPut() | UserPut():
            return prepare_puts([change], retriever)
        case ItemRemoved():
            if is_put is None:
                retriever.check_offered(change.item_id)
            elif not is_put:
                raise UnknownItem(
                    f"item_id: item {change.item_id!r:.80} was removed from the catalogue already"
                )
            return partial(retriever.remove_item, change.item_id)
        case UserForgotten():
            if is_put is None:
                retriever.profiles.check_there(change.user_id)
            elif not is_put:
                raise UnknownUser(
                    f"user_id: the profile of user {change.user_id!r:.80} was forgotten already"
                )
            return partial(retriever.forget_user, change.user_id)
    item_id = change.item_id if is_put is None else None
    retriever.check_event(change.user_id, item_id, change.time, change.event)
    return partial(retriever.add_event, change.user_id, change.item_id, change.time, change.event)
