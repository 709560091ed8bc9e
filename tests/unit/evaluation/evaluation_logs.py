"""Small logs and holdouts written by hand."""

from collections.abc import Sequence

import numpy as np

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions


def make_history(lists: Sequence[Sequence[int]], times: Sequence[int] | None = None) -> Interactions:
    """Return the log of user rows 1, 2, ...; times run from 0 in that order unless given."""
    items = np.array([row for listed in lists for row in listed], dtype=np.int32)
    when = np.arange(len(items)) if times is None else np.array(times)
    return Interactions(np.cumsum([0, 0, *map(len, lists)]), items, when.astype(np.int64))


def make_holdout(
    targets: Sequence[Sequence[int]], histories: Sequence[Sequence[int]], now: int = 1000
) -> Holdout:
    """Return the holdout of user rows 1, 2, ..., all of them asked about."""
    num_users = len(targets)
    return Holdout(
        users=np.arange(1, num_users + 1, dtype=np.int32),
        target_offsets=np.cumsum([0, *map(len, targets)]),
        target_items=np.array([row for listed in targets for row in listed], dtype=np.int32),
        request_times=np.full(num_users, now, dtype=np.int64),
        history=make_history(histories),
    )
