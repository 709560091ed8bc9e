"""The catalogue as it is now: items of the bundle, items added since, and which of them are still offered.

Shapes: D embedding, n rows asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.source_column import fits_64_bits, is_whole
from twotower.data.vocabulary import Vocabulary

ItemId = int | str
UserId = int | str


@dataclass(frozen=True)
class Recommendation:
    """One item, its score (the dot product of the embeddings), and its name for people, if there is one."""

    item_id: ItemId
    score: float
    label: str | None


Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
SPARE_ROWS = 1024
FEW = 16
"""So few ids are looked up one by one."""


class LiveItems:
    """Ids, labels ([N], if there are any) and vectors (float32 [N, D]) of items; a row is never used twice.

    A removed item keeps its row, because it stays in histories; added again or changed, it gets a new one.
    Not safe from several threads by itself. The first `tower_dim` columns of a vector are the tower's, and
    the rest a bias; None for all.
    """

    def __init__(
        self, vocabulary: Vocabulary, labels: pd.Series | None, vectors: Floats, tower_dim: int | None = None
    ) -> None:
        self._vocabulary, self.is_text = vocabulary, vocabulary.is_text
        self.num_known = len(vocabulary)  # whose rows come first
        self._labels: list[str | None] = [None] * len(vocabulary)
        if labels is not None:
            self._labels = [as_label(each) for each in labels]
        self._vectors = np.asarray(vectors)  # a plain view: rows of a mapped file take longer
        self._new_vectors = np.zeros((0, vectors.shape[1]), dtype=np.float32)
        self._tower_dim = tower_dim
        self._lengths = self._lengths_of(vectors)
        self._live = np.ones(len(vocabulary), dtype=np.bool_)
        self._first = np.arange(len(vocabulary) + 1)
        self._latest = self._first.copy()
        self._new_rows: dict[ItemId, list[int]] = {}
        self._new_ids: list[ItemId] = []
        self.num_live = len(vocabulary)

    @property
    def num_rows(self) -> int:
        """The highest row given so far."""
        return self.num_known + len(self._new_ids)

    @property
    def num_left_behind(self) -> int:
        """Rows of items put in since that were removed, or that a later row has taken the place of."""
        return len(self._new_ids) - int(np.count_nonzero(self.live_mask()[self.num_known :]))

    def rows(self, ids: Sequence[Any]) -> Rows:
        """Return the latest row of each id [n], offered or removed; 0 where the id was never an item."""
        rows = rows_of(self._vocabulary, ids)
        if self._new_rows:
            for position, value in enumerate(ids):
                key = as_id(value, self.is_text)
                if key in self._new_rows:
                    rows[position] = self._new_rows[key][-1]
        return rows

    def live(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which of these rows [n] are offered; row 0 is not."""
        found: NDArray[np.bool_] = (rows > 0) & self._live[np.maximum(rows, 1) - 1]
        return found

    def live_rows(self) -> Rows:
        """Return the rows of all items that are offered, ascending."""
        return np.flatnonzero(self.live_mask()).astype(np.int64) + 1

    def live_mask(self) -> NDArray[np.bool_]:
        """Return for each row from 1 whether it is offered, [num_rows]."""
        return self._live[: self.num_rows]

    def latest(self, rows: Rows) -> Rows:
        """Return the latest row of the item of each row: another one where it was put in again."""
        return self._latest.take(rows)

    def first(self, rows: Rows) -> Rows:
        """Return the first row of the item of each row: the bundle's, where the bundle knows the item."""
        return self._first.take(rows)

    def id_of(self, row: int) -> ItemId:
        """Return the id of a row."""
        if row > self.num_known:
            return self._new_ids[row - self.num_known - 1]
        known: ItemId = self._vocabulary.values[row - 1].item()
        return known

    def label_of(self, row: int) -> str | None:
        """Return the name of a row's item for people, None where there is none."""
        return self._labels[row - 1]

    def ids_of(self, rows: Rows) -> list[ItemId]:
        """Return the id of each row [n]."""
        if len(rows) and rows.max() > self.num_known:
            return [self.id_of(row) for row in rows.tolist()]
        known: list[ItemId] = self._vocabulary.values[rows - 1].tolist()
        return known

    def vectors(self, rows: Rows) -> Floats:
        """Return the embeddings of rows, [n, D]."""
        new = rows > self.num_known
        if not (self._new_ids and new.any()):
            return self._vectors.take(rows - 1, axis=0)
        found = np.empty((len(rows), self._vectors.shape[1]), dtype=np.float32)
        found[~new] = self._vectors[rows[~new] - 1]
        found[new] = self._new_vectors[rows[new] - self.num_known - 1]
        return found

    def scores(self, rows: Rows | None, query: Floats) -> Floats:
        """Return the scores of a query [D] for rows, or for every row ever given."""
        if rows is not None:
            some: Floats = self.vectors(rows) @ query
            return some
        new = self._new_vectors[: len(self._new_ids)]
        return np.concatenate([self._vectors @ query, new @ query])

    def cosines(self, row: int, query: Floats) -> Floats:
        """Return the cosine between an item, of vector `query` [D], 0 in the bias, and every row."""
        lengths = self._lengths[: self.num_rows]
        found: Floats = self.scores(None, query) / (lengths * lengths[row - 1])
        return found

    def add(self, item_id: ItemId, vector: Floats, label: str | None) -> int:
        """Take in an item that is not offered, and return its row: `num_rows` + 1 before the call."""
        row = self.num_rows + 1
        if row > len(self._live):
            self._grow(max(SPARE_ROWS, len(self._new_vectors)))
        known = int(rows_of(self._vocabulary, [item_id])[0])
        new = self._new_rows.setdefault(item_id, [])
        new.append(row)
        earlier = [*([known] if known else []), *new]
        self._latest[earlier] = row
        self._first[row] = earlier[0]
        self._new_vectors[row - self.num_known - 1] = vector
        self._lengths[row - 1] = self._lengths_of(vector[None])[0]
        self._live[row - 1] = True
        self._new_ids.append(item_id)
        self._labels.append(label)
        self.num_live += 1
        return row

    def _grow(self, spare: int) -> None:
        """Make room; the bundle's vectors stay where they are, since copying a large catalogue takes long."""
        self._new_vectors = np.pad(self._new_vectors, ((0, spare), (0, 0)))
        self._lengths = np.pad(self._lengths, (0, spare))
        self._live = np.pad(self._live, (0, spare))
        self._first = np.pad(self._first, (0, spare))
        self._latest = np.pad(self._latest, (0, spare))

    def _lengths_of(self, vectors: Floats) -> Floats:
        """Return the lengths of the tower's part of vectors, 1 where it is zero: the cosine is 0 then."""
        tower = vectors[:, : self._tower_dim]
        lengths: Floats = np.sqrt(np.einsum("nd,nd->n", tower, tower))
        return np.where(lengths > 0, lengths, np.float32(1))

    def remove(self, row: int) -> None:
        """Stop offering the item of a row that is offered."""
        self._live[row - 1] = False
        self.num_live -= 1


