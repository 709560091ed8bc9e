"""Interactions of users: interactions in the bundle, and live events.

Shapes: B users, L history positions, n interactions of one user.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.bundle.embed import Floats, HistoryInputs, Rows
from twotower.bundle.read import Bundle, gather_history_vectors
from twotower.serving.live_items import LiveItems, UserId, as_id, rows_of
from twotower.serving.requests import UnknownUser, checked_id, kind_of

INTERACTION = np.dtype(
    [("time", np.int64), ("row", np.int64), ("code", np.int64), ("is_positive", np.bool_)], align=True
)
"""Unix seconds, item row, event type (0 = unknown), and whether `exclude_seen` excludes the item."""
UserHistory = NDArray[np.void]
"""The interactions of a user, oldest first, [n] of `INTERACTION`."""
NO_HISTORY: UserHistory = np.zeros(0, dtype=INTERACTION)


@dataclass(frozen=True)
class KnownUser:
    """A user and the row in the bundle, 0 for a user with events or a profile only."""

    key: UserId
    row: int


class UserHistories:
    """Interactions by user; at equal times, the bundle's interactions come first.

    Reading is thread-safe; the caller of `add`, `know` and `forget` excludes other calls. History encoders
    with a table (`history.items: table`) read a changed item as it was in the bundle, other encoders its
    latest row. Encoders read a removed item as it was in the bundle, if the bundle has it.

    Attributes:
        new_ids: users that the bundle does not have, in the order of their arrival.
    """

    def __init__(self, bundle: Bundle, items: LiveItems) -> None:
        self._users, self.is_text = bundle.users, bundle.users.is_text
        self._model, history = bundle.model, bundle.history
        # Slicing a plain view is several times faster than slicing a memory map.
        self._offsets, self._times, self._rows = map(
            np.asarray, (history.offsets, history.times, history.items)
        )
        self._codes = None if history.events is None else np.asarray(history.events)
        self._is_positive = None if history.roles is None else history.is_positive
        self._items = items
        layout = bundle.model.layout
        self._tower_outputs: Callable[[Rows], Floats] = lambda rows: layout.tower(items.embeddings(rows))
        self._events: dict[UserId, UserHistory] = {}
        self.new_ids: dict[UserId, None] = {}

    @property
    def ids(self) -> list[UserId]:
        """Ids of the bundle's users, then of users with events or profiles only."""
        known: list[UserId] = self._users.values.tolist()
        return [*known, *self.new_ids]

    def find(self, user_id: UserId) -> KnownUser:
        """Return a user. Raises UnknownUser."""
        key = as_id(user_id, self.is_text)
        row = self._users.row(user_id)
        if key is None:
            raise UnknownUser(
                f"user_id: user {user_id!r:.80} is {type(user_id).__name__}, but user ids of this bundle are "
                f"{kind_of(self.is_text)}"
            )
        if not (row or key in self.new_ids):
            raise UnknownUser(
                f"user_id: user {user_id!r:.80} is not among the {len(self._users):,} users of this bundle, "
                "and no event or profile is of this user; put a profile in with put_user(), or give the "
                "user's features and history to recommend_new()"
            )
        return KnownUser(key, row)

    def checked(self, user_id: UserId) -> UserId:
        """Return an id, which can be new. Raises InputError: another type than the ids of the bundle."""
        return checked_id(user_id, self.is_text, "user_id", "user ids of this bundle")

    def know(self, key: UserId) -> None:
        """Add a user to `new_ids` unless the bundle has the user."""
        if not rows_of(self._users, [key])[0]:
            self.new_ids.setdefault(key)

    def forget(self, key: UserId) -> None:
        """Remove a user from `new_ids` unless the user has events."""
        if key not in self._events:
            self.new_ids.pop(key, None)

    def add(self, key: UserId, row: int, time: int, code: int = 0, is_positive: bool = True) -> None:
        """Add an event at `time` (unix seconds) unless the user has the same item and code at that time.

        Code 0 equals any code.
        """
        known = self._of_bundle(int(rows_of(self._users, [key])[0]))
        self.know(key)
        events = self._events.get(key, NO_HISTORY)
        same = np.concatenate([_at(known, time), _at(events, time)])
        same = same[(same["code"] == code) | (code == 0)]
        if self._items.first(np.array([row]))[0] in self._items.first(same["row"]):
            return
        new = np.array([(time, row, code, is_positive)], dtype=INTERACTION)
        self._events[key] = np.insert(events, events["time"].searchsorted(time, "right"), new)

    def interactions(self, user: KnownUser) -> UserHistory:
        """Return all interactions of a user."""
        found, events = self._of_bundle(user.row), self._events.get(user.key)
        if events is None:
            return found
        found = np.concatenate([found, events])
        return found[np.argsort(found["time"], kind="stable")]

    def latest_time(self, user: KnownUser) -> int:
        """Return the time of a user's latest event, 0 if there is none."""
        events = self._events.get(user.key)
        return 0 if events is None else int(events["time"][-1])

    def inputs(self, found: Sequence[UserHistory]) -> HistoryInputs:
        """Return the latest items of each history as the user tower reads them, without common padding."""
        length = min(self._model.history.config.length, max([1, *map(len, found)]))
        padded = np.zeros((len(found), length), dtype=INTERACTION)
        for position, each in enumerate(found):
            if number := min(length, len(each)):
                padded[position, -number:] = each[-number:]
        by_table = self._model.history.config.reads_table
        rows = (self._items.first if by_table else self._items.latest)(padded["row"])
        vectors, positions = gather_history_vectors(self._model, rows, self._tower_outputs)
        return HistoryInputs(vectors, positions, padded["time"], padded["code"])

    def _of_bundle(self, user_row: int) -> UserHistory:
        start, stop = self._offsets[user_row : user_row + 2].tolist()
        found = np.zeros(stop - start, dtype=INTERACTION)
        found["time"], found["row"] = self._times[start:stop], self._rows[start:stop]
        if self._codes is not None:
            found["code"] = self._codes[start:stop]
        found["is_positive"] = True if self._is_positive is None else self._is_positive[start:stop]
        return found


def _at(events: UserHistory, time: int) -> UserHistory:
    """Return the events at a time, of a history in the order of time."""
    first, last = (events["time"].searchsorted(time, side) for side in ("left", "right"))
    return events[first:last]
