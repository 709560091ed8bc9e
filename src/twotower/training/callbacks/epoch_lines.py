"""How a training goes: one line an epoch, for terminals and log files, drawn while the epoch goes on."""

import logging
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from twotower.config.progress import on_a_clock
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.callbacks.epoch_loss import EPOCH_LOSS, EpochLoss

LOG = logging.getLogger("twotower")
EVERY = 0.25
"""Seconds between two drawings."""
ProgressCallback = Callable[[str], None]
"""Shows a line in the place of the one that it showed before."""


class EpochLines(pl.Callback):
    """Tell epoch of epochs, mean loss, monitored metric, the best so far and the time left, were all run.

    Args:
        monitor: the metric to show.
        num_epochs: how many epochs are planned.
        name: of the training phase.
        epoch_loss: stands before this one.
        keep: knows the best so far.
        draw: is given the line while an epoch goes on; None for nobody.
    """

    def __init__(
        self,
        monitor: str,
        num_epochs: int,
        name: str,
        epoch_loss: EpochLoss,
        keep: Checkpointing,
        draw: ProgressCallback | None,
    ) -> None:
        self.monitor, self.num_epochs, self.name = monitor, num_epochs, name
        self.epoch_loss, self.keep, self.draw = epoch_loss, keep, draw
        self.began = self.epoch_began = self.drawn = 0.0
        self.first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks, in mid-epoch too, for a resumed training."""
        self.began = self.epoch_began = time.perf_counter()
        self.first = self._done(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self.epoch_began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw the line; to read the loss waits for a GPU, so not at every step."""
        if self.draw is not None and time.perf_counter() - self.drawn >= EVERY:
            share = (batch_idx + 1) / float(trainer.num_training_batches)
            self._draw(trainer, f"{share:.0%}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what is under way."""
        if self.draw is not None:
            self._draw(trainer, "validating")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went."""
        keys = {"loss": EPOCH_LOSS, self.monitor.removeprefix("valid/"): self.monitor}
        known = trainer.callback_metrics
        found = {name: float(known[key]) for name, key in keys.items() if key in known}
        seconds, left = time.perf_counter() - self.epoch_began, self._seconds_left(trainer)
        fields = {"phase": self.name, "epoch": trainer.current_epoch + 1, "num_epochs": self.num_epochs}
        best = {} if self.keep.best is None else {"best": self.keep.best, "best_epoch": self.keep.epochs}
        fields |= {"seconds": seconds, "seconds_left": left, **found, **best}
        words = [self._epoch(trainer), *self._figures(found), f"{seconds:.1f} s", _left(left)]
        LOG.info("%s", "  ".join(filter(None, words)), extra={"fields": fields})

    def _draw(self, trainer: pl.Trainer, doing: str) -> None:
        assert self.draw is not None
        name = self.monitor.removeprefix("valid/")
        value = trainer.callback_metrics.get(self.monitor)
        loss = self.epoch_loss.mean()
        found = {} if loss is None else {"loss": loss}
        figures = self._figures(found | ({} if value is None else {name: float(value)}))
        left = _left(self._seconds_left(trainer))
        # What a narrow screen can do without goes first, and the last figures of an epoch stand above.
        whole = [self._epoch(trainer), doing, *figures, left]
        width = shutil.get_terminal_size().columns - 1
        lines = ["  ".join(filter(None, words)) for words in (whole, [whole[0], doing, *figures[-1:], left])]
        self.draw(next((line for line in lines if len(line) <= width), lines[-1][:width]))
        self.drawn = time.perf_counter()

    def _epoch(self, trainer: pl.Trainer) -> str:
        return f"{self.name} epoch {trainer.current_epoch + 1}/{self.num_epochs}"

    def _figures(self, found: dict[str, float]) -> list[str]:
        figures = [f"{name.replace('_at_', '@')} {value:.4f}" for name, value in found.items()]
        return figures if self.keep.best is None else [*figures, f"best {self.keep.best:.4f}"]

    def _done(self, trainer: pl.Trainer) -> int:
        """Return how many batches are done, of all epochs."""
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1

    def _seconds_left(self, trainer: pl.Trainer) -> float | None:
        """Return the seconds to the end of the last epoch, at the pace of this process."""
        done = self._done(trainer)
        if done <= self.first:
            return None
        pace = (time.perf_counter() - self.began) / (done - self.first)
        return max(0.0, pace * (self.num_epochs * int(trainer.num_training_batches) - done))


def _left(seconds: float | None) -> str:
    return "" if seconds is None or seconds < 1 else f"{on_a_clock(seconds)} left"