def rows_of(vocabulary: Vocabulary, ids: Sequence[Any]) -> Rows:
    """Return the row of each id [n]; 0 where it is unknown or of another kind.

    Whole numbers are handed over as such: a list of objects makes pandas convert the whole vocabulary.
    """
    if len(ids) <= FEW:
        return np.array([vocabulary.row(value) for value in ids], dtype=np.int64)
    keys = [as_id(value, vocabulary.is_text) for value in ids]
    rows = np.zeros(len(keys), dtype=np.int64)
    there = [position for position, key in enumerate(keys) if key is not None]
    if there:
        kind = object if vocabulary.is_text else np.int64
        rows[there] = vocabulary.rows(np.array([keys[position] for position in there], dtype=kind))
    return rows


def as_id(value: Any, is_text: bool) -> ItemId | None:
    """Return a value as a plain id of the catalogue's kind, None where it cannot be one ("1" is not 1)."""
    if is_text:
        return str(value) if isinstance(value, str) else None
    return int(value) if is_whole(value) and fits_64_bits(value) else None


def as_label(value: Any) -> str | None:
    """Return a raw value as a name for people, None where it is missing."""
    missing = value is None or value is pd.NA or value is pd.NaT
    return None if missing or (isinstance(value, float) and np.isnan(value)) else str(value)
