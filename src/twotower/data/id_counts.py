"""Counts of the distinct ids of a long file, updated batch by batch."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.interaction_files import IdBatch

MAX_SPAN_PER_ROW = 1 / 4
MIN_SPAN = 2**20


class IdCounts:
    """Counts of ids.

    Whole numbers in a narrow range are counted in an array, others in sorted lists, texts in a dictionary.

    Args:
        num_rows: total number of rows; a range up to a quarter of it is narrow.
    """

    def __init__(self, num_rows: int) -> None:
        self.max_span = max(int(num_rows * MAX_SPAN_PER_ROW), MIN_SPAN)
        self.low, self.dense = 0, np.zeros(0, dtype=np.int64)
        self.ids, self.counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self.pending: list[tuple[np.ndarray, NDArray[np.int64]]] = []
        self.texts: dict[str, int] = {}
        self.is_dense = True

    def add(self, ids: IdBatch) -> None:
        """Count a batch."""
        if ids.values.dtype.kind != "i":
            codes = np.arange(len(ids.values)) if ids.codes is None else ids.codes
            counts = np.bincount(codes, minlength=len(ids.values))
            for text, count in zip(ids.values.tolist(), counts.tolist(), strict=True):
                if count:
                    self.texts[text] = self.texts.get(text, 0) + count
        elif len(ids.values):
            if self.is_dense:
                self.is_dense = self._extend(int(ids.values.min()), int(ids.values.max()))
            if self.is_dense:
                np.add.at(self.dense, ids.values - self.low, 1)
            else:
                self.pending.append(np.unique(ids.values, return_counts=True))
                if sum(len(values) for values, _ in self.pending) > max(len(self.ids), MIN_SPAN):
                    self._merge()

    def totals(self) -> tuple[np.ndarray, NDArray[np.int64]]:
        """Return the ids, ascending, int64 or text, and their counts."""
        if self.texts:
            ids = np.array(list(self.texts), dtype=np.str_)
            order = np.argsort(ids)
            return ids[order], np.array(list(self.texts.values()), dtype=np.int64)[order]
        self._merge()
        return self.ids, self.counts

    def _extend(self, lowest: int, highest: int) -> bool:
        """Extend the array to a range of ids; return False if the range is too wide."""
        if len(self.dense) and self.low <= lowest and highest < self.low + len(self.dense):
            return True
        used = np.flatnonzero(self.dense)
        if len(used):
            lowest = min(lowest, self.low + int(used[0]))
            highest = max(highest, self.low + int(used[-1]))
        span = highest - lowest + 1
        if span > self.max_span:
            return False
        longer = np.zeros(min(2 * span, self.max_span), dtype=np.int64)
        low = lowest - (len(longer) - span) // 2
        if len(used):
            start = self.low + int(used[0]) - low
            longer[start : start + int(used[-1] - used[0]) + 1] = self.dense[used[0] : used[-1] + 1]
        self.low, self.dense = low, longer
        return True

    def _merge(self) -> None:
        used = np.flatnonzero(self.dense)
        parts = [(self.ids, self.counts), *self.pending, (used + self.low, self.dense[used])]
        self.pending, self.dense = [], np.zeros(0, dtype=np.int64)
        ids, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        self.ids, positions = np.unique(ids, return_inverse=True)
        self.counts = np.zeros(len(self.ids), dtype=np.int64)
        np.add.at(self.counts, positions, counts)
