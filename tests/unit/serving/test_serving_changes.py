import sqlite3
import threading
from contextlib import closing
from unittest.mock import Mock

import pytest

from twotower.config.errors import InputError
from twotower.serving.live.change_store import ChangeStore, StoreFailed
from twotower.serving.live.changes import (
    EventAdded,
    ItemPut,
    ItemRemoved,
    Quarantined,
    UserForgotten,
    UserPut,
    replay,
)
from twotower.serving.live.live_service import Writer
from twotower.serving.requests import UnknownItem, UnknownUser


class Shop:
    """A retriever's changes without its towers."""

    def __init__(self, *ids):
        self.offered = dict.fromkeys(ids)
        self.known = set(ids)
        self.events = []
        self.calls = []
        self.profiles = Profiles(self.calls)

    @property
    def catalogue(self):
        return self

    def prepare(self, puts):
        self.calls.append("prepare")
        if any("bad" in features for _, features in puts):
            raise InputError("features: 'bad' is not a feature")
        return list(puts)

    def apply_item(self, prepared):
        self.calls.append("apply")
        item_id, features = prepared
        new = item_id not in self.offered
        self.offered[item_id] = features
        self.known.add(item_id)
        return new

    def apply_items(self, prepared):
        return [self.apply_item(each) for each in prepared]

    def check_offered(self, item_id):
        if item_id not in self.offered:
            raise UnknownItem(f"item {item_id!r} is not offered")

    def remove_item(self, item_id):
        self.check_offered(item_id)
        del self.offered[item_id]

    def forget_user(self, user_id):
        self.profiles.forget(user_id)

    def check_event(self, user_id, item_id, time, event=None):
        if event is None and item_id not in self.known:
            raise UnknownItem(f"item {item_id!r} is not known")
        if time < 0:
            raise InputError("time: wrong")
        return event is None

    def add_event(self, user_id, item_id, time, event=None):
        self.check_event(user_id, item_id, time)
        if (user_id, item_id, time) not in self.events:
            self.events.append((user_id, item_id, time))


class Profiles:
    """Of the users of a shop."""

    def __init__(self, calls):
        self.of = {}
        self.calls = calls

    def prepare(self, puts):
        self.calls.append("prepare")
        if any("bad" in features for _, features in puts):
            raise InputError("features: 'bad' is not a feature")
        return list(puts)

    def put(self, prepared):
        self.calls.append("apply")
        self.of |= dict(prepared)

    def check_profile(self, user_id):
        if user_id not in self.of:
            raise UnknownUser(f"user {user_id!r} has no profile")

    def forget(self, user_id):
        self.check_profile(user_id)
        del self.of[user_id]


@pytest.fixture
def shop():
    return Shop("a", "b")


@pytest.fixture
def store(tmp_path):
    with closing(ChangeStore(tmp_path / "live.db")) as opened:
        yield opened


def test_changes_that_are_made_again_change_nothing_more(shop):
    changes = [ItemPut("c", {"x": 1}), EventAdded("u", "a", 5), ItemRemoved("a"), ItemRemoved("never")]
    for _ in range(2):
        assert replay(changes, shop) == []
        assert shop.offered == {"b": None, "c": {"x": 1}}
        assert shop.events == [("u", "a", 5)]


def test_profiles_that_are_made_again_change_nothing_more(shop):
    changes = [UserPut("u", {"age": 1}), UserPut("v", {}), UserForgotten("v"), UserForgotten("never")]
    for _ in range(2):
        assert replay(changes, shop) == []
        assert shop.profiles.of == {"u": {"age": 1}}
    assert shop.calls == ["prepare", "apply"] * 2  # two at once
    assert replay([UserPut("w", {"bad": 1}), UserPut("x", {})], shop) == [
        Quarantined(UserPut("w", {"bad": 1}), "features: 'bad' is not a feature")
    ]
    assert set(shop.profiles.of) == {"u", "x"}


def test_what_cannot_be_taken_is_counted_and_harms_nothing_else(shop, monkeypatch):
    monkeypatch.setattr("twotower.serving.live.changes.REPLAY_BATCH", 2)
    changes = [ItemPut("c", {"bad": 1}), ItemPut("d", {}), ItemPut("e", {}), EventAdded("u", "zzz", 5)]
    assert replay([*changes, EventAdded("u", "d", 5), ItemRemoved("a")], shop) == [
        Quarantined(changes[0], "features: 'bad' is not a feature"),
        Quarantined(changes[3], "item 'zzz' is not known"),
    ]
    assert shop.offered == {"b": None, "d": {}, "e": {}}
    assert shop.events == [("u", "d", 5)]


