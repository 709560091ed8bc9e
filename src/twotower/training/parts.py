"""Build the module and the batches of a training from settings and data."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch

from twotower.config.errors import InputError
from twotower.config.memory import memory_problem
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator
from twotower.features.feature import Feature
from twotower.features.feature_table import FeatureTable
from twotower.towers.two_tower import TwoTower
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule
from twotower.training.order import Order
from twotower.training.training_config import TrainingConfig
from twotower.training.validation import Validation

BYTES_PER_WEIGHT = 16
"""A weight, its gradient and two moments in float32."""
BYTES_PER_HISTORY_ITEM = 56
"""An item of a history in a batch: row, time, mask and intermediate values."""


def build_module(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions,
    epoch_batches: int,
    evaluator: Evaluator | None,
    parent: TwoTower | None = None,
    shares: np.ndarray | None = None,
) -> RetrievalModule:
    """Build towers, sampler, loss and optimizer; `config.seed` decides all random draws.

    Args:
        config: settings of the training.
        dataset: has the tables.
        interactions: the training interactions. Features are fitted on their users and items, and on those of
            impressions without a click if the sampler reads these.
        epoch_batches: batches per epoch; the learning-rate schedule spans `trainer.max_epochs`.
        evaluator: validates after each epoch; None for a training without validation.
        parent: towers of a warm start, whose features are extended.
        shares: see `Objective.frequencies`.

    Raises:
        InputError: the towers need more memory than is available.
    """
    num_items = len(dataset.items)
    trained_items = np.bincount(interactions.items, minlength=num_items + 1) > 0
    width, source_paths = config.tower_width, dataset.source_paths
    seen_users, seen_items = interactions.counts() > 0, trained_items
    if config.negatives.max_impressions() and interactions.impressions is not None:
        seen_users = seen_users | (interactions.impressions.counts() > 0)
        seen_items = seen_items | (np.bincount(interactions.impressions.items, minlength=num_items + 1) > 0)
    users = fit_features(
        config.features.user,
        dataset.user_table,
        np.flatnonzero(seen_users),
        source_paths.get("users", "users"),
        width,
        None if parent is None else parent.users,
    )
    items = fit_features(
        config.features.item,
        dataset.item_table,
        np.flatnonzero(seen_items),
        source_paths.get("items", "items"),
        width,
        None if parent is None else parent.items,
    )
    contexts = fit_contexts(config, dataset, interactions, None if parent is None else parent.contexts)
    check_weights(config, users, items, contexts, len(dataset.events))
    torch.manual_seed(config.seed)
    model = TwoTower(config, users, items, torch.from_numpy(trained_items), contexts, len(dataset.events))
    scoring = config.loss.scoring()
    model.item_bias.initialize(interactions, scoring.temperature or 1.0, scoring.power)
    frequencies = config.objective.build().frequencies(interactions, num_items, shares)
    sampler = config.negatives.build(frequencies)
    if config.loss.impressions == "query_negatives":
        sampler.read_interactions(interactions)
    return RetrievalModule(
        model,
        sampler,
        config.loss.build(int(frequencies.count_nonzero())),
        config.optimizer.build(),
        Validation(dataset.valid, evaluator, interactions, num_items) if evaluator else None,
        config.trainer.max_epochs * epoch_batches,
        config.seed,
    )


def check_weights(
    config: TrainingConfig,
    users: FeatureTable,
    items: FeatureTable,
    contexts: FeatureTable | None = None,
    num_events: int = 0,
) -> None:
    """Refuse towers whose training needs more memory than is available, before any is allocated.

    Raises:
        InputError: with the number of weights.
    """
    towers = TwoTower.without_memory(config, users, items, contexts, num_events)
    number = sum(parameter.numel() for parameter in towers.parameters())
    if message := memory_problem(f"{number:,} weights", number * BYTES_PER_WEIGHT):
        keys = "embedding_dim, user_tower.widths, item_tower.widths, features"
        raise InputError(f"{keys}: {message}; make them narrower")


def build_batches(
    config: TrainingConfig, interactions: Interactions, build_order: Callable[..., Order] = Order
) -> TrainBatches:
    """Build the batches of the training interactions.

    Raises:
        InputError: a batch needs more memory than is available, or the sampler reads impressions without a
            click and there are none.
    """
    reads_impressions = config.negatives.max_impressions() > 0
    if reads_impressions and not (interactions.impressions is not None and len(interactions.impressions)):
        raise InputError(
            "negatives: the train log has no impression without a click (a label of 0, or below "
            "data.label_threshold; an event of the role negative); use negatives=uniform"
        )
    batches = config.objective.build().batches(
        interactions,
        history=config.history,
        seed=config.seed,
        build_order=build_order,
        with_impressions=reads_impressions and config.loss.impressions == "examples",
    )
    size = min(batches.batch_size, batches.order.size)
    histories = f"the histories of a batch, {size:,} of {config.history.length:,} items,"
    if message := memory_problem(histories, batches.num_history_items() * BYTES_PER_HISTORY_ITEM):
        raise InputError(f"objective.batch_size, history.length: {message}; lower one of them")
    return batches


def fit_contexts(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions | None,
    parent: FeatureTable | None = None,
) -> FeatureTable:
    """Fit the context features on the contexts of the training interactions and their impressions.

    Args:
        config: settings of the training.
        dataset: has the contexts.
        interactions: the training interactions; None without training.
        parent: see `fit_features`.
    """
    table = pd.DataFrame() if dataset.context_table is None else dataset.context_table
    rows = [
        np.asarray(part.context)
        for part in (interactions, interactions and interactions.impressions)
        if part and part.context is not None
    ]
    seen = np.unique(np.concatenate(rows)) if rows else np.zeros(0, dtype=np.int64)
    source_path = dataset.source_paths.get("interactions", "interactions")
    return fit_features(
        config.features.context, table, seen[seen > 0], source_path, config.tower_width, parent
    )


def fit_features(
    choices: Mapping[str, Feature.Config],
    table: pd.DataFrame,
    train_rows: np.ndarray,
    source_path: str,
    tower_width: int,
    parent: FeatureTable | None = None,
) -> FeatureTable:
    """Fit features on the training rows of a table and encode all rows.

    Args:
        choices: name -> feature.
        table: of users, items or contexts.
        train_rows: rows that occur in training.
        source_path: of the table, for messages.
        tower_width: width of the towers' output.
        parent: fitted features of the same names, which are extended.
    """
    features = {name: choice.build(tower_width) for name, choice in choices.items()}
    if parent is not None:
        for name, feature in features.items():
            feature.state = parent.features[name].state
    return FeatureTable.fit(features, table, train_rows, source_path, grow=parent is not None)
