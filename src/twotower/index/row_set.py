"""Which rows an index holds."""

import numpy as np


class RowSet:
    """A large sorted array plus few changes: cheap to keep, to ask and to change one row at a time.

    Faiss itself accepts a row twice and then returns it twice, so somebody has to know.

    Args:
        rows: distinct int64 [N], in any order.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._base = np.sort(rows)
        self._added: set[int] = set()
        self._removed: set[int] = set()

    def __len__(self) -> int:
        return len(self._base) + len(self._added) - len(self._removed)

    def contains(self, rows: np.ndarray) -> np.ndarray:
        """Return bool [N]: which of these rows are in the set."""
        if len(self._base):
            places = np.minimum(np.searchsorted(self._base, rows), len(self._base) - 1)
            present = self._base[places] == rows
        else:
            present = np.zeros(len(rows), dtype=bool)
        if self._added or self._removed:
            values = rows.tolist()
            present &= np.array([row not in self._removed for row in values], dtype=bool)
            present |= np.array([row in self._added for row in values], dtype=bool)
        return np.asarray(present)

    def add(self, rows: np.ndarray) -> None:
        """Put in rows, none of which may be present."""
        for row in rows.tolist():
            if row in self._removed:
                self._removed.remove(row)
            else:
                self._added.add(row)

    def remove(self, rows: np.ndarray) -> None:
        """Take out rows, all of which must be present."""
        for row in rows.tolist():
            if row in self._added:
                self._added.remove(row)
            else:
                self._removed.add(row)

    def values(self) -> np.ndarray:
        """Return the rows, int64 ascending."""
        kept = np.setdiff1d(self._base, np.array(sorted(self._removed), dtype=np.int64), assume_unique=True)
        return np.union1d(kept, np.array(sorted(self._added), dtype=np.int64))
