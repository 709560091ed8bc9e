"""Log the mean loss of an epoch; `train/loss` is the loss of one batch."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from twotower.scoring.batch import Batch

EPOCH_LOSS = "train/epoch_loss"


class EpochLoss(pl.Callback):
    """Logs `train/epoch_loss`, the mean over the examples of the epoch.

    The sums are part of the checkpoint, so that resuming within an epoch gives the same mean. Must come
    before the callbacks that read it.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None  # on the device of the loss, to avoid a synchronization per step
        self.num_examples = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Add the loss of the batch."""
        number = len(batch.users.rows)
        # Lightning divides the loss by the number of accumulated batches.
        undivided = outputs["loss"] * trainer.accumulate_grad_batches
        loss = undivided.detach().double() * number
        self.total = loss if self.total is None else self.total + loss
        self.num_examples += number

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the mean and reset the sums.

        Directly to the loggers: values logged by the module are written after the checkpoint of the epoch,
        and would be lost if the process were killed in between.
        """
        if self.total is not None:
            mean = (self.total / self.num_examples).float()
            pl_module.log(EPOCH_LOSS, mean, logger=False)
            for logger in trainer.loggers:
                logger.log_metrics({EPOCH_LOSS: float(mean)}, trainer.global_step - 1)
        self.total, self.num_examples = None, 0

    def mean(self) -> float | None:
        """Return the mean of the epoch so far; None before its first step."""
        return None if self.total is None else float(self.total) / self.num_examples

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far."""
        total = 0.0 if self.total is None else float(self.total)
        return {"total": total, "num_examples": self.num_examples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the sums of a checkpoint."""
        self.num_examples = state_dict["num_examples"]
        self.total = torch.tensor(state_dict["total"], dtype=torch.float64) if self.num_examples else None
