"""Several interests of a user, on numbers computed by hand and against the tower with one."""

import math
from collections.abc import Set

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from twotower.config.choice_context import ChoiceContext
from twotower.model.features.categorical import Categorical
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.model.towers.history.weighted_pooling import WeightedPooling
from twotower.model.towers.mlp import Mlp
from twotower.model.towers.multi_interest import MultiInterest
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig, pair_scores, score
from twotower.model.towers.user_batch import UserBatch

MASK = torch.tensor([[False, True, True]])
WEIGHTS = torch.tensor([[[0.0, 1.5, 0.5], [0.0, 0.5, 1.5]]])
ITEMS = torch.tensor([[[0.0], [2.0], [8.0]]])
SETTINGS = {"widths": [8], "residual": "history", "normalize": "l2"}


def of_interests(interests: int, **settings: object) -> MultiInterest:
    config = MultiInterest.Config.model_validate({"widths": None, "residual": "history"} | settings)
    tower = config.model_copy(update={"interests": interests}).build({"history": 1}, 1)
    assert isinstance(tower, MultiInterest)
    return tower


def reading(names: Set[str]) -> ChoiceContext:
    """Return the context of a user tower with these inputs."""
    return ChoiceContext({"block_names": {"user_tower": names}}, "user_tower")


def test_weights_of_items_are_a_softmax_times_the_number_of_items() -> None:
    tower = of_interests(2)
    with torch.no_grad():
        tower.hidden.weight.fill_(1)
        tower.hidden.bias.zero_()
        tower.queries.weight.copy_(torch.tensor([[2 * math.log(3)], [-2 * math.log(3)]]))
    embeddings = torch.tensor([[[0.0], [math.atanh(0.5)], [0.0]]])  # logits of log 3 and 0, or -log 3 and 0
    torch.testing.assert_close(tower.item_weights(embeddings, MASK), WEIGHTS)
    assert not tower.item_weights(embeddings * 0, MASK & False).any()  # an empty history


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (MeanPooling(MeanPooling.Config(length=3), 1), [7 / 2, 13 / 2]),
        (MeanPooling(MeanPooling.Config(length=3, power=0.5), 1), [7 / 2**0.5, 13 / 2**0.5]),
        (WeightedPooling(WeightedPooling.Config(length=3), 1), [7 / 2, 13 / 2]),
    ],
)
def test_an_encoder_reads_items_times_their_weights(encoder: HistoryEncoder, expected: list[float]) -> None:
    given = ITEMS, MASK, MASK * 100, WEIGHTS
    summaries = encoder.by_interest(*given)
    torch.testing.assert_close(summaries, torch.tensor(expected)[None, :, None])
    torch.testing.assert_close(summaries, HistoryEncoder.by_interest(encoder, *given))


def test_the_score_is_the_best_over_the_interests() -> None:
    users = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    items = torch.tensor([[3.0, 1.0], [1.0, 4.0], [-1.0, -1.0]])
    assert score(users, items).tolist() == [
        [3, 8, -1]
    ]  # the first interest has 3, 1, -1, the second 2, 8, -2
    assert pair_scores(users.expand(3, 2, 2), items).tolist() == [3, 8, -1]
    assert score(users[:, 0], items).tolist() == [[3, 1, -1]]


def two_tower(kind: type[Mlp], **settings: object) -> TwoTower:
    torch.manual_seed(4)
    frames = (
        pd.DataFrame({"user_id": [10, 20], "country": ["de", "fr"]}),
        pd.DataFrame({"item_id": [1, 2, 3]}),
    )
    kinds = (
        {"country": Categorical(Categorical.Config(column="country", dim=4))},
        {"item_id": Id(Id.Config(column="item_id", dim=6))},
    )
    users, items = (
        FeatureTable.fit(dict(features), frame, np.arange(1, len(frame) + 1), "table")
        for features, frame in zip(kinds, frames, strict=True)
    )
    towers = {
        "embedding_dim": 7,
        "history": {"_target_": "twotower.model.towers.history.mean_pooling.MeanPooling", "length": 3},
        "user_tower": {"_target_": f"{kind.__module__}.{kind.__qualname__}"} | SETTINGS | settings,
        "item_tower": {"_target_": f"{Mlp.__module__}.{Mlp.__qualname__}", "widths": []},
        "item_bias": {"_target_": "twotower.model.towers.item_bias.popularity.Popularity"},
    }
    return TwoTower(TwoTowerConfig.from_settings(towers), users, items, torch.arange(4) > 0)


def embed(model: TwoTower) -> Tensor:
    rows = torch.tensor([[1, 2, 3], [0, 0, 2], [0, 0, 0]])
    return model.encode_users(
        UserBatch(torch.tensor([1, 2, 0]), rows, (rows > 0) * 1000, torch.full((3,), 2000))
    )


def test_one_interest_has_the_weights_embeddings_and_gradients_of_mlp_bit_by_bit() -> None:
    found = []
    for kind, chosen in ((Mlp, {}), (MultiInterest, {"interests": 1})):
        model = two_tower(kind, dropout=0.3, **chosen)
        next_draw = torch.rand(3)  # of the generator, after the initial weights
        users = embed(model)
        gradients = torch.autograd.grad(users.square().sum(), model.user_tower.parameters())
        found.append(({**model.state_dict(), "": next_draw}, users, gradients))
    (weights, users, gradients), (others, same_users, same_gradients) = found
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert torch.equal(users, same_users)
    assert all(map(torch.equal, gradients, same_gradients))


def test_interests_without_weights_are_the_embedding_of_mlp() -> None:
    one, several = two_tower(Mlp).eval(), two_tower(MultiInterest, interests=3).eval()
    assert isinstance(several.user_tower, MultiInterest)
    torch.nn.init.zeros_(several.user_tower.queries.weight)
    weights = several.state_dict()
    several.load_state_dict(
        one.state_dict() | {name: weights[name] for name in weights if "queries" in name or "hidden" in name}
    )
    users = embed(several)
    assert users.shape == (3, 3, 7)
    torch.testing.assert_close(users, embed(one)[:, None].expand(3, 3, 7))
    assert users[..., -1].tolist() == [[1.0] * 3] * 3  # the column of the item bias


def test_interests_need_a_history() -> None:
    config = MultiInterest.Config(widths=[8], interests=3)
    assert [key for key, _ in config.problems(reading({"country"}))] == ["interests"]
    assert [
        key for key, _ in MultiInterest.Config(widths=[8], interests=1).problems(reading({"country"}))
    ] == []
    unread = MultiInterest.Config(widths=None, residual="country", interests=3)
    assert [key for key, _ in unread.problems(reading({"country", "history"}))] == ["interests"]
    assert not list(config.problems(reading({"country", "history"})))
