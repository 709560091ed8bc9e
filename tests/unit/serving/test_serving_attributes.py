import datetime

import numpy as np
import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.numeric import Numeric
from twotower.model.features.tags import Tags
from twotower.model.features.vector import Vector
from twotower.serving.attributes import MAX_FACET_VALUES, Attributes, Numbers, plain

TABLE = pd.DataFrame(
    {
        "title": ["a|b", "red", "blue", None],
        "price": [1.0, 2.5, np.nan, 4.0],
        "stock": [3, 0, 7, 1],
        "sold_out": [False, True, False, False],
        "genres": ["Drama|War", "Drama", None, "Comedy| War"],
        "words": [["x", 1], [], ["y", "x"], None],
        "place": ["oak/birch", "oak", "elm", "birch"],
        "picture": [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]],
        "boxes": [[[1, 2]], [], None, [[3]]],
        "since": pd.to_datetime(["2020-01-01"] * 4),
    }
)


@pytest.fixture
def attributes():
    features = {
        "price": Numeric(Numeric.Config(column="price")),
        "place": Tags(Tags.Config(column="place", dim=2, separator="/")),
        "picture": Vector(Vector.Config(column="picture")),
    }
    table = FeatureTable.fit(features, TABLE, np.arange(1, 5), "items")
    return Attributes(TABLE, table, "title", [])


def rows(attributes, where, num_rows=4):
    return (np.flatnonzero(attributes.matches(where, num_rows)) + 1).tolist()


def test_kinds_are_those_of_the_values(attributes):
    assert attributes.kinds == {
        "title": "text",  # it names items, so its bar is no separator
        "price": "number",
        "stock": "number",
        "sold_out": "number",
        "genres": "tags",
        "words": "tags",
        "place": "tags",
    }
    assert attributes.columns == list(TABLE.columns)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"title": "a|b"}, [1]),
        ({"title": "a"}, []),
        ({"title": ["red", "blue", "green"]}, [2, 3]),
        ({"title": []}, []),
        ({"price": 2.5}, [2]),
        ({"price": [1, np.int64(4)]}, [1, 4]),
        ({"price": {"min": 2.5}}, [2, 4]),
        ({"price": {"max": 2.5}}, [1, 2]),
        ({"price": {"min": 2, "max": 3}}, [2]),
        ({"stock": {"min": 1, "max": 3}}, [1, 4]),
        ({"sold_out": False}, [1, 3, 4]),
        ({"sold_out": 1}, [2]),
        ({"genres": "War"}, [1, 4]),
        ({"genres": ["Comedy", "Drama"]}, [1, 2, 4]),
        ({"genres": "Drama|War"}, []),
        ({"words": "x"}, [1, 3]),
        ({"words": 1}, [1]),
        ({"words": "1"}, []),
        ({"place": "oak"}, [1, 2]),
        ({"genres": "War", "price": {"max": 3}}, [1]),
    ],
)
def test_conditions_by_hand(attributes, where, expected):
    assert rows(attributes, where) == expected
    assert rows(attributes, where) == expected  # a prepared column says the same


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        ({"prize": 1}, ["'prize'", "did you mean 'price'", "genres", "stock"]),
        ({"picture": 1}, ["'picture'", "price"]),
        ({"since": "2020"}, ["'since'"]),
        ({"boxes": 1}, ["'boxes'"]),
        ({3: 1}, ["where: 3"]),
        (["price"], ["where", "column", "['price']"]),
        ({"price": "cheap"}, ["'price'", "number", "'cheap'"]),
        ({"price": None}, ["'price'", "None"]),
        ({"price": True}, ["'price'", "True"]),
        ({"price": float("nan")}, ["'price'", "nan"]),
        ({"price": 10**400}, ["'price'", "number"]),
        ({"price": [1, "2"]}, ["'price'", "'2'"]),
        ({"price": {}}, ["'price'", "min", "max"]),
        ({"price": {"min": 1, "most": 2}}, ["'price'", "most"]),
        ({"price": {"min": 3, "max": 2}}, ["'price'", "not above"]),
        ({"price": {"min": None}}, ["'price'", "None"]),
        ({"title": 1}, ["'title'", "text", "1"]),
        ({"title": {"min": 1}}, ["'title'", "text"]),
        ({"title": ["red", ["blue"]]}, ["'title'", "['blue']"]),
        ({"words": True}, ["'words'", "True"]),
    ],
)
def test_a_wrong_condition_names_the_column_and_what_there_is(attributes, where, parts):
    with pytest.raises(InputError) as caught:
        attributes.matches(where, 4)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("asked_before", [False, True])
