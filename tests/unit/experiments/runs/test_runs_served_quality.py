"""What of a record of quality is of the index, and what of exact search."""

import pandas as pd

from twotower.evaluation.evaluator import Report
from twotower.experiments.runs.sections import by_exact_search, through_index

EXACT = {
    "metrics": {"valid/recall_at_20": 0.5, "test/recall_at_20": 0.5, "test/auc": 0.75},
    "intervals": {"test/recall_at_20": [0.25, 0.75], "test/auc": [0.5, 1.0]},
    "slices": {"valid": {}, "test": {"item_cold": {"cold": {"recall_at_20": 0.125}}}},
    "evaluated": {"test": {"users": 4, "targets": 8, "labelled": 3}},
    "baselines": {"popularity": {"test/recall_at_20": 0.25}},
}
SERVED = Report(
    metrics={"recall_at_20": 0.25},
    per_user=pd.DataFrame(),
    intervals={"recall_at_20": [0.125, 0.5]},
    slices={"item_cold": {"cold": {"recall_at_20": 0.0}}},
    num_users=4,
    num_targets=8,
)


def test_test_metrics_are_of_the_index_next_to_those_of_exact_search() -> None:
    found = through_index(EXACT, SERVED)
    assert found["metrics"] == {
        "valid/recall_at_20": 0.5,
        "test/recall_at_20": 0.25,
        "test/auc": 0.75,  # of scores, which no index changes
        "test_exact/recall_at_20": 0.5,
        "test_exact/auc": 0.75,
    }
    assert found["intervals"]["test/recall_at_20"] == [0.125, 0.5]
    assert found["intervals"]["test_exact/recall_at_20"] == [0.25, 0.75]
    assert found["slices"]["test"] == SERVED.slices
    assert found["slices"]["test_exact"] == EXACT["slices"]["test"]
    assert [found[key] for key in ("evaluated", "baselines")] == [EXACT["evaluated"], EXACT["baselines"]]


def test_for_an_exact_index_both_are_equal() -> None:
    found = through_index(EXACT, None)
    assert found["metrics"]["test_exact/recall_at_20"] == found["metrics"]["test/recall_at_20"] == 0.5
    assert {key: found[key] for key in ("intervals", "slices")} == {
        key: EXACT[key] for key in ("intervals", "slices")
    }


def test_metrics_of_exact_search_can_be_reused_with_another_index() -> None:
    for served in (SERVED, None):
        assert by_exact_search(through_index(EXACT, served)) == EXACT
