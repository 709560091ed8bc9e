"""The learning curves of a training, which end it if it diverges or if the epoch callback says so."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from twotower.config.errors import DivergenceError
from twotower.evaluation.user_values import metric_k
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.scorer import LOWEST
from twotower.parallel.ranks import broadcast_json, sum_over_ranks, world_size

LOSS, EPOCH_LOSS = "train/loss", "train/epoch_loss"
"""The loss of the latest batch, and the mean over the examples of an epoch."""
MAX_DIFFERENCE = 2 / LOWEST
"""Maximum difference of two scores of unit vectors, at the lowest temperature."""
EpochCallback = Callable[[int, float | None], bool]
"""(epoch from 0, monitored metric, or None within an epoch) -> whether to stop the training."""


def synchronized(callback: EpochCallback | None) -> EpochCallback:
    """Return an epoch callback that broadcasts the decision of rank 0 to all ranks."""
    return lambda epoch, value: bool(broadcast_json(callback is not None and callback(epoch, value)))


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
    """Records losses and validation metrics, one value per epoch, and the speed of this process.

    If the monitor has a k, as `valid/recall_at_20`, metrics with another k are left out. The sums within an
    epoch and the curves are part of the checkpoint, so that a resumed training has complete curves.

    Attributes:
        seconds: of training in this process, after a checkpoint has been loaded.
        num_examples: trained in this process.
    """

    def __init__(self, monitor: str, epoch_callback: EpochCallback | None = None) -> None:
        self.monitor = monitor
        self.epoch_callback = epoch_callback
        self.epochs: dict[int, dict[str, float]] = {}
        # Tensors, on the device of the loss: reading them would synchronize with the GPU at every step.
        self.first: Tensor | float | None = None
        self.latest = torch.zeros(())
        self.total: Tensor | float = 0.0
        self.num_summed = 0
        self.began = self.seconds = 0.0
        self.num_examples = 0

    def on_train_start(self, *_: Any) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.began

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Add the loss of the batch, and call the epoch callback: a time limit ends a training anywhere.

        Raises:
            TrialPruned: the callback stops the training.
        """
        self.latest = outputs["loss"].detach()
        self.first = self.latest if self.first is None else self.first
        number = batch.num_rows or len(batch.users.rows)
        self.total = self.total + self.latest.double() * number
        self.num_summed += number
        self.num_examples += number
        if self.epoch_callback is not None and self.epoch_callback(trainer.current_epoch, None):
            raise TrialPruned(trainer.current_epoch, self.curves())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record and log the values of the epoch, reset the sums and call the epoch callback.

        The mean loss goes directly to the loggers: values logged by the module are written after the
        checkpoint of the epoch, and would be lost if the process were killed in between.

        Raises:
            DivergenceError: see `check_loss`.
            TrialPruned: the callback stops the training.
        """
        first, latest = map(self._mean, (self.first or 0.0, self.latest))
        mean, k, epoch = self.mean_epoch_loss(), metric_k(self.monitor), trainer.current_epoch
        if mean is None:
            return
        for logger in trainer.loggers:
            logger.log_metrics({EPOCH_LOSS: mean}, trainer.global_step - 1)
        check_loss(first, latest)
        self.total, self.num_summed = 0.0, 0
        metrics = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if key.startswith("valid/") and (not k or metric_k(key) in ("", k))
        }
        self.epochs[epoch] = metrics | {LOSS: latest, EPOCH_LOSS: mean}
        value = metrics.get(self.monitor)
        if self.epoch_callback is not None and value is not None and self.epoch_callback(epoch, value):
            raise TrialPruned(epoch + 1, self.curves())

    def _mean(self, loss: Tensor | float) -> float:
        """Return the mean of a loss over all processes."""
        return float(sum_over_ranks(torch.tensor(float(loss), dtype=torch.float64))) / world_size()

    def epoch_loss(self) -> float | None:
        """Return the mean loss of this process in the epoch so far; None before its first step."""
        return float(self.total) / self.num_summed if self.num_summed else None

    def mean_epoch_loss(self) -> float | None:
        """Return the mean of all processes, rounded to float32; all of them call it."""
        return float(np.float32(self._mean(self.total) / self.num_summed)) if self.num_summed else None

    def curves(self) -> dict[str, list[float]]:
        """Return key -> one value per epoch."""
        ordered = [figures for _, figures in sorted(self.epochs.items())]
        keys = sorted({key for figures in ordered for key in figures})
        return {key: [figures[key] for figures in ordered if key in figures] for key in keys}

    def state_dict(self) -> dict[str, Any]:
        """Return the first loss, the sums of the epoch so far, and the values of all epochs."""
        return {
            "first": None if self.first is None else self._mean(self.first),
            "total": self._mean(self.total),
            "num_summed": self.num_summed,
            "epochs": {str(epoch): figures for epoch, figures in self.epochs.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.first, self.total = state_dict["first"], state_dict["total"]
        self.num_summed = state_dict["num_summed"]
        self.epochs = {int(epoch): figures for epoch, figures in state_dict["epochs"].items()}


def check_loss(first: float, latest: float) -> None:
    """Refuse a loss that is not finite or below every plausible value; a rising loss is not an error.

    Most losses have a minimum of 0. On unit vectors, a loss that may be negative is bounded by a factor of
    its first value times the maximum difference of two scores. So a loss below -200 times the magnitude of
    its first value (at least 1) is not bounded: the norms of the vectors grow.
    """
    if not math.isfinite(latest):
        raise DivergenceError(
            f"optimizer.learning_rate: the training diverged, the loss is {latest}; lower it, or set "
            "trainer.gradient_clip_val"
        )
    if latest < -MAX_DIFFERENCE * max(1.0, abs(first)):
        raise DivergenceError(
            f"loss: the training diverged, the loss fell from {first:.4g} to {latest:.4g} and has no"
            " lower bound while norms grow; item_bias=none user_tower.normalize=l2"
            " item_tower.normalize=l2 makes embeddings unit vectors (a loss declares this in "
            "`needs`); or choose another loss"
        )
