"""What users have: what the bundle knows, and the events since.

Shapes: B users asked for, L history positions, n interactions of one user.
"""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

import numpy as np

from twotower.data.history import History
from twotower.data.vocabulary import Vocabulary
from twotower.serving.live_items import LiveItems, Rows, UserId, as_id, rows_of
from twotower.serving.requests import UnknownUser, checked_id, right_aligned


@dataclass(frozen=True, eq=False)
class _Events:
    """One user's events, oldest first: 16 bytes each."""

    times: "array[int]" = field(default_factory=lambda: array("q"))
    rows: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(frozen=True)
class KnownUser:
    """Where a user is known from: the row in the bundle, 0 where only events or a profile know the user."""

    key: UserId
    row: int


class UserHistories:
    """Interactions by user, those of the bundle before events of the same second.

    All events are kept: the towers look at the latest few, but whatever a user has is not recommended again.
    Adding excludes everything else; the rest is safe from several threads. Towers that know only the rows of
    the bundle (`by_table`, `history.items: table`) see a changed item as it was, others its latest row.
    """

    def __init__(self, users: Vocabulary, history: History, items: LiveItems, by_table: bool) -> None:
        self._users, self.is_text = users, users.is_text
        self._history = history
        self._items = items
        self._by_table = by_table
        self._events: dict[UserId, _Events] = {}
        self.new_ids: dict[
            UserId, None
        ] = {}  # whom the bundle does not know, in the order in which they came

    @property
    def ids(self) -> list[UserId]:
        """Ids of the bundle's users, then those whom only events or profiles know."""
        known: list[UserId] = self._users.values.tolist()
        return [*known, *self.new_ids]

    def find(self, user_id: UserId) -> KnownUser:
        """Return where a user is known from. Raises UnknownUser: nobody has this id."""
        key = as_id(user_id, self.is_text)
        row = int(rows_of(self._users, [user_id])[0])
        if key is None or not (row or key in self.new_ids):
            raise UnknownUser(
                f"user_id: user {user_id!r:.80} is not among the {len(self._users):,} users of this bundle, "
                "and no event or profile is of this user; put a profile in, or use recommend_new (without "
                "user_id), with the user's features and history"
            )
        return KnownUser(key, row)

    def checked(self, user_id: UserId) -> UserId:
        """Return an id that may be new. Raises InputError: it is of another kind than the bundle's."""
        return checked_id(user_id, self.is_text, "user_id", "user ids of this bundle")

    def know(self, key: UserId) -> None:
        """Let a user be known from now on whom the bundle may not know."""
        if not rows_of(self._users, [key])[0]:
            self.new_ids.setdefault(key)

    def forget(self, key: UserId) -> None:
        """Let a user be known no more whom neither the bundle nor an event knows."""
        if key not in self._events:
            self.new_ids.pop(key, None)

    def add(self, key: UserId, row: int, time: int) -> None:
        """Let an event, at unix seconds `time`, enter a user's history, unless it is there already."""
        user = int(rows_of(self._users, [key])[0])
        times, rows = self._interactions(user)
        self.know(key)
        same = rows[np.searchsorted(times, time, "left") : np.searchsorted(times, time, "right")]
        events = self._events.setdefault(key, _Events())
        start, end = bisect_left(events.times, time), bisect_right(events.times, time)
        same = np.concatenate([same, np.array(events.rows[start:end], dtype=np.int64)])
        if self._items.first(np.array([row]))[0] not in self._items.first(same):
            events.times.insert(end, time)
            events.rows.insert(end, row)

    def all(self, user: KnownUser) -> tuple[Rows, Rows]:
        """Return times and item rows of all that a user has, oldest first, each [n]."""
        times, rows = self._interactions(user.row)
        events = self._events.get(user.key)
        if events is not None:
            times = np.concatenate([times, np.array(events.times, dtype=np.int64)])
            rows = np.concatenate([rows, np.array(events.rows, dtype=np.int64)])
            order = np.argsort(times, kind="stable")
            times, rows = times[order], rows[order]
        return times, rows

    def latest_time(self, user: KnownUser) -> int:
        """Return the time of a user's latest event, 0 where there is none."""
        events = self._events.get(user.key)
        return events.times[-1] if events is not None and len(events.times) else 0

    def for_towers(self, rows: Rows, times: Rows, length: int) -> tuple[Rows, Rows]:
        """Return the latest `length` items and times as the towers take them, each [L], 0 = padding."""
        latest = rows[max(0, len(rows) - length) :]
        latest = self._items.first(latest) if self._by_table else self._items.latest(latest)
        return right_aligned(latest, length), right_aligned(times, length)

    def _interactions(self, user_row: int) -> tuple[Rows, Rows]:
        start, end = self._history.offsets[user_row : user_row + 2]
        times, rows = self._history.times[start:end], self._history.items[start:end]
        return np.asarray(times, dtype=np.int64), np.asarray(rows, dtype=np.int64)
