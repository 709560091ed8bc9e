"""Ridge regression of many outputs on sparse inputs.

Shapes: N examples, V inputs, D outputs.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

MOST_STEPS, TOLERANCE = 200, 1e-3
FOLDS = 5
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


def left_out(inputs: sparse.csr_array, outputs: Floats, penalty: float) -> Floats:
    """Return what the others say of each example, [N, D]: a fifth of them is left out at a time.

    The mean of the outputs is taken off before the regression; of a single example it is all there is.

    Reference: Stone, Cross-Validatory Choice and Assessment of Statistical Predictions, Journal of the Royal
    Statistical Society B, 1974.
    """
    folds = np.arange(len(outputs)) % FOLDS
    found = outputs.copy()
    for fold in range(min(FOLDS, len(outputs)) if len(outputs) > 1 else 0):
        out = folds == fold
        mean = outputs[~out].mean(axis=0)
        found[out] = inputs[out] @ ridge(inputs[~out], outputs[~out] - mean, penalty) + mean
    return found


def log_mean_ratio(logs: Floats, predicted: Floats) -> float:
    """Return what predicted logs lack so that the values they are of have the right mean; both [N, 1]."""
    high = max(float(logs.max()), float(predicted.max()))
    return float(np.log(np.exp(logs - high).mean()) - np.log(np.exp(predicted - high).mean()))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
