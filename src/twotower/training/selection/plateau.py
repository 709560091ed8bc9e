"""Early stopping that first reduces the learning rate, and the same learning rates without validation."""

import copy
import logging
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.checkpoints import BEST, read_checkpoint
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.selection.moving_average import MovingAverage

LOG = logging.getLogger("twotower")
FACTOR = 1 / 3
"""Factor of the learning rate at each reduction."""


class Plateau(EarlyStopping):
    """Stops when the metric has not improved for `patience` epochs, after reductions of the learning rate.

    Each reduction goes back to the best weights so far, which may be the initial ones, with a new state of
    the optimizer. So a learning rate that only makes the towers worse costs time, but no quality.

    Args:
        checkpointing: has the best weights and their score.
        reductions: how often the learning rate is reduced before the training stops.
        average: the moving average of the weights, which is restarted from the best ones.

    Attributes:
        rate_epochs: number of epochs of the best weights at each learning rate.
    """

    def __init__(
        self,
        checkpointing: Checkpointing,
        mode: str,
        patience: int,
        reductions: int,
        average: MovingAverage | None = None,
    ) -> None:
        super().__init__(checkpointing.monitor, mode=mode, patience=patience)
        self.checkpointing = checkpointing
        self.reductions, self.average = reductions, average
        self.first = self.best_score, self.wait_count, self.stopped_epoch
        self.ended: list[int] = []
        self.num_before = 0
        self.initial: dict[str, Any] = {}

    @property
    def rate_epochs(self) -> list[int]:
        """See `Plateau`."""
        return [*self.ended, max(0, self.checkpointing.epochs - self.num_before)]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the initial state of the optimizer, before a checkpoint replaces it."""
        self.initial = initial_state(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reduce the learning rate in place of a stop."""
        super().on_train_epoch_end(trainer, pl_module)
        if self.wait_count < self.patience:
            return
        if len(self.ended) >= self.reductions:
            LOG.info(
                "no improvement (patience %d): training stops, epoch %d kept",
                *(self.patience, self.checkpointing.epochs),
            )
            return
        trainer.should_stop = False
        self.ended, self.num_before = self.rate_epochs, trainer.current_epoch + 1
        self.best_score, self.wait_count, self.stopped_epoch = self.first
        LOG.info(
            "no improvement (patience %d): back to the weights of epoch %d, learning rate %.3g",
            *(self.patience, self.checkpointing.epochs, FACTOR * trainer.optimizers[0].param_groups[0]["lr"]),
        )
        best = read_checkpoint(self.checkpointing.folder / BEST, pl_module.device)
        pl_module.load_state_dict(best["state_dict"])
        self.checkpointing.has_gone_back = True
        if self.average is not None:
            self.average.restart(pl_module)
        reduce_learning_rate(trainer, self.initial)

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return super().state_dict() | {"ended": self.ended, "num_before": self.num_before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        super().load_state_dict(state_dict)
        self.ended, self.num_before = state_dict["ended"], state_dict["num_before"]


class RateEpochs(pl.Callback):
    """Repeats the learning rates of an earlier phase.

    Args:
        rate_epochs: number of epochs at each learning rate; see `Plateau`.
    """

    def __init__(self, rate_epochs: Sequence[int]) -> None:
        self.ends = [*accumulate(rate_epochs[:-1])]
        self.initial: dict[str, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the initial state of the optimizer, before a checkpoint replaces it."""
        self.initial = initial_state(trainer)
        for _ in range(self.ends.count(0)):
            reduce_learning_rate(trainer, self.initial)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reduce the learning rate after the last epoch of each."""
        for _ in range(self.ends.count(trainer.current_epoch + 1)):
            reduce_learning_rate(trainer, self.initial)


def last_rate(choice: OptimizerChoice, rate_epochs: Sequence[int]) -> float:
    """Return the learning rate of the last epoch of the best weights, the first rate without epochs."""
    number = max((number for number, epochs in enumerate(rate_epochs) if epochs), default=0)
    return choice.config.learning_rate * FACTOR**number


def initial_state(trainer: pl.Trainer) -> dict[str, Any]:
    """Return a copy of the state of the optimizer."""
    return copy.deepcopy(trainer.optimizers[0].state_dict())


def reduce_learning_rate(trainer: pl.Trainer, state: dict[str, Any]) -> None:
    """Reduce the learning rate, with another state of the optimizer."""
    optimizer, scheduler = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
    scheduler.base_lrs = [rate * FACTOR for rate in scheduler.base_lrs]
    optimizer.load_state_dict(copy.deepcopy(state))
    for group, rate in zip(optimizer.param_groups, scheduler.base_lrs, strict=True):
        group["lr"] = rate
