"""Training examples, impressions without a click among them: weights by hand, batches in Python."""

import dataclasses
import threading
from collections import Counter
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from twotower.config.errors import InputError
from twotower.data.actions import HISTORY, POSITIVE, TRAIN
from twotower.data.interactions import Interactions
from twotower.model.scoring.batch import Batch
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.training.batches import TrainBatches
from twotower.training.objectives.next_item import NextItem

DAY = 86_400
NUM_ITEMS = 8
Log = list[list[tuple[int, int]]]  # a user's (time, item), oldest first; user rows count from 1


def history_of(log: Log, **columns: Any) -> Interactions:
    users = [user for user, events in enumerate(log, start=1) for _ in events]
    times, items = ([event[part] for events in log for event in events] for part in (0, 1))
    history = Interactions.from_rows(
        np.array(users, int), np.array(items, int), np.array(times, int), num_users=len(log)
    )
    return dataclasses.replace(history, **columns)


def batches_of(
    log: Log | Interactions,
    batch_size: int = 3,
    length: int = 3,
    strict: bool = False,
    with_impressions: bool = False,
    seed: int = 5,
    **more: Any,
) -> TrainBatches:
    return NextItem(NextItem.Config(batch_size=batch_size, **more)).batches(
        history_of(log) if isinstance(log, list) else log,
        history=MeanPooling.Config(length=length, strict=strict),
        seed=seed,
        with_impressions=with_impressions,
    )


def rest_of(batches: TrainBatches, num_epochs: int) -> list[Batch]:
    found = []
    while batches.number < num_epochs * len(batches):
        found += list(batches)
    return found


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    fields = vars(batch) | vars(batch.users)
    return {name: value for name, value in fields.items() if isinstance(value, Tensor)}


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert [batch.number for batch in first] == [batch.number for batch in second]
    for one, other in zip(first, second, strict=True):
        values = tensors_of(other)
        for name, value in tensors_of(one).items():
            assert torch.equal(value, values[name]), name


EVENT = st.tuples(st.integers(0, 6).map(lambda day: 1_000_000 + day * DAY), st.integers(1, NUM_ITEMS))
LOGS = st.lists(
    st.lists(EVENT, max_size=7).map(lambda events: sorted(events, key=lambda e: e[0])), min_size=1, max_size=6
)
NON_EMPTY = LOGS.filter(lambda log: any(log))


@given(log=NON_EMPTY, batch_size=st.integers(1, 4), data=st.data())
def test_any_position_can_be_gone_on_from(log: Log, batch_size: int, data: st.DataObject) -> None:
    whole = rest_of(batches_of(log, batch_size), num_epochs=3)
    stop = data.draw(st.integers(0, len(whole)))
    resumed = batches_of(log, batch_size)
    resumed.load_state_dict({"number": stop})
    assert_same(rest_of(resumed, num_epochs=3), whole[stop:])


TWO_USERS: Log = [[(day * DAY, day % 5 + 1) for day in range(7)], [(day * DAY, 8) for day in range(4)]]


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 8])  # 4 batches an epoch: mid-epoch and at its edge
def test_a_state_taken_while_iterating_resumes_after_that_batch(taken: int) -> None:
    whole = rest_of(batches_of(TWO_USERS), num_epochs=3)
    first, second = batches_of(TWO_USERS), batches_of(TWO_USERS)
    state = first.state_dict()
    while first.number < taken:
        for _ in first:
            state = first.state_dict()
            if first.number == taken:
                break
    second.load_state_dict(state)
    assert_same(rest_of(second, num_epochs=3), whole[taken:])


def test_epochs_differ_and_seeds_differ() -> None:
    batches = batches_of(TWO_USERS, batch_size=100)
    (first,), (second,) = list(batches), list(batches)
    assert not torch.equal(first.users.request_times, second.users.request_times)
    (other,) = batches_of(TWO_USERS, batch_size=100, seed=6)
    assert not torch.equal(other.users.request_times, first.users.request_times)


def test_the_order_of_equal_times_is_the_log_s() -> None:
    log: Log = [[(5, 1), (5, 2), (5, 3), (9, 4)]]
    batch = next(iter(batches_of(log, batch_size=4)))
    histories = dict(zip(batch.positives.tolist(), batch.users.history_rows.tolist(), strict=True))
    assert histories == {1: [0, 0, 0], 2: [0, 0, 1], 3: [0, 1, 2], 4: [1, 2, 3]}
    batch = next(iter(batches_of(log, batch_size=4, strict=True)))
    histories = dict(zip(batch.positives.tolist(), batch.users.history_rows.tolist(), strict=True))
    assert histories == {1: [0, 0, 0], 2: [0, 0, 0], 3: [0, 0, 0], 4: [1, 2, 3]}


