from typing import Any

import numpy as np
import pytest
from evaluation_logs import make_holdout
from pydantic import ValidationError

from twotower.evaluation.evaluator import Evaluator

KINDS: dict[str, dict[str, Any]] = {
    "recall": {"_target_": "twotower.metrics.recall.Recall"},
    "ndcg": {"_target_": "twotower.metrics.ndcg.Ndcg"},
    "hits": {"_target_": "twotower.metrics.hit_rate.HitRate"},
    "coverage": {"_target_": "twotower.metrics.coverage.Coverage"},
}
POPULARITY = np.array([0, 5, 3, 2, 0])


def make(**arguments: Any) -> Evaluator:
    return Evaluator.Config(**{"ks": [2, 1], "kinds": KINDS, "num_bootstrap": 100, **arguments}).build()


def test_report_by_hand() -> None:
    holdout, lists = make_holdout(targets=[[2, 4], [3]], histories=[[1], []]), np.array([[2, 3], [1, 3]])
    report = make().evaluate(lists, holdout, POPULARITY)
    assert report.per_user["user"].tolist() == [1, 2]
    assert report.per_user["recall_at_1"].tolist() == [1.0, 0.0]
    assert report.per_user["recall_at_2"].tolist() == [0.5, 1.0]
    assert report.metrics["recall_at_2"] == 0.75
    assert report.metrics["coverage_at_2"] == 3 / 4
    assert (report.num_users, report.num_targets) == (2, 3)
    assert list(report.metrics) == make().config.keys()
    assert make().means(lists, holdout, POPULARITY) == report.metrics
    assert set(report.intervals) == {key for key in report.metrics if "coverage" not in key}
    low, high = report.intervals["recall_at_2"]
    assert 0.5 <= low <= 0.75 <= high <= 1.0
    assert make(num_bootstrap=0).evaluate(lists, holdout, POPULARITY).intervals == {}
    slices = report.slices
    cold = {"recall_at_1": 0, "recall_at_2": 0, "hit_rate_at_1": 0, "hit_rate_at_2": 0}
    assert slices["item_cold"]["cold"] == {**cold, "num_users": 1, "num_targets": 1}
    assert slices["item_cold"]["warm"]["recall_at_2"] == 1.0
    assert slices["item_cold"]["warm"]["num_users"] == 2
    # half of ten interactions: item 1 is the head, item 2 the mid; nobody has a target in the head
    assert set(slices["item_popularity"]) == {"mid", "tail"}
    assert slices["item_popularity"]["tail"]["recall_at_2"] == 0.5
    assert set(slices["user_activity"]) == {"cold", "low"}
    assert slices["user_activity"]["cold"]["recall_at_2"] == 1.0
    assert slices["user_activity"]["low"]["num_targets"] == 2
    assert "ndcg_at_2" in slices["user_activity"]["low"]


def test_keys_and_max_k_are_known_before_anything_runs() -> None:
    assert make().max_k == 2
    assert make().config.keys()[:3] == ["recall_at_1", "recall_at_2", "ndcg_at_1"]
    assert list(make().config.problems(num_items=1)) == [
        ("ks", "2 is above the 1 items of the catalogue; use k <= 1")
    ]
    assert list(make().config.problems(num_items=2)) == list(make().config.problems()) == []


def test_seen_filter_is_a_setting() -> None:
    holdout = make_holdout(targets=[[2]], histories=[[1, 3]])
    excluded = make().excluded(holdout)
    assert excluded is not None
    assert excluded[1].tolist() == [1, 3]
    assert make(filter_seen=False).excluded(holdout) is None


@pytest.mark.parametrize(
    "arguments", [{"ks": []}, {"kinds": {}}, {"kinds": {**KINDS, "again": KINDS["recall"]}}]
)
def test_empty_or_double_choices_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"at least 1 item|'recall' is listed twice"):
        make(**arguments)
