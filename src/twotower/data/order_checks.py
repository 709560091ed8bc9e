"""Checks that the order of rows is one of time, where there are no times and where times are equal."""

import math

import numpy as np
from scipy.special import gammaln

from twotower.config.errors import InputError
from twotower.data.blocks import blocks_of_users
from twotower.data.interactions import Interactions
from twotower.data.split_interactions import AuditedHoldout, SplitInteractions

FEWEST_STEPS = 3
"""Steps from one item to another of a line that is looked at."""
LEAST_EVIDENCE = math.log(1e12)
"""Ascending lines count if a random order would make them with a probability of at most exp(-this)."""
LOWER_ID = 0.9
"""Share of ties with the lower id first from which on rows of equal times are sorted by id."""


def check_row_order(interactions: Interactions, source_path: str) -> str | None:
    """Return a warning if the lines of more than half of the users ascend by item id.

    A line is a user's rows, or those of train, of valid and of test. n items in a random order ascend with a
    probability of 1 / n!, and lines that are in the order of time rarely do (SASRec's ml-1m: 1 of 6,040,
    Gowalla: 12 of 29,858, Beauty: 0.6 %).

    Args:
        interactions: whose times are the positions of its rows.
        source_path: of the interactions, for the message.

    Raises:
        InputError: all lines ascend.
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
        is_long = ups + downs >= FEWEST_STEPS
        ascends = is_long & (downs == 0)
        number, ascending = number + int(is_long.sum()), ascending + int(ascends.sum())
        evidence += float(gammaln(ups[ascends] + 2).sum())
    if 2 * ascending <= number or evidence < LEAST_EVIDENCE:
        return None
    whose = "users" if interactions.given is None else "users' lists (train and test apart)"
    remedy = "sort the rows by time, or set data.ordered=false, which draws an order"
    if ascending < number:
        return (
            f"{source_path}: the items of {ascending:,} of {number:,} {whose} ascend by id, as in a file "
            f"that is sorted by id and not by time; if it is, {remedy}"
        )
    raise InputError(
        f"{source_path}: the items of all {number:,} {whose} of {FEWEST_STEPS + 1} or more ascend by id, "
        f"so the rows are sorted by id and not by time; {remedy} (twotower init: --unordered)"
    )


def warning_of_ties(cut: SplitInteractions, source_path: str) -> str | None:
    """Return a warning if the order of rows of equal times decides what is predicted, for most users.

    Args:
        cut: of a split that is made by the order of each user's interactions.
        source_path: of the interactions, for the message.
    """
    for name, window in (("valid", cut.valid), ("test", cut.test)):
        tied, is_sorted = _ties(window)
        if 2 * tied > len(window.users):
            ids = "; rows of equal times ascend by item id: the target is the highest" if is_sorted else ""
            return (
                f"{source_path}: the first target of {tied:,} of {len(window.users):,} {name} users has the "
                "time of the interaction before it, so the order of rows decides which of them is predicted"
                f"{ids}; use split=temporal, or a column of finer times"
            )
    return None


def _ties(window: AuditedHoldout) -> tuple[int, bool]:
    """Return how many users have a first target at the time of the last interaction before it.

    And whether nearly all of these targets have a higher item row than that interaction.
    """
    history, first = window.history, window.target_offsets[:-1]
    ends = np.asarray(history.offsets)[window.users + 1]
    has = ends > np.asarray(history.offsets)[window.users]
    last, first = ends[has] - 1, first[has]
    tied = np.asarray(history.times[last]) == window.target_times[first]
    higher = window.target_items[first[tied]] > np.asarray(history.items[last[tied]])
    return int(tied.sum()), bool(len(higher) and higher.mean() > LOWER_ID)
