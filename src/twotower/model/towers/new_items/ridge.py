"""Ridge regression of many outputs on sparse inputs.

Shapes: N examples, V inputs, D outputs.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

MAX_STEPS, TOLERANCE = 200, 1e-3
FOLDS = 5
Floats = NDArray[np.float64]


def ridge(inputs: sparse.csr_array, outputs: Floats, penalty: float) -> Floats:
    """Return the weights [V, D] that minimize |inputs W - outputs|^2 + penalty |W|^2.

    Conjugate gradients on the dual problem, with a step size per column; needs no N x N or V x V matrix and
    is deterministic.

    Reference: Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952.
    """
    transposed = sparse.csr_array(inputs.T)
    dual, residual = np.zeros_like(outputs), outputs.copy()
    direction, before = residual.copy(), (residual * residual).sum(axis=0)
    enough = before * TOLERANCE**2
    for _ in range(MAX_STEPS):
        if (before <= enough).all():
            break
        image = inputs @ (transposed @ direction) + penalty * direction
        step = _ratio(before, (direction * image).sum(axis=0))
        dual += step * direction
        residual -= step * image
        after = (residual * residual).sum(axis=0)
        direction = residual + _ratio(after, before) * direction
        before = after
    weights: Floats = transposed @ dual
    return weights


def cross_validated(inputs: sparse.csr_array, outputs: Floats, penalty: float) -> Floats:
    """Return cross-validated predictions of the outputs, [N, D], with five folds.

    The mean of the outputs is subtracted before the regression. The prediction of a single example is its
    own output.

    Reference: Stone, Cross-Validatory Choice and Assessment of Statistical Predictions, Journal of the Royal
    Statistical Society B, 1974.
    """
    folds = np.arange(len(outputs)) % FOLDS
    predictions = outputs.copy()
    for fold in range(min(FOLDS, len(outputs)) if len(outputs) > 1 else 0):
        out = folds == fold
        mean = outputs[~out].mean(axis=0)
        predictions[out] = inputs[out] @ ridge(inputs[~out], outputs[~out] - mean, penalty) + mean
    return predictions


def log_mean_ratio(logs: Floats, predicted: Floats) -> float:
    """Return log(mean(exp(logs)) / mean(exp(predicted))), the correction of predicted logs; both [N, 1]."""
    high = max(float(logs.max()), float(predicted.max()))
    return float(np.log(np.exp(logs - high).mean()) - np.log(np.exp(predicted - high).mean()))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
