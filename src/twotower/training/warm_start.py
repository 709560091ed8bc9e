"""Warm start: train the towers of a parent run further on larger data, in one phase of a few epochs."""

import dataclasses
import logging
from dataclasses import dataclass

import numpy as np
import torch

from twotower.config.run_keys import WarmStart
from twotower.config.spec import TARGET
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator
from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.build_index import BuildIndex
from twotower.training.callbacks.rehearsal import Rehearsal
from twotower.training.fit import FIT, REFIT, run_phase
from twotower.training.module import RetrievalModule
from twotower.training.order import Replay
from twotower.training.parent import (
    Parent,
    check_leakage,
    earlier_event_rows,
    earlier_rows,
    is_new_interaction,
)
from twotower.training.parts import build_batches, build_module, fit_contexts, fit_features
from twotower.training.train_context import TrainContext
from twotower.training.train_towers import TrainedTowers, check_same_data, evaluate_valid, trained_towers
from twotower.training.training_config import TrainingConfig
from twotower.training.transfer_weights import optimizer_state_loader, transfer_towers

LOG = logging.getLogger("twotower")


@dataclass(frozen=True)
class Growth:
    """Number of users, items and training interactions that the parent run did not have."""

    new_users: int
    new_items: int
    new_interactions: int


def count_growth(parent: Parent, dataset: RetrievalDataset, num_new_interactions: int) -> Growth:
    """Count new users and items."""
    users, items = earlier_rows(dataset.users, parent.users), earlier_rows(dataset.items, parent.items)
    return Growth(int((users == 0).sum()), int((items == 0).sum()), num_new_interactions)


def warm_start(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    parent: Parent,
    settings: WarmStart,
    context: TrainContext,
) -> tuple[TrainedTowers, Growth]:
    """Train the towers of a parent run further.

    With `trainer.refit` on train + valid for all epochs; otherwise on train, and the best epoch on the
    validation split is used.

    Args:
        config: settings of the training; the parent run has the same towers and features.
        dataset: the larger data.
        evaluator: of the validation split.
        parent: the run whose towers are trained further.
        settings: number of epochs, and the share of old examples in each.
        context: settings, folder and callbacks.

    Raises:
        InputError: no interaction is new, or the parent was trained on targets of the test.
    """
    refit = config.trainer.refit
    for window in ("test",) if refit else ("test", "valid"):
        check_leakage(parent, dataset, getattr(dataset, window), window)
    interactions = dataset.train_and_valid if refit else dataset.train
    impressions = interactions.impressions
    # A run does not store its impressions: those after its last training interaction are new.
    impression_times = np.zeros(0) if impressions is None else np.asarray(impressions.times)
    is_new = is_new_interaction(parent, dataset, interactions)
    message = (
        f"data: {parent.folder} was trained on all {len(interactions):,} interactions that this run would "
        "train on; add newer data (twotower train rebuild_bundle= makes a bundle without training)"
    )
    replay = Replay(is_new, settings.replay, impression_times > parent.interactions.times.max(), message)
    growth = count_growth(parent, dataset, int(is_new.sum()))
    check_same_data(context.folder, dataset.identity)
    constant = config.optimizer.model_copy(update={"schedule": "constant"})
    config, chosen = config.model_copy(update={"optimizer": constant}).resolve(interactions)
    batches = build_batches(config, interactions, replay.order)
    valid_evaluator = None if refit else evaluator
    module = build_module(
        config, dataset, interactions, len(batches), valid_evaluator, parent.model, replay.shares
    )
    transfer_parent(parent, config, dataset, interactions, module)
    module.chosen |= chosen
    LOG.info(
        "warm start from %s: %d new users, %d new items, %d new interactions; %d examples per epoch",
        *(parent.folder, growth.new_users, growth.new_items, growth.new_interactions, batches.order.size),
    )
    trainer = context.trainer.model_copy(update={"max_epochs": settings.epochs})
    context = dataclasses.replace(context, trainer=trainer)
    build_index = BuildIndex(context.index_catalogue)
    callbacks = [Rehearsal(context.rehearse_index, batches), build_index]
    result = run_phase(context, module, batches, REFIT if refit else FIT, callbacks)
    valid = None if refit else evaluate_valid(module, dataset, evaluator)
    trained = trained_towers(module, [result], lambda _: valid)
    return dataclasses.replace(trained, refit=refit, indexed=build_index.indexed), growth


def transfer_parent(
    parent: Parent,
    config: TrainingConfig,
    dataset: RetrievalDataset,
    interactions: Interactions,
    module: RetrievalModule,
) -> None:
    """Copy towers, loss and optimizer state of the parent run into a module."""
    item_rows, event_rows = _earlier_item_and_event_rows(dataset, parent)
    moved = transfer_towers(module.model, parent.model, item_rows, event_rows, interactions)
    learned = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    module.load_state_dict({key: parent.loss[key] for key in learned & parent.loss.keys()}, strict=False)
    if parent.optimizer is None:
        LOG.info(
            "the optimizer starts with a new state: %s has none (trainer.keep_optimizer_state=true keeps it)",
            parent.folder,
        )
    elif parent.optimizer[0] == config.optimizer.spec()[TARGET]:
        rows_by_name = {f"model.{name}": rows for name, rows in moved.items()}
        module.load_optimizer_state = optimizer_state_loader(module, rows_by_name, parent.optimizer[1])


def extend_towers(config: TrainingConfig, dataset: RetrievalDataset, parent: Parent) -> TwoTower:
    """Return the towers of a parent run for larger data, without training; new items count as untrained."""
    no_rows, features, width = np.zeros(0, dtype=np.int64), config.features, config.tower_width
    users = fit_features(features.user, dataset.user_table, no_rows, "users", width, parent.model.users)
    items = fit_features(features.item, dataset.item_table, no_rows, "items", width, parent.model.items)
    contexts = fit_contexts(config, dataset, None, parent.model.contexts)
    item_rows, event_rows = _earlier_item_and_event_rows(dataset, parent)
    trained_items = torch.zeros(len(item_rows) + 1, dtype=torch.bool)
    model = TwoTower(config, users, items, trained_items, contexts, len(event_rows))
    transfer_towers(model, parent.model, item_rows, event_rows, None)
    return model.eval()


def _earlier_item_and_event_rows(
    dataset: RetrievalDataset, parent: Parent
) -> tuple[torch.Tensor, torch.Tensor]:
    items, events = earlier_rows(dataset.items, parent.items), earlier_event_rows(dataset, parent)
    return torch.from_numpy(items), torch.from_numpy(events)
