"""All interactions in rows, in the one order every split and history uses."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twotower.data.history import History
from twotower.data.tables import ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, USER_ID, Tables
from twotower.data.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Log:
    """Interactions ordered by user row, then time, then row order of the source.

    Args:
        users: int32 [n] user rows, ascending.
        items: int32 [n] item rows.
        times: int64 [n] unix seconds, ascending within a user.
        given: int8 [n] position in `SPLIT_NAMES` that the source gives each interaction, or None.
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
