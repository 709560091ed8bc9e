"""Where item embeddings start from: what svd sets on logs small enough to follow by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.sparse

from twotower.data.history import History
from twotower.evaluation.baselines.ease import interaction_matrix
from twotower.training.starts.svd import Svd, own_score, peak


def log_of(items: Sequence[Sequence[int]]) -> History:
    """Return a log of users' item rows, users from row 1 on."""
    return History(
        items=np.concatenate([np.asarray(rows, dtype=np.int64) for rows in items]),
        times=np.concatenate([np.arange(len(rows), dtype=np.int64) for rows in items]),
        offsets=np.cumsum([0, 0, *(len(rows) for rows in items)]),
    )


def test_own_items_are_scored_by_the_rest() -> None:
    taken = scipy.sparse.csr_array(np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=np.float32))
    embeddings = np.array([[1, 0], [2, 0], [0, 3]], dtype=np.float32)
    # The first user's by each other: 2 / sqrt(2) twice; the second's: 2, 2 and 0, over sqrt(3).
    expected = (2 * 2 / np.sqrt(2) + 2 * 2 / np.sqrt(3)) / 5
    assert own_score(taken, embeddings) == pytest.approx(expected)


def test_nobody_with_a_rest_scores_nothing() -> None:
    assert own_score(scipy.sparse.csr_array(np.eye(3, dtype=np.float32)), np.ones((3, 2), np.float32)) == 0


@pytest.mark.parametrize("count_power", [0.0, 0.5])
def test_own_items_score_one_in_the_mean(count_power: float) -> None:
    rng = np.random.default_rng(0)
    log = log_of([rng.choice(np.arange(1, 21), size, replace=False) for size in rng.integers(2, 9, 60)])
    found = Svd.Config(count_power=count_power).build().embeddings(log, 20, 8)
    taken = interaction_matrix(log, np.arange(log.num_users + 1), 20)
    assert own_score(taken, found) == pytest.approx(1, rel=1e-4)


def test_the_peak_lies_between_levels() -> None:
    assert peak([0.5, 1, 2, 4], [1, 3, 3, 1]) == pytest.approx(2**0.5)  # as far from 1 as from 2
    assert peak([0.5, 1, 2, 4], [0, 3, 2, 1]) == pytest.approx(2**0.25)  # 3 - 2 (x - 1/4)^2 + 1/8, x = log2
    assert peak([0.5, 1, 2, 4], [4, 3, 2, 1]) == 0.5
    assert peak([0.5, 1, 2, 4], [1, 2, 3, 4]) == 4
    assert peak([0.5, 1, 2, 4], [2, 2, 2, 2]) == 0.5
