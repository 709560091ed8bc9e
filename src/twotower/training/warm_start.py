"""Warm start: train the towers of a parent run further on larger data, in one phase of a few epochs."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.config.run_keys import WarmStart
from twotower.data.dataset import HiddenHoldout, Holdout, RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.times import date
from twotower.data.vocabulary import Vocabulary
from twotower.evaluation.evaluator import Evaluator
from twotower.model.features.id import Id
from twotower.model.towers.two_tower import TwoTower
from twotower.training.checkpoints import FIT, REFIT, TRAINED_ON, final_path, read_checkpoint
from twotower.training.fit import TrainContext, fit
from twotower.training.module import RetrievalModule
from twotower.training.order import Replay
from twotower.training.parts import build_batches, build_module, build_towers, fit_tables
from twotower.training.train_towers import TrainedTowers, check_same_data, evaluate_valid, trained_towers
from twotower.training.training_config import TrainingConfig
from twotower.training.validation import Validation

LOG = logging.getLogger("twotower")
ITEM_BIAS, ENCODERS, NEW_ITEMS = "item_bias.", "_encoders.", "new_items."
REMEDY = "train it again (twotower train rerun={}), or start from another run"
LOSS = ("loss.", "scorer.")
"""Prefixes of weights that the loss and its scorer learn, such as the temperature."""


@dataclass(frozen=True, eq=False)
class Parent:
    """A run that trained towers.

    Attributes:
        folder: of the run.
        model: its towers, in eval mode.
        users: its vocabulary of users.
        items: its vocabulary of items.
        interactions: training data of its last phase, in its own rows.
        loss: learned parameters of loss and scorer, such as a temperature.
        chosen: settings that its validation split determined, by key.
        events: its event types.
    """

    folder: Path
    model: TwoTower
    users: Vocabulary
    items: Vocabulary
    interactions: Interactions
    loss: Mapping[str, Tensor]
    chosen: Mapping[str, float | None] = field(default_factory=dict)
    events: Sequence[str] = ()


def read_parent(folder: Path, trusted: Collection[str] = ()) -> Parent:
    """Read a run that trained its own towers.

    Raises:
        InputError: a file is missing or damaged.
    """
    bundle = read_bundle(folder / "bundle", trusted)
    # Not from the settings: a warm start has only the last phase.
    phase = next((name for name in (REFIT, FIT) if final_path(folder, name).is_file()), None)
    if phase is None:
        raise InputError(f"{folder}: its checkpoints were deleted; {REMEDY.format(folder)}")
    final = read_checkpoint(final_path(folder, phase))
    interactions = Interactions(**{name: values.numpy() for name, values in final[TRAINED_ON].items()})
    return Parent(
        folder=folder,
        model=bundle.model,
        users=bundle.users,
        items=bundle.items,
        interactions=interactions,
        loss={key: values for key, values in final["state_dict"].items() if key.startswith(LOSS)},
        chosen=final["fitted"]["chosen"],
        events=bundle.manifest.event_types,
    )


def warm_start(
    config: TrainingConfig,
    dataset: RetrievalDataset,
    evaluator: Evaluator,
    parent: Parent,
    settings: WarmStart,
    context: TrainContext,
) -> tuple[TrainedTowers, dict[str, int]]:
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
    config, chosen = config.resolve(interactions, dataset.horizon_days)
    batches = build_batches(config, interactions, replay.order)
    tables = fit_tables(config, dataset, interactions, parent.model)
    towers = build_towers(config, dataset, interactions, tables)
    module = build_module(
        config, towers, interactions, config.trainer.max_epochs * len(batches), replay.shares
    )
    if not refit:
        module.validation = Validation(dataset.valid, evaluator, interactions, len(dataset.items))
    module.chosen |= chosen
    transfer_parent(parent, dataset, interactions, module)
    module.set_chosen(parent.chosen)
    LOG.info(
        "warm start from %s: %d new users, %d new items, %d new interactions; %d examples per epoch",
        *(parent.folder, *growth.values(), batches.order.size),
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
    of the unknown value, a new event type with zeros. So embeddings do not change, and new items get the
    embeddings that the parent computes from their features.

    Args:
        model: the new towers, with the same settings; their features extend the features of the parent.
        parent: the earlier towers.
        interactions: the new training interactions; None without training.

    Raises:
        InputError: shapes differ in a dimension that cannot grow.
    """
    item_rows = torch.from_numpy(earlier_rows(dataset.items, parent.items))
    event_rows = torch.from_numpy(earlier_event_rows(dataset, parent))
    learned, weights = parent.model.state_dict(), model.state_dict()
    id_rows = {
        f"{side}_encoders.{name}.table.weight": feature.rows_in(known.features[name])
        for side, table, known in (
            ("user", model.users, parent.model.users),
            ("item", model.items, parent.model.items),
        )
        for name, feature in table.features.items()
        if isinstance(feature, Id)
    }
    by_row = {"trained_items": item_rows, "history_table.weight": item_rows, "event_table.weight": event_rows}
    for name, values in weights.items():
        if name.startswith(ITEM_BIAS) or (name.startswith(NEW_ITEMS) and name not in learned):
            continue
        if name not in learned or learned[name].shape[1:] != values.shape[1:]:
            raise InputError(f"{name}: the towers of the parent run have no such weights")
        earlier = learned[name]
        if name in by_row:  # the first entry is of the unknown item or event
            moved = earlier[by_row[name]]
            moved[by_row[name] == 0] = 0
            weights[name] = torch.cat([earlier[:1], moved])
        elif name in id_rows:
            weights[name] = earlier[id_rows[name]]
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


