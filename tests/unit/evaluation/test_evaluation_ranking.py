import numpy as np
from evaluation_logs import make_history, make_holdout

from twotower.evaluation.metrics.metric_data import item_slices, user_slices
from twotower.evaluation.ranking import item_popularity, num_targets, rank, seen_pairs


def test_hits_and_counts_by_hand() -> None:
    holdout = make_holdout(targets=[[3, 1], [2], [4, 4, 2]], histories=[[2], [], [1]])
    top_rows = np.array([[1, 2, 3], [1, 3, -1], [4, 2, 0]])
    ranking = rank(top_rows, holdout, np.array([0, 1, 1, 0, 0]))
    assert ranking.hits.tolist() == [[True, False, True], [False] * 3, [True, True, False]]
    assert ranking.num_relevant.tolist() == [2, 1, 2]
    assert ranking.items.tolist() == [[1, 2, 3], [1, 3, 0], [4, 2, 0]]
    assert ranking.num_items == 4


def test_targets_among_some_items() -> None:
    holdout = make_holdout([[1], [3, 2], [4]], [[], [], []])
    ranking = rank(np.zeros((3, 1), dtype=np.int64), holdout, np.zeros(5, dtype=np.int64))
    assert ranking.relevant_queries.tolist() == [0, 1, 1, 2]
    assert ranking.relevant.tolist() == [1, 2, 3, 4]
    assert ranking.num_relevant.tolist() == [1, 2, 1]
    assert num_targets(ranking, ranking.relevant > 2).tolist() == [0, 1, 1]


def test_popularity_counts_rows() -> None:
    assert item_popularity(make_history([[1, 3], [3, 0]]), 4).tolist() == [0, 1, 0, 2, 0]


def test_seen_pairs_follow_the_users_given_and_are_distinct() -> None:
    positions, rows = seen_pairs(make_history([[5, 2, 5], [], [7]]), np.array([3, 2, 1]))
    assert positions.tolist() == [0, 2, 2]
    assert rows.tolist() == [7, 2, 5]


def rows(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


def test_item_slices_by_share_of_interactions() -> None:
    slices = item_slices(np.array([0, 1, 40, 0, 20, 15, 14, 10]))
    assert rows(slices["item_popularity"]["head"]) == [2, 4]  # 40 is too few, 60 holds half
    assert rows(slices["item_popularity"]["mid"]) == [5, 6]  # 75 is too few, 89 holds 80 %
    assert rows(slices["item_popularity"]["tail"]) == [1, 3, 7]
    assert rows(slices["item_cold"]["cold"]) == [3]
    assert rows(slices["item_cold"]["warm"]) == [1, 2, 4, 5, 6, 7]


def test_items_of_an_empty_log_are_all_tail() -> None:
    slices = item_slices(np.zeros(4, dtype=np.int64))
    assert rows(slices["item_popularity"]["tail"]) == [1, 2, 3]
    assert rows(slices["item_popularity"]["head"]) == []


def test_user_slices_by_terciles_of_those_with_a_history() -> None:
    slices = user_slices(np.array([0, 1, 2, 3, 4, 5, 60, 0]))
    assert rows(slices["cold"]) == [0, 7]
    assert rows(slices["low"]) == [1, 2]
    assert rows(slices["mid"]) == [3, 4]
    assert rows(slices["high"]) == [5, 6]


def test_user_slices_are_a_partition() -> None:
    for lengths in ([0, 0], [3, 3, 3], [0, 1], [1, 1, 1, 9], [7]):
        masks = user_slices(np.array(lengths)).values()
        assert sum(masks).tolist() == [1] * len(lengths)  # type: ignore[attr-defined]
