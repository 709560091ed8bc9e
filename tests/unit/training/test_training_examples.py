"""Training examples: their weights by hand, their batches against plain Python."""

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

from twotower.data.interactions import Interactions
from twotower.scoring.batch import Batch
from twotower.towers.history.mean_pooling import MeanPooling
from twotower.training.batches import TrainBatches
from twotower.training.objectives.next_item import NextItem

DAY = 86_400
NUM_ITEMS = 8
Log = list[list[tuple[int, int]]]  # a user's (time, item), oldest first; user rows count from 1


def history_of(log: Log) -> Interactions:
    users = [user for user, events in enumerate(log, start=1) for _ in events]
    times = [time for events in log for time, _ in events]
    items = [item for events in log for _, item in events]
    return Interactions.from_rows(
        np.array(users, int), np.array(items, int), np.array(times, int), num_users=len(log)
    )


def batches_of(
    log: Log, batch_size: int = 3, length: int = 3, strict: bool = False, **more: Any
) -> TrainBatches:
    objective = NextItem(NextItem.Config(batch_size=batch_size, **more))
    return TrainBatches(
        history_of(log), objective, history=MeanPooling.Config(length=length, strict=strict), seed=5
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


@given(log=NON_EMPTY, batch_size=st.integers(1, 5), length=st.integers(1, 4), strict=st.booleans())
def test_batches_are_what_a_loop_over_the_log_gives(
    log: Log, batch_size: int, length: int, strict: bool
) -> None:
    batches = batches_of(log, batch_size, length, strict)
    expected = Counter()
    for user, events in enumerate(log, start=1):
        for position, (time, item) in enumerate(events):
            before = [e for e in events[:position] if not strict or e[0] < time][-length:]
            padding = [(0, 0)] * (length - len(before))
            expected[(user, item, time, *padding, *before)] += 1
    got = Counter()
    for batch in batches:
        users = batch.users
        assert len(users.rows) <= batch_size
        for p in range(len(users.rows)):
            history = zip(users.history_times[p].tolist(), users.history_rows[p].tolist(), strict=True)
            user, item, time = (int(v[p]) for v in (users.rows, batch.positives, users.request_times))
            got[(user, item, time, *history)] += 1
    assert got == expected


@given(log=NON_EMPTY, batch_size=st.integers(1, 5))
def test_known_items_are_complete_and_ascending(log: Log, batch_size: int) -> None:
    for batch in batches_of(log, batch_size):
        expected = [
            (p, item) for p, user in enumerate(batch.users.rows.tolist()) for _, item in log[user - 1]
        ]
        pairs = zip(batch.known_positives.tolist(), batch.known_items.tolist(), strict=True)
        assert list(pairs) == expected  # ascending, and the positive among them
        assert all((p, int(item)) in expected for p, item in enumerate(batch.positives))


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
    other = TrainBatches(
        history_of(TWO_USERS),
        NextItem(NextItem.Config(batch_size=100)),
        history=MeanPooling.Config(length=3, strict=False),
        seed=6,
    )
    assert not torch.equal(next(iter(other)).users.request_times, first.users.request_times)


def test_numbers_count_from_the_start_of_the_training() -> None:
    assert [batch.number for batch in rest_of(batches_of(TWO_USERS), num_epochs=2)] == list(range(8))


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
    objective = NextItem(NextItem.Config(batch_size=9, max_age_days=20))
    assert objective.weights(FOUR_AGES) == pytest.approx([0, 1, 1, 1])  # 20 days is not older than 20 days
    (batch,) = TrainBatches(FOUR_AGES, objective, history=MeanPooling.Config(length=1, strict=False), seed=0)
    histories = dict(zip(batch.users.request_times.tolist(), batch.users.history_rows.tolist(), strict=True))
    assert histories == {10 * DAY: [1], 20 * DAY: [0], 30 * DAY: [3]}
    assert batch.known_items.tolist().count(1) == 1
    assert objective.frequencies(FOUR_AGES, 4).tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 0])


def test_both_together() -> None:
    weights = NextItem(NextItem.Config(recency_half_life_days=10, max_age_days=15)).weights(FOUR_AGES)
    assert weights == pytest.approx([0, 0, 2 / 3, 4 / 3])


