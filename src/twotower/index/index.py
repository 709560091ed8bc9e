"""The base class of indexes; a subclass creates the Faiss object and names its search argument."""

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import faiss
import numpy as np
from annotated_types import Gt, Le
from faiss.contrib.factory_tools import reverse_index_factory

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.files.atomic import write_atomically
from twotower.index.choice import IndexChoice
from twotower.index.faiss_index import FAISS, FaissIndex
from twotower.index.ground_truth import SearchResult, as_rows, as_vectors, vector_blocks
from twotower.index.label_lists import LabelLists
from twotower.index.matrix_products import matrix_products
from twotower.index.read_write_lock import ReadWriteLock

RecallTarget = Annotated[float, Gt(0), Le(1)]
MANY_VECTORS = 2**20  # above which training gets a sample
PER_CENTROID = 256  # of the vectors, from which k-means of Faiss samples
SAMPLE_SEED = 1234


class Index(Component, ABC):
    """Item vectors under their rows, searched by dot product.

    Build arguments are fixed once vectors are in; search arguments can change at any time. Inputs are never
    modified. Searching, adding and removing are safe from several threads.

    A subclass creates an empty Faiss object, in which every part uses METRIC_INNER_PRODUCT. The same vectors
    must give the same file. `FaissIndex` adds ids and removal if the Faiss class lacks them.

    Attributes:
        kind: name of the index, such as `ivf_flat`.
        faiss_type: class of the Faiss object; a file with another class is refused. `faiss.Index` is any.
        score_tolerance: the largest difference between a returned score and the dot product, for query and
            item vectors of length 1. The default holds for vectors stored in float32; indexes that store
            codes declare theirs. Contract tests check it and, of a thorough search, `Config.min_recall`.
        search_arg: attribute of the Faiss object that trades speed for recall, such as `nprobe` or
            `hnsw.efSearch`, at least 1; empty if there is none. Tuning sets it, unless `Config` has a value
            for a key of that name.
        build_seconds: duration of `build`; 0.0 after `load`.
        training_iterations: k-means iterations of `build`; None means the default of Faiss.
        centroids: [nlist, D] of the clusters of `build`, if there are any; None: k-means finds them.
        queries: [Q, D] like later queries, which the clusters of `build` should fit; None: unknown.
    """

    class Config(Component.Config):
        target_recall: RecallTarget = 0.995
        """recall@100 against exact search that tuning should reach."""
        min_recall: RecallTarget = 0.95
        """recall@100 below which the index is rejected."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """See `Component.Config.problems`; the width of the vectors is `embedding_dim`."""
            if self.min_recall > self.target_recall:
                yield "min_recall", f"{self.min_recall} is above target_recall {self.target_recall}: lower it"

        def size_problems(self, dim: int, num_items: int) -> list[tuple[str, str]]:
            """Return the `problems` with a number of vectors of a width."""
            return [*self.problems(ChoiceContext({"embedding_dim": dim}, num_items=num_items))]

        def check_sizes(self, dim: int, num_items: int) -> None:
            """Raise InputError with all `size_problems`."""
            if found := self.size_problems(dim, num_items):
                raise InputError("\n".join(f"{f'index.{key}'.strip('.')}: {text}" for key, text in found))

        def for_size(self, num_items: int) -> "Index.Config":
            """Return the settings for a catalogue of this size, with automatic values filled in."""
            return self

        def choose_for(
            self, vectors: np.ndarray, queries: np.ndarray, labels: Callable[[], LabelLists] | None = None
        ) -> "Chosen":
            """Return the settings for item vectors [N, D] and queries [Q, D], which the index will fit.

            Measure recall with other queries. `labels` returns targets of users that the index should find.
            """
            return Chosen(self.for_size(len(vectors)), queries=queries if len(queries) else None)

        @property
        def min_items(self) -> int:
            """Smallest number of items that the index can be built from: the number of centroids, if any."""
            return 1

        def training_positions(self, num_items: int) -> slice | np.ndarray:
            """Return the positions of the vectors for training, ascending: all, or a sample of many.

            One position is drawn from each of equal ranges, so that the sample is spread evenly.
            """
            size = max(MANY_VECTORS, PER_CENTROID * self.for_size(num_items).min_items)
            if num_items <= size:
                return slice(None)
            bounds = np.arange(size + 1) * num_items // size
            drawn: np.ndarray = np.random.default_rng(SAMPLE_SEED).integers(bounds[:-1], bounds[1:])
            return drawn

        def build(self) -> "Index":
            """Return an empty index."""
            return self.make(Index)

    config: Config
    kind: ClassVar[str]
    faiss_type: ClassVar[type]
    score_tolerance: ClassVar[float] = 1e-5
    search_arg: ClassVar[str] = ""
    training_iterations: int | None = None
    centroids: np.ndarray | None = None
    queries: np.ndarray | None = None

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.build_seconds = 0.0
        self._faiss_index: FaissIndex  # once `build` or `load` was called
        self._lock = ReadWriteLock()

    @abstractmethod
    def create(self, dim: int, num_vectors: int) -> Any:
        """Return an empty Faiss object for this number of training vectors, without an IndexIDMap."""

    def search_target(self, inner: Any) -> Any:
        """Return the part of a Faiss object that has `search_arg`; by default the whole."""
        return inner

    def search_attribute(self, inner: Any) -> tuple[Any, str]:
        """Return the part of a Faiss object with the search argument, and the name of its attribute."""
        *parts, name = self.search_arg.split(".")
        return functools.reduce(getattr, parts, self.search_target(inner)), name

    def is_compatible(self, inner: Any) -> bool:
        """Whether the sizes of a loaded Faiss object agree, so that searches stay within its memory."""
        return True

    def stored_rows(self, inner: Any) -> np.ndarray:
        """Return the ids of a loaded Faiss object, int64 [N]; not called with an IndexIDMap."""
        raise NotImplementedError(f"{self.kind} needs an IndexIDMap, or its own stored_rows()")

    def check_range(self, vectors: np.ndarray) -> None:
        """Raise InputError for values that the index cannot store."""

    def train(self, inner: Any, vectors: np.ndarray) -> None:
        """Train an empty Faiss object on vectors [N, D]."""
        with matrix_products():
            inner.train(vectors)

    def adding_context(self, inner: Any) -> AbstractContextManager[None]:
        """Return a context manager for training and adding vectors; the object is not searched meanwhile."""
        return nullcontext()

    def build(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """Train on vectors [N, D] and add them under rows [N]; raises InputError for what does not fit.

        Vectors are read in blocks, and training samples a large number of them, so a memory-mapped array is
        never in memory as a whole.
        """
        started = time.perf_counter()
        num_vectors = len(vectors)
        for _, block in vector_blocks(vectors, "item vectors"):
            self.check_range(block)
        rows = as_rows(rows, num_vectors)
        if not num_vectors:
            raise InputError("item vectors: there are none, so there is nothing to index")
        sample = as_vectors(vectors[self.config.training_positions(num_vectors)], "item vectors")
        dim = sample.shape[1]
        self.config.check_sizes(dim, num_vectors)
        try:
            inner = self.create(dim, num_vectors)
            with self.adding_context(inner):
                self.train(inner, sample)
                built = FaissIndex.wrap(inner)
                built.add(vectors, rows)
        except RuntimeError as error:  # of Faiss, for a class whose `problems` does not check the sizes
            reason = str(error).strip().rpartition(": ")[2]
            raise InputError(
                f"index: Faiss cannot build {self.kind} from {num_vectors:,} vectors of dimension {dim} "
                f"({reason}); change its settings, or choose index=flat_ip"
            ) from error
        with self._lock.writing():
            self._faiss_index, self.build_seconds = built, time.perf_counter() - started

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> SearchResult:
        """Return the top-k items of queries [Q, D] by dot product, padded beyond the number of items.

        Args:
            queries: their embeddings.
            k: number of items.
            allowed: distinct rows that may be returned, also absent ones; None allows all. The search
                argument grows with the square root of items / allowed rows. Lists without allowed items are
                skipped, and graphs score all of them.

        Raises:
            InputError: k is below 1, queries are not finite or have another dimension, or rows are invalid.
        """
        if k < 1:
            raise InputError(f"k: {k} items requested; expected at least 1")
        queries = as_vectors(queries, "queries", self.dim)
        allowed = None if allowed is None else as_rows(allowed, len(allowed))
        with self._lock.reading():
            return self._faiss_index.search(queries, k, allowed)

    def add(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """Add items without training. Raises InputError as `build`, and for a row that is present."""
        vectors = as_vectors(vectors, "new item vectors", self.dim)
        rows = as_rows(rows, len(vectors))
        self.check_range(vectors)
        with self._lock.writing(), self.adding_context(self._faiss_index.inner):
            self._faiss_index.add(vectors, rows)

    def remove(self, rows: np.ndarray) -> int:
        """Remove items; absent rows are ignored. Returns the number of removed items."""
        with self._lock.writing():
            return self._faiss_index.remove(np.asarray(rows, dtype=np.int64))

    def balanced(self, vectors: np.ndarray, rows: np.ndarray) -> "Index":
        """Return an index of these items with the training of this one; see `IVF.balanced`.

        Raises InputError if this kind has no clusters.
        """
        raise InputError(f"{self.kind}: has no clusters that could be split; build the index again")

    def save(self, path: Path) -> None:
        """Write the index to a file, atomically."""
        with self._lock.reading():
            outer = self._faiss_index.outer
            write_atomically(path, lambda temporary: faiss.write_index(outer, str(temporary)))

    def load(self, path: Path) -> None:
        """Read a file of `save`. Raises InputError if it is missing, unreadable or of another kind.

        A damaged file can load with wrong content: verify its checksum first.
        """
        if not path.is_file():
            raise InputError(f"{path}: there is no such index file")
        try:
            loaded = FaissIndex(faiss.read_index(str(path)))
            is_valid = (
                self.faiss_type in (type(loaded.inner), faiss.Index)
                and self.is_compatible(loaded.inner)
                and loaded.find_rows(self.stored_rows)
            )
        except (RuntimeError, MemoryError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            message = f"{path}: is not a complete index file ({reason}); build the index again"
            raise InputError(message) from error
        if not is_valid:
            found = type(loaded.outer).__name__
            message = f"holds a {found}, which is not an index of kind {self.kind} with these settings"
            raise InputError(f"{path}: {message}")
        with self._lock.writing():
            self._faiss_index, self.build_seconds = loaded, 0.0

    @property
    def search_args(self) -> dict[str, int]:
        """The current search argument, such as `{"nprobe": 8}`; empty if the index has none."""
        part, name = self.search_attribute(self._faiss_index.inner)
        return {name: int(getattr(part, name))} if name else {}

    def set_search_args(self, search_args: Mapping[str, int]) -> None:
        """Set search arguments. Raises InputError for an unknown name or a value out of range."""
        part, known = self.search_attribute(self._faiss_index.inner)
        for name, value in search_args.items():
            if name != known:
                raise InputError(f"search_args: {self.kind} has {known or 'none'}, got {name}")
            if not 1 <= value <= self.largest_search_arg:
                raise InputError(f"{name}: {value} is not between 1 and {self.largest_search_arg}")
            with self._lock.writing():
                setattr(part, name, value)

    @property
    def largest_search_arg(self) -> int:
        """The search argument of the most thorough search."""
        return max([int(self._faiss_index.inner.ntotal), *self.search_args.values()])

    @property
    def build_args(self) -> dict[str, int]:
        """The build arguments, with automatic values filled in."""
        return {}

    @property
    def is_exact(self) -> bool:
        """Whether a search scores every item with its full vector."""
        return False

    @property
    def factory(self) -> str:
        """The index_factory string of Faiss, or the name of the class."""
        inner = self._faiss_index.inner
        try:
            text = str(reverse_index_factory(self._faiss_index.outer))  # type: ignore[no-untyped-call]
        except NotImplementedError:
            return type(inner).__name__
        ivf = self.search_target(inner)
        if isinstance(ivf, faiss.IndexIVFPQFastScan) and ivf.by_residual:
            text = text.replace("x4fs", "x4fsr", 1)  # Faiss leaves the r out
        return text

    @property
    def metric(self) -> str:
        """`inner_product` if every part of the index uses it, else the parts with another metric."""
        inner = self._faiss_index.inner
        parts = {"index": inner, "lists": self.search_target(inner)}
        for name in ("quantizer", "refine_index", "storage"):
            found = [getattr(part, name) for part in parts.values() if hasattr(part, name)]
            parts.update([(name, found[-1])] if found else [])
        wrong = [
            f"{name} uses {'METRIC_L2' if part.metric_type == faiss.METRIC_L2 else part.metric_type}"
            for name, part in parts.items()
            if part.metric_type != faiss.METRIC_INNER_PRODUCT
        ]
        return ", ".join(wrong) or "inner_product"

    @property
    def rows(self) -> np.ndarray:
        """The rows in the index, int64 [N], ascending."""
        return self._faiss_index.rows

    @property
    def num_vectors(self) -> int:
        """Number of vectors."""
        return self._faiss_index.num_rows

    @property
    def num_bytes(self) -> int:
        """Size of the file that `save` writes."""
        sizes: list[int] = []
        counter = FAISS.PyCallbackIOWriter(lambda block: sizes.append(len(block)))
        faiss.write_index(self._faiss_index.outer, counter)
        return sum(sizes)

    @property
    def num_tombstones(self) -> int:
        """Number of removed vectors that the index still stores; they slow searches down."""
        return self._faiss_index.num_tombstones

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return self._faiss_index.dim


class Chosen(NamedTuple):
    """Settings of an index for given vectors.

    Attributes:
        choice: the candidates that were measured; None if there was nothing to choose.
        centroids, queries: see `Index`; the centroids are those that were measured.
    """

    config: Index.Config
    choice: IndexChoice | None = None
    centroids: np.ndarray | None = None
    queries: np.ndarray | None = None

    def build(self) -> Index:
        """Return an empty index."""
        index = self.config.build()
        index.centroids, index.queries = self.centroids, self.queries
        return index
