"""The live catalogue as one table: the items of the bundle, then the items that were added.

Shapes: D embedding, n requested rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.bundle.embed import Floats, Rows, is_missing
from twotower.data.source_column import fits_64_bits, is_whole
from twotower.data.vocabulary import Vocabulary

ItemId = int | str
UserId = int | str


@dataclass(frozen=True)
class Recommendation:
    """One item, its score (the dot product of the embeddings), and its label, if it has one."""

    item_id: ItemId
    score: float
    label: str | None


SPARE_ROWS = 1024
ROWS_PER_BLOCK = 2048
"""Embeddings that are copied at a time to be scored; they fit a processor cache."""
FEW = 16
"""Up to this many ids are looked up one by one."""


class LiveItems:
    """One row per version of an item: id, label, embedding, raw values, and whether it is offered.

    A row is never reused. A removed item keeps its row, because histories refer to it. An item that is added
    again or changed gets a new row. Not thread-safe.

    Args:
        tower_dim: number of leading columns that are the tower's output, the rest is a bias; None means all.

    Attributes:
        records: raw values by column of each added row, in row order.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        labels: pd.Series | None,
        embeddings: Floats,
        tower_dim: int | None = None,
    ) -> None:
        self._vocabulary, self.is_text = vocabulary, vocabulary.is_text
        self.num_known = len(vocabulary)
        self.records: list[Mapping[str, Any]] = []
        self._labels: list[str | None] = [None] * self.num_known
        if labels is not None:
            self._labels = [as_label(each) for each in labels]
        self._embeddings = np.asarray(embeddings)  # a plain view is faster than a memory map
        self._new_embeddings = np.zeros((0, embeddings.shape[1]), dtype=np.float32)
        self._tower_dim = tower_dim
        self._lengths = self._lengths_of(embeddings)
        self._live = np.ones(self.num_known, dtype=np.bool_)
        self._first = np.arange(self.num_known + 1)
        self._latest = self._first.copy()
        self._new_rows: dict[ItemId, list[int]] = {}
        self._new_ids: list[ItemId] = []
        self.num_live = self.num_known

    @property
    def num_rows(self) -> int:
        """The highest row in use."""
        return self.num_known + len(self._new_ids)

    @property
    def num_left_behind(self) -> int:
        """Number of added rows that are no longer offered: removed, or replaced by a later row."""
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
        """Return which rows [n] are offered; row 0 is not."""
        is_live: NDArray[np.bool_] = (rows > 0) & self._live[np.maximum(rows, 1) - 1]
        return is_live

    def live_rows(self) -> Rows:
        """Return the rows of all items that are offered, ascending."""
        return np.flatnonzero(self.live_mask()).astype(np.int64) + 1

    def live_mask(self) -> NDArray[np.bool_]:
        """Return for each row from 1 whether it is offered, [num_rows]."""
        return self._live[: self.num_rows]

    def latest(self, rows: Rows) -> Rows:
        """Return the row that histories read for each row; another one if the item was changed."""
        return self._latest.take(rows)

    def first(self, rows: Rows) -> Rows:
        """Return the first row of the item of each row: the row in the bundle, if the bundle has the item."""
        return self._first.take(rows)

    def id_of(self, row: int) -> ItemId:
        """Return the id of a row."""
        if row > self.num_known:
            return self._new_ids[row - self.num_known - 1]
        known: ItemId = self._vocabulary.values[row - 1].item()
        return known

    def label_of(self, row: int) -> str | None:
        """Return the label of a row, None if it has none."""
        return self._labels[row - 1]

    def ids_of(self, rows: Rows) -> list[ItemId]:
        """Return the id of each row [n]."""
        if len(rows) and rows.max() > self.num_known:
            return [self.id_of(row) for row in rows.tolist()]
        known: list[ItemId] = self._vocabulary.values[rows - 1].tolist()
        return known

    def embeddings(self, rows: Rows) -> Floats:
        """Return the embeddings of rows, [n, D]."""
        new = rows > self.num_known
        if not (self._new_ids and new.any()):
            return self._embeddings.take(rows - 1, axis=0)
        embeddings = np.empty((len(rows), self._embeddings.shape[1]), dtype=np.float32)
        embeddings[~new] = self._embeddings[rows[~new] - 1]
        embeddings[new] = self._new_embeddings[rows[new] - self.num_known - 1]
        return embeddings

    def directions(self, rows: Rows) -> Floats:
        """Return the outputs of the tower, without the bias, at length 1, [n, D]."""
        directions: Floats = self.embeddings(rows)[:, : self._tower_dim] / self._lengths[rows - 1, None]
        return directions

    def scores(self, rows: Rows | None, query: Floats) -> Floats:
        """Return the scores of a query [D] for rows; None means all rows."""
        if rows is not None:
            starts = range(0, max(1, len(rows)), ROWS_PER_BLOCK)
            blocks = (self.embeddings(rows[start : start + ROWS_PER_BLOCK]) for start in starts)
            return np.concatenate([block @ query for block in blocks])
        new = self._new_embeddings[: len(self._new_ids)]
        return np.concatenate([self._embeddings @ query, new @ query])

    def cosines(self, row: int, query: Floats) -> Floats:
        """Return the cosine between an item and every row; `query` [D] is its embedding with a bias of 0."""
        lengths = self._lengths[: self.num_rows]
        cosines: Floats = self.scores(None, query) / (lengths * lengths[row - 1])
        return cosines

    def add(self, item_id: ItemId, embedding: Floats, label: str | None, record: Mapping[str, Any]) -> None:
        """Append a row for an item that is not offered."""
        row = self.num_rows + 1
        if row > len(self._live):  # the embeddings of the bundle are not copied
            spare = max(SPARE_ROWS, len(self._new_embeddings))
            self._new_embeddings = np.pad(self._new_embeddings, ((0, spare), (0, 0)))
            for name in ("_lengths", "_live", "_first", "_latest"):
                setattr(self, name, np.pad(getattr(self, name), (0, spare)))
        known = int(rows_of(self._vocabulary, [item_id])[0])
        new = self._new_rows.setdefault(item_id, [])
        new.append(row)
        earlier = [*([known] if known else []), *new]
        self._latest[earlier] = row
        self._first[row] = earlier[0]
        self._new_embeddings[row - self.num_known - 1] = embedding
        self._lengths[row - 1] = self._lengths_of(embedding[None])[0]
        self._live[row - 1] = True
        self._new_ids.append(item_id)
        self._labels.append(label)
        self.records.append(record)
        self.num_live += 1

    def _lengths_of(self, embeddings: Floats) -> Floats:
        """Return the lengths of the tower outputs, 1 where a length is 0, so that its cosine is 0."""
        tower = embeddings[:, : self._tower_dim]
        lengths: Floats = np.sqrt(np.einsum("nd,nd->n", tower, tower))
        return np.where(lengths > 0, lengths, np.float32(1))

    def remove(self, row: int) -> None:
        """Stop offering a row that is offered; histories read an item of the bundle as it was there."""
        self._live[row - 1] = False
        self.num_live -= 1
        first = int(self._first[row])
        if first <= self.num_known:
            self._latest[[first, *self._new_rows.get(self.id_of(row), [])]] = first


def rows_of(vocabulary: Vocabulary, ids: Sequence[Any]) -> Rows:
    """Return the row of each id [n]; 0 where it is unknown or of another kind.

    Whole numbers are handed over as such: a list of objects makes pandas convert the whole vocabulary.
    """
    if len(ids) <= FEW:
        return np.array([vocabulary.row(value) for value in ids], dtype=np.int64)
    keys = [as_id(value, vocabulary.is_text) for value in ids]
    rows = np.zeros(len(keys), dtype=np.int64)
    valid = [position for position, key in enumerate(keys) if key is not None]
    if valid:
        kind = object if vocabulary.is_text else np.int64
        rows[valid] = vocabulary.rows(np.array([keys[position] for position in valid], dtype=kind))
    return rows


def as_id(value: Any, is_text: bool) -> ItemId | None:
    """Return a value as a plain id of the catalogue's kind, None where it cannot be one ("1" is not 1)."""
    if is_text:
        return str(value) if isinstance(value, str) else None
    return int(value) if is_whole(value) and fits_64_bits(value) else None


def as_label(value: Any) -> str | None:
    """Return a raw value as a name for people, None where it is missing."""
    return None if is_missing(value) else str(value)
