import numpy as np
import pytest
from evaluation_logs import make_history

from twotower.evaluation.baselines.baseline import BaselineData
from twotower.evaluation.baselines.transitions import Transitions

LOG = make_history([[1, 2, 3], [2, 3], [0, 1, 3], []])


def scores(history: list[int], **settings: float) -> list[float]:
    baseline = Transitions.Config.model_validate(settings).build()
    baseline.fit(BaselineData(LOG, 4, now=9))
    found = baseline.scores(make_history([history]), np.array([1]))
    return np.where(found > 0, found, 0)[0].tolist()


def test_pairs_are_counted_in_their_order_and_weighted_by_their_distance() -> None:
    # After 1: 2 once, 3 one and two steps later; after 2: 3 twice; nothing comes after 3.
    assert scores([1], decay=0.5, power=0) == pytest.approx([0, 1, 1.5, 0])
    assert scores([2], decay=0.5, power=0) == pytest.approx([0, 0, 2, 0])
    assert scores([3], decay=0.5, power=0) == [0, 0, 0, 0]
    assert scores([1], decay=0.5, power=0, steps=1) == pytest.approx([0, 1, 1, 0])


def test_earlier_items_of_a_history_weigh_less_and_only_the_last_ones_are_read() -> None:
    assert scores([1, 2], decay=0.5, power=0) == pytest.approx([0, 0.5, 2 + 0.75, 0])
    assert scores([1, 2], decay=0.5, power=0, last=1) == pytest.approx([0, 0, 2, 0])


def test_scores_are_divided_by_counts_to_the_power() -> None:
    assert scores([1], decay=0.5, power=1) == pytest.approx([0, 1 / 2, 1.5 / 3, 0])


def test_the_other_items_follow_by_popularity() -> None:
    baseline = Transitions.Config().build()
    baseline.fit(BaselineData(LOG, 4, now=9))
    found = baseline.scores(make_history([[3], []]), np.array([1, 2]))
    assert np.argsort(-found, axis=1, kind="stable").tolist() == [[2, 0, 1, 3]] * 2
