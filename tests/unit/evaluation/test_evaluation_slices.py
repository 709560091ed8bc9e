import numpy as np

from twotower.evaluation.ranking import item_slices, user_slices


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
