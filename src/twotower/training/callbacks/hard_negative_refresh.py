"""Search hard negatives every few epochs with the current towers."""

import numpy as np
import pytorch_lightning as pl
import torch

from twotower.config.progress import Progress
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import RANKED_AT_ONCE, encode_catalogue, encode_users
from twotower.evaluation.ranking import distinct_pairs
from twotower.evaluation.top_k import exact_top_k
from twotower.model.scoring.batch import Batch
from twotower.model.towers.two_tower import pair_scores
from twotower.parallel.ranks import all_gather_rows, share
from twotower.parallel.training_parts import RanksDivision
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule


class HardNegativeRefresh(pl.Callback):
    """Passes the items that the towers rank first for each user to the sampler, at the start of epochs.

    The epoch depends on the number of the batch only, and the hard negatives are part of the checkpoint, so
    that resuming is bit-identical. The history of a user is the whole log of the user.
    """

    def __init__(self, batches: TrainBatches) -> None:
        self.batches = batches

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Search at the start of every `refreshed_every()`-th epoch, except the first; never if that is 0."""
        assert isinstance(pl_module, RetrievalModule)
        interval = pl_module.negatives.config.refreshed_every()
        epochs, rest = divmod(batch.number, len(self.batches))
        if interval and epochs and not rest and epochs % interval == 0:
            refresh_hard_negatives(pl_module, self.batches.interactions)


def refresh_hard_negatives(module: RetrievalModule, interactions: Interactions) -> None:
    """Rank the trained items for every user and pass the first to the sampler.

    Processes that train together rank for a share of the users each.

    Args:
        interactions: of training; items of a user are no negatives of this user.
    """
    sampler = module.negatives
    is_trained = (sampler.frequencies > 0).cpu().numpy()
    all_times, offsets = np.asarray(interactions.times), np.asarray(interactions.offsets)
    everyone = np.flatnonzero(interactions.examples.counts())
    everyone, found = everyone[share(len(everyone))], []
    with (
        torch.autocast(module.device.type, enabled=False),
        Progress("mining: ranking the catalogue for users", len(everyone)) as advance,
    ):
        items = encode_catalogue(module.model, RanksDivision())
        for users in np.split(everyone, range(RANKED_AT_ONCE, len(everyone), RANKED_AT_ONCE)):
            times = all_times[offsets[users + 1] - 1]
            vectors = encode_users(module.model, interactions, users, times, None)
            pair_users, rows = distinct_pairs(*interactions.examples.flat(users))
            pairs = pair_users[is_trained[rows]], rows[is_trained[rows]]
            ranked, scores = exact_top_k(vectors, items, sampler.config.num_ranked(), pairs, ~is_trained[1:])
            at_user, at_item = (torch.from_numpy(each).to(vectors.device) for each in pairs)
            products = pair_scores(vectors[at_user], items[at_item - 1]).cpu().numpy()
            counts = np.bincount(pairs[0], minlength=len(users))
            own = np.bincount(pairs[0], products, len(users)) / np.maximum(counts, 1)
            found.append((users, ranked, scores, own.astype(np.float32)))
            advance(int(np.searchsorted(everyone, users.max(initial=0))) + 1)
    columns = (torch.from_numpy(np.concatenate(each)) for each in zip(*found, strict=True))
    sampler.update_hard_negatives(interactions.num_users, *all_gather_rows(*columns))
