"""The parent run of a warm start: its towers, ids and training interactions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.config.spec import TARGET
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.times import date
from twotower.data.vocabulary import Ids, Vocabulary
from twotower.towers.two_tower import TwoTower
from twotower.training.callbacks.checkpointing import FINAL, LAST
from twotower.training.checkpoints import read_checkpoint
from twotower.training.fit import REFIT, TRAINED_ON
from twotower.training.train_towers import better_first_phase

REMEDY = "repeat it (twotower train rerun={}), or start from another run"
LOSS = ("loss.", "scorer.")
"""Prefixes of the weights of loss and scorer, such as the temperature."""


@dataclass(frozen=True, eq=False)
class Parent:
    """A run that trained towers.

    Attributes:
        folder: of the run.
        model: its towers, in eval mode.
        users: ids of its users.
        items: ids of its items.
        interactions: training interactions of its last phase, in its rows.
        loss: weights of loss and scorer, such as the temperature.
        optimizer: class and state of its optimizer; None if the state was not kept.
        events: its event types.
    """

    folder: Path
    model: TwoTower
    users: Vocabulary
    items: Vocabulary
    interactions: Interactions
    loss: Mapping[str, Tensor]
    optimizer: tuple[str, Mapping[str, Any]] | None
    events: Sequence[str] = ()


def read_parent(folder: Path, trusted: Collection[str] = ()) -> Parent:
    """Read a run that trained its towers.

    Raises:
        InputError: a file is missing or damaged.
    """
    bundle = read_bundle(folder / "bundle", trusted)
    checkpoints = folder / "checkpoints"
    # Not from the settings: a warm start has its last phase only.
    phase = next(
        (name for name in (REFIT, better_first_phase(folder)) if (checkpoints / name / FINAL).is_file()), None
    )
    if phase is None:
        raise InputError(f"{folder}: its checkpoints are missing; {REMEDY.format(folder)}")
    final = read_checkpoint(checkpoints / phase / FINAL)
    if TRAINED_ON not in final:
        raise InputError(
            f"{folder}: its final checkpoint does not list the training interactions; {REMEDY.format(folder)}"
        )
    interactions = Interactions(**{name: values.numpy() for name, values in final[TRAINED_ON].items()})
    last = checkpoints / phase / LAST
    states = read_checkpoint(last).get("optimizer_states") if last.is_file() else None
    return Parent(
        folder=folder,
        model=bundle.model,
        users=bundle.users,
        items=bundle.items,
        interactions=interactions,
        loss={key: values for key, values in final["state_dict"].items() if key.startswith(LOSS)},
        optimizer=(bundle.settings["optimizer"][TARGET], states[0]) if states else None,
        events=bundle.manifest.event_types,
    )


def earlier_rows(now: Vocabulary, earlier: Vocabulary) -> np.ndarray:
    """Return the earlier row of each id, [n], 0 for a new one."""
    ids: Ids = now.values
    return earlier.rows(ids).astype(np.int64)


def earlier_event_rows(dataset: RetrievalDataset, parent: Parent) -> np.ndarray:
    """Return the earlier row of each event type, [E], 0 for a new one."""
    rows = {event: row for row, event in enumerate(parent.events, start=1)}
    return np.array([rows.get(event, 0) for event in dataset.events], dtype=np.int64)


def is_new_interaction(parent: Parent, dataset: RetrievalDataset, interactions: Interactions) -> np.ndarray:
    """Return which interactions the parent was not trained on, bool [n].

    Raises:
        InputError: the data has no user or no item of the parent.
    """
    users, items = (
        now.rows(before.values).astype(np.int64)
        for now, before in ((dataset.users, parent.users), (dataset.items, parent.items))
    )
    for kind, rows in (("users", users), ("items", items)):
        if not rows.any():
            raise InputError(
                f"data: it has none of the {len(rows):,} {kind} of {parent.folder}; check the ids"
            )
    ours = (
        interactions.user_rows().astype(np.int64),
        np.asarray(interactions.items, np.int64),
        np.asarray(interactions.times),
    )
    rows_of_user, rows_of_item = np.append(0, users), np.append(0, items)
    theirs = (
        rows_of_user[parent.interactions.user_rows()],
        rows_of_item[parent.interactions.items],
        parent.interactions.times,
    )
    codes = np.zeros(len(interactions) + len(parent.interactions), dtype=np.int64)
    for one, other in zip(ours, theirs, strict=True):
        values, inverse = np.unique(np.concatenate([one, other]), return_inverse=True)
        # Codes are renumbered after each column, so that they never overflow.
        codes = np.unique(codes * len(values) + inverse, return_inverse=True)[1]
    is_new: np.ndarray = ~np.isin(codes[: len(interactions)], codes[len(interactions) :])
    return is_new


def check_leakage(parent: Parent, dataset: RetrievalDataset, holdout: Holdout, window: str) -> None:
    """Check that the parent was not trained on targets of a test or validation window.

    Args:
        parent: the run whose towers are evaluated on the window.
        dataset: of the window.
        holdout: the window.
        window: name of the window.

    Raises:
        InputError: the parent was trained on some of the targets.
    """
    users, items = (
        np.append(0, now.rows(before.values).astype(np.int64))
        for now, before in ((dataset.users, parent.users), (dataset.items, parent.items))
    )
    target_users = np.repeat(np.asarray(holdout.users, np.int64), np.diff(holdout.target_offsets))
    request_times = np.full(len(dataset.users) + 1, np.iinfo(np.int64).max)
    request_times[holdout.users] = holdout.request_times
    users_of = users[parent.interactions.user_rows()]
    # Interactions before the request are no targets, though with repeats they may have the same item.
    later = np.asarray(parent.interactions.times) >= request_times[users_of]
    num_items = len(dataset.items) + 1
    trained = users_of[later] * num_items + items[parent.interactions.items[later]]
    leaked = int(np.isin(target_users * num_items + holdout.target_items, trained).sum())
    if leaked:
        ended = date(int(parent.interactions.times.max()))
        raise InputError(
            f"split: {parent.folder} was trained on {leaked:,} of the {len(target_users):,} {window} "
            f"targets, up to {ended}; add newer data, or let the {window} window begin later "
            "(split.test, split.valid)"
        )
