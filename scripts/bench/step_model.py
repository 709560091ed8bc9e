"""The model and the log that `step.py` times: MovieLens 1M's shape, 20 items of history, MLP 64-128-64."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from twotower.config.component import Config
from twotower.data.interactions import Interactions
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.scoring.batch import Batch
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule
from twotower.training.objectives.next_item import NextItem
from twotower.training.optimizers.optimizer import OptimizerChoice

NUM_USERS, NUM_ITEMS, LENGTH, DIM, WIDTH, TEMPERATURE = 6040, 3416, 20, 64, 128, 0.07
TOWER = {
    "_target_": "twotower.model.towers.mlp.Mlp",
    "widths": [WIDTH],
    "normalize": "l2",
}
TOWERS = {
    "embedding_dim": DIM,
    "history": {
        "_target_": "twotower.model.towers.history.weighted_pooling.WeightedPooling",
        "length": LENGTH,
        "last_item": False,
    },
    "user_tower": TOWER | {"residual": "history"},
    "item_tower": TOWER | {"residual": "item_id"},
    "item_bias": {"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"},
}


def synthetic_log(seed: int = 0) -> Interactions:
    """Draw a log with MovieLens 1M's skew: 166 items a user, 390 of the user of an interaction.

    A batch of 1024 has about 720 distinct positives, one of 4096 about 1,800.
    """
    rng = np.random.default_rng(seed)
    counts = np.minimum(20 + rng.lognormal(np.log(145) - 0.51, 1.01, NUM_USERS), NUM_ITEMS // 2).astype(int)
    log_q = -np.log(np.arange(NUM_ITEMS) + 51)
    keys = log_q + rng.gumbel(size=(NUM_USERS, NUM_ITEMS)).astype(np.float32)
    order = np.argsort(-keys, axis=1)
    items = np.concatenate([rng.permutation(order[user, :count]) for user, count in enumerate(counts)]) + 1
    users = np.repeat(np.arange(1, NUM_USERS + 1), counts)
    return Interactions.from_rows(users, items, np.arange(len(users)), NUM_USERS)


def module_of(interactions: Interactions, negatives: str, learning_rate: float = 3e-3) -> RetrievalModule:
    """Build our side, with `in_batch.InBatch` or `catalogue.Catalogue` negatives."""
    feature = Id.Config(column="item_id", dim=DIM, dropout=0.0).make(Id)
    ids = pd.DataFrame({"item_id": np.arange(NUM_ITEMS)})
    items = FeatureTable.fit({"item_id": feature}, ids, np.arange(1, NUM_ITEMS + 1), "items")
    users = FeatureTable({}, {}, NUM_USERS)
    torch.manual_seed(0)
    trained = torch.arange(NUM_ITEMS + 1) > 0
    model = TwoTower(TwoTowerConfig.from_settings(TOWERS), users, items, trained)
    corrected = negatives.startswith("in_batch")
    choices: dict[str, Config] = {
        "negatives": NegativeSampler.Config.from_spec(
            {"_target_": f"twotower.model.negatives.{negatives}"}, ""
        ),
        "loss": Loss.Config.from_spec(
            {
                "_target_": "twotower.model.losses.sampled_softmax.SampledSoftmax",
                "temperature": TEMPERATURE,
                "log_q_correction": corrected,
            },
            "",
        ),
        "optimizer": OptimizerChoice.Config.from_spec(
            {"_target_": "twotower.training.optimizers.adamw.AdamW", "learning_rate": learning_rate}, ""
        ),
    }
    frequencies = np.bincount(interactions.items, minlength=NUM_ITEMS + 1) / len(interactions)
    frequencies[1:] = np.maximum(frequencies[1:], 1e-9)
    return RetrievalModule(
        model,
        choices["negatives"].build(torch.from_numpy(frequencies).float()),  # type: ignore[attr-defined]
        choices["loss"].build(),  # type: ignore[attr-defined]
        choices["optimizer"].build(),  # type: ignore[attr-defined]
        None,
        1,
        0,
    )


def batches_of(interactions: Interactions, size: int, count: int) -> list[Batch]:
    """Gather the first batches of a training."""
    objective = NextItem(NextItem.Config(batch_size=size))
    batches = TrainBatches(
        interactions, objective, history=MeanPooling.Config(length=LENGTH, strict=False), seed=0
    )
    return list(itertools.islice(batches, count))


def precision(low: bool) -> contextlib.AbstractContextManager[Any]:
    """Return autocast to bf16, or nothing."""
    return torch.autocast("cpu", torch.bfloat16) if low else contextlib.nullcontext()


def our_step(module: RetrievalModule, batches: Iterator[Batch], low: bool) -> Callable[[], torch.Tensor]:
    """Return what makes a step of ours, without Lightning."""
    optimizer = module.optimizer_choice.optimizer(p for p in module.parameters() if p.requires_grad)

    def step() -> torch.Tensor:
        batch = next(batches)
        module.on_train_batch_start(batch, 0)
        with precision(low):
            loss = module.batch_loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step
