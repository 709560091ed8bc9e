"""What of grown data is new, and which windows a run may not be tested on, by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_towers_context import two_tower

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.data.interactions import Interactions
from twotower.data.vocabulary import Vocabulary
from twotower.model.towers.user_batch import UserBatch
from twotower.training.warm_start import (
    Parent,
    check_leakage,
    earlier_event_rows,
    earlier_rows,
    is_new_interaction,
    transfer_towers,
)

Log = list[tuple[str, str, int]]
TRAINED: Log = [("b", "x", 10), ("b", "y", 20), ("d", "y", 15)]
NOTHING: Any = None


def history_of(log: Log, users: Vocabulary, items: Vocabulary) -> Interactions:
    rows = sorted((int(users.row(user)), time, int(items.row(item))) for user, item, time in log)
    user, time, item = (np.array(column, int) for column in zip(*rows, strict=True))
    return Interactions.from_rows(user, item, time, len(users))


def parent_of(log: Log) -> Parent:
    users, items = (Vocabulary.fit([row[place] for row in log]) for place in (0, 1))
    return Parent(Path("outputs/a"), NOTHING, users, items, history_of(log, users, items), {})


def data_of(log: Log, targets: Log = ()) -> RetrievalDataset:  # type: ignore[assignment]
    users, items = (Vocabulary.fit([row[place] for row in [*log, *targets]]) for place in (0, 1))
    train = history_of(log, users, items)
    test = NOTHING
    if targets:
        of_targets = history_of(targets, users, items)
        owners = np.flatnonzero(of_targets.counts())
        offsets = np.concatenate([[0], np.cumsum(of_targets.counts()[owners])])
        first = of_targets.times[of_targets.offsets[owners]]
        test = Holdout(owners, offsets, of_targets.items, first, train)
    table = pd.DataFrame()
    return RetrievalDataset(table, table, None, users, items, train, train, test, lambda: test, {}, "f")


def test_new_is_what_the_parent_was_not_trained_on_whatever_the_rows() -> None:
    data = data_of([*TRAINED, ("a", "x", 5), ("b", "x", 30), ("d", "a", 15)])
    found = is_new_interaction(parent_of(TRAINED), data, data.train)
    users, items = data.users.ids(data.train.user_rows()), data.items.ids(data.train.items)
    new = {
        (str(u), str(i), int(t))
        for u, i, t, is_new in zip(users, items, data.train.times, found, strict=True)
        if is_new
    }
    assert new == {("a", "x", 5), ("b", "x", 30), ("d", "a", 15)}  # an old time, a repeat, a new item
    assert earlier_rows(data.users, parent_of(TRAINED).users).tolist() == [0, 1, 2]  # a; b, d
    assert earlier_rows(data.items, parent_of(TRAINED).items).tolist() == [0, 1, 2]  # a; x, y


def test_other_data_is_refused() -> None:
    data = data_of([("m", "x", 1)])
    with pytest.raises(InputError, match="none of the 2 users of outputs/a is in it"):
        is_new_interaction(parent_of(TRAINED), data, data.train)


def test_a_target_that_was_trained_on_is_refused() -> None:
    data = data_of([("b", "x", 10)], [("b", "y", 20), ("d", "z", 99)])
    with pytest.raises(InputError, match=r"split: 1 of the 2 test targets are training data of outputs/a"):
        check_leakage(parent_of(TRAINED), data, data.test, "test")


def test_what_was_bought_before_may_be_bought_again() -> None:
    data = data_of(TRAINED, [("b", "y", 40), ("d", "x", 41)])
    check_leakage(parent_of(TRAINED), data, data.test, "test")


def test_kinds_of_events_keep_their_rows_by_word() -> None:
    data = dataclasses.replace(data_of(TRAINED), events=("buy", "cart", "view"))
    parent = dataclasses.replace(parent_of(TRAINED), events=["buy", "view"])
    assert earlier_event_rows(data, parent).tolist() == [1, 0, 2]
    assert earlier_event_rows(data, parent_of(TRAINED)).tolist() == [0, 0, 0]
    assert earlier_event_rows(data_of(TRAINED), parent).tolist() == []


def test_embeddings_of_events_are_carried_by_word() -> None:
    log = [("b", "x", 10), ("b", "y", 20), ("d", "z", 15)]
    data = dataclasses.replace(data_of(log), events=("buy", "cart", "view"))
    before, after = two_tower(events=True), two_tower(num_events=3, events=True)
    parent = dataclasses.replace(parent_of(log), model=before, events=["buy", "view"])
    transfer_towers(after, parent, data, None)
    learned, carried = before.event_table.weight, after.event_table.weight
    assert torch.equal(carried[[0, 1, 3]], learned)
    assert (carried[2] == 0).all()  # as an item without an event, so that nothing jumps
    rows, events = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 3, 2]])
    asked = torch.tensor([1]), rows, rows * 0, torch.tensor([0]), torch.tensor([2])
    with torch.inference_mode():
        expected = before.encode_users(UserBatch(*asked, torch.tensor([[1, 2, 0]])))
        torch.testing.assert_close(after.encode_users(UserBatch(*asked, events)), expected)
