from types import SimpleNamespace
from typing import Any

import pytest

from twotower.training.callbacks.curves import Curves, TrialPruned


def test_who_watches_may_end_a_training_in_the_midst_of_an_epoch() -> None:
    asked: list[tuple[int, float | None]] = []

    def watch(epoch: int, value: float | None) -> bool:
        asked.append((epoch, value))
        return len(asked) > 1

    curves, trainer = Curves("valid/recall_at_20", watch), SimpleNamespace(current_epoch=2)
    of_the_trainer: Any = trainer
    curves.on_train_batch_end(of_the_trainer)
    with pytest.raises(TrialPruned) as pruned:
        curves.on_train_batch_end(of_the_trainer)
    assert asked == [(2, None), (2, None)]
    assert (pruned.value.epochs, pruned.value.curves) == (2, {})
