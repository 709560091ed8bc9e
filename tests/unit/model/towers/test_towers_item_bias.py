"""The item bias: one column of the embedding, told from recent popularity."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from twotower.data.actions import HISTORY, POSITIVE, TRAIN
from twotower.data.interactions import Interactions
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.numeric import Numeric
from twotower.model.towers.item_bias.popularity import Popularity
from twotower.model.towers.item_bias.recent_popularity import RecentPopularity
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig, score
from twotower.model.towers.user_batch import UserBatch

DAY = 86_400
MLP = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": [], "normalize": "none"}
# items 1 and 2 on the last day, item 1 seven days before it too; item 3 never
LOG = Interactions.from_rows(np.array([1, 1, 2]), np.array([1, 2, 1]), np.array([0, 7 * DAY, 7 * DAY]), 2)


def bias() -> RecentPopularity:
    built = RecentPopularity(RecentPopularity.Config(half_life_days=7), 3)
    built.initialize(LOG)
    return built


def two_tower() -> TwoTower:
    items = FeatureTable.fit(
        {"price": Numeric(Numeric.Config(column="price"))},
        pd.DataFrame({"price": [1.0, 2.0, 4.0]}),
        np.array([1, 2, 3]),
        "i",
    )
    users = FeatureTable({}, {}, 2)
    settings = {
        "embedding_dim": 5,
        "history": {"_target_": "twotower.model.towers.history.mean_pooling.MeanPooling", "items": "tower"},
        "user_tower": MLP,
        "item_tower": MLP,
        "item_bias": {"_target_": "twotower.model.towers.item_bias.recent_popularity.RecentPopularity"},
    }
    config = TwoTowerConfig.from_settings(settings)
    assert config.tower_width == 4
    model = TwoTower(config, users, items, torch.ones(4, dtype=torch.bool)).eval()
    model.item_bias.initialize(LOG)
    return model


def test_it_starts_at_the_centered_log_of_decayed_counts() -> None:
    logs = [math.log1p(1.5), math.log1p(1.0), math.log1p(0.0)]
    expected = [value - sum(logs) / 3 for value in logs]
    assert bias()(torch.tensor([1, 2, 3]))[:, 0].tolist() == pytest.approx(expected)


def test_it_is_multiplied_by_the_temperature_that_the_loss_divides_by() -> None:
    warmer = RecentPopularity(RecentPopularity.Config(half_life_days=7), 3)
    warmer.initialize(LOG, temperature=0.5)
    torch.testing.assert_close(warmer.biases, bias().biases * 0.5)


def test_popularity_of_all_time_counts_every_interaction_once() -> None:
    built = Popularity(Popularity.Config(new_item_quantile=1.0), 3)
    built.initialize(LOG)
    logs = [math.log1p(2), math.log1p(1), 0.0]
    expected = [value - sum(logs) / 3 for value in logs]
    assert built(torch.tensor([1, 2, 3]))[:, 0].tolist() == pytest.approx(expected)
    assert built.eval()(torch.tensor([9]))[:, 0].tolist() == pytest.approx([max(expected)])


def test_without_known_items_a_new_one_has_no_bias() -> None:
    built = Popularity(Popularity.Config(), 3)
    assert built.eval()(torch.tensor([0, 2, 9]))[:, 0].tolist() == [0, 0, 0]


def test_unknown_and_new_items_have_none() -> None:
    built = bias()
    assert built(torch.tensor([0, 4, 99]))[:, 0].tolist() == [0, 0, 0]
    built(torch.tensor([0, 2, 9])).sum().backward()
    assert built.biases.grad is not None
    assert built.biases.grad.tolist() == [0, 1, 0]


def test_the_score_is_the_towers_product_plus_the_bias() -> None:
    model = two_tower()
    rows = torch.tensor([1, 2, 3])
    items = model.encode_items(rows)
    histories = torch.tensor([[0, 1], [2, 3]])
    users = model.encode_users(
        UserBatch(torch.tensor([1, 2]), histories, histories * 0, torch.tensor([0, 0]))
    )
    assert items.shape == (3, 5)
    assert users[:, 4].tolist() == [1, 1]
    expected = users[:, :4] @ items[:, :4].T + model.item_bias(rows)[:, 0]
    torch.testing.assert_close(score(users, items), expected)


def test_similar_items_do_not_ask_for_popularity() -> None:
    model = two_tower()
    embeddings = model.encode_items(torch.tensor([1, 2])).detach().numpy()
    queries = model.layout.item_queries(embeddings)
    assert queries[:, 4].tolist() == [0, 0]
    assert queries[:, :4].tolist() == model.layout.tower(embeddings).tolist() == embeddings[:, :4].tolist()
    assert model.layout.bias(embeddings).all()  # what was asked with is as it was


def test_an_item_that_was_only_shown_in_vain_is_not_new() -> None:
    history = Interactions.from_rows(np.array([1, 1]), np.array([1, 2]), np.array([0, 0]), 1)
    shown = Interactions.from_rows(np.array([1]), np.array([3]), np.array([0]), 1)
    bias = Popularity.Config().build(4)
    bias.initialize(dataclasses.replace(history, impressions=shown))
    assert bias.has_occurred.tolist() == [True, True, True, False]
    found = bias.eval()(torch.arange(1, 5)).flatten().tolist()
    assert found[2] == pytest.approx(-math.log(2) / 2)  # log 1 less the mean of log 2, log 2, log 1, log 1
    assert found[3] == pytest.approx(found[0])  # the quantile of the others


def test_an_item_that_is_only_an_example_is_not_new() -> None:
    users, items = np.ones(4, dtype=int), np.array([1, 2, 3, 3])
    roles = np.array([POSITIVE, POSITIVE, TRAIN, HISTORY], dtype=np.int8)
    bias = Popularity.Config().build(4)
    bias.initialize(Interactions.from_rows(users, items, np.arange(4), 1, roles=roles))
    assert bias.has_occurred.tolist() == [True, True, True, False]
    history = Interactions.from_rows(users[3:], items[3:], np.arange(1), 1, roles=roles[3:])
    assert not bias._occurring_items(history).any()


WARM = RecentPopularity.Config(new_item_quantile=0.5)


def earlier() -> RecentPopularity:
    """Items 1, 2, 3 with biases 3, 1, -2, of which 3 was never sold: a new one has the median 2."""
    bias = RecentPopularity(WARM, 3).eval()
    with torch.no_grad():
        bias.biases.copy_(torch.tensor([3.0, 1.0, -2.0]))
        bias.has_occurred.copy_(torch.tensor([True, True, False]))
    return bias


def sold(items: list[int]) -> Interactions:
    return Interactions.from_rows(np.ones(len(items), int), np.array(items), np.arange(len(items)), 1)


ROWS = torch.tensor([0, 1, 0, 2, 3])  # items 1 and 3 are new; 2, 4, 5 were 1, 2, 3


def test_known_items_keep_their_bias_and_new_ones_start_as_new_ones() -> None:
    bias = RecentPopularity(WARM, 5).eval()
    log = sold([1, 2, 4, 5])
    bias.initialize(log)
    bias.warm_start(earlier(), ROWS, log)
    assert bias.biases.tolist() == [2, 3, 2, 1, 2]  # 5 is sold now, for the first time
    assert bias.has_occurred.tolist() == [True, True, False, True, True]
    assert bias(torch.arange(1, 6))[:, 0].tolist() == [2, 3, 2, 1, 2]


def test_where_nothing_is_trained_items_are_sold_that_were() -> None:
    bias = RecentPopularity(WARM, 5).eval()
    bias.warm_start(earlier(), ROWS, None)
    assert bias.has_occurred.tolist() == [False, True, False, True, False]
    assert bias(torch.arange(1, 6))[:, 0].tolist() == [2, 3, 2, 1, 2]
    assert bias.biases[4].item() == pytest.approx(-2)  # as it was
