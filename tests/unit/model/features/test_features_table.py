import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from twotower.config.errors import InputError
from twotower.config.problems import ErrorCollector
from twotower.model.features.binned import Binned
from twotower.model.features.categorical import Categorical
from twotower.model.features.feature import Feature
from twotower.model.features.feature_table import FeatureTable, column_faults
from twotower.model.features.id import Id
from twotower.model.features.numeric import Numeric
from twotower.model.features.request_time import RequestTime
from twotower.model.features.text import HashedText

ITEMS = pd.DataFrame(
    {
        "item_id": ["x", "y", "z", "w"],
        "price": [1.0, 3.0, 100.0, 3.0],
        "title": ["red mug", "red cup", "new", ""],
    }
)
TRAIN = np.array([2, 1])


def features() -> dict[str, Feature]:
    return {
        "id": Id(Id.Config(column="item_id", dim=4)),
        "price": Numeric(Numeric.Config(column="price")),
        "title": HashedText(HashedText.Config(column="title", dim=8, char_ngrams=False, max_tokens=2)),
        "season": RequestTime(RequestTime.Config(year=1)),
    }


@pytest.fixture
def table() -> FeatureTable:
    return FeatureTable.fit(features(), ITEMS, TRAIN, "items.csv")


def plain(encoded: dict[str, torch.Tensor]) -> dict[str, list[Any]]:
    return {name: values.tolist() for name, values in encoded.items()}


def test_row_zero_is_unknown_and_others_follow_the_table(table: FeatureTable) -> None:
    assert plain(table.gather(torch.tensor([0, 2, 3]))) == {
        "id": [[0], [2], [0]],
        "price": [[0, 1], [1, 0], [10, 0]],
        "title": [[0, 0], [1, 0], [0, 0]],
    }


def test_gather_takes_any_shape_and_order(table: FeatureTable) -> None:
    rows = torch.tensor([[4, 1], [2, 2]])
    assert table.gather(rows)["id"].tolist() == [[[0], [1]], [[2], [2]]]
    assert table.gather(torch.tensor([], dtype=torch.int64))["title"].shape == (0, 2)
    assert table.gather(torch.tensor([3, 2, 1]))["price"].tolist() == [[10, 0], [1, 0], [-1, 0]]
    assert table.gather(torch.tensor([1, 3, 3, 4]))["id"].flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("rows", [[-1, 0], [-1], [3, 4, 5], [9]])
def test_rows_beyond_the_table_are_an_error(table: FeatureTable, rows: list[int]) -> None:
    with pytest.raises((IndexError, RuntimeError, AssertionError)):
        table.gather(torch.tensor(rows))


def test_context_features_read_the_request_time(table: FeatureTable) -> None:
    times = torch.tensor([0, 31_556_952])
    assert table.encode_times(times, names=["price"]) == {}
    context = table.encode_times(times, names=["season", "price"])
    assert list(context) == ["season"]
    assert context["season"].tolist() == [[0, 0], [0, 1]]
    assert set(table.gather(torch.tensor([1]))) == {"id", "price", "title"}
    assert list(table.features) == ["id", "price", "title", "season"]
    assert table.output_dims == {"id": 4, "price": 2, "title": 8, "season": 2}
    assert list(table.encoders()) == list(table.features)


def test_new_entities_equal_table_rows(table: FeatureTable) -> None:
    records = ITEMS.to_dict("records")
    assert plain(table.encode(records)) == plain(table.gather(torch.arange(1, 5)))
    assert plain(table.encode([{}, {"price": "odd", "other": 1}])) == {
        "id": [[0], [0]],
        "price": [[0, 1], [0, 1]],
        "title": [[0, 0], [0, 0]],
    }
    assert table.columns == {"item_id", "price", "title"}


@pytest.mark.parametrize(
    ("name", "feature", "message"),
    [
        (
            "price",
            Numeric(Numeric.Config(column="prize")),
            r"items.csv: feature 'price' needs column 'prize'.* the columns are price",
        ),
        ("type", Numeric(Numeric.Config(column="price")), r"feature 'type': this name is taken"),
        ("a.b", Numeric(Numeric.Config(column="price")), r"feature 'a.b': this name is taken"),
        (
            "when",
            Numeric(Numeric.Config(column="request_time")),
            r"feature 'when': column 'request_time' is reserved",
        ),
    ],
)
def test_features_that_do_not_fit_the_table(name: str, feature: Feature, message: str) -> None:
    (said,) = column_faults({name: feature}, ITEMS, "items.csv")
    assert re.search(message, said)


@pytest.mark.parametrize(
    ("value", "config", "found"),
    [
        (np.nan, Numeric.Config(column="price", missing="refuse"), r"nothing .*`missing: unknown`"),
        (np.inf, Numeric.Config(column="price"), "inf"),
        (-1.0, Numeric.Config(column="price", transform="log1p"), "-1"),
        ("cheap", Numeric.Config(column="price"), "'cheap'"),
        (None, HashedText.Config(column="title", dim=2, missing="refuse"), "nothing"),
        (3, HashedText.Config(column="title", dim=2), "3"),
        (["a"], Categorical.Config(column="title", dim=2), r"\['a'\]"),
    ],
)
def test_bad_values_are_named_even_outside_train(value: object, config: Feature.Config, found: str) -> None:
    items = ITEMS.astype({config.column: object})
    items.at[2, config.column] = value
    place = rf"items.csv: column '{config.column}', item_id 'z': expected .*, found {found}"
    (said,) = column_faults({"f": config.build(2)}, items, "items.csv")
    assert re.search(place, said)


def test_all_that_keeps_features_from_a_table_is_one_message() -> None:
    items = ITEMS.assign(price=[np.nan, 1.0, np.inf, np.nan], title=["a", None, "b", "c"])
    wanted: dict[str, Feature] = {
        "price": Numeric(Numeric.Config(column="price", missing="refuse")),
        "title": HashedText(HashedText.Config(column="title", dim=8, missing="refuse")),
        "bins": Binned(Binned.Config(column="price", dim=2)),
        "length": Numeric(Numeric.Config(column="length")),
        "type": Numeric(Numeric.Config(column="price")),
    }
    said = column_faults(wanted, items, "items.csv")
    parts = ("'price', item_id 'x'", "'price', item_id 'z'", "'title', item_id 'y'", "'length'", "'type'")
    assert all(part in message for part, message in zip(parts, said, strict=True))
    assert "2 such rows in all" in said[0]
    with pytest.raises(InputError, match=r"^5 mistakes in items.csv\n  "):
        ErrorCollector("items.csv", said).raise_if_any()


def test_rows_of_the_previous_step_are_gathered_again_only_if_they_changed(table: FeatureTable) -> None:
    rows, encoder = torch.tensor([1, 3, 4]), table.encoders()["title"]
    first = table.gather(rows)["title"]
    assert table.gather(rows)["title"] is first
    plans = []
    for _ in range(2):  # the catalogue and its trained part are both planned once
        for values in (table.all_rows(), table.gather(rows)):
            encoder(values["title"])
        plans.append([plan for *_, plan in encoder._planned])
    assert all(one is other for one, other in zip(*plans, strict=True))
    rows[1] = 2
    assert table.gather(rows)["id"].flatten().tolist() == [1, 2, 0]
    table.eval()
    assert table.gather(rows)["title"] is not table.gather(rows)["title"]
