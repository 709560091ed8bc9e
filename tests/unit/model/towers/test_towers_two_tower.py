"""Two towers over small hand-made tables."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from twotower.model.features.categorical import Categorical
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.features.numeric import Numeric
from twotower.model.features.request_time import RequestTime
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig
from twotower.model.towers.user_batch import UserBatch

MLP = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": [8]}
MEAN = {"_target_": "twotower.model.towers.history.mean_pooling.MeanPooling", "length": 3}
TRAINED = torch.tensor([False, True, True, True, False])  # item 4 is in the catalogue, but not in training


def two_tower(**history: Any) -> TwoTower:
    torch.manual_seed(4)
    user_table = pd.DataFrame({"user_id": [10, 20, 30], "country": ["de", "fr", "de"]})
    users = FeatureTable.fit(
        {
            "country": Categorical(Categorical.Config(column="country", dim=4)),
            "request_time": RequestTime(RequestTime.Config()),
        },
        user_table,
        np.array([1, 2, 3]),
        "users",
    )
    item_table = pd.DataFrame({"item_id": ["a", "b", "c", "d"], "price": [1.0, 2.0, 4.0, 8.0]})
    items = FeatureTable.fit(
        {"item_id": Id(Id.Config(column="item_id", dim=5)), "price": Numeric(Numeric.Config(column="price"))},
        item_table,
        np.array([1, 2, 3]),
        "items",
    )
    settings = {
        "embedding_dim": 6,
        "history": MEAN | history,
        "user_tower": MLP,
        "item_tower": MLP,
        "item_bias": {"_target_": "twotower.model.towers.item_bias.no_bias.NoBias"},
    }
    return TwoTower(TwoTowerConfig.from_settings(settings), users, items, TRAINED).eval()


def encode(model: TwoTower, *histories: list[int], users: list[int] | None = None) -> Tensor:
    rows = torch.tensor(histories)
    given = torch.tensor(users or [1] * len(rows)), rows, (rows > 0) * 1000, torch.full((len(rows),), 2000)
    return model.encode_users(UserBatch(*given))


@pytest.fixture(params=["table", "tower"])
def model(request: pytest.FixtureRequest) -> TwoTower:
    return two_tower(items=request.param)


def test_shapes_and_gradients(model: TwoTower) -> None:
    users = encode(model, [0, 1, 2], [0, 0, 3], [0, 0, 0], users=[1, 2, 3])
    items = model.encode_items(torch.tensor([1, 4]))
    assert users.shape == (3, 6)
    assert items.shape == (2, 6)
    (users @ items.T).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "histories", [[[0, 1, 2]], [[0, 1, 2], [0, 0, 4], [0, 0, 0]]]
)  # fewer places than items, more
def test_users_and_items_of_a_step_are_those_embedded_apart(
    model: TwoTower, histories: list[list[int]]
) -> None:
    rows, item_rows = torch.tensor(histories), torch.tensor([4, 2])
    given = torch.arange(1, len(rows) + 1), rows, (rows > 0) * 1000, torch.full((len(rows),), 2000)
    batch = UserBatch(*given)
    together, apart = (
        model.encode_both(item_rows, batch),
        (model.encode_users(batch), model.encode_items(item_rows)),
    )
    slopes = [
        torch.autograd.grad((users @ items.T).square().sum(), [*model.parameters()])
        for users, items in (together, apart)
    ]
    for each, expected in zip([*together, *slopes[0]], [*apart, *slopes[1]], strict=True):
        torch.testing.assert_close(each, expected)


def test_a_step_passes_each_item_through_the_tower_once() -> None:
    model, passed = two_tower(items="tower"), []
    model.item_tower.register_forward_hook(lambda module, given, output: passed.append(len(output)))
    rows = torch.tensor([[0, 1, 2]])
    batch = UserBatch(torch.tensor([1]), rows, rows * 0, torch.tensor([2000]))
    model.encode_both(torch.tensor([4, 2]), batch)
    assert passed == [4]  # 0, where nothing is, among them


def test_a_user_of_a_row_is_one_of_the_same_features(model: TwoTower) -> None:
    histories = torch.tensor([[0, 1, 2]] * 2), torch.tensor([[0, 1000, 1000]] * 2), torch.tensor([2000] * 2)
    recomputed = model.encode_users(
        UserBatch.from_features(model.users.encode([{}, {"country": "fr"}]), *histories)
    )
    torch.testing.assert_close(encode(model, [0, 1, 2], [0, 1, 2], users=[0, 2]), recomputed)
    assert not torch.allclose(recomputed[:1], encode(model, [0, 0, 3], users=[0]))  # the history counts


def test_the_request_time_counts(model: TwoTower) -> None:
    rows, times = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1000, 1000]])
    batches = [UserBatch(torch.tensor([1]), rows, times, torch.tensor([time])) for time in (0, 8_000_000)]
    now, later = map(model.encode_users, batches)
    assert not torch.allclose(now, later)


def test_untrained_items_are_unknown_to_a_table() -> None:
    model = two_tower(items="table")
    torch.testing.assert_close(encode(model, [1, 2, 4]), encode(model, [1, 2, 0]))
    torch.testing.assert_close(encode(model, [0, 4, 2]), encode(model, [0, 0, 2]))
    model = two_tower(items="tower")
    assert not torch.allclose(encode(model, [1, 2, 4]), encode(model, [1, 2, 0]))


def test_a_sparse_table_of_histories_is_the_same_table() -> None:
    dense, sparse = (two_tower(items="table", sparse=sparse).train() for sparse in (False, True))
    embeddings = [encode(model, [0, 1, 4], [3, 2, 3], [0, 0, 0]) for model in (dense, sparse)]
    torch.testing.assert_close(*embeddings)
    for of_model in embeddings:
        of_model.square().sum().backward()
    gradient, wanted = sparse.history_table.weight.grad, dense.history_table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    torch.testing.assert_close(gradient.to_dense(), wanted)
    assert (gradient.to_dense()[0] == 0).all()  # what histories lack stays zeros


def test_what_a_checkpoint_holds(model: TwoTower) -> None:
    names = set(model.state_dict())
    assert "trained_items" in names
    assert not any("encoded_" in name for name in names)  # the data has them
    twin = two_tower(items=model.history.config.items)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(encode(model, [0, 1, 2]), encode(twin, [0, 1, 2]))
