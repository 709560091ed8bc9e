"""Record the learning curves of a training and report them to the epoch callback."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from twotower.evaluation.user_values import metric_k
from twotower.training.callbacks.epoch_loss import EPOCH_LOSS
from twotower.training.module import RetrievalModule

LOSS = "train/loss"
EpochCallback = Callable[[int, float | None], bool]
"""(epoch from 0, monitored metric, or None within an epoch) -> whether to stop the training."""


class TrialPruned(Exception):  # noqa: N818  # not an error
    """Raised when the epoch callback stops a training.

    Attributes:
        epochs: number of trained epochs.
        curves: of these epochs.
    """

    def __init__(self, epochs: int, curves: dict[str, list[float]]) -> None:
        super().__init__(f"pruned after epoch {epochs}")
        self.epochs = epochs
        self.curves = curves


class Curves(pl.Callback):
    """Records loss and validation metrics, one value per epoch.

    If the monitor has a k, as `valid/recall_at_20`, metrics with another k are left out. The curves are part
    of the checkpoint, so that those of a resumed training are complete.
    """

    def __init__(self, monitor: str, epoch_callback: EpochCallback | None = None) -> None:
        self.monitor = monitor
        self.epoch_callback = epoch_callback
        self.epochs: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, *batch: Any) -> None:
        """Call the epoch callback, so that a time limit can end the training within an epoch.

        Raises:
            TrialPruned: the callback stops the training.
        """
        if self.epoch_callback is not None and self.epoch_callback(trainer.current_epoch, None):
            raise TrialPruned(trainer.current_epoch, self.curves())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the values of the epoch and call the epoch callback.

        Raises:
            TrialPruned: the callback stops the training.
        """
        k, epoch = metric_k(self.monitor), trainer.current_epoch
        assert isinstance(pl_module, RetrievalModule)
        values = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if key == EPOCH_LOSS or (key.startswith("valid/") and (not k or metric_k(key) in ("", k)))
        }
        self.epochs[epoch] = values | {LOSS: float(pl_module.latest_loss)}
        value = self.epochs[epoch].get(self.monitor)
        if self.epoch_callback is not None and value is not None and self.epoch_callback(epoch, value):
            raise TrialPruned(epoch + 1, self.curves())

    def curves(self) -> dict[str, list[float]]:
        """Return key -> one value per epoch."""
        ordered = [figures for _, figures in sorted(self.epochs.items())]
        keys = {key for figures in ordered for key in figures}
        return {key: [figures[key] for figures in ordered if key in figures] for key in sorted(keys)}

    def state_dict(self) -> dict[str, Any]:
        """Return the values of all epochs."""
        return {"epochs": {str(epoch): figures for epoch, figures in self.epochs.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the values of a checkpoint."""
        self.epochs = {int(epoch): figures for epoch, figures in state_dict["epochs"].items()}
