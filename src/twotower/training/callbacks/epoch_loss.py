"""The mean loss of an epoch, which stops a training that diverges."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from twotower.config.errors import DivergenceError
from twotower.scoring.batch import Batch
from twotower.scoring.scorer import LOWEST

EPOCH_LOSS = "train/epoch_loss"
FARTHEST = 2 / LOWEST
"""Maximum difference of two scores of unit vectors, at the lowest temperature."""


class EpochLoss(pl.Callback):
    """Logs `train/epoch_loss`, the mean over the examples of the epoch; `train/loss` is that of one batch.

    Stops a training whose loss diverges. The sums are part of the checkpoint, so that resuming within an
    epoch gives the same mean. Must come before the callbacks that read it.
    """

    def __init__(self) -> None:
        # Tensors, on the device of the loss: reading them would synchronize with the GPU at every step.
        self.first: Tensor | float | None = None
        self.latest: Tensor | float = 0.0
        self.total: Tensor | None = None
        self.num_examples = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Add the loss of the batch.

        Raises:
            DivergenceError: the first loss is not finite.
        """
        number = len(batch.users.rows)
        latest = outputs["loss"].detach()
        if self.first is None:
            check_loss(float(latest), float(latest))
            self.first = latest
        self.latest = latest
        loss = latest.double() * number
        self.total = loss if self.total is None else self.total + loss
        self.num_examples += number

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the mean and reset the sums.

        Directly to the loggers: values logged by the module are written after the checkpoint of the epoch,
        and would be lost if the process were killed in between.

        Raises:
            DivergenceError: see `check_loss`.
        """
        if self.total is not None:
            mean = (self.total / self.num_examples).float()
            pl_module.log(EPOCH_LOSS, mean, logger=False)
            for logger in trainer.loggers:
                logger.log_metrics({EPOCH_LOSS: float(mean)}, trainer.global_step - 1)
        self.total, self.num_examples = None, 0
        if self.first is not None:
            check_loss(float(self.first), float(self.latest))

    def mean(self) -> float | None:
        """Return the mean of the epoch so far; None before its first step."""
        return None if self.total is None else float(self.total) / self.num_examples

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far, and the first and the latest loss."""
        return {
            "total": 0.0 if self.total is None else float(self.total),
            "num_examples": self.num_examples,
            "first": None if self.first is None else float(self.first),
            "latest": float(self.latest),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.num_examples = state_dict["num_examples"]
        self.total = torch.tensor(state_dict["total"], dtype=torch.float64) if self.num_examples else None
        self.first, self.latest = state_dict["first"], state_dict["latest"]


def check_loss(first: float, latest: float) -> None:
    """Refuse a loss that is not finite or below every plausible value; a rising loss is not an error.

    Most losses have a minimum of 0. On unit vectors, a loss that may be negative is bounded by a factor of
    its first value times the maximum difference of two scores. So a loss below -200 times the magnitude of
    its first value (at least 1) is not bounded: the norms of the vectors grow.
    """
    if not math.isfinite(latest):
        raise DivergenceError(
            f"optimizer.learning_rate: the training diverged, the loss is {latest}; lower it, set "
            "trainer.gradient_clip_val, or raise loss.temperature"
        )
    if latest < -FARTHEST * max(1.0, abs(first)):
        raise DivergenceError(
            f"loss: the training diverged, the loss fell from {first:.4g} to {latest:.4g} and has no"
            " lower bound while norms grow; item_bias=none user_tower.normalize=l2"
            " item_tower.normalize=l2 makes embeddings unit vectors (a loss declares this in "
            "`needs`); or choose another loss"
        )
