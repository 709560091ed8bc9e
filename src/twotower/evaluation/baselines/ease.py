"""EASE: a linear item-to-item model with a closed form; hard to beat on small catalogues."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.memory import memory_problem
from twotower.config.progress import Progress, duration_text
from twotower.config.spec import DropoutRate, PositiveFloat, PositiveInt
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData, Budget, TriedValues
from twotower.evaluation.ranking import interaction_matrix

BLOCK_ITEMS = 1024
BYTES, BYTES_BY_USERS = 4, 16  # per number of the smaller Gram matrix: in double precision, with its inverse
KEPT_PENALTIES = 3  # so that `trend_ease` reads the weights of the chosen penalty
LONG_TO_INVERT = 6_000  # rows
SAMPLE = 3_000  # rows of a smaller matrix: its inversion time predicts the time for a large one
LOG = logging.getLogger("twotower")
Predictor = Callable[[scipy.sparse.csr_array], NDArray[np.float32]]
"""Histories, sparse [B, N] of ones -> scores [B, N]."""


class Ease(Baseline):
    """Score = history (0 or 1 per item) times B, where B = I - P / diag(P), P = (X'X + D)^-1.

    D is diagonal: `regularization` plus, with the dropout rate p, p / (1 - p) times the count of the item.
    Users without a history get the latest popularity (`BaselineData.fallback`). It needs 4 N^2 bytes and N^3
    operations, or 16 U^2 and U^3 if there are at most half as many users as items; `max_items` limits both.

    References: Steck (2019), Embarrassingly shallow autoencoders for sparse data, equation 8; for the dropout
    Steck, Autoencoders that don't overfit towards the Identity, NeurIPS 2020, section 3.
    """

    class Config(Baseline.Config):
        regularization: PositiveFloat = 500
        """L2 penalty; 100 to 1000 is usual."""
        dropout: DropoutRate = 0
        """Share of a history that is left out while weights are fitted, in expectation: it lowers the weights
        of items with many interactions."""
        max_items: PositiveInt = 20_000
        """Largest number of items it is run on; of users where there are at most half as many."""

        def space(self, past: BaselineData) -> Mapping[str, TriedValues]:
            """Return penalties, if there is memory for the matrices of several."""
            if reason := tuning_memory_problem(past):
                LOG.debug("baseline ease: its settings are not tuned: %s", reason)
                return {}
            return {
                "regularization": TriedValues((50.0, 160.0, 1600.0, 5000.0)),
                "dropout": TriedValues((0.1, 0.25, 0.5, 0.75)),
            }

        def skip_reason(self, past: BaselineData) -> str | None:
            """See `Baseline.Config.skip_reason`."""
            by_users, size = solved_by_users(past), gram_size(past)
            if size > self.max_items:
                what = "users and more items" if by_users else "items"
                return f"{size} {what} are above max_items = {self.max_items}"
            return memory_problem(f"{size} x {size} weights", gram_bytes(past))

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Solve for the item weights, or for the equivalent matrix of users."""
        self.counts, self.fallback = past.matrix.sum(axis=0), past.fallback
        self.predict = past.once(
            "ease", lambda: solve(past, self.penalties), self.fit_settings, KEPT_PENALTIES
        )

    @property
    def fit_settings(self) -> tuple[float, float]:
        """The settings that the weights depend on."""
        return self.config.regularization, self.config.dropout

    @property
    def penalties(self) -> NDArray[np.float32]:
        """The diagonal D, [N]."""
        rate = self.config.dropout
        penalties: NDArray[np.float32] = self.config.regularization + rate / (1 - rate) * self.counts
        return penalties

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the predicted scores of histories."""
        matrix = interaction_matrix(history, users, len(self.counts))
        predicted = self.predict(matrix)
        predicted[np.diff(matrix.indptr) == 0] = self.fallback
        return predicted


def solve(past: BaselineData, penalties: NDArray[np.float32]) -> Predictor:
    """Return EASE's scores as a function of histories, from the smaller Gram matrix of X [U, N]."""
    if solved_by_users(past):
        users = past.matrix[np.diff(past.matrix.indptr) > 0]
        return solve_by_users(users, penalties, past.budget)
    past.budget.check(seconds_to_invert(past.num_items, np.float32))
    shared = shared_gram(past)
    gram = gram_matrix(past.matrix, np.float32, past.budget) if shared is None else shared.copy()
    weights = item_weights(gram, penalties)
    return lambda histories: histories @ weights


def solved_by_users(past: BaselineData) -> bool:
    """Whether there are at most half as many users as items, so that the matrix of users is solved."""
    return 2 * num_active_users(past) <= past.num_items


def gram_size(past: BaselineData) -> int:
    """Return the number of rows of the smaller Gram matrix."""
    return num_active_users(past) if solved_by_users(past) else past.num_items


def gram_bytes(past: BaselineData) -> int:
    """Return the memory of the weights of one penalty."""
    return gram_size(past) ** 2 * (BYTES_BY_USERS if solved_by_users(past) else BYTES)


def num_active_users(past: BaselineData) -> int:
    """Return the number of users with interactions."""
    return int((past.train.positives.counts() > 0).sum())


def tuning_memory_problem(past: BaselineData) -> str | None:
    """Return why the matrices of several penalties do not fit into memory, None if they do."""
    return memory_problem("the matrices of its tuning", (KEPT_PENALTIES + 1) * gram_bytes(past))


def shared_gram(past: BaselineData) -> NDArray[np.float32] | None:
    """Return the number of users with both items [N, N], computed once for all settings of a tuning.

    None without tuning, or if there is no memory for it.
    """

    def compute() -> NDArray[np.float32] | None:
        if memory_problem("co-occurrences", (KEPT_PENALTIES + 1) * BYTES * past.num_items**2):
            return None
        return gram_matrix(past.matrix, np.float32, past.budget)

    return past.once("gram", compute) if past.is_tuning else None


def solve_by_users(
    users: scipy.sparse.csr_array, penalties: NDArray[np.float32], budget: Budget
) -> Predictor:
    """Return EASE's scores without its weights [N, N]; the inverse is in double precision.

    With Y = X D^-1/2 and K = (Y Y' + I)^-1, P = D^-1/2 (I - Y' K Y) D^-1/2 (Woodbury), so that
    h B = h - (h D^-1/2 - h D^-1/2 Y' K Y) D^1/2 / diag(I - Y' K Y).
    """
    budget.check(seconds_to_invert(users.shape[0], np.float64))
    roots = np.sqrt(penalties, dtype=np.float64)
    wide = (users @ scipy.sparse.diags_array(1 / roots)).tocsr()
    gram = gram_matrix(scipy.sparse.csr_array(wide.T), np.float64, budget)
    gram[np.diag_indices(len(gram))] += 1
    kernel = invert_symmetric(gram)
    diagonal = np.ones(wide.shape[1])
    columns = wide.tocsc()
    for start in range(0, len(diagonal), BLOCK_ITEMS):
        block = columns[:, start : start + BLOCK_ITEMS].T.tocsr()
        diagonal[start : start + BLOCK_ITEMS] -= block.multiply(block @ kernel).sum(axis=1)
    small, scale = kernel.astype(np.float32), (roots / diagonal).astype(np.float32)
    divisors, scaled = roots.astype(np.float32), wide.astype(np.float32)

    def predict(histories: scipy.sparse.csr_array) -> NDArray[np.float32]:
        divided = histories @ scipy.sparse.diags_array(1 / divisors)
        scores: NDArray[np.float32] = ((divided @ scaled.T).toarray() @ small) @ scaled
        own = histories.nonzero()
        scores[own] -= 1 / divisors[own[1]]
        scores *= scale
        scores[own] += 1
        return scores

    return predict


def item_weights(gram: NDArray[np.float32], penalties: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Return B, float32 [N, N], in place of X'X."""
    diagonal = np.diag_indices(len(gram))
    gram[diagonal] += penalties
    precision = invert_symmetric(gram)
    precision /= -np.diag(precision).copy()
    precision[diagonal] = 0.0
    return precision


def gram_matrix(
    matrix: scipy.sparse.csr_array, dtype: type[np.floating[Any]], budget: Budget
) -> NDArray[Any]:
    """Return the number of users with both items, [N, N]; a sparse product would be larger."""
    gram = np.empty((matrix.shape[1], matrix.shape[1]), dtype=dtype)
    for block, counts in gram_blocks(matrix, "ease", BLOCK_ITEMS, budget):
        gram[block] = counts
    return gram


def gram_blocks(
    matrix: scipy.sparse.csr_array,
    baseline: str,
    size: int,
    budget: Budget,
    gram: NDArray[np.float32] | None = None,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield blocks of `size` items and the number of users with both items, [size, N], of `gram` if given."""
    num_items = matrix.shape[1]
    columns = matrix.tocsc()
    with Progress(f"baseline {baseline}: counting co-occurrences", num_items) as advance:
        for start in range(0, num_items, size):
            advance(start)
            budget.check()
            block = slice(start, min(start + size, num_items))
            yield block, (columns[:, block].T @ matrix).toarray() if gram is None else gram[block]


def seconds_to_invert(size: int, dtype: type[np.floating[Any]]) -> float:
    """Return the estimated seconds to invert a matrix, and log them; 0 for a small matrix."""
    if size < LONG_TO_INVERT:
        return 0.0
    began = time.monotonic()
    invert_symmetric(np.eye(SAMPLE, dtype=dtype))
    seconds = (time.monotonic() - began) * (size / SAMPLE) ** 3
    LOG.info("baseline ease: inverting %d x %d, about %s", size, size, duration_text(seconds))
    return seconds


def invert_symmetric(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the inverse of a positive definite matrix [N, N] in place; raises InputError if it is not.

    By Cholesky factor: a third of the work of a general inverse.
    """
    functions: Any = scipy.linalg.get_lapack_funcs(("potrf", "potri"), (matrix,))
    potrf, potri = functions
    factor, failed = potrf(matrix.T, lower=False, overwrite_a=True)
    if failed:
        raise InputError("regularization: too small for these data: the matrix is singular; raise it")
    inverse, failed = potri(factor, lower=False, overwrite_c=True)
    assert failed == 0, "singular"
    for start in range(0, len(inverse), BLOCK_ITEMS):
        block = slice(start, start + BLOCK_ITEMS)
        inverse[block, block] = np.triu(inverse[block, block]) + np.triu(inverse[block, block], 1).T
        inverse[block.stop :, block] = inverse[block, block.stop :].T
    by_row: NDArray[Any] = inverse.T
    return by_row
