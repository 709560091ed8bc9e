"""Everything that comes after training, once before it, on made-up vectors."""

import logging
import math

import pytorch_lightning as pl
import torch

from twotower.config.errors import InputError
from twotower.index.index import Index
from twotower.index.rehearsal import rehearse
from twotower.training.examples import Batch, TrainBatches
from twotower.training.module import RetrievalModule

LOG = logging.getLogger("twotower")


class Rehearsal(pl.Callback):
    """Before training: build the index on random vectors, take one loss step and undo it.

    What would fail after an hour fails in the first second instead.

    Args:
        index: the choice of index.
        embedding_dim: D.
        num_items: N.
        batches: where the one batch comes from.
    """

    def __init__(
        self, index: Index.Config, embedding_dim: int, num_items: int, batches: TrainBatches
    ) -> None:
        self.index = index
        self.embedding_dim = embedding_dim
        self.num_items = num_items
        self.batches = batches

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rehearse.

        Raises:
            InputError: the index cannot be built, or the first loss is not finite.
        """
        assert isinstance(pl_module, RetrievalModule)
        rehearse(self.index, self.embedding_dim, self.num_items)
        with trainer.precision_plugin.forward_context():
            loss = pl_module.loss_of(self._first_batch(pl_module.device))
        loss.backward()
        pl_module.zero_grad()
        first = loss.item()
        if not math.isfinite(first):
            raise InputError(
                f"loss: the first loss is {first}; raise loss.temperature or trainer.precision=32-true"
            )
        LOG.info("rehearsal: index built on random vectors, first loss %.4f", first)

    def _first_batch(self, device: torch.device) -> Batch:
        position = self.batches.number
        self.batches.number = 0
        batch = next(iter(self.batches))
        self.batches.number = position
        return batch.to(device)
