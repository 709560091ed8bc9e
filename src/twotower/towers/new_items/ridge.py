"""Ridge regression of many outputs on sparse inputs.

Shapes: N examples, V inputs, D outputs.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

MOST_STEPS, TOLERANCE = 200, 1e-3
Floats = NDArray[np.float64]


def ridge(inputs: sparse.csr_array, outputs: Floats, penalty: float) -> Floats:
    """Return the weights [V, D] that minimise |inputs W - outputs|^2 + penalty |W|^2.

    By conjugate gradients in the examples, a column each at its own pace: no matrix of N x N or V x V is
    made, and the same input gives the same bits.

    Args:
        inputs: [N, V].
        outputs: [N, D].
        penalty: above 0.

    Reference: Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952.
    """
    turned = sparse.csr_array(inputs.T)
    found, left = np.zeros_like(outputs), outputs.copy()
    direction, before = left.copy(), (left * left).sum(axis=0)
    enough = before * TOLERANCE**2
    for _ in range(MOST_STEPS):
        if (before <= enough).all():
            break
        moved = inputs @ (turned @ direction) + penalty * direction
        step = _ratio(before, (direction * moved).sum(axis=0))
        found += step * direction
        left -= step * moved
        after = (left * left).sum(axis=0)
        direction = left + _ratio(after, before) * direction
        before = after
    weights: Floats = turned @ found
    return weights


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
