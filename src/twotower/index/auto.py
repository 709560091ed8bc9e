"""The usual rule for which index a catalogue of some size gets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.config.spec import PositiveInt
from twotower.index.faiss_file import read_faiss
from twotower.index.faiss_index import FaissIndex
from twotower.index.flat_ip import FlatIP
from twotower.index.index import Index, Recall, SearchResult
from twotower.index.ivf_flat import IVFFlat
from twotower.index.ivf_pq import IVFPQ


class Auto(Index):
    """Exact search for small catalogues, whole vectors in cells for large ones, codes for very large ones.

    `build` and `load` settle on one concrete kind; `kind` and `spec()` are that kind's from then on.

    Args:
        ivf_flat_from: number of items from which IVFFlat replaces FlatIP.
        ivf_pq_from: number of items from which IVFPQ replaces IVFFlat.
        target_recall: recall@100 that tuning aims at.
        min_recall: recall@100 below which the index is rejected.
    """

    kind = "auto"

    def __init__(
        self,
        *,
        ivf_flat_from: PositiveInt = 1_000_000,
        ivf_pq_from: PositiveInt = 10_000_000,
        target_recall: Recall = 0.995,
        min_recall: Recall = 0.8,
    ) -> None:
        self.ivf_flat_from = ivf_flat_from
        self.ivf_pq_from = ivf_pq_from
        self.target_recall = target_recall
        self.min_recall = min_recall
        self._chosen: FaissIndex | None = None

    def _choose(self, num_vectors: int) -> FaissIndex:
        chosen: type[FlatIP] | type[IVFFlat] | type[IVFPQ] = IVFPQ
        if num_vectors < self.ivf_pq_from:
            chosen = IVFFlat
        if num_vectors < self.ivf_flat_from:
            chosen = FlatIP
        return chosen(target_recall=self.target_recall, min_recall=self.min_recall)

    def _settle(self, chosen: FaissIndex) -> None:
        self._chosen, self.kind = chosen, chosen.kind

    @property
    def chosen(self) -> FaissIndex:
        """The concrete index."""
        assert self._chosen is not None, "build() or load() comes first"
        return self._chosen

    def problems(self, dim: int | None, num_vectors: int | None) -> list[tuple[str, str]]:
        """See `Index.problems`."""
        if self.ivf_flat_from > self.ivf_pq_from:
            message = (
                f"{self.ivf_pq_from} is below ivf_flat_from {self.ivf_flat_from}: thresholds must ascend"
            )
            return [("ivf_pq_from", message)]
        return self._choose(num_vectors or 0).problems(dim, num_vectors)

    def for_size(self, num_vectors: int) -> Index:
        """See `Index.for_size`."""
        return self._choose(num_vectors).for_size(num_vectors)

    def spec(self) -> dict[str, Any]:
        """See `Index.spec`."""
        return self.chosen.spec()

    @property
    def min_training_vectors(self) -> int:
        """See `Index.min_training_vectors`."""
        return 1 if self._chosen is None else self._chosen.min_training_vectors

    def build(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """See `Index.build`."""
        chosen = self._choose(len(vectors))
        chosen.training_iterations = self.training_iterations
        chosen.build(vectors, rows)
        self._settle(chosen)

    def load(self, path: Path) -> None:
        """See `Index.load`; takes the file of any kind it could have chosen."""
        loaded = read_faiss(path, IVFPQ().largest_part)
        for kind in (FlatIP, IVFFlat, IVFPQ):
            candidate = kind(target_recall=self.target_recall, min_recall=self.min_recall)
            if candidate.adopt(loaded):
                self._settle(candidate)
                return
        raise InputError(f"{path}: holds a {type(loaded).__name__}, which `auto` never chooses")

    def search(self, queries: np.ndarray, k: int) -> SearchResult:
        """See `Index.search`."""
        return self.chosen.search(queries, k)

    def add(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """See `Index.add`."""
        self.chosen.add(vectors, rows)

    def remove(self, rows: np.ndarray) -> int:
        """See `Index.remove`."""
        return self.chosen.remove(rows)

    def save(self, path: Path) -> None:
        """See `Index.save`."""
        self.chosen.save(path)

    def search_grid(self) -> list[dict[str, int]]:
        """See `Index.search_grid`."""
        return self.chosen.search_grid()

    def set_search_args(self, search_args: Mapping[str, int]) -> None:
        """See `Index.set_search_args`."""
        self.chosen.set_search_args(search_args)

    @property
    def search_args(self) -> dict[str, int]:
        """See `Index.search_args`."""
        return self.chosen.search_args

    @property
    def search_args_given(self) -> bool:
        """See `Index.search_args_given`."""
        return False

    @property
    def build_args(self) -> dict[str, int]:
        """See `Index.build_args`."""
        return self.chosen.build_args

    @property
    def is_exact(self) -> bool:
        """See `Index.is_exact`."""
        return self.chosen.is_exact

    @property
    def factory(self) -> str:
        """See `Index.factory`."""
        return self.chosen.factory

    @property
    def metric(self) -> str:
        """See `Index.metric`."""
        return self.chosen.metric

    @property
    def rows(self) -> np.ndarray:
        """See `Index.rows`."""
        return self.chosen.rows

    @property
    def num_vectors(self) -> int:
        """See `Index.num_vectors`."""
        return self.chosen.num_vectors

    @property
    def num_tombstones(self) -> int:
        """See `Index.num_tombstones`."""
        return self.chosen.num_tombstones

    @property
    def dim(self) -> int:
        """See `Index.dim`."""
        return self.chosen.dim

    @property
    def size_bytes(self) -> int:
        """See `Index.size_bytes`."""
        return self.chosen.size_bytes

    @property
    def build_seconds(self) -> float:
        """See `Index.build_seconds`."""
        return self.chosen.build_seconds
