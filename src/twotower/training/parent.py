"""The parent of a warm start: its towers, vocabularies and training data."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.times import date
from twotower.data.vocabulary import Ids, Vocabulary
from twotower.towers.two_tower import TwoTower
from twotower.training.checkpoints import REFIT, TRAINED_ON, final_path, read_checkpoint
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

    Raises:
        InputError: the window has trained targets.
    """
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
