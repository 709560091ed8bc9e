"""The learning curves of a training, and whoever watches them while it goes on."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from twotower.evaluation.user_values import k_of
from twotower.training.callbacks.epoch_loss import EPOCH_LOSS
from twotower.training.module import RetrievalModule

LOSS = "train/loss"
EpochCallback = Callable[[int, float | None], bool]
"""(epoch from 0, monitored metric, None in the midst of one) -> whether to stop this training for good."""


class TrialPruned(Exception):  # noqa: N818  # ends a training, but nothing went wrong
    """A training that its watcher stopped.

    Attributes:
        epochs: trained for.
        curves: so far.
    """

    def __init__(self, epochs: int, curves: dict[str, list[float]]) -> None:
        super().__init__(f"pruned after epoch {epochs}")
        self.epochs = epochs
        self.curves = curves


class Curves(pl.Callback):
    """Keeps the losses and the validation metrics at the monitor's k or without one, one value an epoch.

    Where the monitor has no k, as `valid/auc`, all are kept.

    They go into the checkpoint, so that the curves of a resumed training are whole.

    Args:
        monitor: e.g. `valid/recall_at_20`; also what the watcher is shown.
        watch: see `EpochCallback`; None for nobody.
    """

    def __init__(self, monitor: str, watch: EpochCallback | None = None) -> None:
        self.monitor = monitor
        self.watch = watch
        self.epochs: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer: pl.Trainer, *of_the_batch: Any) -> None:
        """Ask whether there is time to go on: an epoch may take longer than all there is.

        Raises:
            TrialPruned: there is none.
        """
        if self.watch is not None and self.watch(trainer.current_epoch, None):
            raise TrialPruned(trainer.current_epoch, self.curves())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the epoch's figures, and ask whether to go on.

        Raises:
            TrialPruned: the watcher has seen enough.
        """
        k, epoch = k_of(self.monitor), trainer.current_epoch
        assert isinstance(pl_module, RetrievalModule)
        of_epoch = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if key == EPOCH_LOSS or (key.startswith("valid/") and (not k or k_of(key) in ("", k)))
        }
        self.epochs[epoch] = of_epoch | {LOSS: float(pl_module.latest_loss)}
        value = self.epochs[epoch].get(self.monitor)
        if self.watch is not None and value is not None and self.watch(epoch, value):
            raise TrialPruned(epoch + 1, self.curves())

    def curves(self) -> dict[str, list[float]]:
        """Return key -> one value an epoch."""
        ordered = [figures for _, figures in sorted(self.epochs.items())]
        keys = {key for figures in ordered for key in figures}
        return {key: [figures[key] for figures in ordered if key in figures] for key in sorted(keys)}

    def state_dict(self) -> dict[str, Any]:
        """Return the figures so far."""
        return {"epochs": {str(epoch): figures for epoch, figures in self.epochs.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the figures of a checkpoint."""
        self.epochs = {int(epoch): figures for epoch, figures in state_dict["epochs"].items()}
