"""Hard negatives are searched anew every few epochs, with the towers as they are."""

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from twotower.config.progress import Progress
from twotower.data.interactions import Interactions
from twotower.evaluation.predict import RANKED_AT_ONCE, encode_at, encode_catalogue
from twotower.evaluation.ranking import seen_pairs
from twotower.evaluation.top_candidates import Pairs
from twotower.evaluation.top_k import ExactSearch
from twotower.scoring.batch import Batch
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule


class HardNegativeRefresh(pl.Callback):
    """Tells negatives what the towers rank first for every user of the train log, at the start of epochs.

    When is told by the batch's number alone, and what was mined is part of a checkpoint, so that a resumed
    training goes on with what it had. Users are embedded with all of their log as history.

    Args:
        batches: of the training.
    """

    def __init__(self, batches: TrainBatches) -> None:
        self.batches = batches

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Search where an epoch begins that so many others precede; not before the first."""
        assert isinstance(pl_module, RetrievalModule)
        epochs, rest = divmod(batch.number, len(self.batches))
        if epochs and not rest and epochs % pl_module.negatives.config.refreshed_every() == 0:
            refresh_hard_negatives(pl_module, self.batches.interactions)


def refresh_hard_negatives(module: RetrievalModule, interactions: Interactions) -> None:
    """Rank the trained items for every user of a log and tell the negatives.

    Args:
        module: its towers rank, its negatives are told.
        interactions: of training; what users have in it is no negative.
    """
    trained = module.negatives.trained_rows
    with torch.autocast(module.device.type, enabled=False):
        items = encode_catalogue(module.model)[trained - 1]
        search = ExactSearch(items)
        places = np.zeros(module.negatives.num_items + 1, dtype=np.int64)
        places[trained.cpu().numpy()] = np.arange(1, len(trained) + 1)
        everyone = np.flatnonzero(interactions.positives.counts())
        with Progress("mining: ranking the catalogue for users", len(everyone)) as advance:
            for users in np.split(everyone, range(RANKED_AT_ONCE, len(everyone), RANKED_AT_ONCE)):
                _tell(module, interactions, users, items, search, places)
                advance(int(np.searchsorted(everyone, users.max(initial=0))) + 1)


def _tell(
    module: RetrievalModule,
    interactions: Interactions,
    users: np.ndarray,
    items: Tensor,
    search: ExactSearch,
    places: np.ndarray,
) -> None:
    """Rank for users [b]; `places` [N + 1] says where an item row is among the items searched, from 1."""
    latest = np.asarray(interactions.times)[np.asarray(interactions.offsets)[users + 1] - 1]
    vectors = encode_at(module.model, interactions, users, latest)
    owners, rows = seen_pairs(interactions, users)
    seen: Pairs = owners, places[rows]
    ranked, scores = search.top(vectors, module.negatives.config.num_ranked(), seen)
    trained = np.concatenate([[0], module.negatives.trained_rows.cpu().numpy()])
    chosen = [torch.from_numpy(each).to(vectors.device) for each in (owners, places[rows] - 1)]
    products = (vectors[chosen[0]] * items[chosen[1]]).sum(1).cpu().numpy()
    own = np.bincount(owners, products, len(users)) / np.bincount(owners, minlength=len(users))
    of_users = [torch.from_numpy(each) for each in (users, trained[ranked], scores, own.astype(np.float32))]
    module.negatives.take(interactions.num_users, *of_users)
