"""If no epoch improves on the initial embeddings, the better of two trainings is used."""

import pytest
import torch

from twotower.config.errors import DivergenceError
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import FitResult
from twotower.training.initialization.random import Random
from twotower.training.initialization.svd import Svd
from twotower.training.train_towers import Attempt, better_attempt

MONITOR = "valid/recall_at_20"


def attempt(score: float, initialization: object = None) -> Attempt:
    fitted = FitResult(3, 5.0, 70, {MONITOR: [0.1, score]}, score=score)
    return Attempt(initialization or Svd.Config().build(), torch.nn.Module(), fitted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [(0.25, 0.3, "random"), (0.25, 0.25, "svd"), (0.25, 0.1, "svd"), (-0.75, -0.5, "random")],
)
def test_the_better_one_is_used_and_the_time_of_both_counts(first: float, second: float, better: str) -> None:
    found = better_attempt(attempt(first), lambda: attempt(second, Random.Config().build()), MONITOR)
    assert found.initialization.name == better
    assert (found.result.seconds, found.result.examples) == (10.0, 140)


def test_a_second_training_that_diverges_or_is_pruned_leaves_the_first() -> None:
    def fail(error: Exception) -> Attempt:
        raise error

    first = attempt(0.25)
    assert better_attempt(first, lambda: fail(DivergenceError("it diverged")), MONITOR) is first
    with pytest.raises(TrialPruned) as pruned:
        better_attempt(first, lambda: fail(TrialPruned(1, {MONITOR: [0.0]})), MONITOR)
    assert (pruned.value.epochs, pruned.value.curves) == (3, {MONITOR: [0.1, 0.25]})