def count_growth(parent: Parent, dataset: RetrievalDataset, new_interactions: int) -> dict[str, int]:
    """Count users, items and training interactions that the parent run did not have."""
    users, items = earlier_rows(dataset.users, parent.users), earlier_rows(dataset.items, parent.items)
    new = {"new_users": int((users == 0).sum()), "new_items": int((items == 0).sum())}
    return new | {"new_interactions": new_interactions}


def earlier_rows(now: Vocabulary, earlier: Vocabulary) -> np.ndarray:
    """Return the row of each current id in the parent, int64 [n]; 0 = new."""
    return earlier.rows(now.values).astype(np.int64)


def earlier_event_rows(dataset: RetrievalDataset, parent: Parent) -> np.ndarray:
    """Return the row of each current event type in the parent, int64 [E]; 0 = new."""
    rows = {name: row for row, name in enumerate(parent.events, start=1)}
    return np.array([rows.get(name, 0) for name in dataset.events], dtype=np.int64)


def interactions_in(dataset: RetrievalDataset, parent: Parent) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return users, items and times of the parent's interactions in the rows of a data set; 0 = absent.

    Raises:
        InputError: the data contains no user or no item of the parent.
    """
    rows = []
    for what, now, before in (
        ("users", dataset.users, parent.users),
        ("items", dataset.items, parent.items),
    ):
        rows.append(np.append(0, now.rows(before.values).astype(np.int64)))
        if not rows[-1].any():
            raise InputError(
                f"data: none of the {len(before):,} {what} of {parent.folder} is in it; expected the "
                "data of that run, grown"
            )
    trained = parent.interactions
    return rows[0][trained.user_rows()], rows[1][trained.items], np.asarray(trained.times)


def is_new_interaction(parent: Parent, dataset: RetrievalDataset, interactions: Interactions) -> np.ndarray:
    """Return whether each interaction is new to the parent, bool [n]; see `interactions_in`."""
    columns = interactions.user_rows(), interactions.items, interactions.times
    ours = pd.MultiIndex.from_arrays([np.asarray(column, dtype=np.int64) for column in columns])
    is_new: np.ndarray = ~ours.isin(pd.MultiIndex.from_arrays(interactions_in(dataset, parent)))
    return is_new


def check_leakage(parent: Parent, dataset: RetrievalDataset, holdout: Holdout, window: str) -> None:
    """Refuse a test or validation window with targets on which the parent was trained.

    A hidden window is checked when it is revealed.

    Raises:
        InputError: the window has trained targets.
    """
    if isinstance(holdout, HiddenHoldout):
        return
    users, items, times = interactions_in(dataset, parent)
    target_users = np.repeat(np.asarray(holdout.users, np.int64), np.diff(holdout.target_offsets))
    request_times = np.full(len(dataset.users) + 1, np.iinfo(np.int64).max)
    request_times[holdout.users] = holdout.request_times
    # Interactions before the request are no targets, though with repeats they may have the same item.
    later = times >= request_times[users]
    num_items = len(dataset.items) + 1
    trained = users[later] * num_items + items[later]
    leaked = int(np.isin(target_users * num_items + holdout.target_items, trained).sum())
    if leaked:
        raise InputError(
            f"split: {leaked:,} of the {len(target_users):,} {window} targets are training data of "
            f"{parent.folder} (up to {date(int(times.max()))}); use newer data, or a later {window} window "
            "(split.test, split.valid)"
        )
