"""The lists through an index, by hand and against exact search."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from evaluation_logs import make_holdout

from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.indexing import served_top
from twotower.evaluation.metrics.coverage import Coverage
from twotower.evaluation.metrics.metric import Ranking
from twotower.evaluation.metrics.recall import Recall
from twotower.evaluation.ranking import distinct_pairs
from twotower.evaluation.top_k import exact_top_k
from twotower.evaluation.user_values import LIST_HASH, list_hashes
from twotower.index.kinds.flat_ip import FlatIP

NUM_ITEMS = 40
LINE = torch.arange(1, NUM_ITEMS + 1, dtype=torch.float32)[:, None]
"""Item vectors of one column: the item of row r has r, so that the best is 40, then 39, 38 ..."""


def index_of(*lists: list[int]) -> Any:
    """Return a search that knows these rows of each user alone, in this order, -1 behind them."""
    asked: list[int] = []

    def search(queries: np.ndarray, k: int) -> Any:
        asked.append(k)
        rows = [(found + [-1] * k)[:k] for found in lists]
        return SimpleNamespace(rows=np.array(rows, dtype=np.int64))

    return SimpleNamespace(search=search, asked=asked, is_exact=False)


def test_candidates_are_ordered_by_exact_scores_and_what_the_index_lacks_is_lost() -> None:
    index = index_of([30, 38, 5, 40])
    top = served_top(index, LINE, torch.ones(1, 1), 3, None)
    assert index.asked == [3]
    assert top.tolist() == [[38, 30, 5]]  # 40 is the fourth of the index, and 3 were requested


def test_as_many_more_are_fetched_as_a_user_has_and_these_are_left_out() -> None:
    index = index_of([30, 38, 5, 40])
    excluded = np.array([0]), np.array([38])
    top = served_top(index, LINE, torch.ones(1, 1), 2, excluded)
    assert index.asked == [3]
    assert top.tolist() == [[30, 5]]


def test_where_the_cells_hold_too_few_or_much_would_be_fetched_all_items_are_scored() -> None:
    index = index_of([30, 38])
    assert served_top(index, LINE, torch.ones(1, 1), 3, None).tolist() == [[40, 39, 38]]
    many = np.zeros(9, dtype=np.int64), np.arange(32, 41)  # with k of 2 over a quarter of the 40 items
    index = index_of([])
    assert served_top(index, LINE, torch.ones(1, 1), 2, many).tolist() == [[31, 30]]
    assert index.asked == []
    assert served_top(index_of([1] * 9), LINE[:3], -torch.ones(1, 1), 5, None).tolist() == [[1, 2, 3, 0, 0]]


def test_pairs_that_a_user_repeats_are_one() -> None:
    pairs = distinct_pairs(np.array([1, 0, 1, 1, 0]), np.array([7, 9, 7, 2, 0]))  # row 0 is no item
    assert [each.tolist() for each in pairs] == [[0, 1, 1], [9, 2, 7]]
    assert [each.tolist() for each in distinct_pairs(np.zeros(0, int), np.zeros(0, int))] == [[], []]


def test_an_index_that_finds_the_best_serves_the_lists_of_exact_search() -> None:
    draw = torch.Generator().manual_seed(3)
    items, users = torch.randn(300, 8, generator=draw), torch.randn(50, 8, generator=draw)
    items[100:150] = items[:50]  # equal scores: the lower row first
    flat = FlatIP.Config().build()
    flat.build(items.numpy(), np.arange(1, 301))
    index: Any = SimpleNamespace(search=flat.search, is_exact=False)
    random = np.random.default_rng(0)
    excluded = distinct_pairs(random.integers(0, 50, 900), random.integers(1, 301, 900))
    for k in (1, 10, 60):
        expected, _ = exact_top_k(users, items, k, excluded)
        np.testing.assert_array_equal(served_top(index, items, users, k, excluded), expected)
        np.testing.assert_array_equal(served_top(flat, items, users, k, excluded), expected)


def evaluator_at(*ks: int) -> Evaluator:
    kinds: Any = {"recall": Recall.Config(), "coverage": Coverage.Config()}
    return Evaluator.Config(ks=list(ks), kinds=kinds, num_bootstrap=100).build()


def test_lists_of_each_k_are_evaluated_as_the_first_items_of_the_longest() -> None:
    holdout = make_holdout([[1, 2], [3]], [[4], [4, 5]])
    top, popularity = np.array([[1, 3, 2], [2, 4, 3]]), np.array([0, 3, 2, 1, 0, 0])
    whole = evaluator_at(1, 3).evaluate(top, holdout, popularity)
    found = evaluator_at(1, 3).evaluate({k: top[:, :k] for k in (1, 3)}, holdout, popularity)
    assert found.per_user.equals(whole.per_user)
    for part in ("metrics", "intervals", "slices"):
        assert getattr(found, part) == getattr(whole, part)
    assert whole.metrics["recall_at_1"] == 0.5


def test_hashes_of_lists_tell_items_and_order_apart_up_to_each_k() -> None:
    lists = np.array([[1, 2, 3], [1, 2, 3], [2, 1, 3], [1, 2, 4], [1, 2, 0]])
    ranking = Ranking.from_lists(lists, [{1}] * 5, [1] * 5)
    at_two, at_three = list_hashes({2: ranking}), list_hashes({3: ranking})
    assert len(set(at_two.tolist())) == 2
    assert len(set(at_three.tolist())) == 4
    np.testing.assert_array_equal(list_hashes({2: ranking, 3: ranking}), at_two + at_three)
    report = evaluator_at(1).evaluate(lists[:2], make_holdout([[1], [1]], [[], []]), np.zeros(6, dtype=int))
    assert report.per_user[LIST_HASH].nunique() == 1
