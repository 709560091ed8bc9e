"""Shown negatives in batches: against plain Python, and numbers worked out by hand."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.data.actions import HISTORY, POSITIVE, TRAIN
from twotower.data.interactions import Interactions
from twotower.scoring.batch import Batch
from twotower.towers.history.mean_pooling import MeanPooling
from twotower.training.batches import TrainBatches
from twotower.training.objectives.next_item import NextItem

DAY = 86_400
NUM_ITEMS = 8
Log = list[list[tuple[int, int]]]  # a user's (time, item), oldest first; user rows count from 1


def history_of(log: Log, **columns: Any) -> Interactions:
    users = [user for user, events in enumerate(log, start=1) for _ in events]
    times = [time for events in log for time, _ in events]
    items = [item for events in log for _, item in events]
    history = Interactions.from_rows(
        np.array(users, int), np.array(items, int), np.array(times, int), len(log)
    )
    return dataclasses.replace(history, **columns)


def batches_of(
    interactions: Interactions,
    batch_size: int = 3,
    objective: Any = None,
    strict: bool = False,
    with_impressions: bool = False,
) -> TrainBatches:
    chosen = NextItem(NextItem.Config(batch_size=batch_size, **(objective or {})))
    history = MeanPooling.Config(length=3, strict=strict)
    return TrainBatches(interactions, chosen, history=history, seed=5, with_impressions=with_impressions)


def rows_of(batch: Batch) -> list[tuple[int, ...]]:
    """User, item, time and history of each example of a batch, positives first."""
    items = torch.cat([batch.positives, batch.impressions])
    found = []
    for row in range(len(batch.users.rows)):
        users = batch.users
        history = zip(users.history_times[row].tolist(), users.history_rows[row].tolist(), strict=True)
        of_row = (int(values[row]) for values in (users.rows, items, users.request_times))
        found.append((*of_row, *(number for pair in history for number in pair)))
    return found


EVENT = st.tuples(st.integers(0, 5).map(lambda day: 1_000_000 + day * DAY), st.integers(1, NUM_ITEMS))
EVENTS = st.lists(EVENT, max_size=6).map(lambda events: sorted(events, key=lambda event: event[0]))
BOTH = st.lists(st.tuples(EVENTS, EVENTS), min_size=1, max_size=4).filter(
    lambda users: any(u[0] for u in users)
)


@given(both=BOTH, batch_size=st.integers(1, 5), strict=st.booleans())
def test_an_epoch_has_every_positive_and_every_shown_negative_once(
    both: list[tuple[list[Any], list[Any]]], batch_size: int, strict: bool
) -> None:
    log, shown = ([user[part] for user in both] for part in (0, 1))
    history = history_of(log, impressions=history_of(shown))
    expected: dict[bool, Counter[tuple[int, ...]]] = {True: Counter(), False: Counter()}
    for user, (events, passed) in enumerate(zip(log, shown, strict=True), start=1):
        of_user = [(True, place, event) for place, event in enumerate(events)]
        for positive, place, (time, item) in [*of_user, *((False, 0, event) for event in passed)]:
            earlier = [event for event in events if event[0] < time]
            before = (earlier if strict or not positive else events[:place])[-3:]
            padded = [(0, 0)] * (3 - len(before)) + before
            expected[positive][(user, item, time, *(number for pair in padded for number in pair))] += 1
    got: dict[bool, Counter[tuple[int, ...]]] = {True: Counter(), False: Counter()}
    for batch in batches_of(history, batch_size, strict=strict, with_impressions=True):
        assert len(batch.users.rows) == len(batch.positives) + len(batch.impressions) <= batch_size
        rows = rows_of(batch)
        got[True].update(rows[: len(batch.positives)])
        got[False].update(rows[len(batch.positives) :])
        pairs = zip(batch.known_positives.tolist(), batch.known_items.tolist(), strict=True)
        users = batch.users.rows[: len(batch.positives)].tolist()
        assert list(pairs) == [(p, item) for p, user in enumerate(users) for _, item in log[user - 1]]
    assert got == expected


USERS: Log = [[(day * DAY, day % 5 + 1) for day in range(7)], [(day * DAY, 8) for day in range(4)]]
PASSED: Log = [[(day * DAY, 6 + day % 3) for day in range(5)], [(9 * DAY, 1)]]


def test_positives_and_shown_negatives_are_shuffled_together() -> None:
    history = history_of(USERS, impressions=history_of(PASSED))
    batches = batches_of(history, batch_size=4, with_impressions=True)
    sizes = Counter((len(batch.positives), len(batch.impressions)) for _ in range(20) for batch in batches)
    assert all(sum(size) in (4, 1) for size in sizes)  # 17 examples: four batches of 4 and one of 1
    assert len(sizes) > 3


def test_without_labelled_examples_shown_negatives_change_nothing() -> None:
    plain, beside = (
        batches_of(history_of(USERS)),
        batches_of(history_of(USERS, impressions=history_of(PASSED))),
    )
    for one, other in zip(plain, beside, strict=True):
        assert torch.equal(one.positives, other.positives)
        assert torch.equal(one.weights, other.weights)
        assert len(other.impressions) == 0
        assert (other.users.context_rows, other.users.history_events) == (None, None)


def test_rows_have_their_own_weights() -> None:
    weights = np.array([1, 2, 0, 4], dtype=np.float32)
    shown = history_of([[(DAY, 5)], [(2 * DAY, 6), (2 * DAY, 7)]], weights=np.float32([3, 0, 6]))
    log = [[(0, 1), (DAY, 2)], [(2 * DAY, 3), (3 * DAY, 4)]]
    history = history_of(log, weights=weights, impressions=shown)
    (batch,) = batches_of(history, batch_size=9, with_impressions=True)
    found = dict(
        zip([*batch.positives.tolist(), *batch.impressions.tolist()], batch.weights.tolist(), strict=True)
    )
    mean = (1 + 2 + 4 + 3 + 6) / 5
    expected = {1: 1, 2: 2, 4: 4, 5: 3, 7: 6}
    assert found == pytest.approx({item: weight / mean for item, weight in expected.items()})
    alone = dataclasses.replace(history, impressions=None)
    objective = NextItem(NextItem.Config())
    assert objective.example_weights(alone) == pytest.approx([3 / 7, 6 / 7, 0, 12 / 7])
    # Each is drawn once an epoch whatever it weighs, so q counts examples.
    assert objective.frequencies(alone, 4).tolist() == pytest.approx([0, 1 / 3, 1 / 3, 0, 1 / 3])


def test_recency_and_own_weights_multiply() -> None:
    """20, 10 and 0 days old: 1/4, 1/2 and 1 by age; the newest of all is a shown negative."""
    log = history_of([[(0, 1), (10 * DAY, 2)]], weights=np.float32([8, 1]))
    history = dataclasses.replace(log, impressions=history_of([[(20 * DAY, 3)]], weights=np.float32([5])))
    objective = NextItem(NextItem.Config(recency_half_life_days=10))
    weights = objective.example_weights(history, with_impressions=True)
    assert weights / weights[1] == pytest.approx([4, 1, 10])
    assert weights.mean() == pytest.approx(1)
    drawn = NextItem(NextItem.Config(recency_half_life_days=10, recency="sample"))
    assert drawn.frequencies(history, 3).tolist() == pytest.approx([0, 4 / 5, 1 / 5, 0])


def test_what_is_for_histories_only_is_no_example() -> None:
    roles = np.array([HISTORY, POSITIVE, POSITIVE], dtype=np.int8)
    history = history_of([[(0, 1), (DAY, 2), (2 * DAY, 3)]], roles=roles)
    (batch,) = batches_of(history, batch_size=9)
    histories = dict(zip(batch.positives.tolist(), batch.users.history_rows.tolist(), strict=True))
    assert histories == {2: [0, 0, 1], 3: [0, 1, 2]}
    assert batch.weights.tolist() == [1, 1]
    assert sorted(batch.known_items.tolist()) == [2, 2, 3, 3]
    assert NextItem(NextItem.Config()).frequencies(history, 3).tolist() == pytest.approx([0, 0, 0.5, 0.5])


def test_an_example_that_is_no_positive_trains_by_its_weight_and_is_no_negative_of_its_user() -> None:
    """Item 1 is an event of role `train`, item 2 of role `history`, item 3 is bought."""
    roles = np.array([TRAIN, HISTORY, POSITIVE], dtype=np.int8)
    history = history_of([[(0, 1), (DAY, 2), (2 * DAY, 3)]], roles=roles, weights=np.float32([1, 0, 3]))
    (batch,) = batches_of(history, batch_size=9)
    found = dict(zip(batch.positives.tolist(), batch.weights.tolist(), strict=True))
    assert found == {1: 0.5, 3: 1.5}
    assert sorted(batch.known_items.tolist()) == [1, 1, 3, 3]
    assert NextItem(NextItem.Config()).frequencies(history, 3).tolist() == [0, 0.5, 0, 0.5]
    shown = dataclasses.replace(history, impressions=history_of([[(3 * DAY, 4)]]))
    assert NextItem(NextItem.Config()).example_weights(
        shown, with_impressions=True
    ).tolist() == pytest.approx([1 / 5 * 3, 0, 3 / 5 * 3, 1 / 5 * 3])


def test_no_example_at_all_is_refused() -> None:
    history = history_of([[(0, 1)]], weights=np.zeros(1, np.float32))
    with pytest.raises(InputError, match="training has no examples"):
        batches_of(history)


def test_contexts_and_events_come_along() -> None:
    shown = history_of([[(2 * DAY, 7)]], context=np.int32([9]))
    history = history_of(
        [[(0, 1), (DAY, 2), (3 * DAY, 3)]],
        context=np.int32([4, 0, 6]),
        events=np.int16([2, 1, 3]),
        impressions=shown,
    )
    (batch,) = batches_of(history, batch_size=9, with_impressions=True)
    items = [*batch.positives.tolist(), *batch.impressions.tolist()]
    assert dict(zip(items, batch.users.context_rows.tolist(), strict=True)) == {1: 4, 2: 0, 3: 6, 7: 9}
    events = dict(zip(items, batch.users.history_events.tolist(), strict=True))
    assert events == {1: [0, 0, 0], 2: [0, 0, 2], 3: [0, 2, 1], 7: [0, 2, 1]}
    assert (batch.users.history_events.dtype, batch.users.context_rows.dtype) == (torch.int32, torch.int64)
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.users.context_rows, batch.users.context_rows)


def test_draws_by_recency_take_shown_negatives_too() -> None:
    history = history_of([[(0, 1), (10 * DAY, 2)]], impressions=history_of([[(10 * DAY, 3)]]))
    objective = {"recency_half_life_days": 5, "recency": "sample", "epoch_examples": 9_000}
    batches = batches_of(history, 100, objective, with_impressions=True)
    count: Counter[int] = Counter()
    for batch in batches:
        count.update([*batch.positives.tolist(), *batch.impressions.tolist()])
    assert [count[item] / 1_000 for item in (1, 2, 3)] == pytest.approx([1, 4, 4], abs=0.2)
