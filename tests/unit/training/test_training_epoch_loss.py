"""The mean loss of an epoch by hand, and losses that diverge."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import DivergenceError
from twotower.training.callbacks.epoch_loss import EPOCH_LOSS, EpochLoss, check_loss

TRAINER: Any = SimpleNamespace(loggers=[], global_step=1)


class Module:
    """Takes down what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, float]] = []

    def log(self, key: str, value: torch.Tensor, logger: bool) -> None:
        assert not logger
        self.logged.append((key, float(value)))


def see(callback: EpochLoss, loss: float, num_examples: int) -> None:
    batch: Any = SimpleNamespace(users=SimpleNamespace(rows=torch.zeros(num_examples)))
    callback.on_train_batch_end(TRAINER, batch, {"loss": torch.tensor(loss)}, batch, 0)


def resumed(callback: EpochLoss) -> EpochLoss:
    again = EpochLoss()
    again.load_state_dict(callback.state_dict())
    return again


def test_examples_count_the_same_after_an_interruption_too() -> None:
    module: Any = Module()
    callback = resumed(EpochLoss())
    callback.on_train_epoch_end(TRAINER, module)
    assert module.logged == []  # an epoch without a batch
    see(callback, 1.0, 6)
    callback = resumed(callback)
    see(callback, 4.0, 2)
    callback.on_train_epoch_end(TRAINER, module)
    see(callback, 3.0, 5)
    callback.on_train_epoch_end(TRAINER, module)
    assert module.logged == [(EPOCH_LOSS, 14 / 8), (EPOCH_LOSS, 3.0)]


def test_a_resumed_training_is_checked_by_its_first_loss() -> None:
    module: Any = Module()
    callback = EpochLoss()
    see(callback, 0.35, 1)
    see(callback, -150.0, 1)
    callback.on_train_epoch_end(TRAINER, module)
    callback = resumed(callback)
    see(callback, -210.0, 1)
    with pytest.raises(DivergenceError, match=r"from 0\.35 to -210"):
        callback.on_train_epoch_end(TRAINER, module)


@pytest.mark.parametrize(
    ("first", "latest", "key"),
    [
        (0.35, -653.4, "loss: "),
        (8.0, -1600.1, "loss: "),
        (-8.0, -1600.1, "loss: "),
        (8.0, math.nan, "optimizer.learning_rate: "),
        (8.0, math.inf, "optimizer.learning_rate: "),
        (0.35, -200.0, None),
        (8.0, -1599.9, None),
        (8.0, 1e12, None),
        (math.nan, 1.0, None),
    ],
)
def test_a_loss_that_diverges_is_an_error(first: float, latest: float, key: str | None) -> None:
    if key is None:
        check_loss(first, latest)
        return
    with pytest.raises(DivergenceError, match=f"^{key}"):
        check_loss(first, latest)


@given(
    st.floats(0.01, 1.0),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.floats(1, 20),
)
def test_cosines_at_any_temperature_never_run_away(
    temperature: float, first: list[float], last: list[float], weight: float
) -> None:
    """Of a loss without a floor of its own, -s+ + max s_j, times a weight that its first value has too."""

    def loss(cosines: list[float]) -> float:
        positive, *negatives = cosines
        return weight * (1 + (max(negatives) - positive) / temperature)

    if abs(loss(first)) >= weight:
        check_loss(loss(first), loss(last))
