"""The mean loss of an epoch by hand, losses that diverge, and callbacks that end a training."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import DivergenceError
from twotower.training.callbacks.curves import EPOCH_LOSS, LOSS, Curves, TrialPruned, check_loss

MONITOR = "valid/recall_at_20"


class Logger:
    """Takes down what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.logged += metrics.items()


def trainer_of(*loggers: Logger, epoch: int = 0) -> Any:
    return SimpleNamespace(loggers=loggers, global_step=1, current_epoch=epoch, callback_metrics={})


def see(curves: Curves, loss: float, num_examples: int, trainer: Any = None) -> None:
    batch: Any = SimpleNamespace(num_rows=num_examples)
    module: Any = None
    curves.on_train_batch_end(trainer or trainer_of(), module, {"loss": torch.tensor(loss)}, batch, 0)


def resumed(curves: Curves) -> Curves:
    again = Curves(MONITOR)
    again.load_state_dict(curves.state_dict())
    return again


def test_examples_count_the_same_after_an_interruption_too() -> None:
    logger = Logger()
    module: Any = None
    curves = resumed(Curves(MONITOR))
    curves.on_train_epoch_end(trainer_of(logger), module)
    assert logger.logged == []  # an epoch without a batch
    see(curves, 1.0, 6)
    curves = resumed(curves)
    see(curves, 4.0, 2)
    curves.on_train_epoch_end(trainer_of(logger), module)
    see(curves, 3.0, 5)
    curves.on_train_epoch_end(trainer_of(logger, epoch=1), module)
    assert logger.logged == [(EPOCH_LOSS, 14 / 8), (EPOCH_LOSS, 3.0)]
    assert resumed(curves).curves() == {EPOCH_LOSS: [14 / 8, 3.0], LOSS: [4.0, 3.0]}
    assert curves.num_examples == 7  # of this process


def test_a_resumed_training_is_checked_by_its_first_loss() -> None:
    module: Any = None
    curves = Curves(MONITOR)
    see(curves, 0.35, 1)
    see(curves, -150.0, 1)
    curves.on_train_epoch_end(trainer_of(), module)
    curves = resumed(curves)
    see(curves, -210.0, 1)
    with pytest.raises(DivergenceError, match=r"from 0\.35 to -210"):
        curves.on_train_epoch_end(trainer_of(), module)


def test_who_watches_may_end_a_training_in_the_midst_of_an_epoch() -> None:
    asked: list[tuple[int, float | None]] = []

    def watch(epoch: int, value: float | None) -> bool:
        asked.append((epoch, value))
        return len(asked) > 1

    curves = Curves(MONITOR, watch)
    see(curves, 1.0, 1, trainer_of(epoch=2))
    with pytest.raises(TrialPruned) as pruned:
        see(curves, 1.0, 1, trainer_of(epoch=2))
    assert asked == [(2, None), (2, None)]
    assert (pruned.value.epochs, pruned.value.curves) == (2, {})


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
