"""What all Faiss kinds share; a kind adds how its Faiss index is made and which arguments it has."""

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from twotower.config.errors import InputError
from twotower.config.spec import spec_of
from twotower.files.atomic import write_atomically
from twotower.index.faiss_file import read_faiss, size_in_file
from twotower.index.index import Index, SearchResult
from twotower.index.read_write_lock import ReadWriteLock
from twotower.index.row_set import RowSet
from twotower.index.tombstones import ids_in_table, layers, search, table_fits, take_out, with_ids
from twotower.index.vector_input import as_rows, as_vectors


class FaissIndex(Index):
    """An index held by one Faiss object that stores our rows as its ids.

    A kind says nothing of ids and removal: what its Faiss object lacks of both `tombstones` makes up for.

    Args:
        target_recall: recall@100 that tuning aims at.
        min_recall: recall@100 below which the index is rejected.
    """

    def __init__(self, *, target_recall: float, min_recall: float) -> None:
        self.target_recall = target_recall
        self.min_recall = min_recall
        self._faiss: Any = None  # what is searched and written
        self._own: Any = None  # what the kind created: the same, or what is inside of a table of ids
        self._rows = RowSet(np.empty(0, dtype=np.int64))
        self._lock = ReadWriteLock()
        self._build_seconds = 0.0

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""

    @abstractmethod
    def create(self, dim: int, num_vectors: int) -> Any:
        """Return an empty Faiss index for this many training vectors; `num_vectors` and `problems` agree."""

    @abstractmethod
    def accepts(self, loaded: Any) -> bool:
        """Whether a Faiss object read from a file is of this kind; also looked for in a table of ids."""

    def stored_rows(self, loaded: Any) -> np.ndarray:
        """Return the ids inside a Faiss object of this kind, int64 [N]; only where it takes ids itself."""
        raise NotImplementedError(
            f"{self.kind}: its Faiss index takes ids, so `stored_rows` must return them"
        )

    @abstractmethod
    def metrics(self) -> dict[str, int]:
        """Return the Faiss metric of every part that has one."""

    def problems(self, dim: int | None, num_vectors: int | None) -> list[tuple[str, str]]:
        """See `Index.problems`."""
        if self.min_recall > self.target_recall:
            message = (
                f"{self.min_recall} is above target_recall {self.target_recall}: lower it, or aim higher"
            )
            return [("min_recall", message)]
        return []

    def for_size(self, num_vectors: int) -> Index:
        """See `Index.for_size`."""
        return type(self)(**self.arguments())

    def spec(self) -> dict[str, Any]:
        """See `Index.spec`."""
        return spec_of(self, **self.arguments())

    @property
    def min_training_vectors(self) -> int:
        """See `Index.min_training_vectors`."""
        return 1

    def build(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """See `Index.build`."""
        started = time.perf_counter()
        vectors = as_vectors(vectors, "item vectors")
        num_vectors, dim = vectors.shape
        if not num_vectors:
            raise InputError("item vectors: there are none, so there is nothing to index")
        rows = as_rows(rows, num_vectors)
        found = self.problems(dim, num_vectors)
        if found:
            raise InputError("\n".join(f"index.{name}: {message}" for name, message in found))
        self.check_range(vectors)
        own = self.create(dim, num_vectors)
        own.train(vectors)
        held = with_ids(own)
        held.add_with_ids(vectors, rows)
        with self._lock.writing():
            self._faiss, self._own, self._rows = held, own, RowSet(rows)
            self._build_seconds = time.perf_counter() - started

    def search(self, queries: np.ndarray, k: int) -> SearchResult:
        """See `Index.search`."""
        if k < 1:
            raise InputError(f"k: {k} items asked for; expected at least 1")
        queries = as_vectors(queries, "queries", self.dim)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        with self._lock.reading():
            num_live = len(self._rows)
            num_found = min(k, num_live)
            if num_found and len(queries):
                found = search(self._faiss, queries, num_found, num_live)
                scores[:, :num_found], rows[:, :num_found] = found
        scores[rows < 0] = -np.inf
        return SearchResult(scores=scores, rows=rows)

    def add(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """See `Index.add`."""
        vectors = as_vectors(vectors, "new item vectors", self.dim)
        rows = as_rows(rows, len(vectors))
        self.check_range(vectors)
        with self._lock.writing():
            present = self._rows.contains(rows)
            if present.any():
                raise InputError(f"rows: {rows[present][0]} is already in the index; remove it first")
            self._faiss.add_with_ids(vectors, rows)
            self._rows.add(rows)

    def remove(self, rows: np.ndarray) -> int:
        """See `Index.remove`."""
        rows = np.unique(np.asarray(rows, dtype=np.int64))
        with self._lock.writing():
            present = rows[self._rows.contains(rows)]
            if len(present):
                take_out(self._faiss, present)
                self._rows.remove(present)
        return len(present)

    def save(self, path: Path) -> None:
        """See `Index.save`."""
        with self._lock.reading():
            write_atomically(path, lambda temporary: faiss.write_index(self._held, str(temporary)))

    def load(self, path: Path) -> None:
        """See `Index.load`."""
        loaded = read_faiss(path, self.largest_part)
        if not self.adopt(loaded):
            raise InputError(
                f"{path}: holds a {type(loaded).__name__}, which is not an index of kind {self.kind}"
            )

    def largest_part(self, file_bytes: int) -> int:
        """Return the bytes that reading a file may make room for at once, whatever its headers say."""
        return file_bytes

    def adopt(self, loaded: Any) -> bool:
        """Take a Faiss object as the index if it is of this kind, and tell whether it is."""
        own = next((each for each in layers(loaded) if self.accepts(each)), None)
        if own is None or not table_fits(loaded):
            return False
        rows = ids_in_table(loaded)
        if rows is None:
            rows = self.stored_rows(own)
            if len(rows) != own.ntotal:  # damaged, and searches are sized by it
                return False
        with self._lock.writing():
            self._faiss, self._own, self._rows = loaded, own, RowSet(rows)
            self._build_seconds = 0.0
        return True

    def search_grid(self) -> list[dict[str, int]]:
        """See `Index.search_grid`."""
        return [{}]

    def set_search_args(self, search_args: Mapping[str, int]) -> None:
        """See `Index.set_search_args`."""
        if search_args:
            raise InputError(f"search_args: {self.kind} has none, got {dict(search_args)}")

    @property
    def search_args(self) -> dict[str, int]:
        """See `Index.search_args`."""
        return {}

    @property
    def search_args_given(self) -> bool:
        """See `Index.search_args_given`."""
        return False

    @property
    def build_args(self) -> dict[str, int]:
        """See `Index.build_args`."""
        return {}

    @property
    def metric(self) -> str:
        """See `Index.metric`."""
        wrong = {
            part: metric for part, metric in self.metrics().items() if metric != faiss.METRIC_INNER_PRODUCT
        }
        if not wrong:
            return "inner_product"
        return ", ".join(f"{part} uses Faiss metric {metric}" for part, metric in wrong.items())

    @property
    def rows(self) -> np.ndarray:
        """See `Index.rows`."""
        with self._lock.reading():
            return self._rows.values()

    @property
    def num_vectors(self) -> int:
        """See `Index.num_vectors`."""
        return len(self._rows)

    @property
    def num_tombstones(self) -> int:
        """See `Index.num_tombstones`."""
        return int(self._held.ntotal) - len(self._rows)

    @property
    def dim(self) -> int:
        """See `Index.dim`."""
        return int(self._built.d)

    @property
    def size_bytes(self) -> int:
        """See `Index.size_bytes`."""
        with self._lock.reading():
            return size_in_file(self._held)

    @property
    def build_seconds(self) -> float:
        """See `Index.build_seconds`."""
        return self._build_seconds

    @property
    def _built(self) -> Any:
        assert self._own is not None, "build() or load() comes first"
        return self._own

    @property
    def _held(self) -> Any:
        assert self._faiss is not None, "build() or load() comes first"
        return self._faiss
