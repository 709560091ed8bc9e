"""The parent of a warm start: its towers, vocabularies and training data."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.times import date
from twotower.data.vocabulary import Ids, Vocabulary
from twotower.towers.two_tower import TwoTower
from twotower.training.checkpoints import read_checkpoint
from twotower.training.fit import REFIT, TRAINED_ON, final_path
from twotower.training.train_towers import better_first_phase

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
        events: its event types.
    """

    folder: Path
    model: TwoTower
    users: Vocabulary
    items: Vocabulary
    interactions: Interactions
    loss: Mapping[str, Tensor]
    events: Sequence[str] = ()


def read_parent(folder: Path, trusted: Collection[str] = ()) -> Parent:
    """Read a run that trained its own towers.

    Raises:
        InputError: a file is missing or damaged.
    """
    bundle = read_bundle(folder / "bundle", trusted)
    # Not from the settings: a warm start has only the last phase.
    phase = next(
        (name for name in (REFIT, better_first_phase(folder)) if final_path(folder, name).is_file()), None
    )
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
        events=bundle.manifest.event_types,
    )


def earlier_rows(now: Vocabulary, earlier: Vocabulary) -> np.ndarray:
    """Return the row of each current id in the parent, int64 [n]; 0 = new."""
    ids: Ids = now.values
    return earlier.rows(ids).astype(np.int64)


def earlier_event_rows(dataset: RetrievalDataset, parent: Parent) -> np.ndarray:
    """Return the row of each current event type in the parent, int64 [E]; 0 = new."""
    rows = {name: row for row, name in enumerate(parent.events, start=1)}
    return np.array([rows.get(name, 0) for name in dataset.events], dtype=np.int64)


def is_new_interaction(parent: Parent, dataset: RetrievalDataset, interactions: Interactions) -> np.ndarray:
    """Return whether each interaction is new to the parent, bool [n].

    Raises:
        InputError: the data contains no user or no item of the parent.
    """
    users, items = (
        now.rows(before.values).astype(np.int64)
        for now, before in ((dataset.users, parent.users), (dataset.items, parent.items))
    )
    for what, rows in (("users", users), ("items", items)):
        if not rows.any():
            raise InputError(
                f"data: none of the {len(rows):,} {what} of {parent.folder} is in it; expected the "
                "data of that run, grown"
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
        values, codes_of_one = np.unique(np.concatenate([one, other]), return_inverse=True)
        # Renumbered after each column, so that the codes never overflow.
        codes = np.unique(codes * len(values) + codes_of_one, return_inverse=True)[1]
    is_new: np.ndarray = ~np.isin(codes[: len(interactions)], codes[len(interactions) :])
    return is_new


def check_leakage(parent: Parent, dataset: RetrievalDataset, holdout: Holdout, window: str) -> None:
    """Refuse a test or validation window with targets on which the parent was trained.

    Args:
        parent: parent of the warm start.
        dataset: data set of the window.
        holdout: the window.
        window: name of the window.

    Raises:
        InputError: the window has trained targets.
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
            f"split: {leaked:,} of the {len(target_users):,} {window} targets are training data of "
            f"{parent.folder} (up to {ended}); use newer data, or a later {window} window "
            "(split.test, split.valid)"
        )
