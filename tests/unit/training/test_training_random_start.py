from dataclasses import replace

import pytest
import torch

from twotower.config.errors import DivergenceError
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.fit import FitResult
from twotower.training.initialization.random import Random
from twotower.training.initialization.svd import Svd
from twotower.training.train_towers import Attempt, better_attempt

MONITOR = "valid/recall_at_20"


def attempt(score: float, initial: float | None, start: object = None) -> Attempt:
    fitted = FitResult(3, 5.0, 70, {MONITOR: [0.1, score]}, score=score, initial_score=initial)
    return Attempt(start or Svd.Config().build(), torch.nn.Module(), fitted)  # type: ignore[arg-type]


def from_random(score: float) -> Attempt:
    return attempt(score, None, Random.Config().build())


def test_random_embeddings_are_not_tried_where_an_epoch_improved_or_nothing_was_known_before() -> None:
    for first in (attempt(0.25, 0.1), from_random(0.1)):
        assert better_attempt(first, lambda: pytest.fail("trained"), MONITOR) is first


@pytest.mark.parametrize(("score", "better"), [(0.3, "random"), (0.25, "svd"), (0.1, "svd")])
def test_the_better_start_is_used_and_the_time_of_both_counts(score: float, better: str) -> None:
    found = better_attempt(attempt(0.25, 0.25), lambda: from_random(score), MONITOR)
    assert found.initialization.name == better
    assert (found.result.seconds, found.result.examples) == (10.0, 140)


def test_of_a_metric_that_is_better_when_low_scores_are_negative() -> None:
    found = better_attempt(attempt(-0.75, -0.75), lambda: from_random(-0.5), "valid/log_loss")
    assert found.initialization.name == "random"


def test_a_second_training_that_diverges_leaves_the_first(caplog: pytest.LogCaptureFixture) -> None:
    def diverge() -> Attempt:
        raise DivergenceError("optimizer.learning_rate: the training diverged")

    first = attempt(0.25, 0.25)
    assert better_attempt(first, diverge, MONITOR) is first
    assert "optimizer.learning_rate: the training diverged; initialization=svd is used" in caplog.text


def test_a_second_training_that_is_pruned_ends_the_run_with_the_curves_of_the_first() -> None:
    def prune() -> Attempt:
        raise TrialPruned(1, {MONITOR: [0.0]})

    with pytest.raises(TrialPruned) as pruned:
        better_attempt(attempt(0.25, 0.25), prune, MONITOR)
    assert (pruned.value.epochs, pruned.value.curves) == (3, {MONITOR: [0.1, 0.25]})


def test_only_more_than_the_initial_score_is_an_improvement() -> None:
    fitted = attempt(0.25, 0.25).result
    assert not fitted.improved
    assert replace(fitted, score=0.26).improved
    assert replace(fitted, initial_score=None).improved
