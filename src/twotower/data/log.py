"""All interactions, in the one order every split and history uses.

Shapes: n interactions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twotower.data.actions import HISTORY, NEGATIVE, POSITIVE
from twotower.data.blocks import MEMORY, Room, blocks
from twotower.data.interactions import Interactions, offsets_of_counts
from twotower.data.tables import ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, USER_ID, Tables
from twotower.data.vocabulary import Vocabulary

Keep = Callable[[slice], NDArray[np.bool_]]
"""Slice of a log -> which of its interactions are kept."""


@dataclass(frozen=True, eq=False)
class Log:
    """Interactions ordered by user row, then time, then row order of the source.

    Rows are int32 [n], times int64 [n] in unix seconds, and `given` int8 [n]: the position in `SPLIT_NAMES`
    that the source gives each interaction. `roles` int8 [n] are those of `actions.ROLES`, None where all are
    positive; for weights, events and context see `Interactions`.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    num_users: int
    num_items: int
    given: NDArray[np.int8] | None = None
    roles: NDArray[np.int8] | None = None
    weights: NDArray[np.float32] | None = None
    events: NDArray[np.int16] | None = None
    context: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each user row's interactions begin, [num_users + 2]."""
        counts = np.zeros(self.num_users + 1, dtype=np.int64)
        for rows in blocks(len(self), self.users):
            _count(counts, self.users[rows])
        return offsets_of_counts(counts)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Interactions of each user row, [num_users + 1]."""
        return np.diff(self.offsets)

    @property
    def ordinals(self) -> NDArray[np.int64]:
        """How many interactions of its user precede each interaction, [n]."""
        ordinals: NDArray[np.int64] = np.arange(len(self)) - self.offsets[self.users]
        return ordinals

    @cached_property
    def is_positive(self) -> NDArray[np.bool_]:
        """Which interactions the user wanted, so that they can be targets, [n]."""
        return np.ones(len(self), dtype=np.bool_) if self.roles is None else self.roles == POSITIVE

    @property
    def is_example(self) -> NDArray[np.bool_]:
        """Which interactions training may learn from, [n]: all but those of histories only."""
        return np.ones(len(self), dtype=np.bool_) if self.roles is None else self.roles != HISTORY

    @cached_property
    def is_shown(self) -> NDArray[np.bool_]:
        """Which interactions are items shown in vain, [n]."""
        return np.zeros(len(self), dtype=np.bool_) if self.roles is None else self.roles == NEGATIVE

    @cached_property
    def positives(self) -> "Log":
        """The positive interactions, which a split is made of."""
        return self if self.roles is None else replace(self._taken(self.is_positive), roles=None)

    def at(self, rows: slice) -> "Log":
        """Return the interactions of a slice; nothing is copied."""
        return self._taken(rows)

    def only(self, keep: Keep, room: Room = MEMORY, place: str = "") -> Interactions:
        """Return the interactions that are to be kept, by user; those shown in vain as a part of their own.

        Args:
            keep: slice of interactions -> which of them, bool.
            room: where the arrays are made; a log with roles makes them in memory.
            place: their place there.
        """
        if self.roles is None:
            return self._kept(keep, room, place)
        mask = np.concatenate([keep(rows) for rows in blocks(len(self))] or [np.zeros(0, np.bool_)])
        part, shown = self._taken(mask & ~self.is_shown), self._taken(mask & self.is_shown)
        history = part.history()
        if not part.is_positive.all():
            history = replace(history, positive=part.is_positive)
        return replace(history, impressions=shown.history()) if self.is_shown.any() else history

    def _kept(self, keep: Keep, room: Room, place: str) -> Interactions:
        """Count what is kept of each user, then copy it, block by block."""
        counts = np.zeros(self.num_users + 1, dtype=np.int64)
        for rows in blocks(len(self), self.users):
            _count(counts, self.users[rows][keep(rows)])
        offsets = offsets_of_counts(counts)
        columns = {name: getattr(self, name) for name in ("items", "times", "weights", "events", "context")}
        columns = {name: column for name, column in columns.items() if column is not None}
        new = {
            name: room.array(place, name, column.dtype, int(offsets[-1])) for name, column in columns.items()
        }
        for rows in blocks(len(self), self.users, *columns.values(), what=f"data: writing {place}"):
            kept = keep(rows)
            for name, column in columns.items():
                new[name].put(column[rows][kept])
        done: dict[str, Any] = {name: filler.done() for name, filler in new.items()}
        return Interactions(offsets, **done)

    def everything(self) -> Interactions:
        """Return the whole log by user, the arrays themselves; it has no roles."""
        return Interactions(
            self.offsets, self.items, self.times, self.weights, None, self.events, self.context
        )

    def history(self) -> Interactions:
        """Return all interactions by user."""
        weights = self.weights
        if not (is_example := self.is_example).all():
            weights = np.where(is_example, 1 if weights is None else weights, 0).astype(np.float32)
        found = Interactions.of(self.users, self.items, self.times, self.num_users)
        return replace(found, weights=weights, events=self.events, context=self.context)

    def _taken(self, mask: NDArray[np.bool_] | slice) -> "Log":
        names = ("users", "items", "times", "given", "roles", "weights", "events", "context")
        columns = {name: getattr(self, name) for name in names}
        taken: dict[str, Any] = {
            name: None if column is None else column[mask] for name, column in columns.items()
        }
        return replace(self, **taken)


def log_of(
    tables: Tables, users: Vocabulary, items: Vocabulary, context: NDArray[np.int32] | None = None
) -> Log:
    """Return the interactions of checked tables in rows, stably ordered.

    Args:
        tables: checked.
        users: of them.
        items: of them.
        context: [n] the row of each interaction in the table of contexts.
    """
    frame, actions = tables.interactions, tables.actions
    user_rows, item_rows = users.rows(frame[USER_ID]), items.rows(frame[ITEM_ID])
    times = frame[TIMESTAMP].to_numpy(dtype=np.int64)
    order = np.lexsort((times, user_rows))  # lexsort is stable: equal times keep the row order of the source
    given = None
    if SPLIT in frame.columns:
        names = frame[SPLIT].to_numpy(dtype=object)
        given = np.select([names == name for name in SPLIT_NAMES], range(len(SPLIT_NAMES))).astype(np.int8)
    parts: dict[str, Any] = {
        "given": given,
        "roles": actions.roles,
        "weights": actions.weights,
        "events": actions.codes,
        "context": context,
    }
    ordered = {name: None if part is None else part[order] for name, part in parts.items()}
    return Log(user_rows[order], item_rows[order], times[order], len(users), len(items), **ordered)


def _count(counts: NDArray[np.int64], users: np.ndarray) -> None:
    """Add the interactions of ascending user rows to the counts of all."""
    if len(users):
        found = np.bincount(users - users[0])
        counts[users[0] : users[0] + len(found)] += found
