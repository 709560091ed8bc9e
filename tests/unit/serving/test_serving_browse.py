"""The map, the facets, the search by prefix and what lies near, by hand."""

import numpy as np
import pandas as pd
import pytest
import tiny_bundle

from twotower.bundle.read import read_bundle
from twotower.features.tags import Tags
from twotower.serving import browser as browser_module
from twotower.serving.browser import MAX_HISTORY, Browser
from twotower.serving.browser_views import MAX_VALUES, CatalogueMap, _facet
from twotower.serving.requests import Request, UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever


def floats(*rows):
    return np.array(rows, dtype=np.float32)


def test_a_map_lies_along_the_two_widest_directions():
    # About (1, 1, 1): 4 apart along the third axis, 2 along the first, nothing along the second.
    plane = CatalogueMap.fit(floats([1, 1, 3], [1, 1, -1], [2, 1, 1], [0, 1, 1]))
    assert plane.center.tolist() == [1, 1, 1]
    assert plane.axes.T.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert plane.explained == pytest.approx(1)
    assert plane.project(floats([3, 9, 5])).tolist() == [[4, 2]]


def test_a_map_says_what_it_leaves_out():
    # Sums of squares 8, 2 and 2: the plane has 10 of 12, whichever of the two it took.
    vectors = floats([2, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1])
    assert CatalogueMap.fit(vectors).explained == pytest.approx(10 / 12)


@pytest.mark.parametrize("vectors", [floats([1], [3]), floats([2, 2], [2, 2])])
def test_a_map_of_too_few_directions_has_two_numbers_all_the_same(vectors):
    plane = CatalogueMap.fit(vectors)
    assert plane.project(vectors).shape == (2, 2)
    assert np.isfinite(plane.project(vectors)).all()
    assert plane.explained == pytest.approx(1 if vectors.shape[1] == 1 else 0)


def test_facets_count_values_and_take_in_ranges():
    tags = Tags(Tags.Config(column="tags", dim=1, separator="|"))
    numbers = pd.Series([2.0, np.nan, -1.5])
    assert _facet(numbers, "number", None) == {"min": -1.5, "max": 2.0}
    assert _facet(numbers[1:2], "number", None) == {"min": None, "max": None}
    values = pd.Series(["a|b", "b|b", None], dtype=object)
    assert _facet(values, "tags", tags)["values"] == [{"value": "b", "count": 2}, {"value": "a", "count": 1}]
    assert _facet(values, "text", None)["values"] == [
        {"value": "a|b", "count": 1},
        {"value": "b|b", "count": 1},
    ]
    many = pd.Series([f"value {row}" for row in range(MAX_VALUES + 1)])
    assert _facet(many, "text", None) == {"values": None}


@pytest.fixture
def browser(tmp_path):
    tiny_bundle.write(tmp_path / "bundle")
    return Browser(Retriever(read_bundle(tmp_path / "bundle")))


def test_a_user_is_shown_with_the_newest_first(browser):
    shown = browser.user("user-02")
    # Oldest first the rows are 3, 4, 4, 6, 7, 8, see tiny_bundle; they follow the three of user 1.
    assert [entry["item_id"][-1] for entry in shown["history"]] == ["8", "7", "6", "4", "4", "3"]
    assert shown["history"][0]["time"] == tiny_bundle.NOW - 100_000 + 8
    assert shown["num_history"] == 6
    assert shown["known"] is True
    assert set(shown["features"]) == {"country"}
    assert browser.user("user-12")["history"] == []


def test_a_user_of_events_only_is_found_first_and_said_to_be_new(browser):
    browser.retriever.add_event("user-99", "item-004", tiny_bundle.NOW + 5)
    assert browser.users("user", 2)[0] == {"user_id": "user-99", "num_history": 1}
    shown = browser.user("user-99")
    assert (shown["known"], shown["features"]) == (False, {})
    assert shown["history"][0]["time"] == tiny_bundle.NOW + 5
    with pytest.raises(UnknownUser):
        browser.user("user-98")


