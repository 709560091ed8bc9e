"""If no epoch improves on the initial embeddings, the better of two trainings is used."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twotower.config.errors import DivergenceError
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.checkpoints import FitResult
from twotower.training.fit import TrainContext
from twotower.training.initialization.svd import Svd
from twotower.training.selection import random_comparison
from twotower.training.trainer import TrainerChoice

MONITOR = "valid/recall_at_20"


def result(score: float) -> FitResult:
    return FitResult(3, 5.0, 70, {MONITOR: [0.1, score]}, score=score)


def compare(monkeypatch: pytest.MonkeyPatch, outcome: FitResult | Exception) -> list[FitResult]:
    """Compare with a training from random embeddings that ends with an outcome."""

    def fit(*_: Any) -> FitResult:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(random_comparison, "build_training", lambda *_: (None, None))
    monkeypatch.setattr(random_comparison, "fit", fit)
    config: Any = SimpleNamespace(initialization=Svd.Config(), trainer=TrainerChoice.Config())
    data: Any = SimpleNamespace(train=None)
    context = TrainContext(config.trainer, Path())
    first: Any = SimpleNamespace(module=SimpleNamespace(initial_values=None), result=result(0.25))
    attempts = random_comparison.compare_with_random(config, data, data, context, first)
    return [each.result for each in attempts]


def test_the_other_training_is_returned_unless_it_diverges_or_is_pruned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert compare(monkeypatch, result(0.3)) == [result(0.3)]
    assert compare(monkeypatch, DivergenceError("it diverged")) == []
    with pytest.raises(TrialPruned) as pruned:
        compare(monkeypatch, TrialPruned(1, {MONITOR: [0.0]}))
    assert (pruned.value.epochs, pruned.value.curves) == (3, {MONITOR: [0.1, 0.25]})
