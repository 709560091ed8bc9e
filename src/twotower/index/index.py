"""What every index offers; a kind adds how its Faiss object is made, and what it may be told."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, ClassVar

import faiss
import numpy as np
from annotated_types import Gt, Le
from faiss.contrib.factory_tools import reverse_index_factory

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.files.atomic import write_atomically
from twotower.index.faiss_index import FaissIndex, read_faiss
from twotower.index.ground_truth import SearchResult, as_rows, as_vectors
from twotower.index.read_write_lock import ReadWriteLock

RecallTarget = Annotated[float, Gt(0), Le(1)]


class Index(Component, ABC):
    """Item vectors under their rows, searched by dot product.

    Build arguments are fixed once vectors are in; search arguments can change at any time. Inputs are never
    modified. Searching, adding and removing are safe from several threads.

    A kind makes an empty Faiss object and says nothing of ids and removal: what that lacks of both is made up
    for (`FaissIndex`). It promises that all parts search by METRIC_INNER_PRODUCT, and that the same vectors
    give the same file.

    Attributes:
        kind: its name, such as `ivf_flat`.
        faiss_type: the class of its Faiss object; a file that holds another is refused.
        search_arg: the attribute of the Faiss object that says how thoroughly it searches, such as `nprobe`
            or `hnsw.efSearch`, from 1 up; empty where there is none. Tuning chooses it, unless the settings
            have a value of that name.
        build_seconds: how long `build` took; 0.0 after `load`.
        training_iterations: k-means iterations in `build`; None leaves Faiss's defaults. Rehearsals use few.
    """

    class Config(Component.Config):
        """Settings of every index."""

        target_recall: RecallTarget = 0.995
        """recall@100 against exact search that tuning aims at."""
        min_recall: RecallTarget = 0.95
        """recall@100 below which the index is rejected."""

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """List what does not fit the sizes; see `Component.Config.problems`."""
            if self.min_recall <= self.target_recall:
                return []
            above = f"{self.min_recall} is above target_recall {self.target_recall}: lower it, or aim higher"
            return [("min_recall", above)]

        def for_size(self, num_items: int) -> "Index.Config":
            """Return the settings that a catalogue of this size gets, nothing left to be chosen by size."""
            return self

        @property
        def min_items(self) -> int:
            """The fewest items that an index is built of."""
            return 1

        def build(self) -> "Index":
            """Return an index without items."""
            return self.make(Index)

    config: Config
    kind: ClassVar[str]
    faiss_type: ClassVar[type]
    search_arg: ClassVar[str] = ""
    training_iterations: int | None = None

    def __init__(self, config: Config) -> None:
        self.config = config
        self.build_seconds = 0.0
        self._faiss_index: FaissIndex  # once `build` or `load` was called
        self._lock = ReadWriteLock()

    @abstractmethod
    def create(self, dim: int, num_vectors: int) -> Any:
        """Return an empty Faiss object for this many training vectors, without a table of ids."""

    def fits(self, own: Any) -> bool:
        """Whether the parts of a file's Faiss object fit each other; else searches read other memory."""
        return True

    def stored_rows(self, own: Any) -> np.ndarray:
        """Return the ids inside a Faiss object, int64 [N]; only asked of kinds that take and remove ids."""
        raise NotImplementedError(f"{self.kind}: its Faiss object has the ids; return them here")

    def check_range(self, vectors: np.ndarray) -> None:
        """Raise InputError for values that this kind cannot store."""

    def largest_part(self, file_bytes: int) -> int:
        """Return the bytes that reading a file may make room for at once, whatever its headers say."""
        return file_bytes

    def train(self, own: Any, vectors: np.ndarray) -> None:
        """Train an empty Faiss object on vectors [N, D]."""
        own.train(vectors)

    def taking_in(self, own: Any) -> AbstractContextManager[None]:
        """Return what a Faiss object is in while it is trained and vectors are added, and never searched."""
        return nullcontext()

    def build(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """Train on the vectors [N, D] where the kind needs it, and add them under rows [N].

        Raises:
            InputError: no or too few vectors, values that are not finite, repeated or negative rows,
                settings that do not fit these sizes.
        """
        started = time.perf_counter()
        vectors = as_vectors(vectors, "item vectors")
        num_vectors, dim = vectors.shape
        if not num_vectors:
            raise InputError("item vectors: there are none, so there is nothing to index")
        rows = as_rows(rows, num_vectors)
        if found := list(self.config.problems(Facts(embedding_dim=dim, num_items=num_vectors))):
            raise InputError("\n".join(f"index.{name}: {message}" for name, message in found))
        self.check_range(vectors)
        own = self.create(dim, num_vectors)
        with self.taking_in(own):
            self.train(own, vectors)
            built = FaissIndex.of_trained(own)
            built.add(vectors, rows)
        with self._lock.writing():
            self._faiss_index, self.build_seconds = built, time.perf_counter() - started

    def search(self, queries: np.ndarray, k: int) -> SearchResult:
        """Return the k items with the highest dot product, padded above the number of items.

        An InputError refuses k below 1, and queries of another dimension or not finite.
        """
        if k < 1:
            raise InputError(f"k: {k} items asked for; expected at least 1")
        queries = as_vectors(queries, "queries", self.dim)
        with self._lock.reading():
            return self._faiss_index.search(queries, k)

    def add(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """Add items without training again; refuses what `build` does, and a row that is already there."""
        vectors = as_vectors(vectors, "new item vectors", self.dim)
        rows = as_rows(rows, len(vectors))
        self.check_range(vectors)
        with self._lock.writing(), self.taking_in(self._faiss_index.inner):
            self._faiss_index.add(vectors, rows)

    def remove(self, rows: np.ndarray) -> int:
        """Remove items; absent rows are ignored. Returns how many were removed."""
        with self._lock.writing():
            return self._faiss_index.remove(np.asarray(rows, dtype=np.int64))

    def save(self, path: Path) -> None:
        """Write the index to a file (temporary name, then renamed)."""
        with self._lock.reading():
            write_atomically(
                path, lambda temporary: faiss.write_index(self._faiss_index.outer, str(temporary))
            )

    def load(self, path: Path) -> None:
        """Read what `save` wrote; an InputError if it is missing, unreadable or another kind of index.

        A damaged file may load with wrong content: verify its checksum first.
        """
        loaded = FaissIndex(read_faiss(path, self.largest_part))
        is_valid = type(loaded.inner) is self.faiss_type and self.fits(loaded.inner)
        if not is_valid or not loaded.find_rows(self.stored_rows):
            found = type(loaded.outer).__name__
            raise InputError(f"{path}: holds a {found}, which is not an index of kind {self.kind}")
        with self._lock.writing():
            self._faiss_index, self.build_seconds = loaded, 0.0

    @property
    def search_args(self) -> dict[str, int]:
        """The search arguments in force, such as `{"nprobe": 8}`; empty where the kind has none."""
        part, name = self._faiss_index.attribute(self.search_arg)
        return {name: int(getattr(part, name))} if name else {}

    def set_search_args(self, search_args: Mapping[str, int]) -> None:
        """Change search arguments; an InputError of an unknown name or a value out of range."""
        part, known = self._faiss_index.attribute(self.search_arg)
        largest = self.largest_search_arg
        for name, value in search_args.items():
            if name != known:
                raise InputError(f"search_args: {self.kind} has {known or 'none'}, got {name}")
            if not 1 <= value <= largest:
                raise InputError(f"{name}: {value} is not between 1 and {largest}")
            with self._lock.writing():
                setattr(part, name, value)

    @property
    def largest_search_arg(self) -> int:
        """The search argument of the most thorough search: all vectors, or more where the kind said so."""
        return max([int(self._faiss_index.inner.ntotal), *self.search_args.values()])

    @property
    def build_args(self) -> dict[str, int]:
        """The build arguments in force, with automatic ones filled in."""
        return {}

    @property
    def is_exact(self) -> bool:
        """Whether search looks at every item with its full vector."""
        return False

    @property
    def factory(self) -> str:
        """Faiss's own description (its index_factory string), or the name of the class."""
        try:
            return str(reverse_index_factory(self._faiss_index.outer))  # type: ignore[no-untyped-call]
        except NotImplementedError:
            return type(self._faiss_index.inner).__name__

    @property
    def metric(self) -> str:
        """`inner_product` when index and quantiser both use it, else what disagrees."""
        inner = self._faiss_index.inner
        found = {"index": inner.metric_type}
        if hasattr(inner, "quantizer"):
            found["quantiser"] = inner.quantizer.metric_type
        wrong = {part: metric for part, metric in found.items() if metric != faiss.METRIC_INNER_PRODUCT}
        return ", ".join(f"{part} uses Faiss metric {wrong[part]}" for part in wrong) or "inner_product"

    @property
    def rows(self) -> np.ndarray:
        """The rows in the index, int64 [N], ascending."""
        return self._faiss_index.rows

    @property
    def num_vectors(self) -> int:
        """How many vectors are in the index."""
        return len(self.rows)

    @property
    def num_tombstones(self) -> int:
        """Removed vectors that the index still holds, and leaves out of what it finds: at a cost."""
        return self._faiss_index.num_tombstones

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return self._faiss_index.dim