def test_only_the_newest_of_a_long_history_is_shown(browser):
    for row in range(MAX_HISTORY + 5):
        browser.retriever.add_event("user-12", "item-004" if row % 2 else "item-005", tiny_bundle.NOW + row)
    shown = browser.user("user-12")
    assert (len(shown["history"]), shown["num_history"]) == (MAX_HISTORY, MAX_HISTORY + 5)


def test_items_are_found_by_id_or_name_as_they_are_now(browser):
    assert [item["item_id"] for item in browser.items("ITEM-00", 3)] == ["item-001", "item-002", "item-003"]
    label = browser.retriever.label("item-009")
    assert {"item_id": "item-009", "label": label} in browser.items(label.lower(), 60)
    browser.retriever.put_item("z", {"title": "Item-007 in name only", "price": 1.0, "tags": ["home"]})
    assert [item["item_id"] for item in browser.items("item-007", 9)] == ["z", "item-007"]
    browser.retriever.remove_item("item-007")
    assert [item["item_id"] for item in browser.items("item-007", 9)] == ["z"]
    assert browser.item("item-007")["offered"] is False
    with pytest.raises(UnknownItem):
        browser.item("never")


def test_recommended_items_have_the_nearest_items_of_the_history(browser):
    similar = browser.retriever.similar("item-020", k=59)
    history = {entry["item_id"] for entry in browser.user("user-03")["history"]}
    expected = [each for each in similar if each.item_id in history][:2]
    (item,) = browser.recommend(Request("user-03", allow=["item-020"]))
    assert [near["item_id"] for near in item["nearest"]] == [each.item_id for each in expected]
    assert [near["cosine"] for near in item["nearest"]] == pytest.approx([each.score for each in expected])
    assert item["attributes"]["title"] == browser.retriever.label("item-020")
    assert browser.recommend(Request("user-12", allow=["item-020"]))[0]["nearest"] == []
    (item,) = browser.recommend(Request("user-12", history=["item-021"], allow=["item-020"]))
    assert [near["item_id"] for near in item["nearest"]] == ["item-021"]


def test_the_map_holds_every_item_as_they_are_now_on_the_same_axes(browser):
    shown = browser.map()
    assert len(shown["points"]) == shown["num_items"] == tiny_bundle.NUM_ITEMS
    first, second = shown["points"][:2]
    assert browser.map_positions([first["item_id"]])[0] == pytest.approx(first["place"], abs=1e-4)
    browser.retriever.put_item("new", {"title": "RED CUP", "price": 1.0, "tags": ["home"]})
    browser.retriever.remove_item(first["item_id"])
    shown = browser.map()
    assert len(shown["points"]) == shown["num_items"] == browser.retriever.num_items == tiny_bundle.NUM_ITEMS
    assert shown["points"][0] == second
    assert shown["points"][-1]["label"] == "RED CUP"
    assert browser.map_positions(["new"])[0] == pytest.approx(shown["points"][-1]["place"], abs=1e-4)


def test_a_map_of_many_is_the_same_sample_and_the_newest(browser, monkeypatch):
    monkeypatch.setattr(browser_module, "MAX_POINTS", 10)
    before = browser.map()
    assert (len(before["points"]), before["num_items"]) == (10, tiny_bundle.NUM_ITEMS)
    for name in "abcdefghijkl":
        browser.retriever.put_item(name, {"title": "RED CUP", "price": 1.0, "tags": ["home"]})
    after = browser.map()
    assert after["points"][:10] == before["points"]
    assert [point["item_id"] for point in after["points"][10:]] == list("cdefghijkl")
    assert after["num_items"] == tiny_bundle.NUM_ITEMS + 12


def test_users_are_counted_with_those_of_events(browser):
    assert browser.num_users == tiny_bundle.NUM_USERS
    for user in ("late", "late", "user-01", "later"):
        browser.retriever.add_event(user, "item-004", tiny_bundle.NOW)
    assert browser.num_users == len(browser.retriever.user_ids) == tiny_bundle.NUM_USERS + 2
    assert list(browser.retriever.users.new_ids) == ["late", "later"]
    assert [user["user_id"] for user in browser.users("late", 1)] == ["late"]
