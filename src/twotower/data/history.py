"""Interactions: by user, oldest first; and all of them, in the one order every split and history uses.

Shapes: B users asked for, L history positions, n interactions.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twotower.data.tables import ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, USER_ID, Tables
from twotower.data.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class History:
    """A log as compressed rows by user, in the stable order (time, then row order of the source).

    User row u owns offsets[u]:offsets[u + 1] (int64 [num_users + 2]; row 0, unknown, is empty) of the item
    rows (int32 [n]) and times (int64 [n], unix seconds).
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, users: np.ndarray, items: np.ndarray, times: np.ndarray, num_users: int) -> "History":
        """Build from interactions [n] that are already ordered by user row (none is 0), then time."""
        counts = np.bincount(users, minlength=num_users + 1)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(offsets, items.astype(np.int32), times.astype(np.int64))

    def __len__(self) -> int:
        return len(self.items)

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
        ends = np.asarray(self.offsets[users + 1])
        positions = ends[:, None] + np.arange(-length, 0)
        there = positions >= np.asarray(self.offsets[users])[:, None]
        items = np.zeros(positions.shape, dtype=np.int64)
        times = np.zeros(positions.shape, dtype=np.int64)
        items[there] = self.items[positions[there]]
        times[there] = self.times[positions[there]]
        return items, times

    def flat(self, users: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return where in `users` [B] each of their interactions belongs, ascending, and its item row."""
        starts = np.asarray(self.offsets[users])
        counts = np.asarray(self.offsets[users + 1]) - starts
        owners = np.repeat(np.arange(len(users), dtype=np.int64), counts)
        first = np.cumsum(counts) - counts
        positions = np.arange(len(owners), dtype=np.int64) + (starts - first)[owners]
        return owners, np.asarray(self.items[positions], dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Log:
    """Interactions ordered by user row, then time, then row order of the source.

    Rows are int32 [n], times int64 [n] in unix seconds, and `given` int8 [n]: the position in `SPLIT_NAMES`
    that the source gives each interaction.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    num_users: int
    num_items: int
    given: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Interactions of each user row, [num_users + 1]."""
        return np.bincount(self.users, minlength=self.num_users + 1)

    @cached_property
    def ordinals(self) -> NDArray[np.int64]:
        """How many interactions of its user precede each interaction, [n]."""
        first = np.cumsum(self.counts) - self.counts
        ordinals: NDArray[np.int64] = np.arange(len(self)) - first[self.users]
        return ordinals

    def only(self, mask: NDArray[np.bool_]) -> History:
        """Return the interactions a mask [n] keeps, by user."""
        return History.of(self.users[mask], self.items[mask], self.times[mask], self.num_users)


def log_of(tables: Tables, users: Vocabulary, items: Vocabulary) -> Log:
    """Return the interactions of checked tables in rows, stably ordered."""
    frame = tables.interactions
    user_rows, item_rows = users.rows(frame[USER_ID]), items.rows(frame[ITEM_ID])
    times = frame[TIMESTAMP].to_numpy(dtype=np.int64)
    order = np.lexsort((times, user_rows))  # lexsort is stable: equal times keep the row order of the source
    given = None
    if SPLIT in frame.columns:
        names = frame[SPLIT].to_numpy(dtype=object)
        given = np.select([names == name for name in SPLIT_NAMES], range(len(SPLIT_NAMES))).astype(np.int8)
        given = given[order]
    return Log(user_rows[order], item_rows[order], times[order], len(users), len(items), given)
