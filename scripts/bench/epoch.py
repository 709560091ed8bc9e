"""A whole epoch as `scripts/train.py` runs it, against the same model in plain Lightning with a DataLoader.

  python scripts/bench/epoch.py                          1024 examples a batch, two minutes
  python scripts/bench/epoch.py --negatives catalogue --pairs 1

Both train the model of `step_model.py` for one epoch on the users that have the first interactions of its
log. Ours is `training.fit`: gathering, callbacks, scalars to TensorBoard, the checkpoint at the end. Theirs
is what Lightning's guide shows: a `Dataset` of examples, a `DataLoader` that collates and shuffles,
`self.log` of the loss, `cross_entropy` and `torch.optim.AdamW`, and no checkpoint.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from record import pairs, write
from step import textbook_of
from step_model import LENGTH, NUM_USERS, module_of, synthetic_log
from textbook import Textbook
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from twotower.data.interactions import Interactions
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.training.batches import TrainBatches
from twotower.training.fit import TrainContext, fit
from twotower.training.objectives.next_item import NextItem
from twotower.training.trainer import TrainerChoice


class Examples(Dataset[tuple[int, Tensor, int]]):
    """One example an interaction: its user, what came before it, its item."""

    def __init__(self, interactions: Interactions) -> None:
        batches = TrainBatches(
            interactions,
            NextItem(NextItem.Config(batch_size=len(interactions))),
            history=MeanPooling.Config(length=LENGTH, strict=False),
            seed=0,
        )
        whole = next(iter(batches))
        self.users, self.histories, self.items = (
            whole.users.rows.long(),
            whole.users.history_rows.long(),
            whole.positives,
        )

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, place: int) -> tuple[int, Tensor, int]:
        return int(self.users[place]), self.histories[place], int(self.items[place])


class Plain(pl.LightningModule):
    """The textbook's model as Lightning's guide would have it."""

    def __init__(self, model: Textbook, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        loss = self.loss(*batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=0.0)


def our_epoch(interactions: Interactions, negatives: str, size: int, precision: Any) -> Callable[[], float]:
    """Return what trains an epoch of ours; it returns the seconds of the training itself."""
    choice = TrainerChoice.Config(max_epochs=1, refit=False, precision=precision, progress_bar=False)

    def epoch() -> float:
        module = module_of(interactions, negatives)
        objective = NextItem(NextItem.Config(batch_size=size))
        batches = TrainBatches(
            interactions, objective, history=MeanPooling.Config(length=LENGTH, strict=False), seed=0
        )
        with tempfile.TemporaryDirectory() as folder:
            context = TrainContext(choice, Path(folder))
            return fit(context, module, batches, "fit").seconds

    return epoch


def their_epoch(interactions: Interactions, negatives: str, size: int, precision: Any) -> Callable[[], None]:
    """Return what trains an epoch of theirs."""
    module, examples = module_of(interactions, negatives), Examples(interactions)

    def epoch() -> None:
        model = textbook_of(interactions, module)
        loader = DataLoader(examples, batch_size=size, shuffle=True)
        with tempfile.TemporaryDirectory() as folder:
            trainer = pl.Trainer(
                max_epochs=1,
                accelerator="cpu",
                precision=precision,
                default_root_dir=folder,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(Plain(model, model.in_batch if "in_batch" in negatives else model.catalogue), loader)

    return epoch


def first_of(interactions: Interactions, number: int) -> Interactions:
    """Return the log's first interactions, about so many."""
    users = interactions.user_rows()
    keep = users <= users[number - 1]
    return Interactions.from_rows(
        users[keep], np.asarray(interactions.items)[keep], np.asarray(interactions.times)[keep], NUM_USERS
    )


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--negatives", choices=("in_batch", "catalogue"), default="in_batch")
    parser.add_argument("--size", type=int, default=1024, help="examples of a batch")
    parser.add_argument("--examples", type=int, default=150_000, help="of the epoch, about")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    log = first_of(synthetic_log(), chosen.examples)
    negatives = {"in_batch": "in_batch.InBatch", "catalogue": "catalogue.Catalogue"}[chosen.negatives]
    given = (log, negatives, chosen.size, chosen.precision)
    ours, theirs = our_epoch(*given), their_epoch(*given)
    wall = pairs(ours, theirs, chosen.pairs, warm_up=0)
    cpu = pairs(ours, theirs, 1, warm_up=0, clock=time.process_time)
    print(f"an epoch of {len(log):,} examples, {chosen}\nwall {wall.told()}\ncpu  {cpu.told()}")
    found = {"wall": wall, "cpu": cpu, "settings": vars(chosen), "examples": len(log)}
    print(write(f"epoch_{chosen.negatives}", found))


if __name__ == "__main__":
    main()
