"""Build the module and the batches of a training from settings and data, and check their sizes."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from twotower.config.errors import InputError
from twotower.config.memory import memory_problem
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator
from twotower.model.features.encoders import LookupEncoder
from twotower.model.features.feature import Activity
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.towers.embedding_tables import sparse_parameters
from twotower.model.towers.two_tower import TwoTower
from twotower.parallel.training_parts import build_batch_loss, own_share, table_builder
from twotower.training.batches import TrainBatches
from twotower.training.initialization.initialization import Initialization
from twotower.training.module import RetrievalModule
from twotower.training.order import Order
from twotower.training.training_config import TrainingConfig
from twotower.training.validation import Validation

LOG = logging.getLogger("twotower")
FeatureTables = tuple[FeatureTable, FeatureTable, FeatureTable]
"""Features of users, items and contexts."""
LARGE_TABLE = 300_000
"""Number of rows above which a warning is logged. With batches of 4,096 and a width of 64, a dense step takes
10 times as long as a sparse one."""
BYTES_PER_WEIGHT = 16
"""A weight, its gradient and two moments in float32."""
BYTES_PER_HISTORY_ITEM = 56
"""An item of a history in a batch: row, time, mask and intermediate values."""


def build_training(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions,
    evaluator: Evaluator | None,
    initialization: Initialization,
    tables: FeatureTables | None = None,
) -> tuple[RetrievalModule, TrainBatches]:
    """Build the module and the batches of a phase, with settings that the interactions determine.

    Args:
        evaluator: validates after each epoch; None for a training without validation.
        initialization: sets the initial weights.
        tables: `fit_tables` of the interactions; None: computed.
    """
    config, chosen = config.resolve(interactions, dataset.horizon_days)
    batches = build_batches(config, interactions)
    towers = build_towers(config, dataset, interactions, tables or fit_tables(config, dataset, interactions))
    module = build_module(config, towers, interactions, num_steps=config.trainer.max_epochs * len(batches))
    if evaluator is not None:
        module.validation = Validation(dataset.valid, evaluator, interactions, len(dataset.items))
    module.chosen |= chosen
    module.initialize(initialization, interactions, config.trainer.monitor)
    return module, batches


def build_towers(
    config: TrainingConfig, dataset: RetrievalDataset, interactions: Interactions, tables: FeatureTables
) -> TwoTower:
    """Build towers with random weights, drawn by `config.seed`, and the item bias of the interactions.

    Raises:
        InputError: the towers need more memory than is available.
    """
    users, items, contexts = tables
    num_items, num_events = len(dataset.items), len(dataset.events)
    check_weights(config, users, items, contexts, num_events)
    trained_items = torch.from_numpy(np.bincount(interactions.items, minlength=num_items + 1) > 0)
    torch.manual_seed(config.seed)
    model = TwoTower(config, users, items, trained_items, contexts, num_events)
    scoring = config.loss.scoring()
    model.item_bias.initialize(interactions, scoring.temperature or 1.0, scoring.power)
    return model


def build_module(
    config: TrainingConfig,
    model: TwoTower,
    interactions: Interactions,
    num_steps: int = 1,
    shares: np.ndarray | None = None,
) -> RetrievalModule:
    """Build sampler, loss and optimizer around towers, without validation.

    Args:
        num_steps: of the learning-rate schedule.
        shares: see `Objective.frequencies`.
    """
    num_items = len(model.trained_items) - 1
    frequencies = config.objective.build().frequencies(interactions, num_items, shares)
    sampler = config.negatives.build(frequencies)
    if config.loss.impressions == "query_negatives":
        sampler.read_interactions(interactions)
    loss = config.loss.build(int(frequencies.count_nonzero()))
    compute_loss = build_batch_loss(model, sampler, loss)
    return RetrievalModule(compute_loss, config.optimizer.build(), num_steps, config.seed)


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
    with torch.device("meta"), _WithoutInitialWeights():  # weights have shapes but no memory
        trained_items = torch.ones(items.num_rows + 1, dtype=torch.bool)
        towers = TwoTower(config, users, items, trained_items, contexts, num_events)
    sparse = {id(table) for table in sparse_parameters(towers)}
    sizes = [(parameter.numel(), id(parameter) in sparse) for parameter in towers.parameters()]
    per_sparse = config.optimizer.bytes_per_sparse_weight
    num_bytes = sum(number * (per_sparse if is_sparse else BYTES_PER_WEIGHT) for number, is_sparse in sizes)
    if message := memory_problem(f"{sum(number for number, _ in sizes):,} weights", num_bytes):
        keys = "embedding_dim, user_tower.widths, item_tower.widths, features"
        raise InputError(f"{keys}: {message}; make them narrower")


class _WithoutInitialWeights(TorchFunctionMode):
    """Skips `torch.nn.init`, for which torch would import its compiler on the meta device, in a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def dense_tables(model: TwoTower) -> Iterator[tuple[str, int]]:
    """Yield the setting that makes a table sparse, and its number of rows, for each dense table."""
    sides = {"user": model.user_encoders, "item": model.item_encoders, "context": model.context_encoders}
    for side, encoders in sides.items():
        for name, encoder in encoders.items():
            if isinstance(encoder, LookupEncoder) and not encoder.table.sparse:
                yield f"features.{side}.{name}.sparse", encoder.table.num_embeddings
    if model.history.config.reads_table and not model.history.config.sparse:
        yield "history.sparse", model.history_table.num_embeddings
    biases = getattr(model.item_bias, "biases", None)
    if isinstance(biases, nn.Parameter) and not model.item_bias.config.gives_sparse_gradients:
        yield "item_bias.sparse", len(biases)