def test_dtypes() -> None:
    for batch in batches_of(TWO_USERS):
        for name, value in tensors_of(batch).items():
            if name != "weights":
                narrow = {"history_rows", "history_events", "known_items", "known_positives"}
                assert value.dtype == (torch.int32 if name in narrow else torch.int64), name
        assert batch.weights.dtype == torch.float32
        moved = batch.to(torch.device("cpu"))
        assert_same([moved], [batch])


FOUR_AGES = history_of([[(0, 1), (10 * DAY, 2)], [(20 * DAY, 3), (30 * DAY, 3)]])  # 30, 20, 10, 0 days old


def test_a_half_life_halves() -> None:
    weights = NextItem(NextItem.Config(recency_half_life_days=10)).weights(FOUR_AGES)
    assert weights.dtype == np.float32
    assert weights / weights[3] == pytest.approx([1 / 8, 1 / 4, 1 / 2, 1])
    assert weights.mean() == pytest.approx(1)


def test_what_is_too_old_makes_no_example_but_stays_history() -> None:
    objective = NextItem(NextItem.Config(max_age_days=20))
    assert objective.weights(FOUR_AGES) == pytest.approx([0, 1, 1, 1])  # 20 days is not older than 20 days
    (batch,) = batches_of(FOUR_AGES, 9, length=1, max_age_days=20)
    histories = dict(zip(batch.users.request_times.tolist(), batch.users.history_rows.tolist(), strict=True))
    assert histories == {10 * DAY: [1], 20 * DAY: [0], 30 * DAY: [3]}
    assert batch.known_items.tolist().count(1) == 1
    assert objective.frequencies(FOUR_AGES, 4).tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 0])


def test_examples_too_old_to_weigh_anything_are_left_out() -> None:
    (batch,) = batches_of([[(0, 1), (100_000 * DAY, 2)]], recency_half_life_days=1)
    assert batch.positives.tolist() == [2]
    assert batch.weights.isfinite().all()


def test_the_log_may_be_memory_mapped(tmp_path: Any) -> None:
    log = history_of(TWO_USERS)
    mapped = []
    for name in ("offsets", "items", "times"):
        np.save(tmp_path / f"{name}.npy", getattr(log, name))
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r", allow_pickle=False))
    batches = batches_of(Interactions(*mapped), strict=True)
    assert_same(list(batches), list(batches_of(TWO_USERS, strict=True)))


def test_drawn_by_recency() -> None:
    log: Log = [[(0, 1), (10 * DAY, 2)], [(10 * DAY, 3)]]  # the first is two half-lives old: 1 to 4 to 4
    recency: dict[str, Any] = {"recency_half_life_days": 5, "recency": "sample", "epoch_examples": 9_000}
    batches = batches_of(log, batch_size=100, seed=1, **recency)
    assert len(batches) == 90
    drawn = list(batches)
    count = Counter(torch.cat([batch.positives for batch in drawn]).tolist())
    assert count.total() == 9_000
    assert [count[item] / 1_000 for item in (1, 2, 3)] == pytest.approx([1, 4, 4], abs=0.2)
    assert all((batch.weights == 1).all() for batch in drawn)
    frequencies = NextItem.Config(**recency).build().frequencies(history_of(log), 3)
    assert frequencies.tolist() == pytest.approx([0, 1 / 9, 4 / 9, 4 / 9])


def test_an_epoch_of_draws_is_the_effective_number_of_examples() -> None:
    log: Log = [[(0, 1), (10 * DAY, 2)], [(10 * DAY, 3)]]
    batches = batches_of(log, batch_size=1, recency_half_life_days=5, recency="sample")
    assert len(batches) == round((0.25 + 1 + 1) ** 2 / (0.25**2 + 1 + 1))


def test_what_fails_in_the_thread_that_gathers_is_raised_and_the_thread_ends_with_the_epoch() -> None:
    def alive() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]

    batches = batches_of(TWO_USERS)
    iterator = iter(batches)
    next(iterator)
    assert batches.number == 1  # the next one may be there, but nobody has had it
    assert alive()
    iterator.close()  # as when a training is left in the middle
    assert not alive()
    with mock.patch.object(batches, "_known_items", side_effect=ValueError("a bad disk")):
        iterator = iter(batches)
        with pytest.raises(ValueError, match="a bad disk"):
            next(iterator)
    assert batches.number == 1
    assert not alive()


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


def test_share_without_history() -> None:
    log: Log = [[(DAY, 1), (DAY, 2), (2 * DAY, 3)], [(DAY, 4)]]
    assert batches_of(log, strict=False).share_without_history() == 2 / 4
    assert batches_of(log, strict=True).share_without_history() == 3 / 4
