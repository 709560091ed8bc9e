"""Towers against baselines, by hand."""

import numpy as np
import pytest

from twotower.experiments.runs.baseline_comparison import (
    FIRST_LOOK,
    measure_power,
    report_power,
    suggestion,
    worse_than_baseline,
)
from twotower.experiments.runs.result import Result
from twotower.experiments.runs.result_parts import Training

RECALL = "valid/recall_at_20"


def result_of(ours: float, monitor: str = RECALL, **baselines: float) -> Result:
    figures = {name: {monitor: value, "test/recall_at_20": 0.9} for name, value in baselines.items()}
    training = Training(monitor=monitor)
    return Result(
        status="ok",
        training=training,
        metrics={monitor: ours},
        baselines=figures,
        higher_is_better={"recall": True, "gini": False},
    )


def test_the_best_baseline_is_reported_with_both_values() -> None:
    found = worse_than_baseline(result_of(0.11, popularity=0.12, ease=0.1234, item_knn=0.05))
    assert found is not None
    name, warning = found
    assert name == "ease"
    assert warning.endswith("ease is better than the towers: recall@20 0.1234 against 0.1100")


@pytest.mark.parametrize(
    "result",
    [
        result_of(0.12, popularity=0.11, ease=0.12),  # the test split decides nothing
        result_of(0.12),
        result_of(0.6, "valid/auc"),
        Result(status="ok", baselines={"ease": {RECALL: 0.2}}),  # never validated
    ],
)
def test_towers_that_are_not_worse_give_no_warning(result: Result) -> None:
    assert worse_than_baseline(result) is None


def test_lower_values_win_if_lower_is_better() -> None:
    assert worse_than_baseline(result_of(0.5, "valid/gini_at_20", ease=0.6)) is None
    assert worse_than_baseline(result_of(0.5, "valid/gini_at_20", ease=0.4)) is not None


def test_suggestions_omit_current_settings() -> None:
    start = {"_target_": "twotower.training.initialization.svd.Svd"}
    lesson = "initialization=svd embedding_dim=128 optimizer.weight_decay=0.3"
    known = {"initialization": start, "embedding_dim": 64, "optimizer": {"weight_decay": 0.3}}
    assert suggestion(lesson, known) == f"{FIRST_LOOK}, or embedding_dim=128"
    assert suggestion(lesson, known | {"embedding_dim": 128}) == FIRST_LOOK
    assert suggestion("initialization=svd", {"initialization": {"_target_": "x.WeightedPooling"}}).endswith(
        ", or initialization=svd"
    )


def test_power_is_of_the_two_best_baselines(caplog: pytest.LogCaptureFixture) -> None:
    """Differences of variance .01: 2.8 standard errors of the mean are .28 / sqrt(users)."""
    best = np.full(400, 0.5)
    values = {"low": np.zeros(400), "second": best - np.tile([0.2, 0.0], 200), "best": best}
    found = measure_power("recall_at_20", values, {"valid": 400, "test": 100}, True)
    sizes = {split: each.difference for split, each in found.items()}
    assert sizes == pytest.approx({"valid": 0.014, "test": 0.028}, rel=0.03)
    assert found["test"].pair == ["best", "second"]
    assert found["test"].best_baseline == 0.5
    twin = best.copy()
    twin[:5] -= 0.1  # five users are too few for a test
    assert measure_power("recall_at_20", values | {"twin": twin}, {"test": 100}, True) == {
        "test": found["test"]
    }
    assert measure_power("recall_at_20", {"best": best, "twin": best}, {"test": 100}, True)["test"].pair == [
        "best"
    ]
    lowest = measure_power("gini_at_20", values, {"test": 100}, False)["test"]
    assert lowest.pair == ["low", "second"]
    single = measure_power("recall_at_20", {"second": values["second"]}, {"test": 400}, True)["test"]
    assert (single.pair, single.difference) == (["second"], pytest.approx(0.014, rel=0.03))
    assert measure_power("recall_at_20", {}, {"test": 100}, True) == {}
    few = measure_power("recall_at_20", values, {"test": 40, "valid": 3}, True)
    assert few["valid"].difference is None
    with caplog.at_level("DEBUG", "twotower"):
        report_power(found | {"test": few["test"]}, "recall_at_20", True, lambda _: [])
        report_power(few, "recall_at_20", True, lambda part: [part, "share"])
        report_power({"valid": few["valid"]}, "recall_at_20", True, lambda _: [])
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels[0][0] == "DEBUG"
    assert levels[0][1].startswith("400 validation users can show a difference of 0.0138")
    assert levels[0][1].endswith("in recall@20 with 80% power (test at 5%, spread of best against second)")
    assert [level for level, _ in levels[1:]] == ["DEBUG", "DEBUG", "WARNING", "WARNING"]
    assert "3 validation users can show no difference" in levels[3][1]
    assert levels[3][1].endswith(": raise split.valid or split.share before comparing models on it")
    assert levels[4][1].endswith("gives it more users, so smaller differences cannot be shown")


def test_unknown_power_names_the_reason_and_a_remedy(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "twotower"):
        report_power({}, "recall_at_20", False, lambda _: [])
        report_power({}, "auc", True, lambda _: [])
    assert caplog.messages == [
        "power: unknown without baselines; baselines=standard adds them",
        "power: unknown, because auc has no value per user; trainer.monitor=valid/recall_at_20 has one",
    ]
