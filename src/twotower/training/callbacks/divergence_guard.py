"""Stop a training whose loss diverges."""

import math
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from twotower.config.errors import DivergenceError
from twotower.scoring.batch import Batch
from twotower.scoring.temperature import LOWEST

FARTHEST = 2 / LOWEST
"""Maximum difference of two scores of unit vectors, at the lowest temperature."""


class DivergenceGuard(pl.Callback):
    """Stops a training if the loss after an epoch is not finite or below every plausible value.

    Most losses have a minimum of 0. On unit vectors, a loss that may be negative is bounded by a factor of
    its first value times the maximum difference of two scores. So a loss below -200 times the magnitude of
    its first value (at least 1) is not bounded: the norms of the vectors grow. A rising loss is not an error.
    """

    def __init__(self) -> None:
        self.first: Tensor | float | None = None
        self.latest: Tensor | float = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Record the loss as a tensor: reading it would synchronize with the GPU."""
        self.latest = outputs["loss"] * trainer.accumulate_grad_batches
        self.first = self.latest if self.first is None else self.first

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the last loss of the epoch.

        Raises:
            DivergenceError: the loss is not finite or implausibly low.
        """
        if self.first is None:
            return
        first, latest = float(self.first), float(self.latest)
        if not math.isfinite(latest):
            raise DivergenceError(
                f"optimizer.learning_rate: the training diverged, the loss is {latest}; lower it, or set "
                "trainer.gradient_clip_val"
            )
        if latest < -FARTHEST * max(1.0, abs(first)):
            raise DivergenceError(
                f"loss: the training diverged, the loss fell from {first:.4g} to {latest:.4g} and has no"
                " lower bound while norms grow; item_bias=none user_tower.normalize=l2"
                " item_tower.normalize=l2 makes embeddings unit vectors (a loss declares this in "
                "`needs`); or choose another loss"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the first and the last loss."""
        return {} if self.first is None else {"first": float(self.first), "latest": float(self.latest)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the losses of a checkpoint."""
        self.first = state_dict.get("first")
        self.latest = state_dict.get("latest", 0.0)
