"""The run whose towers are gone on from: what it learned, of which users and items, and from what."""

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
from twotower.training.fit import TRAINED_ON
from twotower.training.phase_files import REFIT, first_phase

REMEDY = "train it again (twotower train rerun={} does), or go on from another"
LOSS = ("loss.", "scorer.")
"""Prefixes of weights that the loss and its scorer learn, such as the temperature."""


@dataclass(frozen=True, eq=False)
class Parent:
    """A run that trained towers.

    Attributes:
        folder: of the run.
        model: its towers, in eval mode.
        users: its vocabulary.
        items: its vocabulary.
        interactions: what its last phase was trained on, in its rows.
        loss: what the loss had learned, such as a temperature.
        optimizer: the class that stepped, and its state; None where it is not there any more.
        events: words of what users did with items.
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
    """Read a run that trained its own towers.

    Raises:
        InputError: a file is missing or damaged, or is of an earlier version.
    """
    bundle = read_bundle(folder / "bundle", trusted)
    checkpoints = folder / "checkpoints"
    # Not from the settings: a run that went on from another has its last phase alone.
    phase = next(
        (name for name in (REFIT, first_phase(folder)) if (checkpoints / name / FINAL).is_file()), None
    )
    if phase is None:
        raise InputError(f"{folder}: its checkpoints are not there any more; {REMEDY.format(folder)}")
    final = read_checkpoint(checkpoints / phase / FINAL)
    if TRAINED_ON not in final:
        raise InputError(
            f"{folder}: is of an earlier version, which did not keep what a run was trained on; "
            f"{REMEDY.format(folder)}"
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


def rows_before(now: Vocabulary, before: Vocabulary) -> np.ndarray:
    """Return the row that each of today's ids had, [n], 0 for a new one."""
    ids: Ids = now.values
    return before.rows(ids).astype(np.int64)


def events_before(dataset: RetrievalDataset, parent: Parent) -> np.ndarray:
    """Return the row that each of today's kinds of events had, [E], 0 for a new one."""
    rows = {word: row for row, word in enumerate(parent.events, start=1)}
    return np.array([rows.get(word, 0) for word in dataset.events], dtype=np.int64)


def new_interactions(parent: Parent, dataset: RetrievalDataset, interactions: Interactions) -> np.ndarray:
    """Return which interactions of a log the parent was not trained on, bool [n].

    Raises:
        InputError: no user or no item of the parent is there any more.
    """
    users, items = (
        now.rows(before.values).astype(np.int64)
        for now, before in ((dataset.users, parent.users), (dataset.items, parent.items))
    )
    for what, rows in (("users", users), ("items", items)):
        if not rows.any():
            raise InputError(
                f"data: none of the {len(rows):,} {what} of {parent.folder} is in it; is it the same?"
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
        values, places = np.unique(np.concatenate([one, other]), return_inverse=True)
        # Counted anew each time, so that a code of all three never overflows.
        codes = np.unique(codes * len(values) + places, return_inverse=True)[1]
    found: np.ndarray = ~np.isin(codes[: len(interactions)], codes[len(interactions) :])
    return found


def refuse_leak(parent: Parent, dataset: RetrievalDataset, holdout: Holdout, window: str) -> None:
    """Refuse a window some of whose targets the parent was trained on: they would be no test of anything.

    Args:
        parent: whose towers are gone on from.
        dataset: of the window.
        holdout: the window.
        window: its name.

    Raises:
        InputError: says how many there are, and what to do.
    """
    users, items = (
        np.append(0, now.rows(before.values).astype(np.int64))
        for now, before in ((dataset.users, parent.users), (dataset.items, parent.items))
    )
    owners = np.repeat(np.asarray(holdout.users, np.int64), np.diff(holdout.target_offsets))
    asked_at = np.full(len(dataset.users) + 1, np.iinfo(np.int64).max)
    asked_at[holdout.users] = holdout.request_times
    users_of = users[parent.interactions.user_rows()]
    # What was known when a user asked is no target, though with repeats it may be of the same item.
    later = np.asarray(parent.interactions.times) >= asked_at[users_of]
    num_items = len(dataset.items) + 1
    trained = users_of[later] * num_items + items[parent.interactions.items[later]]
    leaked = int(np.isin(owners * num_items + holdout.target_items, trained).sum())
    if leaked:
        ended = date(int(parent.interactions.times.max()))
        raise InputError(
            f"split: {leaked:,} of the {len(owners):,} {window} targets are what {parent.folder} was trained "
            f"on, up to {ended}, so they would measure memory; bring newer data, or let the {window} window "
            "begin later (split.test, split.valid)"
        )
