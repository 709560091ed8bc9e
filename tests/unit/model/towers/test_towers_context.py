"""Contexts of a request and what was done with items of a history, in two towers of hand-made numbers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from twotower.config.choice_context import ChoiceContext
from twotower.data.actions import Event
from twotower.data.sources.synthetic import Synthetic
from twotower.model.features.categorical import Categorical
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.features.request_time import RequestTime
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig
from twotower.model.towers.user_batch import UserBatch

LINEAR = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": [], "normalize": "none"}
NO_BIAS = {"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"}
HISTORY = "twotower.model.towers.history"
ITEMS = pd.DataFrame({"item_id": ["a", "b", "c"]})
CONTEXTS = pd.DataFrame({"device": ["phone", "desk"]})
D = 2


def tables() -> tuple[FeatureTable, FeatureTable, FeatureTable]:
    """No feature of users; an id of items; the device of a request, and when it is made."""
    item_id = Id(Id.Config(column="item_id", dim=D, dropout=0.0))
    items = FeatureTable.fit({"item_id": item_id}, ITEMS, np.array([1, 2, 3]), "items")
    device = Categorical(Categorical.Config(column="device", dim=D))
    features = {"device": device, "when": RequestTime(RequestTime.Config(year=1))}
    contexts = FeatureTable.fit(features, CONTEXTS, np.array([1, 2]), "log")
    return FeatureTable({}, {}, 4), items, contexts


def two_tower(
    contexts: bool = True, kind: str = "mean_pooling.MeanPooling", num_events: int = 2, **history: Any
) -> TwoTower:
    settings = {
        "embedding_dim": D,
        "history": {"_target_": f"{HISTORY}.{kind}", "length": 3, "last_item": False, **history},
        "user_tower": LINEAR,
        "item_tower": LINEAR,
        "item_bias": NO_BIAS,
    }
    users, items, requests = tables()
    torch.manual_seed(5)
    known = torch.tensor([False, True, True, True])
    given = requests if contexts else None
    return TwoTower(TwoTowerConfig.from_settings(settings), users, items, known, given, num_events).eval()


def plain_sum(model: TwoTower) -> TwoTower:
    """Let the user tower add up its blocks; items are (1, 0), (0, 1), (2, 2), events (10, 0) and (0, 20)."""
    with torch.no_grad():
        blocks = torch.eye(D).repeat(1, model.user_tower.layers[-1].weight.shape[1] // D)
        model.user_tower.layers[-1].weight.copy_(blocks)
        model.user_tower.layers[-1].bias.zero_()
        model.history_table.weight.copy_(torch.tensor([[0.0, 0], [1, 0], [0, 1], [2, 2]]))
        if model.history.config.events:
            model.event_table.weight.copy_(torch.tensor([[0.0, 0], [10, 0], [0, 20]]))
        if "device" in model.context_encoders:  # rows in order: desk, phone
            devices = torch.tensor([[5.0, 5], [0, 100], [100, 0]])
            model.context_encoders["device"].table.weight.copy_(devices)
    return model


def encode(model: TwoTower, rows: list[int], events: list[int] | None = None, **given: Tensor) -> list[float]:
    history = torch.tensor([rows])
    known = {} if events is None else {"history_events": torch.tensor([events])}
    now = given.pop("now", torch.tensor([0]))
    with torch.inference_mode():
        batch = UserBatch(torch.tensor([1]), history, history * 0, now, **given, **known)
        return model.encode_users(batch)[0].tolist()


@pytest.mark.parametrize("kind", ["mean_pooling.MeanPooling", "weighted_pooling.WeightedPooling"])
def test_what_was_done_is_added_to_each_item(kind: str) -> None:
    model = plain_sum(two_tower(contexts=False, kind=kind, events=True))
    # items (1, 0) + (0, 20) and (0, 1) + (10, 0) and (2, 2) + nothing: their mean
    assert encode(model, [1, 2, 3], [2, 1, 0]) == pytest.approx([13 / 3, 23 / 3])
    # an item without a known event has its full weight
    assert encode(model, [0, 1, 2], [2, 0, 1]) == pytest.approx([11 / 2, 1 / 2])
    assert encode(model, [0, 1, 2]) == pytest.approx([0.5, 0.5])
    assert encode(model, [0, 0, 0], [1, 1, 1]) == [0, 0]


def test_the_context_is_a_block_of_the_user_tower() -> None:
    model = two_tower()
    assert model.user_tower.block_dims == {"device": D, "when": 2, "history": D}
    assert model.item_tower.block_dims == {"item_id": D}
    plain_sum(model)
    # row 1 is the phone; a request at second 0 has no known time, which is zeros
    assert encode(model, [0, 1, 2], context_rows=torch.tensor([1])) == [100.5, 0.5]
    assert encode(model, [0, 1, 2], context_rows=torch.tensor([2])) == [0.5, 100.5]
    for given in ({"context_rows": torch.tensor([0])}, {}):
        assert encode(model, [0, 1, 2], **given) == [5.5, 5.5]
    quarter = torch.tensor([31_556_952 // 4])
    assert encode(model, [0, 1, 2], now=quarter) == pytest.approx([5.5 + 1, 5.5], abs=1e-5)


@pytest.mark.parametrize(("events", "wrong"), [({}, True), (None, False), ({"view": Event.Config()}, False)])
def test_events_need_data_that_have_some(events: dict[str, Event.Config] | None, wrong: bool) -> None:
    config = HistoryEncoder.Config.from_spec(
        {"_target_": f"{HISTORY}.mean_pooling.MeanPooling", "events": True}, "h"
    )
    data = None if events is None else Synthetic.Config(events=events)
    found = list(config.problems(ChoiceContext({"data": data})))
    assert [field for field, _ in found] == ["events"] * wrong
    assert all("data.events" in message for _, message in found)
