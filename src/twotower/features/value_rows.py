"""Which raw values have a row of an embedding table."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

Value = str | int | float


def is_value(value: Any) -> bool:
    """Tell whether this can be a category: text or a finite number."""
    if isinstance(value, str):
        return True
    try:
        return isinstance(value, int | float | np.integer | np.floating | np.bool_) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


class ValueRows:
    """Known values, at rows 1..n in a fixed order; row 0 = unknown.

    1, 1.0 and numpy's 1 are one value; "1" is another.
    """

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self.values = list(values)
        self._row_of = {value: row for row, value in enumerate(self.values, start=1)}

    @classmethod
    def fit(cls, values: Iterable[Any], min_count: int = 1) -> "ValueRows":
        """Give a row to every value that occurs at least `min_count` times, numbers first, in order."""
        counts = Counter(value.item() if isinstance(value, np.generic) else value for value in values)
        kept = (value for value, count in counts.items() if count >= min_count)
        return cls(sorted(kept, key=lambda value: (isinstance(value, str), value)))

    def __len__(self) -> int:
        """Return the number of known values, without the unknown row."""
        return len(self.values)

    def row(self, value: Any) -> int:
        """Return the row of a value, 0 where it is not known or cannot be."""
        try:
            return self._row_of.get(value, 0)
        except TypeError:  # not hashable
            return 0
