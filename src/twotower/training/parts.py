"""From settings and a data set to a module ready to train."""

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
from twotower.towers.two_tower_config import TwoTowerConfig
from twotower.training.batches import TrainBatches
from twotower.training.module import RetrievalModule
from twotower.training.order import Order
from twotower.training.training_config import TrainingConfig
from twotower.training.validation import Validation

BYTES_A_WEIGHT = 16
"""Of a weight: itself, its gradient and two moments; checkpoints are written from where these lie."""
BYTES_A_PLACE = 56
"""Of an item of a history in a batch: its row, its time, its place in the log, and what lies between."""


def build_module(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions,
    epoch_batches: int,
    evaluator: Evaluator | None,
    before: TwoTower | None = None,
    shares: np.ndarray | None = None,
) -> RetrievalModule:
    """Build towers, negatives, loss and optimizer, with everything random drawn from `config.seed`.

    Args:
        config: what to build.
        dataset: gives the tables.
        interactions: the training interactions. Features are fitted on their users and items, and on those of
            impressions without a click if these train: an item with impressions only has its own embedding.
        epoch_batches: batches of an epoch.
        evaluator: validates after each epoch; None for a training without validation.
        before: towers whose features are to grow; None to fit them anew.
        shares: see `Objective.frequencies`.

    Raises:
        InputError: the towers take more memory than there is.
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
        None if before is None else before.users,
    )
    items = fit_features(
        config.features.item,
        dataset.item_table,
        np.flatnonzero(seen_items),
        source_paths.get("items", "items"),
        width,
        None if before is None else before.items,
    )
    contexts = fit_contexts(config, dataset, interactions, None if before is None else before.contexts)
    check_weights(config, users, items, contexts, len(dataset.events))
    torch.manual_seed(config.seed)
    model = config.build_towers(users, items, torch.from_numpy(trained_items), contexts, len(dataset.events))
    scoring = config.loss.scoring()
    model.item_bias.initialize(interactions, scoring.temperature or 1.0, scoring.power)
    frequencies = config.objective.build().frequencies(interactions, num_items, shares)
    return RetrievalModule(
        model,
        config.negatives.build(frequencies),
        config.loss.build(int(frequencies.count_nonzero())),
        config.optimizer.build(),
        Validation(dataset.valid, evaluator, interactions, num_items) if evaluator else None,
        epoch_batches,
        config.seed,
    )


def check_weights(
    config: TwoTowerConfig,
    users: FeatureTable,
    items: FeatureTable,
    contexts: FeatureTable | None = None,
    num_events: int = 0,
) -> None:
    """Refuse towers that training cannot hold, before their memory is asked for.

    Raises:
        InputError: says what they take.
    """
    shapes = config.shapes(users, items, contexts, num_events)
    number = sum(parameter.numel() for parameter in shapes.parameters())
    if said := memory_problem(f"{number:,} weights", number * BYTES_A_WEIGHT):
        keys = "embedding_dim, user_tower.widths, item_tower.widths, features"
        raise InputError(f"{keys}: {said}; make them narrower")


def build_batches(
    config: TrainingConfig, interactions: Interactions, order_of: Callable[..., Order] = Order
) -> TrainBatches:
    """Build the batches of a log; see `TrainBatches` for `order_of`.

    Raises:
        InputError: one takes more memory than there is, or negatives are asked for that the log lacks.
    """
    history, num_impressions = config.history, config.negatives.max_impressions()
    if num_impressions and not (interactions.impressions is not None and len(interactions.impressions)):
        raise InputError(
            "negatives: the train log has no impression without a click (a label of 0, or below "
            "data.label_threshold; an event of the role negative); use negatives=uniform"
        )
    labelled = bool(num_impressions) and config.loss.impressions == "examples"
    batches = config.objective.build().batches(
        interactions,
        history_length=history.length,
        strict=history.strict,
        seed=config.seed,
        order_of=order_of,
        labelled=labelled,
        num_query_negatives=num_impressions if config.loss.impressions == "query_negatives" else 0,
    )
    size = min(batches.batch_size, batches.order.size)
    what = f"the histories of a batch, {size:,} of {history.length:,} items,"
    if said := memory_problem(what, batches.num_places() * BYTES_A_PLACE):
        raise InputError(f"objective.batch_size, history.length: {said}; lower one of them")
    return batches


def fit_contexts(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions | None,
    before: FeatureTable | None = None,
) -> FeatureTable:
    """Fit the features of the request on the contexts of training, those of impressions included.

    Args:
        config: of the training.
        dataset: gives the contexts.
        interactions: what is trained on; None if nothing is.
        before: see `fit_features`.
    """
    table = pd.DataFrame() if dataset.context_table is None else dataset.context_table
    rows = [
        np.asarray(each.context)
        for each in (interactions, interactions and interactions.impressions)
        if each and each.context is not None
    ]
    seen = np.unique(np.concatenate(rows)) if rows else np.zeros(0, dtype=np.int64)
    source_path = dataset.source_paths.get("interactions", "interactions")
    return fit_features(
        config.features.context, table, seen[seen > 0], source_path, config.tower_width, before
    )


def fit_features(
    choices: Mapping[str, Feature.Config],
    table: pd.DataFrame,
    train_rows: np.ndarray,
    source_path: str,
    tower_width: int,
    before: FeatureTable | None = None,
) -> FeatureTable:
    """Fit one side's features on train rows and encode its whole table.

    Args:
        choices: name -> feature.
        table: of users, items or contexts.
        train_rows: rows that training sees.
        source_path: of the table, for messages.
        tower_width: of the towers' output.
        before: has features of the same names that were fitted, and now grow.
    """
    features = {name: choice.build(tower_width) for name, choice in choices.items()}
    if before is not None:
        for name, feature in features.items():
            feature.state = before.features[name].state
    return FeatureTable.fit(features, table, train_rows, source_path, grow=before is not None)