def test_items_put_in_later_are_found_too(attributes, asked_before):
    if asked_before:
        assert rows(attributes, {"genres": "War", "price": {"min": 0}, "title": "red"}) == []
    attributes._records.append({"genres": "War|New", "price": "2.5", "title": "red"})
    attributes._records.append({})
    for _ in range(20):
        attributes._records.append({"genres": ["War"], "price": 9})
    assert rows(attributes, {"genres": "War"}, 26) == [1, 4, 5, *range(7, 27)]
    assert rows(attributes, {"genres": "New"}, 26) == [5]
    assert rows(attributes, {"price": 2.5}, 26) == [2, 5]
    assert rows(attributes, {"price": {"min": 9}}, 26) == list(range(7, 27))
    assert rows(attributes, {"title": "red"}, 26) == [2, 5]
    assert rows(attributes, {"stock": {"min": 0}}, 26) == [1, 2, 3, 4]


def test_raw_values_are_plain(attributes):
    first = attributes.of(1)
    assert first["since"] == "2020-01-01 00:00:00"
    assert first["words"] == ["x", 1]
    assert attributes.of(3) == {
        "title": "blue",
        "price": None,
        "stock": 7,
        "sold_out": False,
        "genres": None,
        "words": ["y", "x"],
        "place": "elm",
        "picture": [1.0, 1.0],
        "boxes": None,
        "since": "2020-01-01 00:00:00",
    }
    assert type(first["stock"]) is int
    assert plain(np.float32(0.1)) == plain(np.float16(0.1)) == 0.1
    attributes._records.append({"title": "new", "stock": np.float64(np.inf)})
    assert attributes.of(5) == dict.fromkeys(TABLE.columns) | {"title": "new"}


@pytest.mark.parametrize("record", [{"stock": "3"}, {"title": 3}, {"genres": 3}, {"stock": float("inf")}])
def test_values_that_no_feature_checks_are_checked(attributes, record):
    attributes.check({"stock": 3, "title": "x", "genres": ["War"], "price": "left to its feature"})
    with pytest.raises(InputError, match=next(iter(record))):
        attributes.check(record)


def test_facets_have_ranges_and_counts_also_of_added_rows(attributes):
    attributes._records.append({"genres": "War|War", "price": 9.5})
    facets = {facet.pop("name"): facet for facet in attributes.facets()}
    assert facets["price"] == {"kind": "number", "is_label": False, "min": 1.0, "max": 9.5}
    assert facets["genres"]["values"] == [
        {"value": "War", "count": 3},
        {"value": "Drama", "count": 2},
        {"value": "Comedy", "count": 1},
    ]
    assert facets["title"]["is_label"]
    for number in range(MAX_FACET_VALUES):
        attributes._records.append({"title": f"item {number}"})
    assert attributes.facets()[0] == {"name": "title", "kind": "text", "is_label": True, "values": None}
    nothing = pd.DataFrame({"price": [np.nan]})
    assert Numbers("price", nothing["price"]).facet() == {"min": None, "max": None}


def test_numbers_of_requests_are_rounded_as_those_of_a_short_column():
    table = pd.DataFrame({"price": np.float32([19.99, 0.1, 4.35])})
    records = [{"price": 0.1}]
    column = Attributes(table, FeatureTable({}, {}, 3), None, records)
    assert rows(column, {"price": 19.99}) == [1]
    assert rows(column, {"price": {"max": 0.1}}) == [2, 4]
    assert rows(column, {"price": {"min": 4.35}}) == [1, 3]


def test_values_of_a_column_of_dates_are_checked(attributes):
    attributes.check({"since": "2021-05-31"})
    attributes.check({"since": None})
    for wrong in ("junk", 5, "31.05.2021"):
        with pytest.raises(InputError, match=r"column 'since' holds dates, found .*; write 2024-05-31"):
            attributes.check({"since": wrong})
    days = pd.DataFrame({"day": [None, datetime.date(2020, 1, 1)]})
    with pytest.raises(InputError, match="column 'day' holds dates"):
        Attributes(days, FeatureTable({}, {}, 2), None).check({"day": "soon"})
