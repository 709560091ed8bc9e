"""One line an epoch, for terminals and log files alike."""

import logging
import time

import pytorch_lightning as pl

from twotower.training.callbacks.epoch_loss import EPOCH_LOSS

LOG = logging.getLogger("twotower")


class EpochLines(pl.Callback):
    """Log mean loss, monitored metric and speed after each epoch.

    Args:
        monitor: the metric to show.
        num_epochs: how many epochs are planned.
        name: of the training phase.
    """

    def __init__(self, monitor: str, num_epochs: int, name: str) -> None:
        self.monitor = monitor
        self.num_epochs = num_epochs
        self.name = name
        self.began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock in mid-epoch too, for a resumed training."""
        self.began = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went."""
        figures = {"loss": EPOCH_LOSS, self.monitor.removeprefix("valid/"): self.monitor}
        found = {
            name: float(trainer.callback_metrics[key])
            for name, key in figures.items()
            if key in trainer.callback_metrics
        }
        seconds, number = time.perf_counter() - self.began, trainer.current_epoch + 1
        fields = {"phase": self.name, "epoch": number, "num_epochs": self.num_epochs, "seconds": seconds}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in found.items())
        LOG.info(
            "%s epoch %d/%d  %s  %.1f s",
            self.name,
            number,
            self.num_epochs,
            shown,
            seconds,
            extra={"fields": fields | found},
        )
