from collections.abc import Sequence

import numpy as np
import pytest
from evaluation_logs import make_history, make_holdout
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from twotower.data.times import SECONDS_A_DAY
from twotower.evaluation.baselines import item_knn
from twotower.evaluation.baselines.baseline import BaselineData
from twotower.evaluation.baselines.baseline_runner import BaselineRunner
from twotower.evaluation.baselines.content_knn import ContentKnn
from twotower.evaluation.baselines.ease import Ease
from twotower.evaluation.baselines.ials import LACKING, Ials
from twotower.evaluation.baselines.item_knn import ItemKnn
from twotower.evaluation.baselines.trend_ease import TrendEase
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.metrics.recall import Recall

EVALUATOR = Evaluator.Config(ks=[1, 2], kinds={"recall": Recall.Config()}, num_bootstrap=0).build()
LISTS = st.lists(st.lists(st.integers(1, 6), max_size=6), min_size=1, max_size=8)


def test_item_neighbors_are_those_that_share_most_users() -> None:
    train = make_history([[1, 2], [1, 2], [2, 3], [1]])  # 3, 3 and 1 users; two have 1 and 2, one 2 and 3
    baseline = ItemKnn.Config(neighbors=1, shrinkage=1).build()
    baseline.fit(BaselineData(train, 3, now=9))
    scores = baseline.scores(make_history([[2], [3], []]), np.array([1, 2, 3]))
    # Item 2's one neighbor is 1; so after item 3 all is by popularity, as after nothing.
    by_popularity = [-1 / 4.75, -1 / 4.75, -3.5 / 4.75]  # 3.75, 3.75 and 1.25 of 4.75, less one
    expected = [[2 / (3 + 1), -1 / 4.75, 1 / (np.sqrt(3) + 1)], by_popularity, by_popularity]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert scores.dtype == np.float32


@given(LISTS)
def test_item_neighbors_do_not_depend_on_the_blocks(lists: Sequence[Sequence[int]]) -> None:
    train = make_history(lists)
    users = np.arange(1, len(lists) + 1)
    found = []
    for numbers in (6, 18, 2**24):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(item_knn, "BLOCK_NUMBERS", numbers)
            baseline = ItemKnn.Config(neighbors=6).build()
            baseline.fit(BaselineData(train, 6, now=9))
            found.append(baseline.scores(train, users))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_trend_ease_is_ease_times_the_trend() -> None:
    day = SECONDS_A_DAY
    train = make_history([[1, 2], [1, 2, 3], [1, 3], [1], [2]], times=[0, 0, 0, 0, 90, 0, 90, 0, 90])
    train.times[:] *= day
    baseline, plain = TrendEase.Config(exponent=1, days=28).build(), Ease.Config().build()
    past = BaselineData(train, 3, now=100 * day)
    baseline.fit(past), plain.fit(past)
    users = np.arange(1, 6)
    # taken 4, 3 and 2 times, 0, 1 and 2 of them lately, which are a third of all
    trend = np.array([1 / 5, 4 / 4, 7 / 3])
    np.testing.assert_allclose(baseline.scores(train, users), plain.scores(train, users) * trend, rtol=1e-5)
    nothing_lately = BaselineData(train, 3, now=200 * day)
    baseline.fit(nothing_lately)
    np.testing.assert_array_equal(baseline.scores(train, users), plain.scores(train, users))


def test_what_two_baselines_need_is_computed_once() -> None:
    past = BaselineData(make_history([[1, 2], [2]]), 2, now=9)
    weights = []
    for config in (Ease.Config(), TrendEase.Config(), Ease.Config(regularization=1)):
        baseline = config.build()
        baseline.fit(past)
        weights.append(baseline.predict)  # type: ignore[attr-defined]
    assert weights[0] is weights[1] is not weights[2]


def test_content_neighbors_are_like_the_mean_of_the_history() -> None:
    content = sparse.csr_array(np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0, 0, 1]]))
    baseline = ContentKnn.Config().build()
    past = BaselineData(make_history([[1, 2], [1]]), 4, now=9)
    past.once("content", lambda: content)
    baseline.fit(past)
    scores = baseline.scores(make_history([[1, 2], []]), np.array([1, 2]))
    np.testing.assert_allclose(scores[0, :3], [1, 1, 1.4], rtol=1e-6)
    assert scores[0, 3] < 0  # like none of them
    assert np.argsort(-scores[1]).tolist() == [0, 1, 2, 3]  # no history: popularity


def test_neighbors_are_left_out_without_content_or_on_large_catalogues() -> None:
    holdout = make_holdout(targets=[[2]], histories=[[1]])
    configs = {"content_knn": ContentKnn.Config(), "item_knn": ItemKnn.Config(max_items=1)}
    found = BaselineRunner(BaselineData(holdout.history, 2, now=9), holdout, EVALUATOR).run(configs)
    assert found.reports == {}
    assert found.skipped == {"item_knn": "2 items are above max_items = 1"}


def test_factors_find_groups_and_repeat_to_the_bit() -> None:
    if reason := Ials.Config().skip_reason(BaselineData(make_history([[1]]), 6, now=9)):
        assert reason.startswith(LACKING)
        pytest.skip(reason)
    train = make_history([[1, 2], [2, 3], [1, 3], [4, 5], [5, 6], [4, 6]])
    found, baseline = [], Ials.Config(factors=2, regularization=0.1, alpha=7).build()
    for _ in range(2):
        baseline.fit(BaselineData(train, 6, now=9))
        found.append(baseline.scores(make_history([[1], [6], []]), np.array([1, 2, 3])))
    np.testing.assert_array_equal(*found)
    assert found[0][0, :3].min() > found[0][0, 3:].max()
    assert found[0][1, 3:].min() > found[0][1, :3].max()
    assert found[0][2].argmax() == 5  # no history: item 6 is the latest
    items = baseline.model.item_factors.astype(np.float64)  # type: ignore[attr-defined]
    confidence = np.diag([7.0, 1, 1, 1, 1, 1])  # of a user with item 1
    user = np.linalg.solve(items.T @ confidence @ items + 0.1 * np.eye(2), 7 * items[0])
    np.testing.assert_allclose(found[0][0], items @ user, atol=1e-5)
