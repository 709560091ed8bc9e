from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.evaluation import half_search, top_candidates, top_k
from twotower.evaluation.top_k import ExactSearch, exact_top_k, top_k_of


def naive(scores: np.ndarray, k: int, excluded: set[tuple[int, int]]) -> list[list[int]]:
    lists = []
    for query, row_scores in enumerate(scores.tolist()):
        allowed = [row for row in range(1, len(row_scores) + 1) if (query, row) not in excluded]
        ordered = sorted(allowed, key=lambda row: (-row_scores[row - 1], row))[:k]
        lists.append(ordered + [0] * (k - len(ordered)))
    return lists


@given(
    seed=st.integers(0, 10_000),
    num_queries=st.integers(0, 6),
    num_items=st.integers(1, 9),
    k=st.integers(1, 11),
    chunk=st.sampled_from([1, 2, 4, 2**24]),
)
@settings(max_examples=80, deadline=None)
def test_equals_a_full_sort_with_many_ties(
    seed: int, num_queries: int, num_items: int, k: int, chunk: int
) -> None:
    generator = np.random.default_rng(seed)
    users = generator.integers(-1, 2, (num_queries, 2)).astype(np.float32)
    items = generator.integers(-1, 2, (num_items, 2)).astype(np.float32)
    positions, columns = np.nonzero(generator.random((num_queries, num_items)) < 0.4)
    with mock.patch.object(top_k, "CHUNK_SCORES", chunk * num_items):
        found = exact_top_k(torch.from_numpy(users), torch.from_numpy(items), k, (positions, columns + 1))
    rows, scores = found
    excluded = set(zip(positions.tolist(), (columns + 1).tolist(), strict=True))
    assert rows.tolist() == naive(users @ items.T, k, excluded)
    assert (np.isneginf(scores) == (rows == 0)).all()


@given(
    seed=st.integers(0, 10_000),
    num_items=st.integers(1, 80),
    k=st.integers(1, 30),
    spread=st.sampled_from([1, 20, 1000]),
    centre=st.sampled_from([0, 500, -500]),
    most=st.sampled_from([1, 16]),
)
@settings(max_examples=150, deadline=None)
def test_scored_in_bfloat16_first_it_finds_the_same(
    seed: int, num_items: int, k: int, spread: int, centre: int, most: int
) -> None:
    """Whole numbers up to 1,500 have sums that float32 holds, and bfloat16 rounds all of it."""
    generator = np.random.default_rng(seed)
    users = generator.integers(-spread, spread + 1, (11, 3)).astype(np.float32)
    items = (centre + generator.integers(-spread, spread + 1, (num_items, 3))).astype(np.float32)
    items[generator.random(num_items) < 0.2] = items[0]
    positions, columns = np.nonzero(generator.random((11, num_items)) < generator.choice([0.1, 0.9]))
    with (
        mock.patch.multiple(top_k, FEWEST_ITEMS=0, ITEMS_A_PLACE=0, is_quick=lambda: True),
        mock.patch.multiple(half_search, BLOCK_USERS=4, TILE_ITEMS=32),
        mock.patch.object(top_candidates, "MOST_CANDIDATES", most),
    ):
        search = ExactSearch(torch.from_numpy(items))
        rows, scores = search.top(torch.from_numpy(users), k, (positions, columns + 1))
    excluded = set(zip(positions.tolist(), (columns + 1).tolist(), strict=True))
    exact = users @ items.T
    assert rows.tolist() == naive(exact, k, excluded)
    there = rows > 0
    assert (scores[there] == np.take_along_axis(exact, np.maximum(rows - 1, 0), axis=1)[there]).all()
    assert np.isneginf(scores[~there]).all()


def test_as_many_threads_as_there_are_find_the_same() -> None:
    users, items = torch.randn(600, 4), torch.randn(50, 4)
    with mock.patch.multiple(top_k, FEWEST_ITEMS=0, ITEMS_A_PLACE=0, is_quick=lambda: True):
        alone = ExactSearch(items).top(users, 5)
        before = torch.get_num_threads()
        torch.set_num_threads(3)
        try:
            together = ExactSearch(items).top(users, 5)
            assert torch.get_num_threads() == 3
        finally:
            torch.set_num_threads(before)
    assert (alone[0] == together[0]).all()
    assert (alone[1] == together[1]).all()


def test_vectors_that_are_not_numbers_are_no_matter_for_bfloat16() -> None:
    items = torch.tensor([[1.0], [torch.inf], [2.0]])
    with mock.patch.multiple(top_k, FEWEST_ITEMS=0, ITEMS_A_PLACE=0, is_quick=lambda: True):
        rows, _ = ExactSearch(items).top(torch.ones(1, 1), 2)
    assert rows.tolist() == [[2, 3]]


def test_scores_belong_to_their_rows() -> None:
    users, items = torch.randn(5, 3), torch.randn(20, 3)
    rows, scores = exact_top_k(users, items, 7)
    expected = np.take_along_axis((users @ items.T).numpy(), rows - 1, axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32


def test_everything_excluded_gives_row_0() -> None:
    rows, _ = exact_top_k(
        torch.ones(2, 1), torch.ones(3, 1), 2, (np.array([0, 0, 0, 1]), np.array([1, 2, 3, 2]))
    )
    assert rows.tolist() == [[0, 0], [1, 3]]


def test_a_nan_score_never_brings_back_an_excluded_item() -> None:
    scores = torch.tensor([[torch.nan, torch.nan, 1.0]])
    rows, _ = top_k_of(lambda queries: scores[queries].clone(), 1, 3, 3, (np.array([0]), np.array([2])))
    assert 2 not in rows


def test_half_precision_vectors_are_scored_in_float32() -> None:
    users, items = torch.randn(4, 8).bfloat16(), torch.randn(9, 8).bfloat16()
    rows, _ = exact_top_k(users, items, 9)
    expected, _ = exact_top_k(users.float(), items.float(), 9)
    assert (rows == expected).all()


def test_a_scorer_may_give_float64() -> None:
    scores = torch.tensor([[0.5, 2.0, -1.0, 1.0]], dtype=torch.float64)
    rows, found = top_k_of(lambda queries: scores[queries].clone(), 1, 4, 3)
    assert rows.tolist() == [[2, 4, 1]]
    assert found.tolist() == [[2.0, 1.0, 0.5]]
