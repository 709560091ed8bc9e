"""Interactions by user, oldest first.

Shapes: B users asked for, L history positions, n interactions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class History:
    """A log as compressed rows by user, in the stable order (time, then row order of the source).

    Args:
        offsets: int64 [num_users + 2]; user row u owns offsets[u]:offsets[u + 1]; row 0 (unknown) is empty.
        items: int32 [n] item rows.
        times: int64 [n] unix seconds.
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
        """Return the most recent interactions of each user, right-aligned.

        Returns:
            Item rows [B, L], 0 = padding, and times [B, L], 0 where padding.
        """
        ends = np.asarray(self.offsets[users + 1])
        positions = ends[:, None] + np.arange(-length, 0)
        there = positions >= np.asarray(self.offsets[users])[:, None]
        items = np.zeros(positions.shape, dtype=np.int64)
        times = np.zeros(positions.shape, dtype=np.int64)
        items[there] = self.items[positions[there]]
        times[there] = self.times[positions[there]]
        return items, times

    def flat(self, users: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return all interactions of these users in one row.

        Returns:
            The position in `users` of each interaction, ascending, and its item row.
        """
        starts = np.asarray(self.offsets[users])
        counts = np.asarray(self.offsets[users + 1]) - starts
        owners = np.repeat(np.arange(len(users), dtype=np.int64), counts)
        first = np.cumsum(counts) - counts
        positions = np.arange(len(owners), dtype=np.int64) + (starts - first)[owners]
        return owners, np.asarray(self.items[positions], dtype=np.int32)
