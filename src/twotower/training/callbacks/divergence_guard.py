"""A loss that runs away is told, and not only embeddings that do."""

import math
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from twotower.config.errors import Diverged
from twotower.scoring.batch import Batch
from twotower.scoring.temperature import LOWEST

FARTHEST = 2 / LOWEST
"""How far apart two scores of unit vectors can be, at the lowest temperature."""


class DivergenceGuard(pl.Callback):
    """Ends a training whose loss, after an epoch, is no number or lies below every plausible value.

    Most losses have a floor of 0 and are never negative. One that may be, on vectors that cannot grow, falls
    no further below 0 than two scores can be apart, times the weight that it gives them, and that its first
    value shows. So no sound one is ever below -200 times its first value (or 1, if that is less); one that
    falls because vectors grow, and could do so for ever, soon is. A loss that rises is left alone: it comes
    back, or the metrics say so.
    """

    def __init__(self) -> None:
        self.first: Tensor | float | None = None
        self.latest: Tensor | float = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Keep the loss where it is: to read it would make a GPU wait."""
        self.latest = outputs["loss"] * trainer.accumulate_grad_batches
        self.first = self.latest if self.first is None else self.first

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last loss of the epoch.

        Raises:
            Diverged: it has run away.
        """
        if self.first is None:
            return
        first, latest = float(self.first), float(self.latest)
        if not math.isfinite(latest):
            raise Diverged(
                f"optimizer.learning_rate: the training has diverged, the loss is {latest}; lower it, or set "
                "trainer.gradient_clip_val"
            )
        if latest < -FARTHEST * max(1.0, abs(first)):
            raise Diverged(
                f"loss: the training has run away, the loss fell from {first:.4g} to {latest:.4g} and has no"
                " floor while embeddings grow; item_bias=none user_tower.normalise=l2 item_tower.normalise=l2"
                " makes them unit vectors (a loss that needs these says so in `needs`), or choose another"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the losses, so that a resumed training is judged as it would have been."""
        return {} if self.first is None else {"first": float(self.first), "latest": float(self.latest)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the losses of a checkpoint."""
        self.first = state_dict.get("first")
        self.latest = state_dict.get("latest", 0.0)
