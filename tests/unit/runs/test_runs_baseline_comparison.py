"""Towers against baselines, by hand."""

import numpy as np
import pytest

from twotower.data.audit import largest_detectable_difference
from twotower.runs.baseline_comparison import (
    FIRST_LOOK,
    detectable_difference,
    suggestion,
    worse_than_baseline,
)
from twotower.runs.result import Result, Training

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


def test_2_8_standard_errors_of_differences_with_two_more_users() -> None:
    """Three zeros with -1 and 1: variance 2 / 5, standard error sqrt(2 / 25)."""
    assert detectable_difference(np.zeros(3)) == pytest.approx(2.8 * (2 / 25) ** 0.5)
    many = np.tile([0.1, -0.1], 50_000)
    assert detectable_difference(many) == pytest.approx(2.8 * 0.1 / 100_000**0.5, rel=1e-2)
    ranks = np.array([10.0, -10.0])  # no metric between 0 and 1
    assert detectable_difference(ranks) == pytest.approx(2.8 * 10 / 2)


def test_the_bound_before_any_model_exists() -> None:
    assert largest_detectable_difference(784) == pytest.approx(0.1)
    assert largest_detectable_difference(3) == 1
    differences = np.random.default_rng(0).choice([-1.0, 1.0], 784)
    assert detectable_difference(differences) <= largest_detectable_difference(784) + 1e-9
