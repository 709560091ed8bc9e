"""The order of a log that is not in memory: every example once, from a few places of the log at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.training import batches as of_batches
from twotower.training import order as of_order
from twotower.training.order import BlockOrder, Order


def whole_epoch(order: Order, number: int, step: int) -> list[int]:
    epoch = order.epoch(number)
    slices = [epoch[start : start + step] for start in range(0, order.size, step)]
    return np.concatenate(slices).tolist()


@given(
    weights=st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=60).filter(any),
    step=st.integers(1, 9),
    block=st.integers(1, 5),
    at_once=st.integers(1, 4),
)
def test_blocks_hold_every_example_once_and_slices_do_not_change_them(
    weights: list[float], step: int, block: int, at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_order, "BLOCK", block)
        patch.setattr(of_order, "BLOCKS_AT_ONCE", at_once)
        order = BlockOrder(np.array(weights), None, 3)
        found = whole_epoch(order, 1, step)
        assert sorted(found) == np.flatnonzero(weights).tolist()
        assert whole_epoch(BlockOrder(np.array(weights), None, 3), 1, 7) == found
        places = np.searchsorted(np.flatnonzero(weights), found) // block
        first = set(places[: order.epoch(1).ends[0]].tolist())
        assert len(first) == min(at_once, -(-order.size // block))
        assert not first & set(places[order.epoch(1).ends[0] :].tolist())  # no block is read again later


def test_epochs_of_blocks_differ_and_draws_stay_as_they_are() -> None:
    weights = np.ones(10_000)
    order = BlockOrder(weights, None, 3)
    assert whole_epoch(order, 0, 999) != whole_epoch(order, 1, 999)
    drawn = BlockOrder(weights, 50, 3).epoch(2)
    assert np.array_equal(drawn[0:50], Order(weights, 50, 3).epoch(2)[0:50])


def test_a_log_of_half_the_memory_is_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_training_examples import TWO_USERS, assert_same, batches_of, rest_of

    in_memory = batches_of(TWO_USERS)
    assert type(in_memory.order) is Order
    monkeypatch.setattr(of_batches, "usable_bytes", lambda: 2 * 11 * 12 - 1)  # 11 interactions
    batches = batches_of(TWO_USERS)
    assert isinstance(batches.order, BlockOrder)
    whole = rest_of(batches, 2)
    resumed = batches_of(TWO_USERS)
    resumed.load_state_dict({"number": 5})
    assert_same(rest_of(resumed, 2), whole[5:])


@pytest.mark.parametrize("then", [10**6, 0], ids=["in memory", "in blocks"])
def test_a_resumed_training_keeps_the_order_it_began_with(then: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_training_examples import TWO_USERS, assert_same, batches_of, rest_of

    monkeypatch.setattr(of_order, "BLOCK", 2)
    monkeypatch.setattr(of_order, "BLOCKS_AT_ONCE", 2)
    monkeypatch.setattr(of_batches, "usable_bytes", lambda: then)
    begun, whole = batches_of(TWO_USERS), rest_of(batches_of(TWO_USERS), 2)
    begun.number = 2
    monkeypatch.setattr(of_batches, "usable_bytes", lambda: 10**6 - then)  # of another machine
    resumed = batches_of(TWO_USERS)
    assert type(resumed.order) is not type(begun.order)
    resumed.load_state_dict(begun.state_dict())
    assert_same(rest_of(resumed, 2), whole[2:])
