"""Which of some vectors point the same way as others.

Shapes: n and m vectors, D the tower's part of an embedding.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def nearest(vectors: Floats, others: Floats, k: int) -> list[list[tuple[int, float]]]:
    """Return for each vector [n, D] the k of others [m, D] with the highest cosine: position and cosine."""
    cosines = _unit(vectors) @ _unit(others).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return [[(int(at), float(row[at])) for at in places] for row, places in zip(cosines, order, strict=True)]


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(lengths > 0, lengths, 1), dtype=np.float32)
