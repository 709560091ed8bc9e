"""The mean loss of an epoch, worked out by hand."""

from types import SimpleNamespace
from typing import Any

import torch

from twotower.training.callbacks.epoch_loss import EPOCH_LOSS, EpochLoss


class Module:
    """Takes down what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, float]] = []

    def log(self, key: str, value: torch.Tensor, logger: bool) -> None:
        assert not logger
        self.logged.append((key, float(value)))


def see(callback: EpochLoss, loss: float, num_examples: int) -> None:
    batch: Any = SimpleNamespace(users=torch.zeros(num_examples))
    nothing: Any = None
    callback.on_train_batch_end(nothing, nothing, {"loss": torch.tensor(loss)}, batch, 0)


def test_examples_count_the_same_and_epochs_begin_anew() -> None:
    module: Any = Module()
    nothing: Any = SimpleNamespace(loggers=[], global_step=1)
    callback = EpochLoss()
    see(callback, 1.0, 6)
    see(callback, 4.0, 2)
    callback.on_train_epoch_end(nothing, module)
    see(callback, 3.0, 5)
    callback.on_train_epoch_end(nothing, module)
    assert module.logged == [(EPOCH_LOSS, 14 / 8), (EPOCH_LOSS, 3.0)]


def test_an_epoch_that_was_interrupted_has_the_same_mean() -> None:
    module: Any = Module()
    nothing: Any = SimpleNamespace(loggers=[], global_step=1)
    before, after = EpochLoss(), EpochLoss()
    see(before, 1.0, 6)
    after.load_state_dict(before.state_dict())
    see(after, 4.0, 2)
    after.on_train_epoch_end(nothing, module)
    assert module.logged == [(EPOCH_LOSS, 14 / 8)]


def test_an_epoch_without_a_batch_logs_nothing() -> None:
    module: Any = Module()
    nothing: Any = SimpleNamespace(loggers=[], global_step=1)
    callback = EpochLoss()
    callback.load_state_dict(EpochLoss().state_dict())
    callback.on_train_epoch_end(nothing, module)
    assert module.logged == []
