"""New items where trained items of like content are: the regression by hand, and who is new."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from twotower.config.choice_context import ChoiceContext
from twotower.model.features.categorical import Categorical
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.features.numeric import Numeric
from twotower.model.features.tags import Tags
from twotower.model.features.vector import Vector
from twotower.model.towers.embedding_layout import EmbeddingLayout
from twotower.model.towers.item_bias.no_bias import NoBias
from twotower.model.towers.item_bias.popularity import Popularity
from twotower.model.towers.new_items import by_content
from twotower.model.towers.new_items.by_content import ByContent
from twotower.model.towers.new_items.by_tower import ByTower
from twotower.model.towers.new_items.new_items import NewItems
from twotower.model.towers.new_items.ridge import cross_validated, log_mean_ratio, ridge

LAYOUT = EmbeddingLayout(2, 1)
KNOWN = torch.tensor([[4.0, 0.0, 2.0], [0.0, 4.0, 0.0]])  # two of the tower, then the bias
TABLE = pd.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "kind": ["mug", "cup", "mug", None],
        "price": [1.0, 2.0, 3.0, 4.0],
    }
)


def table_of(**more: object) -> FeatureTable:
    features = {
        "item_id": Id.Config(column="item_id", dim=2).build(2),
        "kind": Categorical.Config(column="kind", dim=3).build(2),
        "price": Numeric.Config(column="price").build(2),
    }
    return FeatureTable.fit(features, TABLE.assign(**more), np.array([1, 2]), "items.csv")


def fitted(
    table: FeatureTable, is_unit: bool = False, boost: float | None = 0, **settings: float
) -> NewItems:
    new_items = (
        ByContent.Config(boost=boost, **settings)
        .build(table, table.encoders(), LAYOUT, frozenset({"unit_vectors"} if is_unit else ()))
        .eval()
    )
    new_items.fit(table.gather(torch.tensor([1, 2])), KNOWN, 1.0)
    return new_items


def test_ridge_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    inputs, outputs = rng.normal(size=(30, 12)) * (rng.random((30, 12)) < 0.4), rng.normal(size=(30, 3))
    outputs[:, 2] = 0  # nothing to learn
    expected = np.linalg.solve(inputs.T @ inputs + 0.3 * np.eye(12), inputs.T @ outputs)
    found = ridge(sparse.csr_array(inputs), outputs, 0.3)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert not found[:, 2].any()


def test_what_is_left_out_is_told_from_the_others() -> None:
    rng = np.random.default_rng(1)
    inputs, outputs = rng.normal(size=(12, 4)), rng.normal(size=(12, 1))
    out = np.array([0, 5, 10])
    others = np.setdiff1d(np.arange(12), out)
    mean = outputs[others].mean()
    weights = np.linalg.solve(
        inputs[others].T @ inputs[others] + 0.3 * np.eye(4), inputs[others].T @ (outputs[others] - mean)
    )
    found = cross_validated(sparse.csr_array(inputs), outputs, 0.3)
    np.testing.assert_allclose(found[out], inputs[out] @ weights + mean, atol=2e-3)
    assert cross_validated(sparse.csr_array(inputs[:1]), outputs[:1], 0.3) == outputs[:1]


def test_a_predicted_log_is_raised_to_the_mean_of_what_it_is_the_log_of() -> None:
    assert math.isclose(log_mean_ratio(np.log([[2.0], [6.0]]), np.zeros((2, 1))), math.log(4))
    table = table_of()
    # Three of one kind: each is told to be the mean of the others, of 1, 1 and 16 so 4, 4 and 1. That is half
    # of what there is.
    for scale in (1.0, 2.0):
        logs = torch.tensor([0.0, 0.0, math.log(16)]) * scale
        new_items = ByContent.Config(boost=0).build(table, table.encoders(), LAYOUT, frozenset()).eval()
        embeddings = torch.cat([torch.zeros(3, 2), logs[:, None]], 1)
        new_items.fit(table.gather(torch.tensor([1, 1, 1])), embeddings, scale)
        found = new_items(table.gather(torch.tensor([3])), torch.zeros(1, 3))
        assert math.isclose(found[0, 2].item(), scale * (math.log(16) / 3 + math.log(2)), rel_tol=1e-5)


def test_the_correction_of_the_bias_is_computed_again_for_other_biases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        by_content, "cross_validated", lambda *args: calls.append(1) or cross_validated(*args)
    )
    table = table_of()
    new_items = fitted(table)
    means = [new_items.mean.clone()]
    for embeddings in (KNOWN, KNOWN + torch.tensor([1.0, 0.0, 0.0]), KNOWN * 2):
        new_items.fit(table.gather(torch.tensor([1, 2])), embeddings, 1.0)
        means.append(new_items.mean.clone())
    assert len(calls) == 2  # the last embeddings have other biases
    assert torch.equal(means[0], means[1])
    alone = ByContent.Config(boost=0).build(table, table.encoders(), LAYOUT, frozenset()).eval()
    alone.fit(table.gather(torch.tensor([1, 2])), KNOWN * 2, 1.0)
    assert torch.equal(alone.mean, means[-1])


def test_a_new_item_is_drawn_to_those_of_its_content() -> None:
    table = table_of()
    new_items = fitted(table, penalty=1.0)
    # One word an item, of length 1: half of the way from the mean (2, 2, 1) to the item of that word.
    found = new_items(table.gather(torch.tensor([3, 4])), torch.zeros(2, 3))
    assert torch.allclose(found, torch.tensor([[3.0, 1.0, 1.5], [2.0, 2.0, 1.0]]))
    boosted = fitted(table, penalty=1.0, boost=0.5)(table.gather(torch.tensor([3])), torch.zeros(1, 3))
    assert torch.allclose(boosted, torch.tensor([[3.0, 1.0, 2.0]]))
    by_default = fitted(table, penalty=1.0, boost=None)(table.gather(torch.tensor([3])), torch.zeros(1, 3))
    assert torch.allclose(by_default, torch.tensor([[3.0, 1.0, 1.7]]))
    unit = fitted(table, is_unit=True, penalty=1.0)(table.gather(torch.tensor([3])), torch.zeros(1, 3))
    assert torch.allclose(unit, torch.tensor([[3 / 10**0.5, 1 / 10**0.5, 1.5]]))


def test_only_items_of_an_unknown_id_are_new() -> None:
    table = table_of()
    new_items = fitted(table)
    features, given = table.gather(torch.tensor([1, 3, 2])), torch.arange(9.0).view(3, 3)
    assert new_items.is_new(features).tolist() == [False, True, False]
    found = new_items.replace_new(features, given)
    assert torch.equal(found[[0, 2]], given[[0, 2]])
    assert torch.equal(found[1], new_items(table.gather(torch.tensor([3])), given[1:2])[0])
    assert torch.equal(
        new_items.replace_new(features, given[:, :2]), torch.cat([given[:1], found[1:2], given[2:]])[:, :2]
    )
    by_tower = ByTower.Config().build(table, table.encoders(), LAYOUT, frozenset())
    assert torch.equal(by_tower.replace_new(features, given), given)
    assert torch.equal(by_tower(features, given), given)


def test_each_feature_counts_the_same_and_a_missing_one_not_at_all() -> None:
    features = {
        "item_id": Id.Config(column="item_id", dim=2).build(2),
        "tags": Tags.Config(column="tags", dim=2).build(2),
        "look": Vector.Config(column="look").build(2),
    }
    looks = [[3.0, 0.0], [0.0, 0.1], [0.0, 9.0], [1.0, 0.0]]
    columns = TABLE.assign(tags=[["x"], ["y"], ["y"], None], look=looks)
    table = FeatureTable.fit(features, columns, np.array([1, 2]), "items.csv")
    new_items = fitted(table, penalty=1.0)
    found = new_items(table.gather(torch.tensor([3, 4])), torch.zeros(2, 3))
    # 3 says what 2 says, whatever the lengths; 4 shares its only feature, a half of what 1 says
    assert torch.allclose(
        found, torch.tensor([[1.0, 3.0, 0.5], [2 + 1 / 2**0.5, 2 - 1 / 2**0.5, 1 + 0.5 / 2**0.5]])
    )


def test_without_content_the_tower_says_it() -> None:
    features = {
        "item_id": Id.Config(column="item_id", dim=2).build(2),
        "price": Numeric.Config(column="price").build(2),
    }
    table = FeatureTable.fit(features, TABLE, np.array([1, 2]), "items.csv")
    given = torch.ones(1, 3)
    assert torch.equal(fitted(table)(table.gather(torch.tensor([3])), given), given)


def test_a_boost_needs_a_bias() -> None:
    assert not list(ByContent.Config(boost=0.5).problems(ChoiceContext({"item_bias": Popularity.Config()})))
    assert [
        key for key, _ in ByContent.Config(boost=0.5).problems(ChoiceContext({"item_bias": NoBias.Config()}))
    ] == ["boost"]
    assert not list(ByContent.Config().problems(ChoiceContext({"item_bias": NoBias.Config()})))
