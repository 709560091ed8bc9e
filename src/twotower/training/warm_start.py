"""Warm start: train the towers of a parent run further on larger data, in one phase of a few epochs."""

import dataclasses
import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twotower.config.errors import InputError
from twotower.config.run_keys import WarmStart
from twotower.data.dataset import RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluator import Evaluator
from twotower.towers.two_tower import TwoTower
from twotower.training.checkpoints import FIT, REFIT
from twotower.training.fit import TrainContext, fit
from twotower.training.module import RetrievalModule
from twotower.training.order import Replay
from twotower.training.parent import (
    Parent,
    check_leakage,
    earlier_event_rows,
    earlier_rows,
    is_new_interaction,
)
from twotower.training.parts import build_training, fit_tables
from twotower.training.train_towers import TrainedTowers, check_same_data, evaluate_valid, trained_towers
from twotower.training.training_config import TrainingConfig

LOG = logging.getLogger("twotower")
BY_ITEM = ("trained_items", "history_table.weight")
BY_EVENT = ("event_table.weight",)
ITEM_BIAS, ENCODERS, NEW_ITEMS = "item_bias.", "_encoders.", "new_items."


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
        settings: number of epochs, and the share of old examples in each.

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
    config = config.model_copy(update={"optimizer": constant})
    valid_evaluator = None if refit else evaluator
    module, batches = build_training(config, dataset, interactions, valid_evaluator, parent.model, replay)
    transfer_parent(parent, dataset, interactions, module)
    LOG.info(
        "warm start from %s: %d new users, %d new items, %d new interactions; %d examples per epoch",
        *(parent.folder, growth.new_users, growth.new_items, growth.new_interactions, batches.order.size),
    )
    trainer = context.trainer.model_copy(update={"max_epochs": settings.epochs})
    context = dataclasses.replace(context, trainer=trainer)
    result = fit(context, module, batches, REFIT if refit else FIT)
    valid = None if refit else evaluate_valid(module, dataset, evaluator)
    return trained_towers(module, [result], refit, valid), growth


def transfer_parent(
    parent: Parent, dataset: RetrievalDataset, interactions: Interactions, module: RetrievalModule
) -> None:
    """Copy the towers of the parent run, and what its loss learned, into a module."""
    transfer_towers(module.model, parent, dataset, interactions)
    learned = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    module.load_state_dict({key: parent.loss[key] for key in learned & parent.loss.keys()}, strict=False)


def extend_towers(config: TrainingConfig, dataset: RetrievalDataset, parent: Parent) -> TwoTower:
    """Return the towers of a parent run for larger data, without training; new items count as untrained."""
    users, items, contexts = fit_tables(config, dataset, None, parent.model)
    trained_items = torch.zeros(len(dataset.items) + 1, dtype=torch.bool)
    model = TwoTower(config, users, items, trained_items, contexts, len(dataset.events))
    transfer_towers(model, parent, dataset, None)
    return model.eval()


def transfer_towers(
    model: TwoTower, parent: Parent, dataset: RetrievalDataset, interactions: Interactions | None
) -> None:
    """Copy all weights of the parent's towers into towers of larger data, matched by id.

    Known items and known feature values keep their embeddings; a new feature value starts with the embedding
    of the unknown value, a new event type with zeros. So embeddings do not change, and those of new items are
    what the parent computes from their features.

    Args:
        model: the new towers, with the same settings; their features extend those of the parent.
        parent: the earlier towers.
        interactions: the new training interactions; None without training.

    Raises:
        InputError: shapes differ in a dimension that cannot grow.
    """
    item_rows = torch.from_numpy(earlier_rows(dataset.items, parent.items))
    event_rows = torch.from_numpy(earlier_event_rows(dataset, parent))
    learned, weights = parent.model.state_dict(), model.state_dict()
    by_row = dict.fromkeys(BY_ITEM, item_rows) | dict.fromkeys(BY_EVENT, event_rows)
    for name, values in weights.items():
        if name.startswith(ITEM_BIAS) or (name.startswith(NEW_ITEMS) and name not in learned):
            continue
        if name not in learned or learned[name].shape[1:] != values.shape[1:]:
            raise InputError(f"{name}: the towers of the parent run have no such weights")
        earlier = learned[name]
        if name in by_row:  # the first entry is of the unknown item or event
            earlier_positions = torch.cat(
                [by_row[name].new_zeros(1), torch.where(by_row[name] > 0, by_row[name], -1)]
            )
            weights[name] = rearrange(earlier, earlier_positions, torch.zeros_like(earlier[0]))
        elif earlier.shape == values.shape:
            weights[name] = earlier
        elif ENCODERS in name and len(values) > len(earlier):
            added = earlier[:1].expand(len(values) - len(earlier), *earlier.shape[1:])
            weights[name] = torch.cat([earlier, added])
        else:
            raise InputError(
                f"{name}: shape {tuple(earlier.shape)} in the parent run, {tuple(values.shape)} now"
            )
    if interactions is not None:
        weights["trained_items"][torch.from_numpy(np.unique(interactions.items).astype(np.int64))] = True
    model.load_state_dict(weights)
    model.item_bias.warm_start(parent.model.item_bias, item_rows, interactions)


def rearrange(values: Tensor, earlier_positions: Tensor, new: Tensor) -> Tensor:
    """Return values [n] by earlier position; entries without one (-1) are `new`."""
    rearranged = new.expand(len(earlier_positions), *new.shape).clone()
    is_known = earlier_positions >= 0
    rearranged[is_known] = values[earlier_positions[is_known]]
    return rearranged