def warn_of_large_tables(model: TwoTower) -> None:
    """Log the settings with which a step updates only the rows in the batch, if tables are large.

    They are not the default: sparse steps omit momentum and weight decay of rows that are not in the batch.
    """
    if large := {key: rows for key, rows in dense_tables(model) if rows >= LARGE_TABLE}:
        LOG.warning(
            "each step updates all rows of a table of %s rows; %s updates only the rows in the batch",
            f"{max(large.values()):,}",
            " ".join(f"{key}=true" for key in large),
        )


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
        share=own_share,
        with_impressions=reads_impressions and config.loss.impressions == "examples",
    )
    size = min(batches.batch_size, batches.order.size)
    histories = f"the histories of a batch, {size:,} of {config.history.length:,} items,"
    if message := memory_problem(histories, batches.num_history_items() * BYTES_PER_HISTORY_ITEM):
        raise InputError(f"objective.batch_size, history.length: {message}; lower one of them")
    return batches


def id_rows(model: TwoTower) -> dict[str, dict[str, int]]:
    """Return key of an id with rules -> its number of rows, and of ids that each rule removed."""
    return {
        f"features.{side}.{name}": {"rows": len(feature.state.values), **feature.removed}
        for side, table in (("user", model.users), ("item", model.items))
        for name, feature in table.features.items()
        if isinstance(feature, Id) and feature.removed
    }


def fit_tables(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions | None,
    parent: TwoTower | None = None,
) -> FeatureTables:
    """Fit the features of users, items and contexts on the rows of training, and encode all rows.

    Args:
        interactions: the training interactions; their impressions count if the sampler reads these. None
            without training.
        parent: towers whose fitted features are extended.
    """
    seen_users, seen_items = (np.zeros(len(ids) + 1, dtype=bool) for ids in (dataset.users, dataset.items))
    context_rows = [np.zeros(0, dtype=np.int64)]
    parts = []
    for part in (interactions, interactions and interactions.impressions):
        if part is None or not (part is interactions or config.negatives.max_impressions()):
            continue
        parts.append(part)
        seen_users |= part.counts() > 0
        seen_items |= np.bincount(part.items, minlength=len(seen_items)) > 0
        if part.context is not None:
            context_rows.append(np.asarray(part.context))
    contexts = np.unique(np.concatenate(context_rows))
    sides = zip(
        config.features.tables(dataset),
        (np.flatnonzero(seen_users), np.flatnonzero(seen_items), contexts[contexts > 0]),
        (None, None, None) if parent is None else (parent.users, parent.items, parent.contexts),
        strict=True,
    )
    tables = []
    for (side, choices, table, source_path), train_rows, earlier in sides:
        features = {name: choice.build(config.tower_width) for name, choice in choices.items()}
        for feature in features.values():
            if isinstance(feature, Id):
                feature.new_table = table_builder()
        if earlier is not None:
            for name, feature in features.items():
                feature.state = earlier.features[name].state
        activity = None
        has_rules = any(isinstance(choice, Id.Config) and choice.has_rules for choice in choices.values())
        if parts and has_rules:
            activity = Activity.measure(parts, train_rows, of_users=side == "user")
        grows = earlier is not None
        tables.append(FeatureTable.fit(features, table, train_rows, source_path, grows, activity))
        for name, feature in features.items():
            if isinstance(feature, Id) and feature.removed:
                LOG.debug(
                    "features.%s.%s: %d rows; %d rare and %d old ids have none; %d rows were given back",
                    *(side, name, len(feature.state.values), *feature.removed.values()),
                )
    users, items, requests = tables
    return users, items, requests
