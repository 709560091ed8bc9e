"""The index callback: after training, with the best weights."""

from collections.abc import Callable

import pytorch_lightning as pl

from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.module import RetrievalModule


class BuildIndex(pl.Callback):
    """In `on_fit_end`: load the best checkpoint's weights (else keep the last), then index the catalogue.

    The work is in `evaluation.indexing`, which the reindex command calls too.

    Args:
        index_catalogue: given the model, builds, tunes and checks the index.
    """

    def __init__(self, index_catalogue: Callable[[TwoTower], None]) -> None:
        self.index_catalogue = index_catalogue

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Index the catalogue with the best weights."""
        keep = trainer.checkpoint_callback
        assert isinstance(pl_module, RetrievalModule)
        assert isinstance(keep, Checkpointing)
        keep.load_best(pl_module)
        self.index_catalogue(pl_module.model)
