"""Recall on known and new items for any boost: equal to lists of towers that have this boost."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_logs import make_history, make_holdout

from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.new_item_curve import BOOSTS, boosted_lists, new_item_curve
from twotower.evaluation.ranking import item_popularity
from twotower.model.features.categorical import Categorical
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig

MONITOR, K = "valid/recall_at_5", 5
NUM_ITEMS, NUM_KNOWN, NUM_USERS = 60, 45, 50
MLP = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": None, "normalize": "none"}
BIASES: dict[str, tuple[dict[str, Any], float | None]] = {
    "added": ({"_target_": "twotower.model.towers.item_bias.popularity.Popularity"}, None),
    "multiplied": ({"_target_": "twotower.model.towers.item_bias.trend.Trend"}, 4.0),
    "none": ({"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"}, None),
}


def evaluator() -> Evaluator:
    kinds = {"recall": {"_target_": "twotower.evaluation.metrics.recall.Recall"}}
    return Evaluator.Config.from_settings({"ks": [K], "kinds": kinds, "num_bootstrap": 0}).build()


def log() -> tuple[Interactions, Holdout]:
    """A log of known items, and a holdout whose targets are known and new items."""
    random = np.random.default_rng(3)
    histories = [random.integers(1, NUM_KNOWN + 1, 8).tolist() for _ in range(NUM_USERS - 1)]
    histories.append(list(range(1, NUM_KNOWN + 1)))
    targets = [random.choice(np.arange(1, NUM_ITEMS + 1), 6, replace=False).tolist() for _ in histories]
    return make_history(histories), make_holdout(targets, histories, now=10_000)


def towers(bias: str, known: int = NUM_KNOWN, **new_items: Any) -> TwoTower:
    """Towers with random embeddings and kinds of items, which predict those of new items."""
    random = np.random.default_rng(4)
    features = {
        "item_id": Id.Config(column="item_id").build(7),
        "kind": Categorical.Config(column="kind", dim=2).build(7),
    }
    frame = pd.DataFrame({"item_id": np.arange(1, NUM_ITEMS + 1), "kind": random.integers(0, 6, NUM_ITEMS)})
    items = FeatureTable.fit(features, frame, np.arange(1, known + 1), "items.csv")
    choice, power = BIASES[bias]
    config = {
        "embedding_dim": 7 + (bias != "none"),
        "history": {"_target_": "twotower.model.towers.history.mean_pooling.MeanPooling"},
        "user_tower": MLP | {"residual": "history"},
        "item_tower": MLP | {"residual": "item_id"},
        "item_bias": choice,
        "new_items": {"_target_": "twotower.model.towers.new_items.by_content.ByContent", **new_items},
    }
    torch.manual_seed(0)
    trained = torch.arange(NUM_ITEMS + 1) <= known
    users = FeatureTable({}, {}, NUM_USERS)
    model = TwoTower(TwoTowerConfig.from_settings(config), users, items, trained).eval()
    model.item_bias.initialize(log()[0], 1.0, power)
    model.fit_new_items(1.0)
    return model


@pytest.mark.parametrize("bias", ["added", "multiplied"])
@pytest.mark.parametrize("boost", [-2.0, 0.0, 0.3, 1.5])
def test_recall_with_a_boost_is_that_of_towers_with_this_boost(bias: str, boost: float) -> None:
    interactions, holdout = log()
    popularity = item_popularity(interactions, NUM_ITEMS)
    lists = boosted_lists(towers(bias), holdout, evaluator(), popularity, MONITOR)
    assert lists is not None
    report = evaluate_towers(towers(bias, boost=boost), holdout, evaluator(), interactions, 1.0)
    expected = {
        "all": report.metrics["recall_at_5"],
        "known": report.slices["item_cold"]["warm"]["recall_at_5"],
        "new": report.slices["item_cold"]["cold"]["recall_at_5"],
    }
    assert {part: values["recall_at_5"] for part, values in lists.means(boost).items()} == expected


def test_a_new_item_has_the_same_log_odds_at_any_temperature() -> None:
    model, new = towers("added", boost=0.0), torch.arange(NUM_KNOWN + 1, NUM_ITEMS + 1)
    log_odds = []
    for temperature in (1.0, 0.1):
        model.item_bias.initialize(log()[0], temperature)
        model.fit_new_items(temperature)
        log_odds.append(model.outputs_and_biases(new)[:, -1] / temperature)
    torch.testing.assert_close(log_odds[1], log_odds[0])
    assert log_odds[0].std() > 0


@pytest.mark.parametrize("bias", ["added", "multiplied"])
def test_a_higher_boost_moves_recall_from_known_to_new_items(bias: str) -> None:
    interactions, holdout = log()
    found = new_item_curve(towers(bias, boost=0.25), holdout, evaluator(), interactions, MONITOR)
    assert found["metric"] == "recall_at_5"
    assert found["num_items"] == NUM_ITEMS - NUM_KNOWN
    boosts = [each["boost"] for each in found["curve"]]
    assert boosts == sorted([*BOOSTS, 0.25])
    known, new = ([each[part] for each in found["curve"]] for part in ("known", "new"))
    assert known == sorted(known, reverse=True)
    assert new == sorted(new)
    assert found["without"]["known"] >= known[0] > known[-1]
    assert found["without"]["new"] == 0 < new[-1]


@pytest.mark.parametrize("bias", ["added", "multiplied"])
@pytest.mark.parametrize("max_loss", [0.01, 0.1, 0.3])
def test_the_largest_boost_within_a_loss(bias: str, max_loss: float) -> None:
    interactions, holdout = log()
    popularity = item_popularity(interactions, NUM_ITEMS)
    lists = boosted_lists(towers(bias), holdout, evaluator(), popularity, MONITOR)
    assert lists is not None
    boost = lists.largest_boost(max_loss)
    before = lists.means(None)["known"]

    def is_allowed(boost: float) -> bool:
        values = lists.means(boost)["known"]
        return all(values[key] >= (1 - max_loss) * before[key] for key in ("recall_at_5", "ndcg_at_5"))

    assert is_allowed(boost)
    assert not is_allowed(boost + 0.01)


def test_the_towers_keep_their_boost() -> None:
    interactions, holdout = log()
    model = towers("added", boost=0.4)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    new_item_curve(model, holdout, evaluator(), interactions, MONITOR)
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_without_an_item_bias_or_new_items_there_is_no_curve() -> None:
    interactions, holdout = log()
    assert new_item_curve(towers("none"), holdout, evaluator(), interactions, MONITOR) == {}
    every_item = towers("added", known=NUM_ITEMS)
    assert new_item_curve(every_item, holdout, evaluator(), interactions, MONITOR) == {}
    new = [list(range(NUM_KNOWN + 1, NUM_ITEMS + 1))] * NUM_USERS
    only_new_targets = make_holdout(new, [[]] * NUM_USERS)
    assert new_item_curve(towers("added"), only_new_targets, evaluator(), interactions, MONITOR) == {}
