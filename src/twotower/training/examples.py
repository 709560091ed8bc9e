"""The examples of a log: its positives and, for losses of labels, its impressions without a click.

Shapes: n interactions of the log, m impressions without a click, L history positions, P positives of a batch,
H query negatives of a positive.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions, user_offsets
from twotower.training.order import all_positions


@dataclass(frozen=True, eq=False)
class Examples:
    """The interactions of a log [n], followed by its impressions without a click [m] if these are examples.

    Attributes:
        users: int32 user rows.
        items: int32 item rows.
        times: int64 unix seconds.
        history_end: int32 (int64 of a log beyond that), the position in the log before which the history of
            each lies.
        context: int32 rows of the table of contexts, or None.
        num_positives: n.
    """

    users: NDArray[np.int32]
    items: np.ndarray
    times: np.ndarray
    history_end: np.ndarray
    context: np.ndarray | None
    num_positives: int


def examples_of(interactions: Interactions, strict: bool, labelled: bool) -> Examples:
    """Return what may be an example.

    Args:
        interactions: the train log.
        strict: the history of a positive holds only items strictly earlier; that of an impression
            always does.
        labelled: impressions without a click are examples.
    """
    users, impressions = interactions.user_rows(), interactions.impressions
    end = _first_of_equal_times(interactions, users) if strict else all_positions(len(interactions))
    if not labelled or impressions is None:
        context = None if interactions.context is None else np.asarray(interactions.context)
        return Examples(
            users,
            np.asarray(interactions.items),
            np.asarray(interactions.times),
            end,
            context,
            len(interactions),
        )
    context = None
    if interactions.context is not None and impressions.context is not None:
        context = np.concatenate([interactions.context, impressions.context])
    return Examples(
        np.concatenate([users, impressions.user_rows()]),
        np.concatenate([interactions.items, impressions.items]),
        np.concatenate([interactions.times, impressions.times]),
        np.concatenate([end, _ends_before(interactions, impressions)]),
        context,
        len(interactions),
    )


def _first_of_equal_times(interactions: Interactions, user_of: np.ndarray) -> np.ndarray:
    """Return for every interaction the first position of its user's log with the same timestamp."""
    times = np.asarray(interactions.times)
    begins = np.ones(len(times), dtype=bool)
    begins[1:] = (times[1:] != times[:-1]) | (user_of[1:] != user_of[:-1])
    places = all_positions(len(times))
    places[~begins] = 0
    first: np.ndarray = np.maximum.accumulate(places, out=places)
    return first


def _ends_before(interactions: Interactions, impressions: Interactions) -> NDArray[np.int64]:
    """Return the position in the log before which the history of each impression ends, [m]."""
    order = time_order(impressions, interactions)  # an impression precedes interactions of the same second
    in_log = order >= len(impressions)
    ends = np.empty(len(impressions), dtype=np.int64)
    ends[order[~in_log]] = np.cumsum(in_log)[~in_log]
    return ends


def time_order(first: Interactions, second: Interactions) -> NDArray[np.int64]:
    """Return the order by user, then time, of two logs laid end to end; at equal times the first leads."""
    users = np.concatenate([first.user_rows(), second.user_rows()])
    return np.lexsort((np.concatenate([first.times, second.times]), users))


class OwnImpressions:
    """Draws impressions of the positive's user as query negatives, without replacement.

    Items that the user has interacted with are left out.

    Args:
        interactions: the train log, with impressions.
        most: H.
        seed: with a batch's number it decides the draw.
    """

    def __init__(self, interactions: Interactions, most: int, seed: int) -> None:
        assert interactions.impressions is not None
        self.most, self.seed = most, seed
        impressions, had = interactions.impressions, interactions.examples
        width = 1 + max(int(part.items.max(initial=0)) for part in (impressions, had))
        keys = impressions.user_rows().astype(np.int64) * width + impressions.items
        if impressions.weights is not None:
            keys = keys[np.asarray(impressions.weights) > 0]
        has = had.user_rows().astype(np.int64) * width + had.items
        pairs = np.setdiff1d(keys, has)  # ascending, so by user
        self.items: NDArray[np.int64] = pairs % width
        self.offsets = user_offsets(pairs // width, interactions.num_users)

    def draw(self, users: NDArray[np.int32], number: int) -> NDArray[np.int64]:
        """Return item rows [P, H], 0 = none, of the users [P] of a batch.

        Reference: Bentley and Floyd, Programming pearls: a sample of brilliance, CACM 1987 (without
        replacement, in as many steps as are drawn).
        """
        rng = np.random.default_rng([self.seed, number, self.most])
        starts = self.offsets[users]
        counts = self.offsets[users + 1] - starts
        chosen = np.tile(np.arange(self.most), (len(users), 1))
        many = np.flatnonzero(counts > self.most)
        for step in range(self.most):
            last = counts[many] - self.most + step
            drawn = rng.integers(0, last + 1)
            taken = (chosen[many, :step] == drawn[:, None]).any(axis=1)
            chosen[many, step] = np.where(taken, last, drawn)
        there = chosen < counts[:, None]
        found = np.zeros(chosen.shape, dtype=np.int64)
        found[there] = self.items[(starts[:, None] + chosen)[there]]
        return found
