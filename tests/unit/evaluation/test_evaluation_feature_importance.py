"""Permutation importance by hand: four tastes of users and items, noise, seasons, and new items."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_logs import make_history, make_holdout

from twotower.data.dataset import Holdout
from twotower.evaluation import feature_importance as module
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.feature_importance import feature_importance
from twotower.model.features.categorical import Categorical
from twotower.model.features.feature import Feature
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.features.request_time import RequestTime
from twotower.model.features.vector import Vector
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig

KINDS = {"recall": {"_target_": "twotower.evaluation.metrics.recall.Recall"}}
MLP = {"_target_": "twotower.model.towers.mlp.Mlp", "normalize": "none"}
NO_HISTORY = {"_target_": "twotower.model.towers.history.no_history.NoHistory"}
POOLING = {"_target_": "twotower.model.towers.history.mean_pooling.MeanPooling", "last_item": False}
TASTES, EACH = 4, 10  # item row r has the taste (r - 1) // EACH
NUM_ITEMS, NUM_USERS = TASTES * EACH, 400
MONITOR = "valid/recall_at_10"


def one_hot(codes: np.ndarray, width: int = TASTES) -> list[list[float]]:
    rows: list[list[float]] = np.eye(width)[codes].tolist()
    return rows


def evaluator(**arguments: Any) -> Evaluator:
    return Evaluator.Config(**{"ks": [5, 10], "kinds": KINDS, "num_bootstrap": 100, **arguments}).build()


def table(column: str, features: dict[str, Feature], known: int | None = None, **values: Any) -> FeatureTable:
    frame = pd.DataFrame(values)
    frame.insert(0, column, np.arange(1, len(frame) + 1))
    return FeatureTable.fit(features, frame, np.arange(1, (known or len(frame)) + 1), column)


def vectors(*names: str) -> dict[str, Feature]:
    return {name: Vector(Vector.Config(column=name)) for name in names}


def towers(users: FeatureTable, items: FeatureTable, trained: int = NUM_ITEMS, **settings: Any) -> TwoTower:
    config: dict[str, Any] = {
        "embedding_dim": TASTES,
        "history": NO_HISTORY,
        "user_tower": MLP | {"widths": []},
        "item_tower": MLP | {"widths": []},
        "item_bias": {"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"},
        **settings,
    }
    is_trained = torch.arange(NUM_ITEMS + 1) <= trained
    is_trained[0] = False
    return TwoTower(TwoTowerConfig.from_settings(config), users, items, is_trained).eval()


def set_weights(tower: Any, **blocks: torch.Tensor) -> None:
    """Set the one linear layer of a tower: the part of each block, [width, D]; others are zero."""
    parts = [
        blocks.get(name, torch.zeros(width, tower.embedding_dim)) for name, width in tower.block_dims.items()
    ]
    with torch.no_grad():
        tower.layers[0].weight.copy_(torch.cat(parts).T)
        tower.layers[0].bias.zero_()


def by_taste() -> tuple[TwoTower, Holdout]:
    """Towers whose score is 1 for equal tastes, plus a little noise; all items of a taste are targets."""
    random = np.random.default_rng(1)
    user_tastes = random.integers(0, TASTES, NUM_USERS)
    item_tastes = np.repeat(np.arange(TASTES), EACH)
    noise = [random.normal(size=(number, TASTES)).tolist() for number in (NUM_USERS, NUM_ITEMS)]
    users = table("user_id", vectors("taste", "noise"), taste=one_hot(user_tastes), noise=noise[0])
    items = table("item_id", vectors("taste", "noise"), taste=one_hot(item_tastes), noise=noise[1])
    model = towers(users, items)
    for tower in (model.user_tower, model.item_tower):
        set_weights(tower, taste=torch.eye(TASTES), noise=0.01 * torch.eye(TASTES))
    targets = [(1 + np.flatnonzero(item_tastes == taste)).tolist() for taste in user_tastes]
    return model, make_holdout(targets, [[]] * NUM_USERS)


def importance(model: TwoTower, holdout: Holdout, trained: int = NUM_ITEMS, **metrics: Any) -> dict[str, Any]:
    log = make_history([list(range(1, trained + 1))])
    return feature_importance(model, holdout, evaluator(**metrics), log, MONITOR)


def test_the_feature_that_decides_and_noise() -> None:
    found = importance(*by_taste())
    assert list(found["drops"]) == ["user.taste", "user.noise", "item.taste", "item.noise"]
    assert found["metric"] == "recall_at_10"
    assert found["num_users"]["all"] == found["num_users"]["no_history"] == NUM_USERS
    assert found["values"]["all"] == 1
    # A permuted taste is right by chance, in a quarter of the cases.
    for name in ("user.taste", "item.taste"):
        mean, spread = found["drops"][name]["all"]
        assert mean == pytest.approx(0.75, abs=0.1)
        assert 0 < spread < 0.1
    for name in ("user.noise", "item.noise"):
        mean, spread = found["drops"][name]["all"]
        assert abs(mean) < 0.01
        assert spread < 0.01


def test_the_drop_by_hand() -> None:
    """Two items and their two users: the permutation exchanges them, or it does not."""
    users = table("user_id", vectors("taste"), taste=one_hot(np.array([0, 1])))
    items = table("item_id", vectors("taste"), taste=one_hot(np.array([0, 1] + [2] * (NUM_ITEMS - 2))))
    model = towers(users, items)
    for tower in (model.user_tower, model.item_tower):
        set_weights(tower, taste=torch.eye(TASTES))
    found = feature_importance(
        model,
        make_holdout([[1], [2]], [[], []]),
        evaluator(ks=[1], importance_repeats=8),
        make_history([[1, 2]]),
        "valid/recall_at_1",
    )
    random = np.random.default_rng(0)
    exchanged = np.array([float(random.permutation(2)[0]) for _ in range(8)])
    assert 0 < exchanged.mean() < 1
    drop = [pytest.approx(exchanged.mean()), pytest.approx(exchanged.std(ddof=1))]
    assert found["drops"]["user.taste"]["all"] == drop
    assert found["drops"]["user.taste"]["no_history"] == drop


def test_a_metric_of_which_lower_is_better_and_one_permutation() -> None:
    model, holdout = by_taste()
    kinds = KINDS | {"gini": {"_target_": "twotower.evaluation.metrics.gini.Gini"}}
    found = feature_importance(
        model, holdout, evaluator(kinds=kinds, importance_repeats=1), make_history([[1]]), "valid/gini_at_10"
    )
    assert found["metric"] == "gini_at_10"
    assert set(found["values"]) == {"all"}  # Gini has no slices
    mean, spread = found["drops"]["user.noise"]["all"]
    assert abs(mean) < 0.05
    assert spread is None


def test_unread_features_are_absent() -> None:
    model, holdout = by_taste()
    items = model.items
    model = towers(model.users, items, item_tower=MLP | {"widths": None, "residual": "taste"})
    assert set(importance(model, holdout)["drops"]) == {"user.taste", "user.noise", "item.taste"}


@pytest.mark.parametrize("repeats", [0, 5])
def test_towers_of_ids_and_histories_have_none(repeats: int, caplog: pytest.LogCaptureFixture) -> None:
    users = table("user_id", vectors("taste"), taste=one_hot(np.zeros(NUM_USERS, dtype=int)))
    items = table("item_id", {"own": Id(Id.Config(column="item_id", dim=TASTES))}, of=range(NUM_ITEMS))
    model = towers(
        users,
        items,
        history=POOLING,
        user_tower=MLP | {"widths": None, "residual": "history"},
        item_tower=MLP | {"widths": None, "residual": "own"},
    )
    holdout = make_holdout([[1]] * 3, [[2]] * 3)
    with caplog.at_level(logging.DEBUG, logger="twotower"):
        assert importance(model, holdout, importance_repeats=repeats) == {}
    message = "feature importance: not measured, because the towers read only history, item.own"
    assert caplog.messages == ([message] if repeats else [])


def test_histories_are_exchanged_among_those_who_have_one() -> None:
    """The history names the taste; the segment does so only for the half of users without a history."""
    random = np.random.default_rng(2)
    tastes = random.integers(0, TASTES, NUM_USERS)
    has_history = np.arange(NUM_USERS) % 2 == 0
    segment = np.where(has_history[:, None], 0.0, np.eye(TASTES)[tastes])
    items = table("item_id", vectors("taste"), taste=one_hot(np.repeat(np.arange(TASTES), EACH)))
    users = table("user_id", vectors("segment"), segment=segment.tolist())
    model = towers(users, items, history=POOLING | {"items": "tower"})
    set_weights(model.item_tower, taste=torch.eye(TASTES))
    set_weights(model.user_tower, segment=torch.eye(TASTES), history=torch.eye(TASTES))
    histories = [
        [1 + EACH * int(taste)] if has else [] for taste, has in zip(tastes, has_history, strict=True)
    ]
    targets = [list(range(2 + EACH * int(taste), 1 + EACH * (int(taste) + 1))) for taste in tastes]
    found = importance(model, make_holdout(targets, histories), ks=[10])
    assert found["num_users"]["no_history"] == found["num_users"]["short_history"] == NUM_USERS / 2
    history, segment_drop = found["drops"]["history"], found["drops"]["user.segment"]
    assert history["no_history"] == [0, 0]
    assert history["short_history"][0] == pytest.approx(0.75, abs=0.12)
    assert segment_drop["no_history"][0] > 0.5
    # An item's taste is permuted in histories, too: the towers agree on the wrong one.
    assert found["drops"]["item.taste"]["all"][0] > 0.5


def test_request_times_are_exchanged_over_users_and_equal_ones_are_not_measured() -> None:
    items = table("item_id", vectors("taste"), taste=one_hot(np.repeat([0, 1], NUM_ITEMS // 2)))
    features: dict[str, Feature] = {"when": RequestTime(RequestTime.Config(year=1))}
    users = table("user_id", features, of=range(NUM_USERS))
    model = towers(users, items)
    set_weights(model.item_tower, taste=torch.eye(TASTES))
    season = torch.zeros(2, TASTES)
    season[1, :2] = torch.tensor([1.0, -1.0])  # the cosine of the year: 1 in winter, -1 in summer
    set_weights(model.user_tower, when=season)
    is_summer = np.arange(NUM_USERS) % 2
    half = NUM_ITEMS // 2
    targets = [list(range(1 + half * summer, 1 + half * (summer + 1))) for summer in is_summer]
    holdout = make_holdout(targets, [[]] * NUM_USERS)
    holdout.request_times[:] = 31_556_952 * (40 + 0.5 * is_summer) + 1
    found = importance(model, holdout)
    assert found["values"]["all"] == 1
    assert found["drops"]["user.when"]["all"][0] == pytest.approx(0.5, abs=0.1)
    holdout.request_times[:] = 31_556_952 * 40 + 1
    found = importance(model, holdout)
    assert found["constant"] == ["user.when"]
    assert set(found["drops"]) == {"item.taste"}


def test_features_that_embed_new_items_only() -> None:
    """Ten items of each of four tastes, five of them new: their content places them."""
    tastes = np.tile(np.arange(TASTES), EACH)
    known = NUM_ITEMS // 2
    features: dict[str, Feature] = {
        "own": Id(Id.Config(column="item_id", dim=TASTES)),
        "kind": Categorical(Categorical.Config(column="kind", dim=2)),
    }
    items = table("item_id", features, known=known, kind=[f"kind {taste}" for taste in tastes])
    model = towers(
        FeatureTable({}, {}, NUM_USERS),
        items,
        trained=known,
        history=POOLING,
        user_tower=MLP | {"widths": None, "residual": "history"},
        item_tower=MLP | {"widths": None, "residual": "own"},
        new_items={"_target_": "twotower.model.towers.new_items.by_content.ByContent"},
    )
    embeddings = torch.tensor(one_hot(np.concatenate([[0], tastes[:known]])))
    with torch.no_grad():
        model.item_encoders["own"].table.weight[1:] = embeddings[1:]
        model.history_table.weight[1 : known + 1] = embeddings[1:]
    model.fit_new_items(1.0)
    wanted = np.arange(NUM_USERS) % TASTES
    rows = np.arange(1, NUM_ITEMS + 1)
    targets = [rows[(tastes == taste) & (rows > TASTES)].tolist() for taste in wanted]
    holdout = make_holdout(targets, [[1 + int(taste)] for taste in wanted])
    found = importance(model, holdout, trained=known, ks=[10])
    assert found["only_for_new_items"] == ["item.kind"]
    assert set(found["drops"]) == {"history", "item.own", "item.kind"}
    assert found["values"]["new_items"] == 1
    # In place of a new item's kind, one of four: recall falls to a quarter, that of known items by nothing.
    assert found["drops"]["item.kind"]["new_items"][0] == pytest.approx(0.75, abs=0.2)
    without_new = make_holdout(
        [[each for each in row if each <= known] for row in targets], [[1]] * NUM_USERS
    )
    assert importance(model, without_new, trained=known) == {}


def test_a_large_holdout_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    model, holdout = by_taste()
    monkeypatch.setattr(module, "MAX_USERS", 50)
    found = importance(model, holdout)
    assert found["num_users"]["all"] == 50
    assert found["values"]["all"] == 1  # users still have their own targets
    assert found["drops"]["user.taste"]["all"][0] > 0.5


def test_the_towers_and_the_random_numbers_stay_as_they_are() -> None:
    model, holdout = by_taste()
    before = {name: values.clone() for name, values in model.items.all_rows().items()}
    state = torch.random.get_rng_state()
    first, second = importance(model, holdout), importance(model, holdout)
    assert first["drops"] == second["drops"]
    assert torch.equal(torch.random.get_rng_state(), state)
    after = model.items.all_rows()
    assert all(torch.equal(after[name], values) for name, values in before.items())
