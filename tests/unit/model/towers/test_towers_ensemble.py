"""An ensemble is as many narrow models: their mean score, and for each the gradients of its own loss."""

from typing import Any

import pandas as pd
import pytest
import torch
from scoring_cases import logits_of, negatives_of
from torch import Tensor

from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.scoring.scorer import Scorer
from twotower.model.towers.history.causal_encoder import Ensemble
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig
from twotower.model.towers.user_batch import UserBatch

ITEMS, WIDTH, MEMBERS = 7, 4, 3
LOSS = SampledSoftmax(SampledSoftmax.Config(temperature=0.5))
HISTORIES = torch.tensor([[0, 2, 5], [1, 2, 3], [6, 6, 7]])
TARGETS = torch.tensor([3, 4, 1])


def model(members: int, biases: Tensor | None = None) -> TwoTower:
    table = pd.DataFrame({"item_id": [f"i{row}" for row in range(1, ITEMS + 1)]})
    width = WIDTH * members
    item_id = Id(Id.Config(column="item_id", dim=width, dropout=0.0))
    items = FeatureTable.fit({"item_id": item_id}, table, torch.arange(1, ITEMS + 1).numpy(), "items")
    block = {"_target_": "twotower.model.towers.mlp.Mlp", "widths": None, "normalize": "none"}
    sasrec = {"length": 3, "items": "tower", "last_item": False, "hidden_dropout": 0.0}
    bias = "popularity.Popularity" if biases is not None else "no_bias.NoBias"
    settings: dict[str, Any] = {
        "embedding_dim": width + (biases is not None),
        "history": {"_target_": "twotower.model.towers.history.sasrec.Sasrec", **sasrec, "members": members},
        "user_tower": block | {"residual": "history"},
        "item_tower": block | {"residual": "item_id"},
        "item_bias": {"_target_": f"twotower.model.towers.item_bias.{bias}"},
    }
    known = torch.arange(ITEMS + 1) > 0
    built = TwoTower(TwoTowerConfig.from_settings(settings), FeatureTable({}, {}, 3), items, known)
    if biases is not None:
        built.item_bias.get_parameter("biases").data.copy_(biases)
    return built.eval()


def narrow_models(ensemble: TwoTower, biases: Tensor | None) -> list[TwoTower]:
    """Return models of the width of a member, with the weights of each."""
    assert isinstance(ensemble.history, Ensemble)
    found = []
    for member, columns in zip(ensemble.history.encoders, of_table(ensemble).chunk(MEMBERS, 1), strict=True):
        narrow = model(1, biases)
        narrow.history.load_state_dict(member.state_dict())
        of_table(narrow).data.copy_(columns.detach() * MEMBERS**0.5)
        found.append(narrow)
    return found


def embeddings(towers: TwoTower) -> tuple[Tensor, Tensor]:
    requests = torch.zeros(3, dtype=torch.int64)
    batch = UserBatch(requests, HISTORIES, HISTORIES * 0, requests)
    return towers.encode_users(batch), towers.encode_items(torch.arange(1, ITEMS + 1))


def loss(towers: TwoTower) -> Tensor:
    users, items = embeddings(towers)
    scorer = Scorer(LOSS.config.scoring(), 10_000)
    every = logits_of(
        *(scorer, users, items[TARGETS - 1], items, negatives_of(ITEMS, 3)),
        num_members=towers.num_members,
        bias_width=towers.item_bias.config.width,
    )
    return torch.stack([LOSS.batch_mean(logits) for logits in every]).mean()


@pytest.mark.parametrize("biases", [None, torch.linspace(-1, 1, ITEMS)], ids=["no bias", "bias"])
def test_scores_are_means_and_gradients_those_of_each_member(biases: Tensor | None) -> None:
    ensemble = model(MEMBERS, biases)
    for parameter in ensemble.history.parameters():
        torch.nn.init.normal_(parameter)
    narrow = narrow_models(ensemble, biases)
    scores = []
    for towers in narrow:
        users, items = embeddings(towers)
        scores.append(users @ items.T)
    users, items = embeddings(ensemble)
    torch.testing.assert_close(users @ items.T, torch.stack(scores).mean(0))

    losses = [loss(towers) for towers in narrow]
    torch.testing.assert_close(loss(ensemble), torch.stack(losses).mean())
    loss(ensemble).backward()
    torch.stack(losses).mean().backward()
    gradients = [of_table(towers).grad for towers in (ensemble, *narrow)]
    assert all(each is not None and each.abs().sum() > 0 for each in gradients)
    whole, *parts = gradients
    # A table of the ensemble is that of the members over the root of their number.
    torch.testing.assert_close(whole, MEMBERS**0.5 * torch.cat(parts, 1))
    assert isinstance(ensemble.history, Ensemble)
    for member, towers in zip(ensemble.history.encoders, narrow, strict=True):
        for name, parameter in towers.history.named_parameters():
            torch.testing.assert_close(member.get_parameter(name).grad, parameter.grad)


def of_table(towers: TwoTower) -> Tensor:
    return towers.item_encoders["item_id"].get_parameter("table.weight")
