"""What lies near what: the catalogue in two dimensions, for people to look at, and neighbours by angle.

Shapes: N items, n and m of them, D the tower's part of an embedding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOST_POINTS = 5000
"""More would only lie on each other."""
SEED = 0


@dataclass(frozen=True, eq=False)
class CatalogueMap:
    """The plane in which embeddings differ most: their first two principal components.

    Args:
        centre: [D] mean of the embeddings.
        axes: [D, 2] of length 1, the wider one first; the part of each that is largest points up.
        explained: share of the variance that the plane holds, 0 to 1.
    """

    centre: Floats
    axes: Floats
    explained: float

    @classmethod
    def of(cls, vectors: Floats) -> "CatalogueMap":
        """Return the plane of embeddings [N, D]; with D = 1 or no variance, what is missing is 0."""
        dim = vectors.shape[1]
        centre = vectors.mean(axis=0) if len(vectors) else np.zeros(dim, dtype=np.float32)
        centred = vectors - centre
        variances, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        axes = directions[:, ::-1][:, :2]
        largest = np.abs(axes).argmax(axis=0)
        axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1)
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
        total = float(variances.clip(0).sum())
        explained = float(variances[-2:].clip(0).sum()) / total if total > 0 else 0.0
        return cls(centre.astype(np.float32), axes.astype(np.float32), explained)

    def place(self, vectors: Floats) -> Floats:
        """Return where embeddings [n, D] lie, [n, 2]."""
        found: Floats = ((vectors - self.centre) @ self.axes).astype(np.float32)
        return found


def drawn(num_items: int, most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Return which of some items are drawn: all, or a sample that is the same each time; ascending."""
    if num_items <= most:
        return np.arange(num_items)
    return np.sort(np.random.default_rng(SEED).choice(num_items, most, replace=False))


def nearest(vectors: Floats, others: Floats, k: int) -> list[list[tuple[int, float]]]:
    """Return for each vector [n, D] the k of others [m, D] with the highest cosine: position and cosine."""
    cosines = _unit(vectors) @ _unit(others).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return [[(int(at), float(row[at])) for at in places] for row, places in zip(cosines, order, strict=True)]


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(lengths > 0, lengths, 1), dtype=np.float32)
