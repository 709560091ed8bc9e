"""One line per epoch for terminals and log files, with progress within the epoch."""

import logging
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from twotower.config.progress import clock_text
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.callbacks.curves import Curves

LOG = logging.getLogger("twotower")
EVERY = 0.25
"""Seconds between two progress lines."""
ProgressCallback = Callable[[str], None]
"""Shows a line, which replaces the previous one."""


class EpochLines(pl.Callback):
    """Logs epoch, mean loss, monitored metric, the value of the kept weights, and the remaining time.

    Args:
        name: of the phase.
        curves: has the mean loss of the epoch; comes after this callback, because it resets that at the end.
        progress_callback: receives a line several times per epoch.
    """

    def __init__(
        self,
        name: str,
        curves: Curves,
        checkpointing: Checkpointing,
        progress_callback: ProgressCallback | None,
    ) -> None:
        self.name, self.curves, self.checkpointing = name, curves, checkpointing
        self.progress_callback = progress_callback
        self.began = self.epoch_began = self.drawn = 0.0
        self.first = 0

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Start the clocks; a resumed training starts within an epoch."""
        self.began = self.epoch_began = time.perf_counter()
        self.first = _num_batches_done(trainer)

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start the clock of the epoch."""
        self.epoch_began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the progress line, not at every step: reading the loss synchronizes with the GPU."""
        if time.perf_counter() - self.drawn >= EVERY:
            self._show(trainer, f"{(batch_idx + 1) / float(trainer.num_training_batches):.0%}")

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Show that validation is running."""
        self._show(trainer, "validating")

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Log the line of the epoch."""
        values = self._values(trainer, self.curves.mean_epoch_loss())
        seconds = time.perf_counter() - self.epoch_began
        fields = {
            "phase": self.name,
            "epoch": trainer.current_epoch + 1,
            "num_epochs": trainer.max_epochs,
            "seconds": seconds,
            "seconds_left": self._seconds_left(trainer),
            **values,
        }
        if self.checkpointing.best is not None:
            fields |= {"best": self.checkpointing.best, "best_epoch": self.checkpointing.epochs}
        LOG.info("%s", self._line(trainer, f"{seconds:.1f} s", values, last=True), extra={"fields": fields})

    def _show(self, trainer: pl.Trainer, activity: str) -> None:
        if self.progress_callback is None:
            return
        values = self._values(trainer, self.curves.epoch_loss())
        width = shutil.get_terminal_size().columns - 1
        self.progress_callback(self._line(trainer, activity, values)[:width])
        self.drawn = time.perf_counter()

    def _values(self, trainer: pl.Trainer, loss: float | None) -> dict[str, float]:
        """Return the loss and the latest value of the monitored metric, where known."""
        monitor = self.curves.monitor
        metric = trainer.callback_metrics.get(monitor)
        values = {"loss": loss, monitor.removeprefix("valid/"): metric}
        return {name: float(value) for name, value in values.items() if value is not None}

    def _line(self, trainer: pl.Trainer, activity: str, values: dict[str, float], last: bool = False) -> str:
        texts = [f"{name.replace('_at_', '@')} {value:.4f}" for name, value in values.items()]
        kept = self.checkpointing.kept_text(values.get(self.curves.monitor.removeprefix("valid/")))
        texts += [kept] if kept else []
        texts.insert(len(texts) if last else 0, activity)
        seconds = self._seconds_left(trainer)
        if seconds is not None and seconds >= 1:
            texts.append(f"at most {clock_text(seconds)} left")
        return "  ".join([f"{self.name} {trainer.current_epoch + 1}/{trainer.max_epochs}", *texts])

    def _seconds_left(self, trainer: pl.Trainer) -> float | None:
        """Return the seconds to the end of the last epoch, at the speed of this process."""
        done = _num_batches_done(trainer)
        if done <= self.first:
            return None
        pace = (time.perf_counter() - self.began) / (done - self.first)
        return max(0.0, pace * ((trainer.max_epochs or 0) * int(trainer.num_training_batches) - done))


def _num_batches_done(trainer: pl.Trainer) -> int:
    """Return the number of finished batches in all epochs."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1
