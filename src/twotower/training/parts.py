"""From settings and a data set to a module ready to train."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from twotower.config.errors import InputError
from twotower.config.memory import beyond_memory
from twotower.config.spec import build
from twotower.data.dataset import RetrievalDataset
from twotower.data.history import History
from twotower.evaluation.evaluator import Evaluator
from twotower.features.feature import Feature
from twotower.features.feature_table import FeatureTable
from twotower.losses.loss import Loss
from twotower.negatives.negatives import Negatives
from twotower.towers.build import build_two_tower, tower_width
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.training.examples import NextItem, TrainBatches
from twotower.training.module import RetrievalModule
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.validation import Validation

Settings = Mapping[str, Any]

BYTES_A_WEIGHT = 28
"""Of a weight: itself, its gradient, two moments, and all but the gradient once more in a checkpoint."""
BYTES_A_PLACE = 56
"""Of an item of a history in a batch: its row, its time, its place in the log, and what lies between."""


def build_module(
    settings: Settings,
    dataset: RetrievalDataset,
    log: History,
    epoch_batches: int,
    evaluator: Evaluator | None,
) -> RetrievalModule:
    """Build towers, negatives, loss and optimizer, with everything random drawn from `settings.seed`.

    Args:
        settings: plain checked values.
        dataset: gives the tables.
        log: what is trained on; features are fitted on its users and items only.
        epoch_batches: batches of an epoch.
        evaluator: validates after each epoch; None for a training without validation.

    Raises:
        InputError: the towers take more memory than there is.
    """
    num_items = len(dataset.items)
    trained_items = np.bincount(log.items, minlength=num_items + 1) > 0
    users = fit_features(settings, dataset, "user", np.flatnonzero(log.counts()))
    items = fit_features(settings, dataset, "item", np.flatnonzero(trained_items))
    check_weights(settings, users, items)
    torch.manual_seed(settings["seed"])
    model = build_two_tower(settings, users, items, torch.from_numpy(trained_items))
    model.item_bias.initialise(log)
    objective = build(settings["objective"], NextItem)
    frequencies = objective.frequencies(log, num_items)
    return RetrievalModule(
        model,
        build(settings["negatives"], Negatives, frequencies),
        build(settings["loss"], Loss),
        build(settings["optimizer"], OptimizerChoice),
        Validation(dataset.valid, evaluator, log, num_items) if evaluator else None,
        epoch_batches,
        settings["seed"],
    )


def check_weights(settings: Settings, users: FeatureTable, items: FeatureTable) -> None:
    """Refuse towers that training cannot hold, before their memory is asked for.

    Raises:
        InputError: says what they take.
    """
    with torch.device("meta"):
        trained_items = torch.ones(items.num_rows + 1, dtype=torch.bool)
        model = build_two_tower(settings, users, items, trained_items)
    number = sum(parameter.numel() for parameter in model.parameters())
    if said := beyond_memory(f"{number:,} weights", number * BYTES_A_WEIGHT):
        keys = "embedding_dim, user_tower.widths, item_tower.widths, features"
        raise InputError(f"{keys}: {said}; make them narrower")


def build_batches(settings: Settings, log: History) -> TrainBatches:
    """Build the batches of a log.

    Raises:
        InputError: one takes more memory than there is.
    """
    history = build(settings["history"], HistoryEncoder, 1)
    batches = TrainBatches(
        log,
        build(settings["objective"], NextItem),
        history_length=history.length,
        strict=history.strict,
        seed=settings["seed"],
    )
    size = min(batches.batch_size, batches.order.size)
    what = f"the histories of a batch, {size:,} of {history.length:,} items,"
    if said := beyond_memory(what, size * history.length * BYTES_A_PLACE):
        raise InputError(f"objective.batch_size, history.length: {said}; lower one of them")
    return batches


def fit_features(
    settings: Settings, dataset: RetrievalDataset, side: str, train_rows: np.ndarray
) -> FeatureTable:
    """Fit one side's features on train rows and encode its whole table.

    Args:
        settings: with `features`.
        dataset: gives the table.
        side: `user` or `item`.
        train_rows: rows that training sees.
    """
    width, specs = tower_width(settings), settings["features"][side]
    features = {name: Feature.Config.model_validate(spec).build(width) for name, spec in specs.items()}
    table = dataset.user_table if side == "user" else dataset.item_table
    return FeatureTable.fit(features, table, train_rows, dataset.origins.get(f"{side}s", f"{side}s"))
