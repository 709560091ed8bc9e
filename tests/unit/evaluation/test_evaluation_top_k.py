from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.evaluation import top_k
from twotower.evaluation.top_k import exact_top_k, top_k_by


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
    with mock.patch.object(top_k, "BLOCK_SCORES", chunk * num_items):
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
    group=st.sampled_from([2, 5, 32]),
)
@settings(max_examples=150, deadline=None)
def test_groups_of_items_change_nothing(seed: int, num_items: int, k: int, spread: int, group: int) -> None:
    generator = np.random.default_rng(seed)
    users = generator.integers(-spread, spread + 1, (11, 3)).astype(np.float32)
    items = generator.integers(-spread, spread + 1, (num_items, 3)).astype(np.float32)
    items[generator.random(num_items) < 0.2] = items[0]
    positions, columns = np.nonzero(generator.random((11, num_items)) < generator.choice([0.1, 0.9]))
    with mock.patch.multiple(top_k, GROUP_ITEMS=group, MIN_GROUPS_PER_RESULT=1):
        rows, scores = exact_top_k(
            torch.from_numpy(users), torch.from_numpy(items), k, (positions, columns + 1)
        )
    exact = users @ items.T
    assert rows.tolist() == naive(exact, k, set(zip(positions.tolist(), (columns + 1).tolist(), strict=True)))
    present = rows > 0
    assert (scores[present] == np.take_along_axis(exact, np.maximum(rows - 1, 0), axis=1)[present]).all()
    assert np.isneginf(scores[~present]).all()


def test_everything_excluded_gives_row_0() -> None:
    rows, _ = exact_top_k(
        torch.ones(2, 1), torch.ones(3, 1), 2, (np.array([0, 0, 0, 1]), np.array([1, 2, 3, 2]))
    )
    assert rows.tolist() == [[0, 0], [1, 3]]


def test_a_nan_score_never_brings_back_an_excluded_item() -> None:
    scores = torch.tensor([[torch.nan, torch.nan, 1.0]])
    rows, _ = top_k_by(lambda queries: scores[queries].clone(), 1, 3, 3, (np.array([0]), np.array([2])))
    assert 2 not in rows


def test_other_precisions_are_scored_in_float32() -> None:
    users, items = torch.randn(4, 8).bfloat16(), torch.randn(9, 8).bfloat16()
    rows, _ = exact_top_k(users, items, 9)
    assert (rows == exact_top_k(users.float(), items.float(), 9)[0]).all()
    scores = torch.tensor([[0.5, 2.0, -1.0, 1.0]], dtype=torch.float64)
    rows, found = top_k_by(lambda queries: scores[queries].clone(), 1, 4, 3)
    assert rows.tolist() == [[2, 4, 1]]
    assert found.tolist() == [[2.0, 1.0, 0.5]]
