"""If no epoch improves on the initial embeddings, the better of two trainings is used."""

import pytest
import torch

from twotower.config.errors import DivergenceError
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import FitResult
from twotower.training.initialization.random import Random
from twotower.training.initialization.svd import Svd
from twotower.training.train_towers import Attempt, compare_with_random

MONITOR = "valid/recall_at_20"


def attempt(score: float, initialization: object = None) -> Attempt:
    fitted = FitResult(3, 5.0, 70, {MONITOR: [0.1, score]}, score=score)
    return Attempt(initialization or Svd.Config().build(), torch.nn.Module(), fitted)  # type: ignore[arg-type]


def test_the_other_training_is_returned_unless_it_diverges_or_is_pruned() -> None:
    def fail(error: Exception) -> Attempt:
        raise error

    first, second = attempt(0.25), attempt(0.3, Random.Config().build())
    assert compare_with_random(first, lambda: second, MONITOR) == [second]
    assert compare_with_random(first, lambda: fail(DivergenceError("it diverged")), MONITOR) == []
    with pytest.raises(TrialPruned) as pruned:
        compare_with_random(first, lambda: fail(TrialPruned(1, {MONITOR: [0.0]})), MONITOR)
    assert (pruned.value.epochs, pruned.value.curves) == (3, {MONITOR: [0.1, 0.25]})
