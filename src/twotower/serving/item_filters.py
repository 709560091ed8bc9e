"""The items that meet the conditions of requests, kept for requests with the same conditions."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from twotower.serving.attributes import Attributes
from twotower.serving.live_items import Floats, LiveItems, Rows
from twotower.serving.top_items import SCAN_ROWS

NUM_KEPT = 16
"""Conditions whose items are kept, the latest."""


class Matches(NamedTuple):
    """Offered rows that meet conditions, int64 [n] ascending, and their embeddings [n, D] if they are few."""

    rows: Rows
    embeddings: Floats | None


def item_filter(items: LiveItems, attributes: Attributes) -> Callable[[Mapping[str, Any]], Matches]:
    """Return a function from conditions (see `Request.where`) to the items that meet them.

    The function raises InputError for invalid conditions. Its callers hold the lock of the catalogue.
    """

    def find(where: Mapping[str, Any]) -> Matches:
        meets = attributes.matches(where, items.num_rows) & items.live_mask()
        rows = np.flatnonzero(meets) + 1
        return Matches(rows, items.embeddings(rows) if len(rows) <= SCAN_ROWS else None)

    @lru_cache(maxsize=NUM_KEPT)
    def find_kept(text: str, num_rows: int, num_live: int) -> Matches:
        return find(json.loads(text))

    def find_matches(where: Mapping[str, Any]) -> Matches:
        try:
            text = json.dumps(where)
        except (TypeError, ValueError):  # values of other types, such as those of NumPy
            return find(where)
        # One number grows with each item that is added, the other falls with each that is removed.
        return find_kept(text, items.num_rows, items.num_live)

    return find_matches
