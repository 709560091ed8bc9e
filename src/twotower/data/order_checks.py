"""Checks that rows are in the order of time, for data without times and for equal times."""

import math

import numpy as np
from scipy.special import gammaln

from twotower.config.errors import InputError
from twotower.data.blocks import blocks_of_users
from twotower.data.interactions import Interactions
from twotower.data.split_interactions import SplitInteractions

MIN_STEPS = 3
"""Minimum number of changes of item of a user whose rows are tested."""
MIN_EVIDENCE = math.log(1e12)
"""Minimum of minus the log probability of the ascending lists in random order, for a report."""
LOWER_ID_SHARE = 0.9
"""Minimum share of ties with the lower id first, for rows of equal times to count as sorted by id."""


def check_row_order(interactions: Interactions, source_path: str) -> str | None:
    """Return a warning if the items of more than half of the users ascend by id.

    n items in random order ascend with probability 1 / n!. Rows of train, valid and test are tested apart.

    Args:
        interactions: interactions without times; `times` are row positions.
        source_path: file of the interactions, for the message.

    Raises:
        InputError: the items of all users ascend.
    """
    number = ascending = 0
    evidence = 0.0
    for rows in blocks_of_users(interactions.offsets, interactions.items):
        begins = np.diff(interactions.user_rows(rows), prepend=-1) != 0
        if interactions.given is not None:
            begins[1:] |= np.diff(interactions.given[rows]) != 0
        line = np.cumsum(begins) - 1
        steps = np.where(begins[1:], 0, np.sign(np.diff(interactions.items[rows])))
        ups, downs = (np.bincount(line[1:], steps == sign, line[-1] + 1) for sign in (1, -1))
        is_long = ups + downs >= MIN_STEPS
        ascends = is_long & (downs == 0)
        number, ascending = number + int(is_long.sum()), ascending + int(ascends.sum())
        evidence += float(gammaln(ups[ascends] + 2).sum())
    if 2 * ascending <= number or evidence < MIN_EVIDENCE:
        return None
    whose = "users" if interactions.given is None else "users' lists (train and test apart)"
    remedy = "sort the rows by time, or set data.ordered=false, which draws an order"
    if ascending < number:
        return (
            f"{source_path}: the items of {ascending:,} of {number:,} {whose} ascend by id, as in a file "
            f"that is sorted by id and not by time; if it is, {remedy}"
        )
    raise InputError(
        f"{source_path}: the items of all {number:,} {whose} of {MIN_STEPS + 1} or more ascend by id, "
        f"so the rows are sorted by id and not by time; {remedy} (twotower init: --unordered)"
    )


def warning_of_ties(cut: SplitInteractions, source_path: str) -> str | None:
    """Return a warning if the order of rows of equal times decides the first target of most users.

    Args:
        cut: interactions cut by a split with `by_order`.
        source_path: file of the interactions, for the message.
    """
    for name, window in (("valid", cut.valid), ("test", cut.test)):
        history, offsets = window.history, np.asarray(window.history.offsets)
        begins, ends = offsets[window.users], offsets[window.users + 1]
        first, last = window.target_offsets[:-1][ends > begins], ends[ends > begins] - 1
        is_tied = np.asarray(history.times[last]) == window.target_times[first]
        num_tied = int(is_tied.sum())
        if 2 * num_tied > len(window.users):
            higher = window.target_items[first[is_tied]] > np.asarray(history.items[last[is_tied]])
            ids = "; rows of equal times ascend by item id: the target is the highest"
            ids = ids if higher.mean() > LOWER_ID_SHARE else ""
            return (
                f"{source_path}: the first target of {num_tied:,} of {len(window.users):,} {name} users has "
                "the time of the interaction before it, so the order of rows decides which of them is "
                f"predicted{ids}; use split=temporal, or a column of finer times"
            )
    return None