def test_without_either_all_count_the_same() -> None:
    assert NextItem(NextItem.Config()).weights(FOUR_AGES) == pytest.approx([1, 1, 1, 1])
    frequencies = NextItem(NextItem.Config()).frequencies(FOUR_AGES, 4)
    assert frequencies.tolist() == pytest.approx([0, 0.25, 0.25, 0.5, 0])


def test_weights_reach_the_batch() -> None:
    objective = NextItem(NextItem.Config(batch_size=9, recency_half_life_days=10))
    (batch,) = TrainBatches(FOUR_AGES, objective, history=MeanPooling.Config(length=1, strict=False), seed=0)
    of_time = dict(zip(batch.users.request_times.tolist(), batch.weights.tolist(), strict=True))
    assert of_time[30 * DAY] / of_time[0] == pytest.approx(8)


def test_examples_too_old_to_weigh_anything_are_left_out() -> None:
    log = history_of([[(0, 1), (100_000 * DAY, 2)]])
    objective = NextItem(NextItem.Config(recency_half_life_days=1))
    (batch,) = TrainBatches(log, objective, history=MeanPooling.Config(length=1, strict=False), seed=0)
    assert batch.positives.tolist() == [2]
    assert batch.weights.isfinite().all()


def test_the_log_may_be_memory_mapped(tmp_path: Any) -> None:
    log = history_of(TWO_USERS)
    mapped = []
    for name in ("offsets", "items", "times"):
        np.save(tmp_path / f"{name}.npy", getattr(log, name))
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r", allow_pickle=False))
    batches = TrainBatches(
        Interactions(*mapped),
        NextItem(NextItem.Config(batch_size=3)),
        history=MeanPooling.Config(length=3, strict=True),
        seed=5,
    )
    assert_same(list(batches), list(batches_of(TWO_USERS, strict=True)))


def test_drawn_by_recency() -> None:
    log: Log = [[(0, 1), (10 * DAY, 2)], [(10 * DAY, 3)]]  # the first is two half-lives old: 1 to 4 to 4
    objective = NextItem(
        NextItem.Config(batch_size=100, recency_half_life_days=5, recency="sample", epoch_examples=9_000)
    )
    batches = TrainBatches(
        history_of(log), objective, history=MeanPooling.Config(length=2, strict=False), seed=1
    )
    assert len(batches) == 90
    drawn = list(batches)
    count = Counter(torch.cat([batch.positives for batch in drawn]).tolist())
    assert count.total() == 9_000
    assert [count[item] / 1_000 for item in (1, 2, 3)] == pytest.approx([1, 4, 4], abs=0.2)
    assert all((batch.weights == 1).all() for batch in drawn)
    assert objective.frequencies(history_of(log), 3).tolist() == pytest.approx([0, 1 / 9, 4 / 9, 4 / 9])


def test_an_epoch_of_draws_is_the_effective_number_of_examples() -> None:
    log: Log = [[(0, 1), (10 * DAY, 2)], [(10 * DAY, 3)]]
    objective = NextItem(NextItem.Config(batch_size=1, recency_half_life_days=5, recency="sample"))
    batches = TrainBatches(
        history_of(log), objective, history=MeanPooling.Config(length=2, strict=False), seed=1
    )
    assert len(batches) == round((0.25 + 1 + 1) ** 2 / (0.25**2 + 1 + 1))


def test_draws_resume_where_they_were() -> None:
    log: Log = [[(day * DAY, day % NUM_ITEMS + 1) for day in range(40)]]
    make = {"recency_half_life_days": 9, "recency": "sample", "epoch_examples": 25}
    whole = rest_of(batches_of(log, **make), 3)
    resumed = batches_of(log, **make)
    resumed.load_state_dict({"number": 11})
    assert_same(rest_of(resumed, 3), whole[11:])


def test_share_without_history() -> None:
    log: Log = [[(DAY, 1), (DAY, 2), (2 * DAY, 3)], [(DAY, 4)]]
    assert batches_of(log, strict=False).share_without_history() == 2 / 4
    assert batches_of(log, strict=True).share_without_history() == 3 / 4


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
