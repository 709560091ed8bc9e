"""What metrics may read besides lists, and groups of items and users.

Shapes: Q users, N items, V components of item vectors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from twotower.config.errors import InputError
from twotower.config.problems import nearest

Masks = dict[str, NDArray[np.bool_]]
MAX_GROUPS = 100
HEAD_SHARE = 0.5
MID_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class MetricData:
    """Tables and item vectors of a data set, the same for towers, baselines and splits.

    Args:
        users: the table of users; row r is at position r - 1, the same for `items`.
        vectors: name of a space -> function that returns vectors of items, of length 1 or 0, [N, V].
    """

    users: pd.DataFrame
    items: pd.DataFrame
    vectors: Mapping[str, Callable[[], sparse.csr_array]]


def column_groups(table: pd.DataFrame, column: str) -> Masks:
    """Return the rows [N + 1] of each value of a column (row 0 in none); missing values are `missing`.

    Raises:
        InputError: the table has no such column, or the column has more than 100 values.
    """
    if column not in table.columns:
        raise InputError(f"by: there is no column {column!r}; {nearest(column, map(str, table.columns))}")
    codes, values = pd.factorize(
        table[column].astype("str").where(table[column].notna(), "missing"), sort=True
    )
    if len(values) > MAX_GROUPS:
        raise InputError(
            f"by: column {column!r} has {len(values):,} values; use one with at most {MAX_GROUPS} groups"
        )
    return {str(value): np.concatenate([[False], codes == code]) for code, value in enumerate(values)}


def item_slices(popularity: np.ndarray) -> dict[str, Masks]:
    """Return slices of the catalogue as masks over item rows [N + 1] (row 0 in none).

    `item_popularity`: head = the fewest items that hold 50 % of all train interactions, mid = those that hold
    the next 30 %, tail = the rest. `item_cold`: cold = no train interaction, warm = any.
    """
    order = np.argsort(-popularity, kind="stable")
    before = np.empty(len(popularity), dtype=np.int64)
    before[order] = np.cumsum(popularity[order]) - popularity[order]
    is_item, warm, total = np.arange(len(popularity)) > 0, popularity > 0, popularity.sum()
    head = warm & (before < HEAD_SHARE * total)
    mid = warm & (before < MID_SHARE * total) & ~head
    return {
        "item_popularity": {"head": head, "mid": mid, "tail": is_item & ~head & ~mid},
        "item_cold": {"cold": is_item & ~warm, "warm": warm},
    }


def user_slices(history_lengths: np.ndarray) -> Masks:
    """Return slices of the evaluated users by their activity, as masks [Q].

    cold = empty history; other users by the terciles of their history lengths: low, mid and high.
    Users of one length stay together, so that thirds may be uneven.
    """
    warm = history_lengths > 0
    low, high = np.quantile(history_lengths[warm], [1 / 3, 2 / 3]) if warm.any() else (0.0, 0.0)
    return {
        "cold": ~warm,
        "low": warm & (history_lengths <= low),
        "mid": (history_lengths > low) & (history_lengths <= high),
        "high": history_lengths > max(high, 0),
    }
