"""Interactions by user, oldest first.

Shapes: n interactions, B users of a query, L positions of a history.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.data.actions import HISTORY, NEGATIVE, POSITIVE, TRAIN
from twotower.data.blocks import ArrayWriter, blocks
from twotower.data.times import SECONDS_A_DAY

COLUMNS = ("items", "times", "weights", "roles", "events", "context")
"""The columns of `Interactions` that are stored; one that is None has no file."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions as compressed sparse rows by user, in stable order: time, then row order of the source.

    User row u has positions offsets[u]:offsets[u + 1]. Row 0 is the unknown user and is empty. An optional
    column is None if the source does not have it.

    Args:
        offsets: int64 [num_users + 2].
        items: int32 [n] item rows.
        times: int64 [n] unix seconds.
        weights: float32 [n], the weight of each interaction as an example; None: all are 1.
        roles: int8 [n], see `actions.ROLES`; None: all are positive.
        events: int16 [n], code of the event type from 1; 0 = none.
        context: int32 [n], row of the table of contexts from 1; 0 = unknown.
        given: int8 [n], position in `SPLIT_NAMES` of the part that the source gives; not stored.
        num_items: items of the catalogue, with or without interactions; 0 if it is not known.
        impressions: impressions without a click of the same users and period; they are in no history.
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray
    weights: np.ndarray | None = None
    roles: np.ndarray | None = None
    events: np.ndarray | None = None
    context: np.ndarray | None = None
    given: np.ndarray | None = None
    num_items: int = 0
    impressions: "Interactions | None" = None

    @classmethod
    def from_rows(
        cls, users: np.ndarray, items: np.ndarray, times: np.ndarray, num_users: int, **more: Any
    ) -> "Interactions":
        """Build from user rows (not 0), item rows and times [n], by user, then time; `more`: other fields."""
        return cls(user_offsets(users, num_users), items.astype(np.int32), times.astype(np.int64), **more)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_users(self) -> int:
        """Users of the vocabulary, with or without interactions."""
        return len(self.offsets) - 2

    def counts(self) -> NDArray[np.int64]:
        """Return the number of interactions of each user row, [num_users + 1]."""
        return np.diff(np.asarray(self.offsets))

    def user_rows(self, rows: slice = slice(None)) -> NDArray[np.int32]:
        """Return the user row of each interaction of a slice, by default of all."""
        start, stop, _ = rows.indices(len(self))
        first = int(np.searchsorted(self.offsets, start, side="right")) - 1
        end = max(int(np.searchsorted(self.offsets, stop)), first)
        bounds = np.clip(np.asarray(self.offsets[first : end + 1]), start, stop)
        return np.repeat(np.arange(first, end, dtype=np.int32), np.diff(bounds))

    @cached_property
    def is_positive(self) -> NDArray[np.bool_]:
        """Which interactions can be targets, [n]."""
        if self.roles is None:
            return np.ones(len(self), dtype=np.bool_)
        return np.asarray(self.roles == POSITIVE)

    @cached_property
    def is_impression(self) -> NDArray[np.bool_]:
        """Which interactions are impressions without a click, [n]; none if `impressions` holds them."""
        if self.roles is None:
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(self.roles == NEGATIVE)

    @cached_property
    def positives(self) -> "Interactions":
        """The positive interactions; self if all are."""
        return self if self.roles is None else self.where(self.is_positive)

    @cached_property
    def examples(self) -> "Interactions":
        """The positives, and the interactions of role `train` with a weight above 0."""
        if self.roles is None:
            return self
        trains = np.asarray(self.roles) == TRAIN
        if self.weights is not None:
            trains &= self.weights > 0
        return self.where(self.is_positive | trains)

    @property
    def example_weights(self) -> NDArray[np.float32] | None:
        """The weight of each interaction as an example, [n]: 0 for role `history`; None if all are 1."""
        if self.roles is None or not (is_history := np.asarray(self.roles) == HISTORY).any():
            return self.weights
        return np.where(is_history, 0, 1 if self.weights is None else self.weights).astype(np.float32)

    def select(self, mask: NDArray[np.bool_], folder: Path | None = None) -> "Interactions":
        """Return the interactions of a mask [n]; impressions without a click become the field `impressions`.

        With a folder the columns are written to it, block by block, and memory-mapped.
        """
        if folder is None:
            selected = self.where(mask & ~self.is_impression)
            if not self.is_impression.any():
                return selected
            return replace(selected, impressions=replace(self.where(mask & self.is_impression), roles=None))
        counts = np.zeros(self.num_users + 1, dtype=np.int64)
        for rows in blocks(len(self)):
            counts += np.bincount(self.user_rows(rows)[mask[rows]], minlength=len(counts))
        arrays: dict[str, Any] = {}
        for key in COLUMNS:
            if (column := getattr(self, key)) is not None:
                writer = ArrayWriter(column.dtype, int(counts.sum()), folder / f"{key}.npy")
                for rows in blocks(len(self), column, what=f"data: writing {folder.name}/{key}"):
                    writer.append(column[rows][mask[rows]])
                arrays[key] = writer.finish()
        return Interactions(offsets_from_counts(counts), **arrays, num_items=self.num_items)

    def where(self, mask: NDArray[np.bool_]) -> "Interactions":
        """Return the interactions of a mask [n]; `roles` is None if all of them are positive."""
        columns: dict[str, Any] = {
            key: None if (column := getattr(self, key)) is None else column[mask]
            for key in (*COLUMNS, "given")
        }
        if columns["roles"] is not None and not columns["roles"].any():  # POSITIVE is 0
            columns["roles"] = None
        return replace(self, offsets=user_offsets(self.user_rows()[mask], self.num_users), **columns)

    def last(self, users: np.ndarray, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the latest items and times of users [B], right-aligned, [B, L], 0 where padded."""
        return self._last(self.items, users, length), self._last(self.times, users, length)

    def last_events(self, users: np.ndarray, length: int) -> NDArray[np.int64] | None:
        """Return the event codes of the interactions that `last` returns, [B, L], 0 where padded."""
        return None if self.events is None else self._last(self.events, users, length)

    def _last(self, column: np.ndarray, users: np.ndarray, length: int) -> NDArray[np.int64]:
        begins, ends = np.asarray(self.offsets[users]), np.asarray(self.offsets[users + 1])
        return values_before(column, ends, history_mask(ends, begins, length)).astype(np.int64)

    def flat(self, users: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return (index in `users` [B], item row) of each interaction of these users, by ascending index."""
        indices, positions = self.positions(users)
        return indices, np.asarray(self.items[positions], dtype=np.int32)

    def positions(self, users: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (index in `users` [B], position) of each interaction of these users, by ascending index."""
        starts = np.asarray(self.offsets[users])
        return expand_ranges(starts, np.asarray(self.offsets[users + 1]) - starts)


def history_mask(ends: np.ndarray, begins: np.ndarray, length: int) -> np.ndarray:
    """Return which of the `length` positions before each end [B] are at or after its begin [B], [B, L]."""
    mask: np.ndarray = np.arange(length, 0, -1) <= (ends - begins)[:, None]
    return mask


def values_before(column: np.ndarray, ends: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the values of a column [n] before each position [B], right-aligned, [B, L], 0 where masked.

    Args:
        mask: bool [B, L], see `history_mask`.
    """
    if not len(column):
        return np.zeros(mask.shape, column.dtype)
    positions = ends[:, None] + np.arange(-mask.shape[1], 0)
    values: np.ndarray = np.asarray(column).take(positions, mode="clip")  # those out of bounds are masked
    values *= mask
    return values


def expand_ranges(starts: np.ndarray, counts: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (index of the range, position) of each position of ranges [R], by ascending index."""
    indices = np.repeat(np.arange(len(starts), dtype=np.int64), counts)
    first = np.cumsum(counts) - counts
    positions: NDArray[np.int64] = np.arange(len(indices), dtype=np.int64) + (starts - first)[indices]
    return indices, positions


def user_offsets(users: np.ndarray, num_users: int) -> NDArray[np.int64]:
    """Return the offsets, int64 [num_users + 2], of ascending user rows [n]."""
    return offsets_from_counts(np.bincount(users, minlength=num_users + 1))


def offsets_from_counts(counts: np.ndarray) -> NDArray[np.int64]:
    """Return the offsets, int64 [num_users + 2], of the number of interactions of each user row."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def ages(interactions: Interactions) -> NDArray[np.float64]:
    """Return the age of each interaction in days, [n]; the newest of all has age 0."""
    times = np.asarray(interactions.times)
    return np.asarray((times.max() - times) / SECONDS_A_DAY)


def ages_within_user(interactions: Interactions) -> NDArray[np.float64]:
    """Return the age of each interaction in days, [n]; the newest of each user has age 0."""
    times, ends = np.asarray(interactions.times), np.asarray(interactions.offsets)[1:]
    seconds = np.repeat(times[np.maximum(ends - 1, 0)], interactions.counts())
    seconds -= times
    return np.asarray(seconds / SECONDS_A_DAY)


def newer_share_within_user(interactions: Interactions) -> NDArray[np.float64]:
    """Return the share of its user's interactions that are newer than each interaction, [n]."""
    counts, ends = interactions.counts(), np.asarray(interactions.offsets)[1:]
    newer: NDArray[np.float64] = np.repeat(ends, counts) - 1.0
    newer -= np.arange(len(newer))
    return newer / np.repeat(counts, counts)


def time_order(first: Interactions, second: Interactions) -> NDArray[np.int64]:
    """Return the order of two concatenated logs by user, then time; at equal times the first log leads."""
    users = np.concatenate([first.user_rows(), second.user_rows()])
    return np.lexsort((np.concatenate([first.times, second.times]), users))
