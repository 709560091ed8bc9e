"""Labelled examples scored by towers that can be computed by hand."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from evaluation_logs import make_history, make_holdout
from torch import Tensor, nn

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout, Labelled
from twotower.evaluation.evaluate_towers import scored_labels, unscored
from twotower.evaluation.evaluator import Evaluator
from twotower.model.towers.user_batch import UserBatch
from twotower.training.validation import Validation

ITEMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])


class Towers(nn.Module):
    """A user is (the latest item, the hour in which it asks)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("trained_items", torch.ones(4, dtype=torch.bool))
        self.history = SimpleNamespace(config=SimpleNamespace(length=2, reads_towers=False))
        self.num_encoded = 0

    def encode_users(self, batch: UserBatch, _: None) -> Tensor:
        assert not self.training
        self.num_encoded += len(batch.rows)
        return torch.stack([batch.history_rows[:, -1], batch.request_times // 3600], 1).float()


def labelled(**more: Any) -> Labelled:
    """User 2 at five o'clock twice and at six, then user 7, who has no history, at one."""
    return Labelled(
        users=np.int32([2, 2, 2, 7]),
        items=np.int32([1, 3, 2, 3]),
        labels=np.array([True, False, False, True]),
        times=np.int64([5, 5, 6, 1]) * 3600,
        **more,
    )


def holdout_of(examples: Labelled | None) -> Holdout:
    made = make_holdout(targets=[[2]], histories=[[1]])
    history = make_history([[3], [1, 3], [], [], [], [], []])
    return Holdout(
        made.users, made.target_offsets, made.target_items, made.request_times, history, None, examples
    )


def test_each_is_scored_with_its_user_s_history_at_its_own_time() -> None:
    model = Towers().train()
    scored = scored_labels(model, ITEMS, holdout_of(labelled()), temperature=0.5)
    assert model.training
    assert model.num_encoded == 3  # five o'clock once
    # User 2 is (3, 5), (3, 5) and (3, 6), user 7 is (0, 1).
    assert (scored.logits * 0.5).tolist() == [3, 2 * 3 + 3 * 5, 6, 3]
    assert scored.users.tolist() == [0, 0, 0, 1]
    assert scored.labels.tolist() == [True, False, False, True]
    assert scored.weights.tolist() == [1, 1, 1, 1]
    weighted = scored_labels(model, ITEMS, holdout_of(labelled(weights=np.float32([1, 2, 0, 3]))), 1.0)
    assert weighted.weights.tolist() == [1, 2, 0, 3]
    assert scored_labels(model, ITEMS, holdout_of(None), 1.0) is None
    assert unscored(holdout_of(None)) is None


KINDS = {
    name: {"_target_": f"twotower.evaluation.metrics.{name}.{kind}"}
    for name, kind in (
        ("auc", "Auc"),
        ("recall", "Recall"),
        ("log_loss", "LogLoss"),
        ("coverage", "Coverage"),
    )
}


def evaluator_of(**more: Any) -> Evaluator:
    return Evaluator.Config(**{"ks": [2, 1], "kinds": KINDS, "num_bootstrap": 100, **more}).build()


def test_metrics_of_labels_stand_beside_those_of_lists() -> None:
    evaluator, holdout = evaluator_of(), holdout_of(labelled())
    keys = ["recall_at_1", "recall_at_2", "coverage_at_1", "coverage_at_2", "auc", "log_loss"]
    assert evaluator.config.keys() == keys
    scored = scored_labels(Towers(), ITEMS, holdout, 1.0)
    popularity = np.array([0, 1, 1, 1])
    report = evaluator.evaluate(np.array([[2, 3]]), holdout, popularity, scored)
    # 1s at 3 and 3, 0s at 21 and 6
    assert list(report.metrics) == keys
    assert report.metrics["auc"] == 0
    assert report.intervals.keys() == {"recall_at_1", "recall_at_2", "auc", "log_loss"}
    assert "auc" not in report.per_user
    assert report.num_labelled == 4
    assert evaluator.means_and_values(np.array([[2, 3]]), holdout, popularity, scored)[0] == report.metrics
    without = evaluator.evaluate(np.array([[2, 3]]), holdout, popularity)
    assert not {"auc", "log_loss"} & {*without.metrics, *without.intervals}
    assert without.num_labelled == 0
    assert (
        evaluator_of(num_bootstrap=0).evaluate(np.array([[2, 3]]), holdout, popularity, scored).intervals
        == {}
    )


def test_an_epoch_is_not_chosen_by_what_is_not_defined() -> None:
    def mode(monitor: str, examples: Labelled | None) -> str:
        return Validation(holdout_of(examples), evaluator_of(), make_history([[1]]), 3).mode(monitor)

    assert mode("valid/auc", labelled()) == "max"
    assert mode("valid/log_loss", labelled()) == "min"
    assert mode("valid/recall_at_2", None) == "max"
    with pytest.raises(
        InputError, match=r"trainer.monitor: 'valid/auc' is not defined for the validation split"
    ):
        mode("valid/auc", None)
    validation = Validation(holdout_of(None), evaluator_of(), make_history([[1]]), 3)
    with pytest.raises(InputError, match="is not defined for the validation split"):
        validation.score(Mock(), "valid/auc", 1.0)
    wanted = Labelled(np.int32([2]), np.int32([1]), np.array([True]), np.int64([0]))
    with pytest.raises(InputError, match="not defined"):
        mode("valid/auc", wanted)
    assert mode("valid/log_loss", wanted) == "min"
