"""The epochs of a warm start: all new examples, a share of the old ones."""

from collections import Counter

import numpy as np
import pytest

from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.training.objectives.next_basket import NextBasket
from twotower.training.objectives.next_item import NextItem
from twotower.training.order import Replay

NEW = np.array([False] * 8 + [True] * 3)
NONE = np.zeros(0, dtype=bool)


def test_every_new_example_once_and_a_share_of_the_old() -> None:
    order = Replay(NEW, 0.25, NONE).order(np.ones(11, np.float32), None, 5)
    assert order.size == 5
    epochs = [order.epoch(number) for number in range(40)]
    for epoch in epochs:
        assert sorted(epoch[epoch >= 8].tolist()) == [8, 9, 10]
        assert len(set(epoch.tolist())) == 5
    counts = Counter(int(each) for epoch in epochs for each in epoch if each < 8)
    assert set(counts) == set(range(8))  # drawn anew for each epoch
    assert np.array_equal(order.epoch(3), epochs[3])


def test_examples_without_weight_are_neither() -> None:
    weights = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1], np.float32)
    order = Replay(NEW, 0.5, NONE).order(weights, None, 5)
    assert order.size == 4
    assert set(order.epoch(0).tolist()) <= {4, 5, 6, 7, 9, 10}


def test_draws_are_scaled_so_that_a_new_example_comes_as_often_as_ever() -> None:
    weights = np.array([1.0] * 8 + [2.0] * 3, np.float32)  # 8 + 6 = 14; with a quarter of the old 2 + 6 = 8
    order = Replay(NEW, 0.25, NONE).order(weights, 1400, 5)
    assert order.size == 800
    drawn = order.epoch(0)
    assert (drawn >= 8).mean() == pytest.approx(6 / 8, abs=0.05)


def test_shown_negatives_follow() -> None:
    order = Replay(NEW, 0.0, np.array([True, False])).order(np.ones(13, np.float32), None, 5)
    assert sorted(order.epoch(0).tolist()) == [8, 9, 10, 11]


def test_positives_come_as_often_as_the_correction_says() -> None:
    items = np.array([1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3])
    log = Interactions.from_rows(np.ones(11, int), items, np.arange(11), 1)
    found = NextItem(NextItem.Config()).frequencies(log, 3, Replay(NEW, 0.25, NONE).shares)
    # item 1: 4 old; item 2: 4 old and 1 new; item 3: 2 new
    assert found.tolist() == pytest.approx([0, 1 / 5, 2 / 5, 2 / 5])


def test_nothing_new_to_learn_from_is_refused() -> None:
    """Rows of histories only, or of weight 0, are new and no examples; new shown negatives are some."""
    with pytest.raises(InputError, match="no new interactions"):
        Replay(NEW, 0.5, NONE).order(np.array([1.0] * 8 + [0.0] * 3, np.float32), None, 5)
    only_shown = Replay(NEW & False, 0.0, np.array([False, True])).order(np.ones(13, np.float32), None, 5)
    assert only_shown.epoch(0).tolist() == [12]


@pytest.mark.parametrize("share", [0.5, 0.01, 0.0])
def test_requests_come_as_often_as_the_correction_says(share: float) -> None:
    """User 1 has nine old interactions and a new one, user 2 a new one; none is near another in time."""
    users, items = np.array([1] * 10 + [2]), np.arange(1, 12)
    times = 86_400 * np.append(100 * np.arange(1, 11), 1000)
    log = Interactions.from_rows(users, items, times, 2)
    replay = Replay(times == times[-1], share, NONE)
    objective = NextBasket.Config(batch_size=1000, epoch_requests=20_000, horizon_days=28).build()
    batches = objective.batches(log, history=MeanPooling.Config(), seed=0, build_order=replay.order)
    drawn = np.zeros(12)
    for batch in batches.epoch_batches(0, 0):
        drawn += np.bincount(batch.positives.numpy(), minlength=12)
    expected = objective.frequencies(log, 11, replay.shares).numpy()
    np.testing.assert_allclose(drawn / drawn.sum(), expected, atol=0.02)
