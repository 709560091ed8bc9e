"""Towers over catalogues of any size, timed by `optimizer.py`: ids, 20 items of history, MLP 64-128-64."""

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from step_model import DIM, LENGTH, TOWERS, WIDTH

from twotower.data.interactions import Interactions
from twotower.features.feature_table import FeatureTable
from twotower.features.id import Id
from twotower.losses.loss import Loss
from twotower.negatives.sampler import NegativeSampler
from twotower.scoring.batch import Batch
from twotower.towers.two_tower_config import TwoTowerConfig
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule
from twotower.training.objectives.next_item import NextItem
from twotower.training.optimizers.optimizer import OptimizerChoice

NUM_USERS, EVENTS_OF_USER = 40_000, 25
TEMPERATURE = 0.07
PACKAGE = "twotower."


def zipf_log(num_items: int, seed: int = 0) -> Interactions:
    """Draw a million interactions of which 4,096 have 3,300 to 3,500 distinct items, whatever the catalogue.

    Of a large one the item of rank r has a probability of 1 / (r + 50), of one below 100,000 all the same: a
    larger catalogue is not to be charged for the duplicates of the smaller, which are encoded once.
    """
    rng = np.random.default_rng(seed)
    size = NUM_USERS * EVENTS_OF_USER
    if num_items < 100_000:
        ranks = rng.random(size) * num_items
    else:
        ranks = np.exp(rng.random(size) * np.log((num_items + 50) / 50)) * 50 - 50
    items = rng.permutation(num_items)[ranks.astype(np.int64).clip(0, num_items - 1)] + 1
    users = np.repeat(np.arange(1, NUM_USERS + 1), EVENTS_OF_USER)
    return Interactions.of(users, items, np.arange(size), NUM_USERS)


def ids_of(num_items: int, sparse: bool) -> FeatureTable:
    """Return the table of items whose only feature is who they are, without a list of their names."""
    feature = Id.Config(column="item_id", dim=DIM, dropout=0.0, sparse=sparse).make(Id)
    feature.state = SimpleNamespace(values=range(num_items), row=lambda value: 0)  # type: ignore[assignment]
    rows = torch.arange(1, num_items + 1)[:, None]
    return FeatureTable({"item_id": feature}, {"item_id": rows}, num_items)


def large_module(
    interactions: Interactions, num_items: int, sparse: bool, optimizer: str = "adamw.AdamW", **towers: Any
) -> RetrievalModule:
    """Build towers in training with in-batch negatives; `towers` go to the settings of the towers."""
    torch.manual_seed(0)
    trained = torch.zeros(num_items + 1, dtype=torch.bool)
    trained[torch.from_numpy(np.unique(interactions.items).astype(np.int64))] = True
    settings = TOWERS | {"history": TOWERS["history"] | {"sparse": sparse}} | towers  # type: ignore[operator]
    items = ids_of(num_items, sparse)
    model = TwoTowerConfig.of(settings).build_towers(FeatureTable({}, {}, NUM_USERS), items, trained)
    frequencies = np.bincount(interactions.items, minlength=num_items + 1) / len(interactions)
    loss = {"_target_": f"{PACKAGE}losses.sampled_softmax.SampledSoftmax", "temperature": TEMPERATURE}
    stepping = {"_target_": f"{PACKAGE}training.optimizers.{optimizer}", "learning_rate": 3e-3}
    negatives = NegativeSampler.Config.chosen({"_target_": f"{PACKAGE}negatives.in_batch.InBatch"}, "")
    module = RetrievalModule(
        model,
        negatives.build(torch.from_numpy(frequencies).float()),  # type: ignore[attr-defined]
        Loss.Config.chosen(loss, "").build(),  # type: ignore[attr-defined]
        OptimizerChoice.Config.chosen(stepping, "").build(),  # type: ignore[attr-defined]
        None,
        1,
        0,
    )
    return module.train()


def batches_of(interactions: Interactions, size: int, count: int) -> Iterator[Batch]:
    """Yield the first batches of a training for ever."""
    objective = NextItem(NextItem.Config(batch_size=size))
    batches = TrainBatches(interactions, objective, history_length=LENGTH, strict=False, seed=0)
    return itertools.cycle(itertools.islice(batches, count))


__all__ = ["DIM", "WIDTH", "batches_of", "large_module", "zipf_log"]
