"""One line per epoch for terminals and log files, with progress within the epoch."""

import logging
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from twotower.config.progress import clock_text
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.callbacks.epoch_loss import EPOCH_LOSS, EpochLoss

LOG = logging.getLogger("twotower")
EVERY = 0.25
"""Seconds between two progress lines."""
ProgressCallback = Callable[[str], None]
"""Shows a line, which replaces the previous one."""


class EpochLines(pl.Callback):
    """Logs epoch, mean loss, monitored metric, best value, and the remaining time until the last epoch.

    Args:
        monitor: the metric to show.
        num_epochs: maximum number of epochs.
        name: of the phase.
        epoch_loss: has the mean loss; must come before this callback.
        checkpointing: has the best value.
        progress_callback: receives a line several times per epoch.
    """

    def __init__(
        self,
        monitor: str,
        num_epochs: int,
        name: str,
        epoch_loss: EpochLoss,
        checkpointing: Checkpointing,
        progress_callback: ProgressCallback | None,
    ) -> None:
        self.monitor, self.num_epochs, self.name = monitor, num_epochs, name
        self.epoch_loss, self.checkpointing = epoch_loss, checkpointing
        self.progress_callback = progress_callback
        self.began = self.epoch_began = self.drawn = 0.0
        self.first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks; a resumed training starts within an epoch."""
        self.began = self.epoch_began = time.perf_counter()
        self.first = self._done(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the epoch."""
        self.epoch_began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the progress line, not at every step: reading the loss synchronizes with the GPU."""
        if self.progress_callback is not None and time.perf_counter() - self.drawn >= EVERY:
            share = (batch_idx + 1) / float(trainer.num_training_batches)
            self._show(trainer, f"{share:.0%}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show that validation is running."""
        if self.progress_callback is not None:
            self._show(trainer, "validating")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the line of the epoch."""
        keys = {"loss": EPOCH_LOSS, self.monitor.removeprefix("valid/"): self.monitor}
        logged = trainer.callback_metrics
        values = {name: float(logged[key]) for name, key in keys.items() if key in logged}
        seconds, left = time.perf_counter() - self.epoch_began, self._seconds_left(trainer)
        fields = {"phase": self.name, "epoch": trainer.current_epoch + 1, "num_epochs": self.num_epochs}
        best = (
            {}
            if self.checkpointing.best is None
            else {"best": self.checkpointing.best, "best_epoch": self.checkpointing.epochs}
        )
        fields |= {"seconds": seconds, "seconds_left": left, **values, **best}
        parts = [self._epoch(trainer), *self._values(values), f"{seconds:.1f} s", _left(left)]
        LOG.info("%s", "  ".join(filter(None, parts)), extra={"fields": fields})

    def _show(self, trainer: pl.Trainer, activity: str) -> None:
        assert self.progress_callback is not None
        name = self.monitor.removeprefix("valid/")
        value = trainer.callback_metrics.get(self.monitor)
        loss = self.epoch_loss.mean()
        values = {} if loss is None else {"loss": loss}
        texts = self._values(values | ({} if value is None else {name: float(value)}))
        left = _left(self._seconds_left(trainer))
        # A narrow terminal shows fewer values.
        whole = [self._epoch(trainer), activity, *texts, left]
        width = shutil.get_terminal_size().columns - 1
        lines = ["  ".join(filter(None, parts)) for parts in (whole, [whole[0], activity, *texts[-1:], left])]
        self.progress_callback(next((line for line in lines if len(line) <= width), lines[-1][:width]))
        self.drawn = time.perf_counter()

    def _epoch(self, trainer: pl.Trainer) -> str:
        return f"{self.name} epoch {trainer.current_epoch + 1}/{self.num_epochs}"

    def _values(self, values: dict[str, float]) -> list[str]:
        texts = [f"{name.replace('_at_', '@')} {value:.4f}" for name, value in values.items()]
        return texts if self.checkpointing.best is None else [*texts, f"best {self.checkpointing.best:.4f}"]

    def _done(self, trainer: pl.Trainer) -> int:
        """Return the number of finished batches in all epochs."""
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1

    def _seconds_left(self, trainer: pl.Trainer) -> float | None:
        """Return the seconds to the end of the last epoch, at the speed of this process."""
        done = self._done(trainer)
        if done <= self.first:
            return None
        pace = (time.perf_counter() - self.began) / (done - self.first)
        return max(0.0, pace * (self.num_epochs * int(trainer.num_training_batches) - done))


def _left(seconds: float | None) -> str:
    return "" if seconds is None or seconds < 1 else f"{clock_text(seconds)} left"
