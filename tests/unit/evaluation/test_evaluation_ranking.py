import numpy as np
from evaluation_logs import make_history, make_holdout

from twotower.evaluation.ranking import holdout_targets, item_popularity, rank, seen_pairs, without_seen


def test_hits_and_counts_by_hand() -> None:
    holdout = make_holdout(targets=[[3, 1], [2], [4, 4, 2]], histories=[[2], [], [1]])
    top_rows = np.array([[1, 2, 3], [1, 3, -1], [4, 2, 0]])
    ranking = rank(top_rows, holdout_targets(holdout, 4), np.array([0, 1, 1, 0, 0]))
    assert ranking.hits.tolist() == [[True, False, True], [False] * 3, [True, True, False]]
    assert ranking.num_relevant.tolist() == [2, 1, 2]
    assert ranking.items.tolist() == [[1, 2, 3], [1, 3, 0], [4, 2, 0]]
    assert ranking.num_items == 4


def test_targets_among_some_items() -> None:
    targets = holdout_targets(make_holdout([[1], [3, 2], [4]], [[], [], []]), 4)
    assert targets.queries.tolist() == [0, 1, 1, 2]
    assert targets.items.tolist() == [1, 2, 3, 4]
    assert targets.counts(among=np.array([False, False, False, True, True])).tolist() == [0, 1, 1]


def test_popularity_counts_rows() -> None:
    assert item_popularity(make_history([[1, 3], [3, 0]]), 4).tolist() == [0, 1, 0, 2, 0]


def test_seen_pairs_follow_the_users_given() -> None:
    positions, rows = seen_pairs(make_history([[5, 2], [], [7]]), np.array([3, 2, 1]))
    assert positions.tolist() == [0, 2, 2]
    assert rows.tolist() == [7, 5, 2]


def test_without_seen_keeps_the_order_of_the_rest() -> None:
    longer = np.array([[4, 2, 3, 1], [1, -1, -1, -1], [2, 1, 4, 3]])
    exclude = (np.array([0, 0, 1]), np.array([4, 3, 1]))
    assert without_seen(longer, exclude, num_items=4, k=2).tolist() == [[2, 1], [0, 0], [2, 1]]
    assert without_seen(longer, exclude, num_items=4, k=5)[0].tolist() == [2, 1, 0, 0, 0]
    assert longer[0].tolist() == [4, 2, 3, 1]
