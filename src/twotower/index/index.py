"""What every index offers, whatever it is made of."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le

Recall = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class SearchResult:
    """The k best items of each query, best first.

    Attributes:
        scores: float32 [Q, K] dot products; -inf where there is no item.
        rows: int64 [Q, K] item rows; -1 where the searched cells ran out of items.
    """

    scores: np.ndarray
    rows: np.ndarray


class Index(ABC):
    """Item vectors under their rows, searched by dot product.

    Build arguments are fixed once vectors are in; search arguments can change at any time. Inputs are never
    modified. Searching, adding and removing are safe from several threads.

    Attributes:
        kind: the name of the concrete kind, such as `ivf_flat`.
        target_recall: recall@100 against exact search that tuning aims at.
        min_recall: recall@100 below which the index is rejected.
        training_iterations: k-means iterations in `build`; None leaves Faiss's defaults. Rehearsals use few.
    """

    kind: str
    target_recall: float
    min_recall: float
    training_iterations: int | None = None

    @abstractmethod
    def problems(self, dim: int | None, num_vectors: int | None) -> list[tuple[str, str]]:
        """List what is wrong with the arguments: (parameter name, message); None = size not yet known."""

    @abstractmethod
    def for_size(self, num_vectors: int) -> "Index":
        """Return a fresh, empty index of the concrete kind that this many vectors get."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Return the spec (`_target_` and arguments) of the concrete kind: what `load` needs."""

    @property
    @abstractmethod
    def min_training_vectors(self) -> int:
        """The fewest vectors that `build` accepts."""

    @abstractmethod
    def build(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """Train on the vectors where the kind needs it, and add them.

        Args:
            vectors: [N, D] numbers, finite.
            rows: integers [N], distinct and not negative.

        Raises:
            InputError: no or too few vectors, values that are not finite, repeated rows, arguments that do
                not fit these sizes.
        """

    @abstractmethod
    def search(self, queries: np.ndarray, k: int) -> SearchResult:
        """Return the k items with the highest dot product; k above the number of items is padded.

        Args:
            queries: [Q, D] numbers, finite.
            k: how many items, at least 1.

        Raises:
            InputError: k below 1, queries of another dimension or not finite.
        """

    def check_range(self, vectors: np.ndarray) -> None:  # noqa: B027 - most kinds store any
        """Raise InputError for values that this kind cannot store; the default stores any float32."""

    @abstractmethod
    def add(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """Add items without training again.

        Raises:
            InputError: as `build`, or a row that is already in the index.
        """

    @abstractmethod
    def remove(self, rows: np.ndarray) -> int:
        """Remove items; absent rows are ignored. Returns how many were removed."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the index to a file (temporary name, then renamed)."""

    @abstractmethod
    def load(self, path: Path) -> None:
        """Read what `save` wrote. A damaged file may load with wrong content: verify its checksum first.

        Raises:
            InputError: the file is missing, unreadable or holds another kind of index.
        """

    @abstractmethod
    def search_grid(self) -> list[dict[str, int]]:
        """List search arguments from fastest to most thorough; `[{}]` where there is nothing to choose."""

    @abstractmethod
    def set_search_args(self, search_args: Mapping[str, int]) -> None:
        """Change search arguments.

        Raises:
            InputError: an unknown name or a value out of range.
        """

    @property
    @abstractmethod
    def search_args(self) -> dict[str, int]:
        """The search arguments in force."""

    @property
    @abstractmethod
    def search_args_given(self) -> bool:
        """Whether the configuration fixed the search arguments, so that tuning leaves them alone."""

    @property
    @abstractmethod
    def build_args(self) -> dict[str, int]:
        """The build arguments in force, with automatic ones filled in."""

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether search looks at every item with its full vector."""

    @property
    @abstractmethod
    def factory(self) -> str:
        """Faiss's own description of the index (its index_factory string)."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """`inner_product` when index and quantiser both use it, else what disagrees."""

    @property
    @abstractmethod
    def rows(self) -> np.ndarray:
        """The rows in the index, int64 [N], ascending."""

    @property
    @abstractmethod
    def num_vectors(self) -> int:
        """How many vectors are in the index."""

    @property
    def num_tombstones(self) -> int:
        """Removed vectors that the index still holds, and leaves out of what it finds: at a cost."""
        return 0

    @property
    @abstractmethod
    def dim(self) -> int:
        """The dimension of the vectors."""

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """The size of the saved file."""

    @property
    @abstractmethod
    def build_seconds(self) -> float:
        """How long `build` took; 0.0 after `load`."""
