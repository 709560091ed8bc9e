"""Requests: their positives, their histories, how often a user is asked, and that epochs repeat."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training_examples import DAY
from test_training_examples import history_of as history_by_second

from twotower.data.interactions import Interactions
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.training.objectives.next_basket import NextBasket
from twotower.training.order import Order, Replay

EVENTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 8)), max_size=9, unique_by=lambda e: e[1]).map(
    sorted
)
LOGS = st.lists(EVENTS, min_size=1, max_size=6).filter(any)


def history_of(log: list[list[tuple[int, int]]]) -> Interactions:
    """Of (day, item) by user."""
    return history_by_second([[(day * DAY, item) for day, item in events] for events in log])


def batches_of(interactions: Interactions, build_order: Any = Order, **settings: Any) -> Any:
    objective = NextBasket.Config(**{"batch_size": 4, "epoch_requests": 20} | settings).build()
    return objective.batches(
        interactions, history=MeanPooling.Config(length=12, strict=False), seed=5, build_order=build_order
    )


def requests(batches: Any) -> list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
    """User, unix seconds, history, positives, of each request of the rest of an epoch."""
    found = []
    for batch in batches:
        for row in range(len(batch.users.rows)):
            positives = batch.positives[batch.positive_to_user == row].tolist()
            history = batch.users.history_rows[row][batch.users.history_rows[row] > 0].tolist()
            asked = int(batch.users.request_times[row])
            found.append((int(batch.users.rows[row]), asked, tuple(history), tuple(positives)))
    return found


@given(log=LOGS, horizon=st.integers(0, 3))
def test_positives_are_what_is_taken_within_the_horizon_and_history_what_was_before(
    log: list[list[tuple[int, int]]], horizon: int
) -> None:
    for user, asked, history, positives in requests(batches_of(history_of(log), horizon_days=horizon)):
        events, until = log[user - 1], asked + max(1, horizon * DAY)
        assert positives
        assert list(history) == [item for day, item in events if day * DAY < asked]
        assert list(positives) == [item for day, item in events if asked <= day * DAY < until]


@given(log=LOGS, horizon=st.integers(0, 3), seed=st.integers(0, 9))
def test_events_of_histories_after_the_request_are_not_in_the_history(
    log: list[list[tuple[int, int]]], horizon: int, seed: int
) -> None:
    interactions = history_of(log)
    roles = np.random.default_rng(seed).choice(np.int8([0, 2]), len(interactions))
    roles[-1] = 0  # an example
    batches = batches_of(dataclasses.replace(interactions, roles=roles), horizon_days=horizon)
    for user, asked, history, _ in requests(batches):
        assert list(history) == [item for day, item in log[user - 1] if day * DAY < asked]


@given(log=LOGS, horizon=st.integers(0, 3), half_life=st.sampled_from([None, 2.0]))
def test_frequencies_are_those_of_the_positives(
    log: list[list[tuple[int, int]]], horizon: int, half_life: float | None
) -> None:
    """By hand: a request is at k with the weight of k within its user, minus up to the horizon."""
    interactions, width = history_of(log), max(1, horizon * DAY)
    expected = np.zeros(10)
    for user in filter(None, log):
        newest = max(day for day, _ in user)
        weights = [1.0 if half_life is None else 0.5 ** ((newest - day) / half_life) for day, _ in user]
        for day, item in user:
            overlaps = [max(0.0, 1 - abs(day - other) * DAY / width) for other, _ in user]
            expected[item] += np.dot(weights, overlaps) / sum(weights)
    objective = NextBasket.Config(horizon_days=horizon, recency_half_life_days=half_life).build()
    assert objective.frequencies(interactions, 9).tolist() == pytest.approx(expected / expected.sum())


def test_a_user_with_many_interactions_is_no_more_frequent() -> None:
    """A share of 1 / 5 and 4 / 5 of the requests, and of the positives as all baskets have one item."""
    log = history_of([[(40 * day, day % 2 + 1) for day in range(200)], *([[(0, 3)]] * 4)])
    batches = batches_of(log, batch_size=50, epoch_requests=1000)
    drawn = Counter(torch.cat([batch.positives for batch in batches]).tolist())
    frequencies = NextBasket(NextBasket.Config()).frequencies(log, 3)
    assert frequencies.tolist() == pytest.approx([0, 0.1, 0.1, 0.8])
    assert drawn[3] / drawn.total() == pytest.approx(0.8, abs=0.01)


def test_frequencies_of_a_warm_start_have_its_shares() -> None:
    """User 2 has nothing new: its requests are as rare as its examples, a tenth of those of user 1."""
    log = history_of([[(0, 1), (100, 2)], [(0, 3)]])
    found = NextBasket(NextBasket.Config()).frequencies(log, 3, np.array([0.1, 1, 0.1]))
    assert found.tolist() == pytest.approx([0, 0.05 / 0.65, 0.5 / 0.65, 0.1 / 0.65])


def test_users_are_asked_equally_often_and_at_late_moments_more() -> None:
    log = history_of([[(0, 1), (30, 2), (60, 3)], [(59, 4)], [(60, 5), (60, 6)]])
    found = requests(batches_of(log, epoch_requests=3000, recency_half_life_days=10.0, horizon_days=0))
    users = Counter(user for user, *_ in found)
    assert users == {1: 1000, 2: 1000, 3: 1000}
    days = Counter(asked // DAY for user, asked, *_ in found if user == 1)
    assert days[30] / days[60] == pytest.approx(1 / 8, rel=0.3)
    assert days[0] < 40


def test_the_share_of_requests_without_history() -> None:
    """First items are always without; the second of user 1 is at 3 of 4 days, that of user 2 at 0 of 4."""
    log = history_of([[(0, 1), (1, 2)], [(0, 3), (9, 4)], [(5, 5)]])
    batches = batches_of(log, horizon_days=4, epoch_requests=3000)
    assert batches.share_without_history() == pytest.approx(((1 + 3 / 4) / 2 + 1 / 2 + 1) / 3)
    assert "horizon_days=4" in batches.empty_history_remedy
    empty = [not history for _, _, history, _ in requests(batches)]
    assert np.mean(empty) == pytest.approx(batches.share_without_history(), abs=0.03)
    views = dataclasses.replace(
        history_of([[(0, 1), (1, 2), (2, 3)], [(3, 4), (3, 5)]]), roles=np.int8([2, 2, 0, 0, 0])
    )
    # The example of user 1 is 2 days after the first view: a request is before that in 2 of 4 days.
    batches = batches_of(views, horizon_days=4, epoch_requests=3000)
    assert batches.share_without_history() == (1 / 2 + 1) / 2
    empty = [not history for _, _, history, _ in requests(batches)]
    assert np.mean(empty) == pytest.approx(3 / 4, abs=0.03)
    at_once = batches_of(history_of([[(0, 1), (1, 2)], [(5, 5)]]), horizon_days=0)
    assert at_once.share_without_history() == 3 / 4
    assert "history.strict=false" in at_once.empty_history_remedy


def test_positives_of_a_request_count_by_their_own_weights() -> None:
    """A basket of weights 1 and 3 (mean 2): 0.5 and 1.5, each over the root of their sum, 2."""
    log = dataclasses.replace(history_of([[(9, 1), (9, 2)]]), weights=np.float32([1, 3]))
    batch = next(iter(batches_of(log, horizon_days=0, epoch_requests=1)))
    assert dict(zip(batch.positives.tolist(), batch.weights.tolist(), strict=True)) == pytest.approx(
        {1: 0.5 / 2**0.5, 2: 1.5 / 2**0.5}
    )
    doubled = dataclasses.replace(log, weights=np.float32([2, 6]))
    again = next(iter(batches_of(doubled, horizon_days=0, epoch_requests=1)))
    assert again.weights.tolist() == batch.weights.tolist()


def test_moments_lie_evenly_within_the_horizon_before_what_was_drawn() -> None:
    log = history_of([[(100, 1)], [(100, 2)]])
    leads = [100 * DAY - asked for _, asked, *_ in requests(batches_of(log, epoch_requests=2000))]
    assert min(leads) >= 0
    assert max(leads) < 28 * DAY
    assert np.mean(leads) == pytest.approx(14 * DAY, rel=0.05)


def test_a_basket_weighs_as_the_root_of_its_size() -> None:
    log = history_of([[(1, 1), (1, 2), (1, 3), (1, 4)], [(1, 5)]])
    batch = next(iter(batches_of(log, horizon_days=0)))
    sums = torch.zeros(len(batch.users.rows)).index_add(0, batch.positive_to_user, batch.weights)
    assert dict(zip(batch.users.rows.tolist(), sums.tolist(), strict=True)) == pytest.approx({1: 2.0, 2: 1.0})


def test_epochs_differ_and_each_is_the_same_again_from_its_middle() -> None:
    log = history_of([[(day, day) for day in range(1, 9)] for _ in range(7)])
    whole, again = batches_of(log), batches_of(log)
    first, second = requests(whole), requests(whole)
    assert first != second
    again.load_state_dict({"number": 7})  # two batches into the second epoch
    assert requests(again) == second[8:]


def test_a_training_that_goes_on_asks_less_who_has_nothing_new() -> None:
    log = history_of([[(0, 1), (1, 2)], [(0, 3), (1, 4)]])
    replay = Replay(np.array([False, False, False, True]), 0.25, np.zeros(0, np.bool_))
    found = requests(batches_of(log, epoch_requests=4000, horizon_days=0, build_order=replay.order))
    users = Counter(user for user, *_ in found)
    assert users[1] / users[2] == pytest.approx(0.25 / 0.625, rel=0.1)
    days = Counter(asked // DAY for user, asked, *_ in found if user == 2)
    assert days[0] / days[1] == pytest.approx(0.25, rel=0.2)


def test_who_was_there_a_hundred_half_lives_ago_is_asked_as_often_and_at_the_right_moments() -> None:
    log = history_of([[(0, 1), (1, 2)], [(1000, 3), (1001, 4)]])
    found = requests(batches_of(log, epoch_requests=2000, recency_half_life_days=10.0, horizon_days=0))
    users = Counter(user for user, *_ in found)
    assert users == {1: 1000, 2: 1000}
    days = Counter(asked // DAY for user, asked, *_ in found if user == 1)
    assert days[0] / days[1] == pytest.approx(0.5**0.1, rel=0.2)
