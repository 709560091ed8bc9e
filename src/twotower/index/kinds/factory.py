"""Any index that Faiss can build from a text."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import zip_longest
from typing import Any

import faiss
import numpy as np

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveInt
from twotower.index.centroids import set_clustering
from twotower.index.faiss_index import innermost, parts_of, transforms
from twotower.index.index import Index, RecallTarget
from twotower.index.kinds.hnsw import LARGEST_EF
from twotower.index.kinds.ivf import euclidean_assignment, rows_in_lists

NUM_CANDIDATES, CODE_BITS = 8, 8
ROTATIONS = (faiss.OPQMatrix, faiss.RandomRotationMatrix, faiss.RemapDimensionsTransform)
"""Transforms that keep dot products; with a lower dimension approximately."""


class Factory(Index):
    """The index of an `index_factory` text of Faiss, such as `OPQ16,IVF1024,PQ16x4fsr,Refine(SQfp16)`.

    Texts that change dot products, such as `PCA32` and `L2norm`, are refused. Lists hold the items that are
    nearest by Euclidean distance, as in `IVF`, unless their centroids are searched by an index of their own
    (`IVF1024_HNSW32`).
    """

    class Config(Index.Config):
        factory: str
        """For `faiss.index_factory`; without IDMap, because item rows are added as needed."""
        num_candidates: PositiveInt | None = None
        """Items that `Refine` scores again, per result (k_factor); None = 8."""
        min_recall: RecallTarget = 0.8

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """See `Index.Config.problems`; checks the text once the dimension is known."""
            embedding_dim, num_items = context.get("embedding_dim"), context.num_items
            yield from super().problems(context)
            if embedding_dim is not None and (problem := self._factory_problem(embedding_dim)):
                yield "factory", f"{self.factory}: {problem}"
            elif num_items is not None and num_items < self.min_items:
                yield "factory", f"{self.factory}: needs {self.min_items} vectors to train on, of {num_items}"

        @property
        def min_items(self) -> int:
            """See `Index.Config.min_items`; the number of lists, and 256 for codes of 8 bits."""
            ivf = re.search(r"IVF(\d+)", self.factory)
            codes = 2**CODE_BITS if re.search(r"PQ\d+(?!\d|x)", self.factory) else 1
            return max(int(ivf[1]) if ivf else 1, codes)

        def _factory_problem(self, dim: int) -> str:
            if "IDMap" in self.factory:
                return "leave out IDMap; the rows of the items are added as needed"
            try:
                created = faiss.index_factory(dim, self.factory, faiss.METRIC_INNER_PRODUCT)
            except RuntimeError as error:
                reason = str(error).strip().rpartition("Error: ")[2].rpartition(": ")[2]
                return f"not an index of inner products of dimension {dim} ({reason})"
            changing = [
                type(each).__name__ for each in transforms(created) if not isinstance(each, ROTATIONS)
            ]
            if changing:
                return f"{changing[0]} changes dot products; use OPQ or RR, or no transform"
            if self.num_candidates is not None and not isinstance(created, faiss.IndexRefine):
                return "has no Refine, so index.num_candidates has no effect; leave it out"
            return ""

    config: Config
    kind = "factory"
    faiss_type = faiss.Index
    score_tolerance = 0.1

    def create(self, dim: int, num_vectors: int) -> Any:
        created = faiss.index_factory(dim, self.config.factory, faiss.METRIC_INNER_PRODUCT)
        ivf = _ivf_part(created)
        if ivf is not None:
            set_clustering(ivf.cp, self.training_iterations)
            ivf.cp.spherical = not _has_flat_centroids(ivf)
            ivf.nprobe = max(1, ivf.nlist // 4)
        if isinstance(created, faiss.IndexRefine):
            created.k_factor = self.config.num_candidates or NUM_CANDIDATES
        return created

    def search_target(self, inner: Any) -> Any:
        return innermost(inner)

    def search_attribute(self, inner: Any) -> tuple[Any, str]:
        """See `Index.search_attribute`; `nprobe` of lists and `efSearch` of graphs."""
        part = innermost(inner)
        if hasattr(part, "hnsw"):
            return part.hnsw, "efSearch"
        return part, "nprobe" if hasattr(part, "nprobe") else ""

    def adding_context(self, inner: Any) -> AbstractContextManager[None]:
        ivf = _ivf_part(inner)
        return nullcontext() if ivf is None or not _has_flat_centroids(ivf) else euclidean_assignment(ivf)

    def is_compatible(self, inner: Any) -> bool:
        """See `Index.is_compatible`; the parts must have the classes of the text, or derived ones."""
        expected = faiss.index_factory(inner.d, self.config.factory, faiss.METRIC_INNER_PRODUCT)
        parts = [*zip_longest(parts_of(inner), parts_of(expected))]
        return all(isinstance(one, type(other)) or isinstance(other, type(one)) for one, other in parts)

    def stored_rows(self, inner: Any) -> np.ndarray:
        ivf = _ivf_part(inner)
        return super().stored_rows(inner) if ivf is None else rows_in_lists(ivf)

    @property
    def largest_search_arg(self) -> int:
        """See `Index.largest_search_arg`; the number of lists, or the limit of `HNSW`."""
        part, name = self.search_attribute(self._faiss_index.inner)
        if name == "nprobe":
            return int(part.nlist)
        return min(super().largest_search_arg, LARGEST_EF)


def _ivf_part(index: Any) -> Any:
    part = innermost(index)
    return part if isinstance(part, faiss.IndexIVF) else None


def _has_flat_centroids(ivf: Any) -> bool:
    return isinstance(faiss.downcast_index(ivf.quantizer), faiss.IndexFlat)
