"""Repeats that are kept: no seen filter, metrics by new and repeated targets, what was bought before."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_logs import make_history, make_holdout

from twotower.evaluation.baselines.baseline import BaselineData
from twotower.evaluation.baselines.baseline_runner import BaselineRunner
from twotower.evaluation.baselines.bought_before import BoughtBefore
from twotower.evaluation.baselines.popularity_baseline import PopularityBaseline
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.metrics.recall import Recall

EVALUATOR = Evaluator.Config(ks=[2], kinds={"recall": Recall.Config()}, num_bootstrap=0).build()
POPULARITY = np.array([0, 4, 3, 2, 1])


def test_the_seen_filter_is_off() -> None:
    holdout = make_holdout(targets=[[1]], histories=[[1, 3]])
    assert EVALUATOR.excluded(holdout) is not None
    assert EVALUATOR.excluded(replace(holdout, repeats=True)) is None
    assert EVALUATOR.excluded(replace(holdout, repeats=True)) is None


def test_metrics_of_new_and_of_repeated_targets() -> None:
    # User 1 has items 1 and 2: target 1 is found, 3 is not. User 2 has item 4: target 4 is missed, 1 found.
    holdout = make_holdout(targets=[[1, 3], [1, 4], [2]], histories=[[1, 2, 1], [4], []])
    lists = np.array([[1, 2], [1, 3], [3, 4]])
    slices = EVALUATOR.evaluate(lists, replace(holdout, repeats=True), POPULARITY).slices["target_repeat"]
    assert slices == {
        "new": {"recall_at_2": pytest.approx(1 / 3), "num_users": 3, "num_targets": 3},
        "repeated": {"recall_at_2": 0.5, "num_users": 2, "num_targets": 2},
    }
    assert "target_repeat" not in EVALUATOR.evaluate(lists, holdout, POPULARITY).slices


def test_a_slice_without_targets_is_left_out() -> None:
    holdout = replace(make_holdout(targets=[[1]], histories=[[]]), repeats=True)
    report = EVALUATOR.evaluate(np.array([[1, 2]]), holdout, POPULARITY)
    assert list(report.slices["target_repeat"]) == ["new"]


def test_bought_before_is_by_frequency_then_recency_then_popularity() -> None:
    baseline = BoughtBefore.Config().build()
    baseline.fit(BaselineData(make_history([[5, 5, 5, 4, 4, 6]]), 6, now=9))  # popularity: 5, then 4, then 6
    # Item 1 twice; 2 and 3 once, 3 later. User 2: 6 and 4 once at one time, 4 is the more popular.
    log = make_history([[1, 2, 1, 3], [6, 4], []], times=[0, 1, 2, 3, 7, 7])
    scores = baseline.scores(log, np.array([1, 2, 3]))
    assert scores.dtype == np.float32
    assert (np.argsort(-scores, kind="stable") + 1).tolist() == [
        [1, 3, 2, 5, 4, 6],
        [4, 6, 5, 1, 2, 3],
        [5, 4, 6, 1, 2, 3],
    ]
    np.testing.assert_allclose(scores[0], [3, 1, 2, 2 / 4, 3 / 4, 1 / 4])


def test_bought_before_is_run_where_repeats_are_kept() -> None:
    holdout = make_holdout(targets=[[1]], histories=[[1, 1, 2]])
    configs = {"bought_before": BoughtBefore.Config(), "popularity": PopularityBaseline.Config()}

    def run(repeats: bool) -> dict[str, float]:
        data = replace(holdout, repeats=repeats)
        found = BaselineRunner(BaselineData(make_history([[3, 3, 4]]), 4, now=9), data, EVALUATOR).run(
            configs
        )
        assert found.skipped == {}
        return {name: report.metrics["recall_at_2"] for name, report in found.reports.items()}

    assert run(repeats=True) == {"bought_before": 1.0, "popularity": 0.0}
    assert run(repeats=False) == {"popularity": 0.0}
