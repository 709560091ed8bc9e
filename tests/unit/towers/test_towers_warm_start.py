"""Item biases of grown data: known items keep theirs, new ones have what the service gives new ones."""

import numpy as np
import pytest
import torch

from twotower.data.interactions import Interactions
from twotower.towers.item_bias.recent_popularity import RecentPopularity

CONFIG = RecentPopularity.Config(new_item_quantile=0.5)


def before() -> RecentPopularity:
    """Items 1, 2, 3 with biases 3, 1, -2, of which 3 was never sold: a new one has the median 2."""
    bias = RecentPopularity(CONFIG, 3).eval()
    with torch.no_grad():
        bias.biases.copy_(torch.tensor([3.0, 1.0, -2.0]))
        bias.has_occurred.copy_(torch.tensor([True, True, False]))
    return bias


def log_of(items: list[int]) -> Interactions:
    return Interactions.from_rows(np.ones(len(items), int), np.array(items), np.arange(len(items)), 1)


ROWS = torch.tensor([0, 1, 0, 2, 3])  # items 1 and 3 are new; 2, 4, 5 were 1, 2, 3


def test_known_items_keep_their_bias_and_new_ones_start_as_new_ones() -> None:
    bias = RecentPopularity(CONFIG, 5).eval()
    log = log_of([1, 2, 4, 5])
    bias.initialize(log)
    bias.warm_start(before(), ROWS, log)
    assert bias.biases.tolist() == [2, 3, 2, 1, 2]  # 5 is sold now, for the first time
    assert bias.has_occurred.tolist() == [True, True, False, True, True]
    assert bias(torch.arange(1, 6))[:, 0].tolist() == [2, 3, 2, 1, 2]


def test_where_nothing_is_trained_items_are_sold_that_were() -> None:
    bias = RecentPopularity(CONFIG, 5).eval()
    bias.warm_start(before(), ROWS, None)
    assert bias.has_occurred.tolist() == [False, True, False, True, False]
    assert bias(torch.arange(1, 6))[:, 0].tolist() == [2, 3, 2, 1, 2]
    assert bias.biases[4].item() == pytest.approx(-2)  # as it was


def test_where_each_entry_was() -> None:
    bias = RecentPopularity(CONFIG, 5)
    found = bias.earlier_positions(before(), ROWS)
    assert {name: places.tolist() for name, places in found.items()} == {
        "biases": [-1, 0, -1, 1, 2],
        "has_occurred": [-1, 0, -1, 1, 2],
    }
