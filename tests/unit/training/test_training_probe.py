"""Short trainings without a model: their learning rate, and what the log says of them."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from twotower.training.optimizers.adamw import AdamW
from twotower.training.selection import probe
from twotower.training.trainer import TrainerChoice


@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine"])
def test_a_short_training_has_the_whole_rate_at_each_step(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[float] = []

    class Trainer:
        def __init__(self, **_: Any) -> None: ...

        def fit(self, module: Any, batches: Any) -> None:
            factors.extend(module.optimizer_choice.factor(step, 100) for step in (0, 5, 50))

    monkeypatch.setattr(probe.pl, "Trainer", Trainer)
    config: Any = SimpleNamespace(
        optimizer=AdamW.Config(learning_rate=0.5, schedule=schedule), trainer=TrainerChoice.Config()
    )
    negatives = SimpleNamespace(config=SimpleNamespace(refreshed_every=lambda: None))
    module: Any = SimpleNamespace(negatives=negatives)
    batches: Any = [0]
    probe.short_training(config, module, batches)
    assert factors == [1, 1, 1]
    assert module.optimizer_choice.config.learning_rate == 0.5


def test_a_diverged_short_training_is_called_so() -> None:
    config: Any = SimpleNamespace(trainer=TrainerChoice.Config())
    message = probe._describe_scores({"at 10": -math.inf, "at 0.01": 0.21}, config)
    assert message == "valid/recall_at_20 after a short training: diverged at 10, 0.2100 at 0.01"
