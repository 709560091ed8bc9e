"""The index callback: after training, with the best weights."""

from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from twotower.towers.two_tower import TwoTower
from twotower.training.checkpoints import read_checkpoint
from twotower.training.module import RetrievalModule


class BuildIndex(pl.Callback):
    """In `on_fit_end`: load the best checkpoint's weights (else keep the last), then index the catalogue.

    The work is in `evaluation.indexing`, which the reindex door calls too.

    Args:
        index_catalogue: given the model, builds, tunes and checks the index.
    """

    def __init__(self, index_catalogue: Callable[[TwoTower], None]) -> None:
        self.index_catalogue = index_catalogue

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Index the catalogue with the best weights."""
        assert isinstance(pl_module, RetrievalModule)
        load_best(trainer, pl_module)
        self.index_catalogue(pl_module.model)


def load_best(trainer: pl.Trainer, module: RetrievalModule) -> None:
    """Put the best checkpoint's weights into the module, where one was kept."""
    keeper = trainer.checkpoint_callback
    monitored = isinstance(keeper, ModelCheckpoint) and keeper.monitor is not None
    best = keeper.best_model_path if isinstance(keeper, ModelCheckpoint) and monitored else ""
    if best and Path(best).is_file():
        module.load_state_dict(read_checkpoint(Path(best), module.device)["state_dict"])
