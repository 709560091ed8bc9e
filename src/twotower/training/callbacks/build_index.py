"""The callback that builds the index after training."""

from collections.abc import Callable

import pytorch_lightning as pl

from twotower.evaluation.indexing import Indexed
from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.module import RetrievalModule


class BuildIndex(pl.Callback):
    """Indexes the catalogue in `on_fit_end`, with the best weights (without validation: the last).

    Args:
        index_catalogue: builds, tunes and checks the index of the items of a model.

    Attributes:
        indexed: the index, once training has ended.
    """

    def __init__(self, index_catalogue: Callable[[TwoTower], Indexed]) -> None:
        self.index_catalogue = index_catalogue
        self.indexed: Indexed | None = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Index the catalogue with the best weights."""
        checkpointing = trainer.checkpoint_callback
        assert isinstance(pl_module, RetrievalModule)
        assert isinstance(checkpointing, Checkpointing)
        checkpointing.load_best(pl_module)
        self.indexed = self.index_catalogue(pl_module.model)
