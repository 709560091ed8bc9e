"""The training examples of a log: its positives and, for losses of labels, its impressions without a click.

Shapes: n interactions, m impressions without a click.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.training.order import all_positions


@dataclass(frozen=True, eq=False)
class Examples:
    """The interactions [n], followed by the impressions without a click [m] if these are examples.

    Attributes:
        users: int32 user rows.
        items: int32 item rows.
        times: int64 unix seconds.
        history_end: int32 (int64 for large logs) position in the interactions at which each history ends.
        context: int32 rows of the context table, or None.
        num_positives: n.
    """

    users: NDArray[np.int32]
    items: np.ndarray
    times: np.ndarray
    history_end: np.ndarray
    context: np.ndarray | None
    num_positives: int


def build_examples(interactions: Interactions, strict: bool, with_impressions: bool) -> Examples:
    """Build the examples.

    Args:
        interactions: the training interactions.
        strict: the history of a positive has only strictly earlier items, as that of an impression always
        has. with_impressions: impressions without a click are examples.
    """
    users, impressions = interactions.user_rows(), interactions.impressions
    items, times = np.asarray(interactions.items), np.asarray(interactions.times)
    context = None if interactions.context is None else np.asarray(interactions.context)
    ends = all_positions(len(interactions))
    if strict:  # the first position with the same user and time
        is_first = np.ones(len(times), dtype=bool)
        is_first[1:] = (times[1:] != times[:-1]) | (users[1:] != users[:-1])
        ends[~is_first] = 0
        ends = np.maximum.accumulate(ends, out=ends)
    if not with_impressions or impressions is None:
        return Examples(users, items, times, ends, context, len(interactions))
    order = time_order(impressions, interactions)  # an impression precedes interactions of the same second
    is_interaction = order >= len(impressions)
    impression_ends = np.empty(len(impressions), dtype=np.int64)
    impression_ends[order[~is_interaction]] = np.cumsum(is_interaction)[~is_interaction]
    if context is not None:
        context = None if impressions.context is None else np.concatenate([context, impressions.context])
    return Examples(
        np.concatenate([users, impressions.user_rows()]),
        np.concatenate([items, impressions.items]),
        np.concatenate([times, impressions.times]),
        np.concatenate([ends, impression_ends]),
        context,
        len(interactions),
    )


def time_order(first: Interactions, second: Interactions) -> NDArray[np.int64]:
    """Return the order of two concatenated logs by user, then time; at equal times the first log leads."""
    users = np.concatenate([first.user_rows(), second.user_rows()])
    return np.lexsort((np.concatenate([first.times, second.times]), users))
