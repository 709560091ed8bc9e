"""The map between ids of users or items and integer rows."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.source_column import fits_64_bits, is_whole

Ids = np.ndarray | pd.Series | Sequence[Any]
UNKNOWN = 0  # row of every id that is not in the vocabulary
CHARACTER_BYTES = np.dtype("U1").itemsize


class Vocabulary:
    """A one-to-one map between ids and rows 1..n; row 0 is unknown.

    Ids are int64 or text, strictly ascending; text is an array of fixed width, so an id must not end in NUL.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values: np.ndarray = values.astype(np.int64 if values.dtype.kind in "iu" else np.str_)
        assert bool(np.all(self.values[1:] > self.values[:-1])), "ids must ascend strictly"

    @classmethod
    def fit(cls, ids: Ids) -> "Vocabulary":
        """Return the vocabulary of all distinct ids, which are all whole numbers or all text."""
        distinct = pd.unique(pd.Series(ids)) if len(ids) else np.zeros(0, np.int64)
        array = np.asarray(distinct)
        return cls(np.sort(array.astype(np.int64 if array.dtype.kind in "iu" else np.str_)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_text(self) -> bool:
        """Whether ids are text; otherwise they are whole numbers."""
        return bool(self.values.dtype.kind == "U")

    def rows(self, ids: Ids) -> NDArray[np.int32]:
        """Return the row of each id [n]; 0 if it is unknown or of the wrong type ("1" is not 1)."""
        return (self._index.get_indexer(self._lookup_keys(ids)) + 1).astype(np.int32)

    def row(self, value: Any) -> int:
        """Return the row of one id; much faster than `rows`."""
        if self.is_text:
            is_valid = isinstance(value, str) and len(value) * CHARACTER_BYTES <= self.values.dtype.itemsize
        else:
            is_valid = is_whole(value) and fits_64_bits(value)
        if not is_valid:
            return UNKNOWN
        position = int(self.values.searchsorted(value))
        is_known = position < len(self) and self.values[position].item() == value
        return position + 1 if is_known else UNKNOWN

    def ids(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """Return the id of each row; raises IndexError if a row is 0 (unknown) or beyond the last."""
        array = np.asarray(rows, dtype=np.int64)
        if array.size and (array.min() < 1 or array.max() > len(self)):
            raise IndexError(f"rows with an id are 1..{len(self)}, got {array.min()}..{array.max()}")
        ids: np.ndarray = self.values[array - 1]
        return ids

    @cached_property
    def _index(self) -> "pd.Index[Any]":
        keys: np.ndarray = self.values.astype(object) if self.is_text else self.values
        index: pd.Index[Any] = pd.Index(keys, dtype=keys.dtype)
        return index

    def _lookup_keys(self, ids: Ids) -> "pd.Index[Any]":
        """Return ids as the index compares them; values that cannot be ids become None."""
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
