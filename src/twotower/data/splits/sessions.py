"""A split in time for users that are new in each window; part of their interactions is the history."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.spec import ProperFraction
from twotower.data.blocks import blocks
from twotower.data.interactions import Interactions
from twotower.data.splits.split import NONE, TEST, TEST_HISTORY, TRAIN, VALID, VALID_HISTORY, Parts, Split
from twotower.data.splits.temporal import NEVER, Temporal
from twotower.data.splits.user_holdout import history_lengths

PARTS = np.array([[TRAIN, TRAIN, NONE], [VALID_HISTORY, VALID, NONE], [TEST_HISTORY, TEST, NONE]], np.int8)
"""Window in which a session begins -> parts of its history, of its targets, of its later interactions."""


class Sessions(Temporal):
    """`Temporal` for sessions and anonymous visitors, who have no history before the windows.

    The user column holds sessions. A session belongs to the window in which it begins. Earlier sessions
    train; in the valid and test windows the first interactions are the history and the rest are targets. The
    request time is the first target's. Later interactions are dropped, so the future-leak rate is 0.
    """

    class Config(Temporal.Config):
        fold_in: ProperFraction = 0.8
        """Share of the interactions of a session that is history; at least one, and not all."""

    config: Config
    name = "sessions"
    by_order = True

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction, by the window of its session and its position in it."""
        cutoffs, counts = self.cutoffs(interactions), interactions.counts()
        begins = np.zeros(len(counts), dtype=np.int64)
        begins[counts > 0] = interactions.times[interactions.offsets[:-1][counts > 0]]
        window = np.searchsorted(cutoffs, begins, side="right")
        ends, inside = np.array([*cutoffs, NEVER])[window], np.zeros_like(counts)
        for rows in blocks(len(interactions), interactions.times):
            users = interactions.user_rows(rows)
            first, last = int(users[0]), int(users[-1])
            is_inside = interactions.times[rows] < ends[users]
            inside[first : last + 1] += np.bincount(users[is_inside] - first, minlength=last - first + 1)
        num_history = history_lengths(inside, self.config.fold_in)
        lengths = np.stack([num_history, inside - num_history, counts - inside], axis=1)
        return np.repeat(PARTS[window].ravel(), lengths.ravel())

    def spread(self, interactions: Interactions, parts: Parts) -> Parts:
        """Return the part of each interaction: the part of a positive nearby, see `Split.spread`.

        Interactions after the end of the window of this part get `NONE`.
        """
        spread = Split.spread(self, interactions, parts)
        valid_from, test_from = self.cutoffs(interactions.positives)
        ends = np.full(NONE + 1, NEVER)
        ends[TRAIN], ends[[VALID_HISTORY, VALID]] = valid_from, test_from
        for rows in blocks(len(interactions), interactions.times):
            spread[rows][interactions.times[rows] >= ends[spread[rows]]] = NONE
        return spread

    def request_times(self, interactions: Interactions, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time of the first target of each session; see `Split.request_times`."""
        return Split.request_times(self, interactions, starts)

    def remedy(self, interactions: Interactions) -> str:
        """Return the windows, and what a session needs for a target."""
        most = int(interactions.counts().max())
        return (
            f"{super().remedy(interactions)}; a target needs a session with two positive interactions in one "
            f"window (the most of a session is {most})"
        )
