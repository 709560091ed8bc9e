"""Fitted features that grow by later entities: known values keep their rows, and no embedding jumps."""

from typing import Any

import pandas as pd
import torch

from twotower.model.features.categorical import Categorical
from twotower.model.features.feature import Feature, feature_from_json
from twotower.model.features.tags import Tags
from twotower.model.features.text import HashedText


def series(values: list[Any]) -> pd.Series:
    return pd.Series(values, name="x", dtype=object)


def grown(feature: Feature, first: list[Any], later: list[Any]) -> Feature:
    feature.fit(series(first))
    again = feature_from_json(feature.to_json(), "x")  # as a bundle gives it
    again.fit(series(later), grow=True)
    return again


def test_new_values_come_behind_the_known_ones() -> None:
    feature = grown(Categorical(Categorical.Config(column="x", dim=2)), ["b", "d"], ["a", "d", "c", "b"])
    assert feature.encode(["b", "d", "a", "c", "e", None]).tolist() == [[1], [2], [3], [4], [0], [0]]
    assert feature.encoder().table.weight.shape == (5, 2)


def test_a_value_is_rare_until_it_is_not() -> None:
    config = Categorical.Config(column="x", dim=2, min_count=2)
    feature = grown(Categorical(config), ["b", "b", "a"], ["a", "a", "b", "c"])
    assert feature.encode(["b", "a", "c"]).tolist() == [[1], [2], [0]]


def test_a_later_tag_is_added_and_not_counted() -> None:
    feature = grown(Tags(Tags.Config(column="x", dim=1)), [["b", "a"]], [["a", "c"], ["d"]])
    encoder = feature.encoder()
    assert feature.encode([["c", "a"]])[0, :2].tolist() == [1, 3]  # tags of the first training stand first
    with torch.no_grad():
        encoder.weight[:] = torch.tensor([[0.0], [2.0], [4.0], [0.0], [0.0]])  # none, a, b, c, d
    bags = feature.encode([["a", "c"], ["c", "b", "a"], ["c", "d"], []])
    assert encoder(bags)[:, 0].tolist() == [2.0, 3.0, 0.0, 0.0]  # as without the new tags
    with torch.no_grad():
        encoder.weight[3:, 0] = torch.tensor([1.0, 5.0])
    assert encoder(bags)[:, 0].tolist() == [3.0, 3.5, 3.0, 0.0]  # 2 + 1, (2 + 4 + 1) / 2, (1 + 5) / 2
    assert torch.equal(encoder._plain(bags), encoder(bags))


def test_later_tokens_are_not_counted() -> None:
    config = HashedText.Config(column="x", dim=1, min_count=1, char_ngrams=False)
    first = HashedText(config)
    first.fit(series(["red cup", "red lamp"]))
    feature = grown(HashedText(config), ["red cup", "red lamp"], ["red bag", "bag", "bag", "cup cup"])
    assert feature.state.values[:3] == first.state.values
    assert len(feature.state.values) == 4
    old, new = first.encoder(), feature.encoder()
    with torch.no_grad():
        new.weight[:4], new.weight[4:] = old.weight, 0
    texts = ["red bag", "bag", "lamp red bag cup"]
    assert torch.equal(new(feature.encode(texts)), old(first.encode(texts)))


def test_it_grows_again() -> None:
    feature = grown(Tags(Tags.Config(column="x", dim=1)), [["a"]], [["b"]])
    feature.fit(series([["c", "b"]]), grow=True)
    assert feature.state.values == ["a", "b", "c"]
    assert feature.state.num_first == 1
    few = grown(Tags(Tags.Config(column="x", dim=1, max_tags=2)), [["a", "b"]], [["c", "a"]])
    assert few.encode([["c", "b", "a"]]).tolist() == [[2, 1]]  # a later tag displaces none
