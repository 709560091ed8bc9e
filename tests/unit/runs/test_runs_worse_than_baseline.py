import pytest

from twotower.runs.result import Result, Training
from twotower.runs.worse_than_baseline import FIRST_LOOK, suggestion, worse_than_baseline

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
