"""Interactions by user, oldest first.

Shapes: B users asked for, L history positions, n interactions.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Interactions:
    """A log as compressed rows by user, in the stable order (time, then row order of the source).

    User row u owns offsets[u]:offsets[u + 1] (int64 [num_users + 2]; row 0, unknown, is empty) of the item
    rows (int32 [n]) and times (int64 [n], unix seconds). What is None is not known of this log.

    Args:
        offsets: see above.
        items: see above.
        times: see above.
        weights: float32 [n], how much each counts as an example; 0 = it is part of histories only. None: 1
            where it is positive.
        positive: bool [n], false where it is no target, counts for no popularity, and its item may be
            recommended all the same: it is part of histories and, with a weight, an example.
        events: int16 [n], the word of each event, its position among the data's from 1; 0 = none.
        context: int32 [n], row of the table of contexts, from 1; 0 = unknown.
        impressions: impressions without a click of the same users in the same period; no part of histories.
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray
    weights: np.ndarray | None = None
    positive: np.ndarray | None = None
    events: np.ndarray | None = None
    context: np.ndarray | None = None
    impressions: "Interactions | None" = None

    @classmethod
    def of(cls, users: np.ndarray, items: np.ndarray, times: np.ndarray, num_users: int) -> "Interactions":
        """Build from interactions [n] that are already ordered by user row (none is 0), then time."""
        return cls(offsets_of(users, num_users), items.astype(np.int32), times.astype(np.int64))

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def positives(self) -> "Interactions":
        """The part that users wanted: itself where nothing is in it for histories only."""
        return self if self.positive is None else self._only(np.asarray(self.positive))

    @cached_property
    def examples(self) -> "Interactions":
        """The part that training learns from: positives, and all else that has a weight."""
        if self.positive is None or self.weights is None:
            return self.positives
        return self._only(np.asarray(self.positive) | (np.asarray(self.weights) > 0))

    def _only(self, keep: NDArray[np.bool_]) -> "Interactions":
        columns = {name: getattr(self, name) for name in ("weights", "events", "context")}
        return replace(
            self,
            offsets=offsets_of(self.user_rows()[keep], self.num_users),
            items=self.items[keep],
            times=self.times[keep],
            positive=None,
            **{name: None if column is None else column[keep] for name, column in columns.items()},
        )

    @property
    def num_users(self) -> int:
        """Users of the vocabulary, those without interactions too."""
        return len(self.offsets) - 2

    def counts(self) -> NDArray[np.int64]:
        """Return the interactions of each user row, [num_users + 1]."""
        return np.diff(np.asarray(self.offsets))

    def user_rows(self) -> NDArray[np.int32]:
        """Return the user row of each interaction, [n]."""
        return np.repeat(np.arange(self.num_users + 1, dtype=np.int32), self.counts())

    def last(self, users: np.ndarray, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the latest items and times of users [B], right-aligned, [B, L], 0 where padding."""
        places = self._latest(users, length)
        return self._filled(self.items, *places), self._filled(self.times, *places)

    def last_events(self, users: np.ndarray, length: int) -> NDArray[np.int64] | None:
        """Return the events of what `last` returns, [B, L], 0 where padding; None where none are known."""
        return None if self.events is None else self._filled(self.events, *self._latest(users, length))

    def _latest(self, users: np.ndarray, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the places [B, L] of the latest interactions, and which of them there are."""
        places = np.asarray(self.offsets[users + 1])[:, None] + np.arange(-length, 0)
        return places, places >= np.asarray(self.offsets[users])[:, None]

    @staticmethod
    def _filled(column: np.ndarray, places: np.ndarray, there: NDArray[np.bool_]) -> NDArray[np.int64]:
        found = np.zeros(places.shape, dtype=np.int64)
        found[there] = column[places[there]]
        return found

    def flat(self, users: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return where in `users` [B] each of their interactions belongs, ascending, and its item row."""
        owners, positions = self.positions(users)
        return owners, np.asarray(self.items[positions], dtype=np.int32)

    def positions(self, users: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where in `users` [B] each of their interactions belongs, ascending, and its place here."""
        starts = np.asarray(self.offsets[users])
        counts = np.asarray(self.offsets[users + 1]) - starts
        owners = np.repeat(np.arange(len(users), dtype=np.int64), counts)
        first = np.cumsum(counts) - counts
        positions: NDArray[np.int64] = np.arange(len(owners), dtype=np.int64) + (starts - first)[owners]
        return owners, positions


def offsets_of(users: np.ndarray, num_users: int) -> NDArray[np.int64]:
    """Return where each user row's interactions begin, int64 [num_users + 2], of ascending user rows [n]."""
    return offsets_of_counts(np.bincount(users, minlength=num_users + 1))


def offsets_of_counts(counts: np.ndarray) -> NDArray[np.int64]:
    """Return where each row's interactions begin, of their numbers."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
