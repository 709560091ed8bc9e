"""Test index and loss once before training."""

import logging
import math
from collections.abc import Callable

import pytorch_lightning as pl

from twotower.config.errors import InputError
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule

LOG = logging.getLogger("twotower")


class Rehearsal(pl.Callback):
    """Builds the index on random vectors and computes one loss with its gradient, before training.

    So settings that fail after training fail in the first second instead.

    Args:
        rehearse_index: builds and searches an index on random vectors.
        batches: the training batches; the first one is used.
    """

    def __init__(self, rehearse_index: Callable[[], object], batches: TrainBatches) -> None:
        self.rehearse_index = rehearse_index
        self.batches = batches

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Run the rehearsal.

        Raises:
            InputError: the index cannot be built, or the first loss is not finite.
        """
        assert isinstance(pl_module, RetrievalModule)
        self.rehearse_index()
        position, self.batches.number = self.batches.number, 0
        batch = next(iter(self.batches))
        self.batches.number = position
        with trainer.precision_plugin.forward_context():
            loss = pl_module.batch_loss(batch.to(pl_module.device))
        loss.backward()
        pl_module.zero_grad()
        first = loss.item()
        if not math.isfinite(first):
            raise InputError(
                f"loss: the first loss is {first}; raise loss.temperature or trainer.precision=32-true"
            )
        LOG.info("rehearsal: index built on random vectors, first loss %.4f", first)