def test_whatever_a_change_raises_the_others_are_made(shop, monkeypatch):
    def broken(real, when):
        def call(*given):
            if when(*given):
                raise RuntimeError("remove_ids not implemented")
            return real(*given)

        return call

    monkeypatch.setattr(shop, "prepare", broken(shop.prepare, lambda puts: "odd" in dict(puts)))
    monkeypatch.setattr(shop, "remove_item", broken(shop.remove_item, lambda item: item == "a"))
    puts = [ItemPut("c", {}), ItemPut("odd", {}), ItemPut("d", {})]
    reason = "RuntimeError: remove_ids not implemented"
    found = replay([*puts, EventAdded("u", "c", 5), ItemRemoved("a"), ItemRemoved("b")], shop)
    assert found == [Quarantined(puts[1], reason), Quarantined(ItemRemoved("a"), reason)]
    assert set(shop.offered) == {"a", "c", "d"}
    assert shop.events == [("u", "c", 5)]


def test_a_write_is_checked_then_kept_then_made(shop, store, monkeypatch):
    insert = store.insert
    monkeypatch.setattr(store, "insert", lambda changes: shop.calls.append("insert") or insert(changes))
    Writer(store, lambda: shop).write(ItemPut("c", {"x": 1}))
    assert shop.calls == ["prepare", "insert", "apply"]
    assert list(store.changes()) == [ItemPut("c", {"x": 1})]


def test_an_event_of_an_ignored_type_is_checked_and_not_stored(shop, store):
    writer = Writer(store, lambda: shop)
    assert writer.write(EventAdded("u", "zzz", 1, "ignored")) == 0
    with pytest.raises(InputError, match="time"):
        writer.write(EventAdded("u", "a", -1, "ignored"))
    assert writer.write(EventAdded("u", "a", 1)) == 1
    assert store.last == 1


def together(writer, writes):
    """Have several callers wait for one writer, in order, and return what each was told."""
    told = [None] * len(writes)

    def call(position):
        try:
            writer.write(writes[position])
        except Exception as error:
            told[position] = error

    threads = [threading.Thread(target=call, args=(position,)) for position in range(len(writes))]
    with writer.lock:
        for count, thread in enumerate(threads, 1):
            thread.start()
            while len(writer._queue) < count:
                pass
    for thread in threads:
        thread.join()
    return told


def test_callers_that_wait_share_a_commit_and_a_wrong_one_fails_alone(shop, store, monkeypatch):
    commits, insert = [], store.insert
    monkeypatch.setattr(store, "insert", lambda changes: commits.append(len(changes)) or insert(changes))
    told = together(
        Writer(store, lambda: shop),
        [
            ItemPut("c", {}),
            ItemPut("d", {"bad": 1}),
            EventAdded("u", "c", 5),  # the item of an earlier caller is there
            EventAdded("u", "d", 5),  # a refused one is not
            ItemRemoved("a"),
            ItemRemoved("a"),
            UserPut("a", {"age": 1}),  # a profile and an item with one id
            UserForgotten("a"),
            UserForgotten("a"),
            UserPut("a", {}),
        ],
    )
    assert [type(error) for error in told] == [
        *[type(None), InputError, type(None), UnknownItem, type(None), UnknownItem],
        *[type(None), type(None), UnknownUser, type(None)],
    ]
    assert commits == [3, 2, 0, 1]  # changes of the same item or user are in different commits
    assert set(shop.offered) == {"b", "c"}
    assert shop.events == [("u", "c", 5)]
    assert shop.profiles.of == {"a": {}}
    assert list(store.changes()) == [
        *[ItemPut("c", {}), EventAdded("u", "c", 5), ItemRemoved("a"), UserPut("a", {})]
    ]


def test_changes_that_the_disk_refuses_are_not_made(shop, store, monkeypatch):
    monkeypatch.setattr(store, "insert", Mock(side_effect=sqlite3.OperationalError("disk I/O error")))
    told = together(
        Writer(store, lambda: shop), [ItemPut("c", {}), ItemPut("d", {"bad": 1}), ItemRemoved("a")]
    )
    assert [type(error) for error in told] == [StoreFailed, InputError, StoreFailed]
    assert set(shop.offered) == {"a", "b"}


def test_a_write_that_nobody_finished_is_not_taken_for_done(shop, store, monkeypatch):
    writer = Writer(store, lambda: shop)
    monkeypatch.setattr(writer, "_write_queue", writer._queue.clear)  # the thread that had it was stopped
    with pytest.raises(StoreFailed, match="may be stored or not"):
        writer.write(ItemPut("c", {}))


def test_a_failure_after_the_commit_is_told_to_its_caller_alone(shop, store, monkeypatch):
    def apply_item(prepared):
        if prepared[0] == "broken":
            raise MemoryError
        shop.offered[prepared[0]] = {}

    monkeypatch.setattr(shop, "apply_item", apply_item)
    told = together(Writer(store, lambda: shop), [ItemPut("broken", {}), ItemPut("c", {})])
    assert [type(error) for error in told] == [MemoryError, type(None)]
    assert set(shop.offered) == {"a", "b", "c"}
    assert store.last == 2
