"""What histories see of items: vectors by row, which grow as items come in.

Shapes: B users, L history positions, N items, D embedding, H history vector.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from twotower.towers.two_tower import TwoTower

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
SPARE_ROWS = 1024


def history_vectors(model: TwoTower, item_vectors: Floats) -> Floats:
    """Return what a history sees of each item, [N + 1, H]; zeros for row 0 and items it does not know."""
    if model.history.config.items == "table":
        vectors = model.history_table.weight.detach().numpy() * model.trained_items.numpy()[:, None]
        vectors[0] = 0
        return np.asarray(vectors, dtype=np.float32)
    return np.pad(model.layout.tower(item_vectors), ((1, 0), (0, 0)))


class HistoryVectors:
    """History vectors of the items of a bundle and of those that came in since; safe from several threads.

    Where the history encoder has a table of its own, only items that training saw are anything to it.

    Attributes:
        vectors: all of them, and room for more: [num_rows + 1 or more, H].
        num_rows: the highest row that there is.
    """

    def __init__(self, model: TwoTower, vectors: Floats) -> None:
        self._grows = model.history.config.items == "tower"
        self.vectors = vectors
        self._seen = np.ones(len(vectors), dtype=np.bool_)
        if not self._grows:
            self._seen[:] = model.trained_items.numpy()
        self._seen[0] = False
        self.num_rows = len(vectors) - 1
        self._growing = threading.Lock()

    def seen(self, rows: Integers) -> NDArray[np.bool_]:
        """Return which positions [B, L] hold an item that a history sees."""
        found: NDArray[np.bool_] = self._seen[rows]
        return found

    def of_new(self, tower_outputs: Floats) -> Floats:
        """Return what histories see of new items whose tower says [B, H']: zeros beside a table."""
        if self._grows:
            return tower_outputs
        return np.zeros((len(tower_outputs), self.vectors.shape[1]), dtype=np.float32)

    def append(self, vectors: Floats) -> None:
        """Take in the vectors of the next rows, [B, H]."""
        assert vectors.shape[1] == self.vectors.shape[1]
        with self._growing:
            start, end = self.num_rows + 1, self.num_rows + 1 + len(vectors)
            if end > len(self.vectors):
                spare = max(SPARE_ROWS, end // 4) + end - len(self.vectors)
                self._seen = np.pad(self._seen, (0, spare))
                self.vectors = np.pad(self.vectors, ((0, spare), (0, 0)))
            self.vectors[start:end] = vectors
            self._seen[start:end] = self._grows
            self.num_rows = end - 1  # last: until now nobody may ask for the new rows
