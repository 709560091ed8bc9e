"""The mean loss of an epoch, worked out by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from twotower.training.callbacks.epoch_loss import EPOCH_LOSS, EpochLoss


class Module:
    """Takes down what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, float]] = []

    def log(self, key: str, value: torch.Tensor, logger: bool) -> None:
        assert not logger
        self.logged.append((key, float(value)))


def see(callback: EpochLoss, loss: float, num_examples: int) -> None:
    batch: Any = SimpleNamespace(users=SimpleNamespace(rows=torch.zeros(num_examples)))
    trainer: Any = SimpleNamespace(accumulate_grad_batches=1)
    callback.on_train_batch_end(trainer, batch, {"loss": torch.tensor(loss)}, batch, 0)


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


class Constant(pl.LightningModule):
    """Has the loss that its batch says, and one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight * 0 + batch.loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:.*LeafSpec")  # see `twotower.training.fit`
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.parametrize("accumulated", [1, 2])
def test_steps_of_several_batches_have_the_same_mean(accumulated: int) -> None:
    seen = [(1.0, 6), (4.0, 2), (3.0, 8)]  # the last is a step of its own where two make one
    batches = [
        SimpleNamespace(loss=torch.tensor(loss), users=SimpleNamespace(rows=torch.zeros(number)))
        for loss, number in seen
    ]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=accumulated,
        callbacks=[EpochLoss()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Constant(), DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert float(trainer.callback_metrics[EPOCH_LOSS]) == 38 / 16


def test_an_epoch_without_a_batch_logs_nothing() -> None:
    module: Any = Module()
    nothing: Any = SimpleNamespace(loggers=[], global_step=1)
    callback = EpochLoss()
    callback.load_state_dict(EpochLoss().state_dict())
    callback.on_train_epoch_end(nothing, module)
    assert module.logged == []
