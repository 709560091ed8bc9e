"""The search by prefix, histories, the nearest items, and repeats."""

import json

import pytest
import tiny_bundle

from twotower.bundle.manifest import render
from twotower.bundle.read import read_bundle
from twotower.serving.browser import MAX_HISTORY, Browser
from twotower.serving.requests import Request, UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever


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


def test_users_are_counted_with_those_of_events(browser):
    assert browser.facets()["num_users"] == tiny_bundle.NUM_USERS
    for user in ("late", "late", "user-01", "later"):
        browser.retriever.add_event(user, "item-004", tiny_bundle.NOW)
    assert browser.facets()["num_users"] == len(browser.retriever.user_ids) == tiny_bundle.NUM_USERS + 2
    assert list(browser.retriever.users.new_ids) == ["late", "later"]
    assert [user["user_id"] for user in browser.users("late", 1)] == ["late"]


def opened(folder, **changed):
    tiny_bundle.write(folder)
    path = folder / "manifest.json"
    path.write_text(render(json.loads(path.read_text()) | changed))
    return Retriever.open(folder)


@pytest.mark.parametrize(("of_bundle", "default"), [({}, 57), ({"exclude_seen": False}, 60)])
def test_seen_items_are_left_out_unless_the_data_keeps_repeats(tmp_path, of_bundle, default):
    retriever = opened(tmp_path / "bundle", **of_bundle)

    def asked(**rules):
        return len(retriever.answer_one(Request("user-01", k=100, **rules)))

    assert asked() == default
    assert (asked(exclude_seen=True), asked(exclude_seen=False)) == (57, 60)


def test_places_are_not_shown_as_times(tmp_path):
    retriever = opened(tmp_path / "bundle", has_times=False)
    retriever.add_event("user-01", "item-050", tiny_bundle.NOW + 9)
    times = [each["time"] for each in Browser(retriever).user("user-01")["history"]]
    assert times == [tiny_bundle.NOW + 9, None, None, None]
