import numpy as np
import pytest
import tiny_bundle

from twotower.config.errors import InputError
from twotower.serving.requests import UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever

NOW = tiny_bundle.NOW
NEW = {"title": "RED CUP", "price": 3.0, "tags": ["home"]}


@pytest.fixture
def retriever(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items="tower")
    return Retriever.open(tmp_path / "bundle")


def ids(found):
    return [each.item_id for each in found]


def test_an_event_enters_the_history_of_the_next_request(retriever):
    before = retriever.recommend("user-01", 60, request_time=NOW)
    retriever.add_event("user-01", "item-040", NOW - 10)
    assert retriever.history("user-01") == ["item-002", "item-003", "item-004", "item-040"]
    after = retriever.recommend("user-01", 60, request_time=NOW)
    assert set(ids(before)) - set(ids(after)) == {"item-040"}
    assert {e.item_id: e.score for e in before}["item-030"] != {e.item_id: e.score for e in after}["item-030"]
    asked = {"features": {"country": country(retriever, "user-01")}, "history": retriever.history("user-01")}
    same = retriever.recommend_new(**asked, k=60, request_time=NOW)
    assert ids(same) == ids(after)
    np.testing.assert_allclose([e.score for e in same], [e.score for e in after], rtol=1e-5)


def country(retriever, user):
    return retriever.bundle.user_table.set_index("user_id")["country"][user]


def test_events_make_a_user_known(retriever):
    with pytest.raises(UnknownUser):
        retriever.recommend("late")
    retriever.add_event("late", "item-007", NOW - 10)
    assert retriever.history("late") == ["item-007"]
    assert retriever.user_ids[-1] == "late"
    assert len(retriever.user_ids) == tiny_bundle.NUM_USERS + 1
    retriever.add_event("user-01", "item-007", NOW)
    assert len(retriever.user_ids) == tiny_bundle.NUM_USERS + 1
    described = retriever.recommend_new(history=["item-007"], history_times=[NOW - 10], k=60)
    assert retriever.recommend("late", 60) == described


def test_events_are_merged_by_time_those_of_the_bundle_first(retriever):
    first = NOW - 100_000  # user-01 has items 2, 3, 4 at first, first + 1, first + 2
    for item, time in ((10, first + 1), (11, first - 5), (12, first + 1), (13, NOW)):
        retriever.add_event("user-01", f"item-{item:03d}", time)
    order = [11, 2, 3, 10, 12, 4, 13]
    assert retriever.history("user-01") == [f"item-{row:03d}" for row in order]


def test_an_event_twice_is_once(retriever):
    first = NOW - 100_000
    for _ in range(2):
        retriever.add_event("user-01", "item-003", first + 1)  # the bundle's own
        retriever.add_event("user-01", "item-003", first + 7)
        retriever.add_event("user-01", "item-009", first + 7)
    assert retriever.history("user-01")[2:] == ["item-004", "item-003", "item-009"]


def test_an_event_twice_is_once_though_its_item_changed_in_between(retriever):
    retriever.add_event("user-01", "item-009", NOW)
    retriever.put_item("item-009", NEW)
    retriever.put_item("item-003", NEW)
    retriever.add_event("user-01", "item-009", NOW)
    retriever.add_event("user-01", "item-003", NOW - 100_000 + 1)
    for _ in range(2):
        retriever.add_event("user-01", "item-009", NOW + 1)
    assert retriever.history("user-01") == ["item-002", "item-003", "item-004", "item-009", "item-009"]


def test_events_of_the_same_second_keep_their_order(retriever):
    last = NOW - 100_000 + sum(3 * user for user in range(1, 12)) - 1  # of user-11, who has 33 items
    before = retriever.history("user-11")
    events = [f"item-{number:03d}" for number in range(60, 20, -1)]
    for item in events:
        retriever.add_event("user-11", item, last)
    kept = [item for item in events if item != before[-1]]  # which the bundle has at that second
    assert retriever.history("user-11") == before + kept


def test_all_events_are_seen_though_the_towers_look_at_the_latest(retriever):
    for number in range(1, 51):
        retriever.add_event("late", f"item-{number:03d}", NOW + number)
    assert len(retriever.history("late")) == 50
    assert set(ids(retriever.recommend("late", 60))) == {f"item-{n:03d}" for n in range(51, 61)}
    latest = [f"item-{n:03d}" for n in range(46, 51)]
    scores = {e.item_id: e.score for e in retriever.recommend("late", 60)}
    same = retriever.recommend_new(
        history=latest, history_times=range(NOW + 46, NOW + 51), k=60, request_time=NOW + 50
    )
    assert scores == pytest.approx({e.item_id: e.score for e in same if e.item_id in scores})


def test_a_request_is_not_made_before_the_latest_event(retriever):
    half_a_year_later = NOW + 15_778_476
    retriever.add_event("user-01", "item-040", half_a_year_later)
    now = retriever.recommend("user-01", 60)
    assert now == retriever.recommend("user-01", 60, request_time=half_a_year_later)
    assert now != retriever.recommend("user-01", 60, request_time=NOW)


def test_a_removed_item_may_be_in_an_event(retriever):
    retriever.remove_item("item-040")
    retriever.add_event("user-01", "item-040", NOW)
    assert retriever.history("user-01")[-1] == "item-040"


@pytest.mark.parametrize(
    ("user_id", "item_id", "time", "error", "part"),
    [
        ("user-01", "no such item", NOW, UnknownItem, "no such item"),
        ("user-01", 3, NOW, UnknownItem, "text"),
        (3, "item-001", NOW, InputError, "user_id: user ids of this bundle are text"),
        ("", "item-001", NOW, InputError, "1 to 256"),
        ("user-01", "item-001", NOW * 1000, InputError, "time: expected whole unix seconds"),
        ("user-01", "item-001", None, InputError, "time"),
    ],
)
def test_a_wrong_event_changes_nothing(retriever, user_id, item_id, time, error, part):
    before = retriever.user_ids, retriever.history("user-01")
    for call in (retriever.add_event, retriever.check_event):
        with pytest.raises(error, match=part):
            call(user_id, item_id, time)
    assert before == (retriever.user_ids, retriever.history("user-01"))
