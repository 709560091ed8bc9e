import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.index import ground_truth
from twotower.index.ground_truth import GroundTruth

VECTORS = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], dtype=np.float32)
ROWS = np.array([10, 20, 30, 40])
QUERIES = np.array([[1, 0], [2, 3]], dtype=np.float32)


def test_exact_search_by_hand() -> None:
    # Scores of query 1: 1, 0, 1, 1; of query 2: 2, 3, 5, 2.
    result = GroundTruth.search(VECTORS, ROWS, QUERIES, 5).exact
    assert result.scores[1].tolist() == [5, 3, 2, 2]
    assert result.rows[1, :2].tolist() == [30, 20]
    assert set(result.rows[1, 2:]) == {10, 40}
    assert set(result.rows[0, :3]) == {10, 30, 40}


def test_a_large_catalogue_is_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(1).integers(-9, 9, (25, 3)).astype(np.float32)  # exact dot products
    rows, queries = np.arange(25) * 2, vectors[::3]
    whole = GroundTruth.search(vectors, rows, queries, 7).exact
    monkeypatch.setattr(ground_truth, "VECTORS_PER_BLOCK", 6)  # the last block has fewer than 7
    blocks = GroundTruth.search(vectors, rows, queries, 7)
    np.testing.assert_array_equal(blocks.exact.scores, whole.scores)
    assert blocks.recall(whole.rows) == blocks.recall(blocks.exact.rows) == 1.0
    vectors[20, 1] = np.inf
    with pytest.raises(InputError, match="item vectors: value inf at position 20, column 1"):
        GroundTruth.search(vectors, rows, queries, 7)


def test_tied_rows_count_whichever_of_them_are_found() -> None:
    truth = GroundTruth.search(VECTORS, ROWS, QUERIES, 2)
    # Query 1 has three items of score 1 for two places, query 2 the items 30 and 20.
    assert truth.recall(np.array([[10, 30], [30, 20]])) == 1.0
    assert truth.recall(np.array([[40, 30], [20, 30]])) == 1.0
    assert truth.recall(np.array([[40, 20], [30, 10]])) == 0.5
    assert truth.recall(np.array([[20, -1], [30, -1]])) == 0.25
    assert truth.recall(np.array([[10, 10], [30, 30]])) == 0.5  # a row found twice counts once
    assert truth.recall(np.array([[99, 5], [30, 20]])) == 0.5  # rows of no item
    every = GroundTruth.search(VECTORS, ROWS, QUERIES, 100)
    assert (every.k, every.recall(np.tile(ROWS, (2, 1)))) == (4, 1.0)


def test_nearly_tied_counts_only_within_float32_noise() -> None:
    vectors = np.array([[1.0, 0], [1.0 - 2**-23, 0], [1.0 - 1e-4, 0]], dtype=np.float32)
    truth = GroundTruth.search(vectors, np.array([1, 2, 3]), np.array([[1, 0]], dtype=np.float32), 1)
    assert truth.recall(np.array([[2]])) == 1.0
    assert truth.recall(np.array([[3]])) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 10), st.integers(1, 40), st.integers(0, 10_000))
def test_exact_results_have_full_recall(count: int, dim: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, (count, dim)).astype(np.float32)
    queries = random.integers(-2, 3, (6, dim)).astype(np.float32)
    rows = random.permutation(100)[:count]
    truth = GroundTruth.search(vectors, rows, queries, k)
    by_numpy = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, : truth.k]
    assert truth.recall(rows[by_numpy]) == 1.0
    assert truth.recall(truth.exact.rows) == 1.0
