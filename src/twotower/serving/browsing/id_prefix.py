"""Ids that begin with what somebody has typed so far, found by bisection."""

import numpy as np

from twotower.data.vocabulary import Vocabulary
from twotower.serving.recommendation import UserId

DIGITS = 19
"""Of the longest whole number of 64 bits."""
HIGHEST = 2**63 - 1


def with_prefix(ids: Vocabulary, prefix: str, limit: int) -> list[UserId]:
    """Return the first ids that begin with a text: in their order, shorter numbers before longer ones."""
    values = ids.values
    if ids.is_text or not prefix:
        start = int(np.searchsorted(values, prefix)) if ids.is_text else 0
        found: list[UserId] = values[start : start + limit].tolist()
        return [key for key in found if str(key).startswith(prefix)]
    if not (prefix.isascii() and prefix.isdecimal()) or prefix != str(int(prefix)):
        return []
    keys: list[UserId] = []
    for num_more in range(DIGITS - len(prefix) + 1 if prefix != "0" else 1):
        low = int(prefix) * 10**num_more
        if low > HIGHEST:
            break
        start = int(np.searchsorted(values, low, "left"))
        end = int(np.searchsorted(values, min(low + 10**num_more - 1, HIGHEST), "right"))
        keys += values[start : min(end, start + limit - len(keys))].tolist()
    return keys
