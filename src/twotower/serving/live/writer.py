"""Live writes, in the one order that loses nothing: check and embed, keep on the disk, make them seen."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twotower.serving.live.change_rows import values_of
from twotower.serving.live.change_store import ChangeStore, StoreFailed
from twotower.serving.live.changes import (
    Change,
    EventAdded,
    ItemPut,
    ItemRemoved,
    UserForgotten,
    UserPut,
    prepared,
)
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever

Step = Callable[[], Any]
Named = tuple[str, ItemId | UserId]
"""What a change is about: an item or a user, and which one."""


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

    def __init__(self, store: ChangeStore) -> None:
        self._store = store
        self._queue: list[_Write] = []
        self._queueing = threading.Lock()
        self.writing = threading.Lock()  # whoever holds it holds writes back

    def write(self, changes: Sequence[Change], current: Callable[[], Retriever]) -> int:
        """Make all of a caller's changes or none; they are on the disk and seen when this returns.

        Returns how many they are, without events that count for nothing. A later change may name an item that
        an earlier one puts; `current` gives the retriever to change, once no one else writes. Raises
        InputError (the retriever cannot take one) or StoreFailed.
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
        return len(mine.changes)

    def _write_all(self, retriever: Retriever) -> None:
        with self._queueing:
            writes, self._queue = self._queue, []
        there: dict[Named, bool] = {}
        for write in writes:
            try:
                write.changes = [change for change in write.changes if _counts(change, retriever)]
                write.steps, since = _checked(write.changes, retriever, there)
                there |= since
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
    changes: Sequence[Change], retriever: Retriever, there: dict[Named, bool]
) -> tuple[list[Step], dict[Named, bool]]:
    """Check changes before they are made: return what makes them, and what they put (True) or take away.

    `there` tells so of items and profiles in changes that wait before these.
    """
    steps: list[Step] = []
    since: dict[Named, bool] = {}
    for change in changes:
        values_of(change)  # what the store refuses must not fail with the changes of others
        named = _named(change)
        waiting = since.get(named, there.get(named))
        steps.append(_step(change, retriever, waiting))
        if not isinstance(change, EventAdded):
            since[named] = isinstance(change, ItemPut | UserPut)
    return steps, since


def _counts(change: Change, retriever: Retriever) -> bool:
    """Tell whether a change is kept: an event that the data ignore is only looked at."""
    if (
        not isinstance(change, EventAdded)
        or change.event is None
        or retriever.event_types.type_of(change.event).is_kept
    ):
        return True
    retriever.check_event(change.user_id, None, change.time, change.event)
    return False


def _named(change: Change) -> Named:
    if isinstance(change, UserPut | UserForgotten):
        return "user", change.user_id
    return "item", change.item_id


def _step(change: Change, retriever: Retriever, waiting: bool | None) -> Step:
    """Return what makes a change that is right; `waiting`: a change before it puts what it names, or not."""
    match change:
        case ItemPut() | UserPut():
            return prepared([change], retriever)
        case ItemRemoved():
            if waiting is None:
                retriever.check_offered(change.item_id)
            elif not waiting:
                raise UnknownItem(
                    f"item_id: item {change.item_id!r:.80} was removed from the catalogue already"
                )
            return partial(retriever.remove_item, change.item_id)
        case UserForgotten():
            if waiting is None:
                retriever.profiles.check_there(change.user_id)
            elif not waiting:
                raise UnknownUser(
                    f"user_id: the profile of user {change.user_id!r:.80} was forgotten already"
                )
            return partial(retriever.forget_user, change.user_id)
    item_id = change.item_id if waiting is None else None
    retriever.check_event(change.user_id, item_id, change.time, change.event)
    return partial(retriever.add_event, change.user_id, change.item_id, change.time, change.event)
