"""The user's own keys and our rows."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.source_column import fits_64_bits, is_whole

Ids = np.ndarray | pd.Series | Sequence[Any]
UNKNOWN = 0  # the row of every id that is not in a vocabulary
WIDEST_SPAN = 4
"""Times the number of ids: if they lie as close, a table of all numbers between them finds rows fastest."""
CHARACTER_BYTES = np.dtype("U1").itemsize


class Vocabulary:
    """A one-to-one map between ids and rows 1..n; row 0 stands for whatever is unknown.

    Ids are int64 or text, strictly ascending; text is an array of fixed width, so an id must not end in NUL.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values: np.ndarray = values.astype(np.int64 if values.dtype.kind in "iu" else np.str_)
        assert bool(np.all(self.values[1:] > self.values[:-1])), "ids must ascend strictly"

    @classmethod
    def fit(cls, ids: Ids) -> "Vocabulary":
        """Return the vocabulary of all distinct ids; they are all whole numbers or all text."""
        distinct = pd.unique(pd.Series(ids)) if len(ids) else np.zeros(0, np.int64)
        array = np.asarray(distinct)
        return cls(np.sort(array.astype(np.int64 if array.dtype.kind in "iu" else np.str_)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_text(self) -> bool:
        """Tell whether ids are text; otherwise they are whole numbers."""
        return bool(self.values.dtype.kind == "U")

    def rows(self, ids: Ids) -> NDArray[np.int32]:
        """Return the row of each id [n]; 0 where it is unknown or of the wrong type ("1" is not 1)."""
        if isinstance(ids, np.ndarray) and ids.dtype == np.int64 and len(ids) and self._places is not None:
            low, high = int(self.values[0]), int(self.values[-1])
            if low <= ids.min() and ids.max() <= high:
                rows: NDArray[np.int32] = self._places[ids - low]
                return rows
            inside = (ids >= low) & (ids <= high)
            return np.where(inside, self._places[np.where(inside, ids, low) - low], np.int32(UNKNOWN))
        return (self._index.get_indexer(self._lookup_keys(ids)) + 1).astype(np.int32)

    def row(self, value: Any) -> int:
        """Return the row of one id as `rows` does, in a fraction of the time."""
        if self.is_text:
            sound = isinstance(value, str) and len(value) * CHARACTER_BYTES <= self.values.dtype.itemsize
        else:
            sound = is_whole(value) and fits_64_bits(value)
        if not sound:
            return UNKNOWN
        place = int(self.values.searchsorted(value))
        return place + 1 if place < len(self) and self.values[place].item() == value else UNKNOWN

    def ids(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """Return the id of each row; an IndexError if one is 0 (unknown) or beyond the last."""
        array = np.asarray(rows, dtype=np.int64)
        if array.size and (array.min() < 1 or array.max() > len(self)):
            raise IndexError(f"rows with an id are 1..{len(self)}, got {array.min()}..{array.max()}")
        found: np.ndarray = self.values[array - 1]
        return found

    @cached_property
    def _places(self) -> NDArray[np.int32] | None:
        """Return the row of each whole number from the first id on, if the ids lie close."""
        if self.is_text or len(self) == 0:
            return None
        span = int(self.values[-1]) - int(self.values[0]) + 1
        if span > WIDEST_SPAN * len(self):
            return None
        places = np.zeros(span, dtype=np.int32)
        places[self.values - self.values[0]] = np.arange(1, len(self) + 1)
        return places

    @cached_property
    def _index(self) -> "pd.Index[Any]":
        keys: np.ndarray = self.values.astype(object) if self.is_text else self.values
        index: pd.Index[Any] = pd.Index(keys, dtype=keys.dtype)
        return index

    def _lookup_keys(self, ids: Ids) -> "pd.Index[Any]":
        """Return ids as the index compares them; whatever cannot be an id of ours becomes None."""
        array = ids.to_numpy() if isinstance(ids, pd.Series) else ids
        if isinstance(array, np.ndarray) and array.dtype.kind == "U":
            array = array.astype(object)
        if isinstance(array, np.ndarray) and array.dtype.kind == "i" and not self.is_text:
            return pd.Index(array.astype(np.int64, copy=False))
        kind: Any = str if self.is_text else (int, np.integer)
        keys = np.empty(len(array), dtype=object)
        keys[:] = [
            value if isinstance(value, kind) and not isinstance(value, bool) else None for value in array
        ]
        return pd.Index(keys, dtype=object)
