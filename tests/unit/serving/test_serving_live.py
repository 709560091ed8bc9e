import logging
import threading
import time
from contextlib import closing
from functools import partial
from unittest import mock

import pytest
import tiny_bundle

from twotower.bundle.notices import find_bundle
from twotower.config.errors import InputError
from twotower.serving.live.change_store import ChangeStore
from twotower.serving.live.changes import EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut
from twotower.serving.live.live_service import LiveService
from twotower.serving.requests import Request, UnknownItem
from twotower.serving.retriever import Retriever

NOW = tiny_bundle.NOW
NEW = {"title": "RED CUP", "price": 3.0, "tags": ["home"]}
CHANGES = [
    ItemPut("new", NEW),
    ItemPut("item-001", {"title": "BLUE LAMP"}),
    ItemRemoved("item-002"),
    EventAdded("user-01", "new", NOW),
    EventAdded("nobody yet", "item-003", NOW + 1),
    ItemPut("gone", NEW),
    EventAdded("user-12", "gone", NOW),
    ItemRemoved("gone"),
    UserPut("user-03", {"country": "FR"}),
    UserPut("well known", {"country": "GB"}),
    UserPut("user-04", {"country": "FR"}),
    UserForgotten("user-04"),
]


@pytest.fixture
def root(tmp_path):
    tiny_bundle.write(tmp_path / "root" / "first", history_items="tower")
    tiny_bundle.write(tmp_path / "root" / "second", kind="ivf_flat", history_items="tower", seed=2)
    return tmp_path / "root"


@pytest.fixture
def opened(root, tmp_path):
    """Open the service over its store, as often as asked."""
    services = []

    def open_it(bundle="first", store=tmp_path / "live.db"):
        services.append(LiveService(root, root / bundle, store, trusted_packages=["strangers"]))
        return services[-1]

    yield open_it
    for service in services:
        service.close()


def write(live, *changes):
    for change in changes:
        live.write(change)


def offered(retriever, user=None):
    request = Request(user_id=user, k=1000, exclude_seen=user is not None)
    (found,) = retriever.answer([request])
    return {each.item_id: each.label for each in found}


def check_all_is_there(retriever):
    found = offered(retriever)
    assert len(found) == 60
    assert found["new"] == "RED CUP"
    assert found["item-001"] == "BLUE LAMP"
    assert not {"item-002", "gone"} & set(found)
    assert retriever.history("user-01")[-1] == "new"
    assert retriever.history("nobody yet") == ["item-003"]
    assert retriever.history("user-12") == ["gone"]  # what was removed stays in histories
    assert "new" not in offered(retriever, "user-01")
    assert retriever.user("user-03")["features"] == {"country": "FR"}
    assert retriever.user("well known")["live"] is True
    assert retriever.user("user-04")["live"] is False
    described = retriever.recommend_new({"country": "GB"}, k=5)
    assert retriever.recommend("well known", 5) == described


def test_what_was_written_is_seen_and_there_after_a_restart(opened):
    live = opened()
    write(live, *CHANGES)
    check_all_is_there(live.retriever)
    before = live.retriever.answer([Request(user_id="user-01", k=60), Request(user_id="user-12", k=60)])
    live.close()
    again = opened()
    check_all_is_there(again.retriever)
    assert again.num_quarantined == 0
    after = again.retriever.answer([Request(user_id="user-01", k=60), Request(user_id="user-12", k=60)])
    assert [[(e.item_id, round(e.score, 4)) for e in found] for found in after] == [
        [(e.item_id, round(e.score, 4)) for e in found] for found in before
    ]


def test_a_wrong_write_is_not_there_after_a_restart(opened):
    live = opened()
    with pytest.raises(InputError, match="colour"):
        live.write(ItemPut("other", {"colour": "red"}))
    with pytest.raises(UnknownItem):
        live.write(ItemRemoved("never"))
    with pytest.raises(UnknownItem):
        live.write(EventAdded("user-01", "never", NOW))
    live.close()
    assert offered(opened().retriever) == offered(Retriever.open(live.retriever.bundle.folder))


def test_without_a_store_changes_last_as_long_as_the_service(opened):
    live = opened(store=None)
    write(live, *CHANGES)
    live.reload("second")
    check_all_is_there(live.retriever)
    live.close()
    assert "new" not in offered(opened(store=None).retriever)


def test_a_reload_switches_with_all_live_changes_while_old_requests_keep_their_version(opened):
    live = opened()
    write(live, *CHANGES)
    old = live.retriever
    version = live.reload("second")
    assert version == live.retriever.version != old.version
    assert live.retriever.bundle.folder.name == "second"
    check_all_is_there(live.retriever)
    check_all_is_there(old)
    live.write(ItemRemoved("new"))
    assert "new" not in offered(live.retriever)
    assert "new" in offered(old)


def test_writes_during_a_reload_are_in_the_new_version_too(opened, monkeypatch):
    live = opened()
    write(live, *CHANGES)
    read, opening = Retriever.open, threading.Event()

    def slow_open(*given):
        retriever = read(*given)
        opening.set()
        while "during-9" not in offered(live.retriever):
            pass
        return retriever

    monkeypatch.setattr(Retriever, "open", slow_open)
    reload = threading.Thread(target=live.reload, args=("second",))
    reload.start()
    assert opening.wait(600)
    with pytest.raises(InputError, match="in progress"):
        live.reload("second")
    write(live, ItemRemoved("item-004"), UserPut("user-05", {"country": "FR"}))
    live.write(UserForgotten("well known"))
    for number in range(10):
        write(live, ItemPut(f"during-{number}", NEW), EventAdded("user-03", f"during-{number}", NOW + number))
    reload.join(600)
    assert live.retriever.bundle.folder.name == "second"
    found = offered(live.retriever)
    assert {f"during-{number}" for number in range(10)} <= set(found)
    assert "item-004" not in found
    assert live.retriever.user("user-05")["live"] is True
    assert "well known" not in live.retriever.user_ids
    assert live.retriever.history("user-03")[-10:] == [f"during-{number}" for number in range(10)]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../first",
        "first/",
        "/etc",
        "nothing",
        "a\0b",
        "first\\x",
        "outside",
        "a file",
        "x" * 300,
    ],
)
def test_a_reload_takes_names_of_folders_in_the_root_only(root, tmp_path, opened, name):
    tiny_bundle.write(tmp_path / "elsewhere")
    (root / "outside").symlink_to(tmp_path / "elsewhere")
    (root / "a file").touch()
    live = opened()
    before = live.retriever
    with pytest.raises(InputError, match=r"bundle: .*no folder of the root.*second"):
        live.reload(name)
    assert live.retriever is before


def test_a_profile_of_columns_that_a_bundle_lacks_waits_for_one_that_has_them(root, opened, caplog):
    tiny_bundle.write(root / "rich", history_items="tower", profiles=True)
    live = opened("rich")
    write(live, UserPut("user-03", {"country": "FR", "age": 44.0}), UserPut("late", {"country": "FR"}))
    live.reload("first")
    assert live.retriever.user("late")["features"] == {"country": "FR"}
    assert live.retriever.user("user-03")["live"] is False
    assert live.num_quarantined == 1
    assert "UserPut(user_id='user-03'" in caplog.text
    assert "features: 'age' is not a feature of this model; valid: country" in caplog.text
    live.reload("rich")
    assert live.retriever.user("user-03")["features"]["age"] == 44.0
    assert live.num_quarantined == 0


@pytest.mark.parametrize("damaged", [True, False])
def test_a_bad_bundle_is_refused_and_the_old_one_goes_on(root, opened, damaged, monkeypatch):
    live = opened()
    write(live, *CHANGES)
    before = live.retriever
    if damaged:
        path = root / "second" / "item_embeddings.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        message = r"item_embeddings\.npy: damaged"
    else:
        monkeypatch.setattr("twotower.serving.retriever.read_bundle", lambda *given: 1 / 0)
        message = r"second: cannot be served \(ZeroDivisionError"
    with pytest.raises(InputError, match=message):
        live.reload("second")
    assert live.retriever is before
    monkeypatch.undo()
    live.write(ItemRemoved("new"))
    assert live.reload("first") == before.version  # it can be asked again


def test_what_a_bundle_cannot_take_is_left_out_counted_and_kept(root, opened):
    tiny_bundle.write(root / "numbers", text=False)
    live = opened()
    write(live, *CHANGES, ItemPut("second new", NEW))
    live.reload("numbers")
    # Puts of new, item-001, second new and gone; three events; two profiles. Removals of what is not there
    # are nothing.
    assert live.num_quarantined == 9
    assert len(offered(live.retriever)) == 60
    live.write(ItemPut(5, {"title": "FIVE"}))
    live.close()
    again = opened("second")
    check = offered(again.retriever)
    assert check.pop("second new") == "RED CUP"
    assert len(check) == 60
    assert again.num_quarantined == 1


def test_a_quarantined_change_that_is_made_again_is_no_longer_counted(root, tmp_path):
    tiny_bundle.write(root / "rich", history_items="tower", profiles=True)
    with closing(LiveService(root, root / "rich", tmp_path / "live.db")) as live:
        write(live, UserPut("user-03", {"age": 44.0}), UserPut("user-04", {"age": 44.0}))
        live.reload("first")
        assert live.num_quarantined == 2
        live.write(UserPut("user-03", {"country": "FR"}))
        assert live.num_quarantined == 1


def test_what_a_bundle_cannot_take_can_be_deleted(root, tmp_path):
    """Of personal data nothing may come back with a later bundle."""
    tiny_bundle.write(root / "rich", history_items="tower", profiles=True)
    tiny_bundle.write(root / "numbers", text=False)
    with closing(LiveService(root, root / "rich", tmp_path / "live.db")) as live:
        write(live, UserPut("late", {"age": 44.0}), ItemPut("new", NEW))
        live.reload("numbers")
        assert live.num_quarantined == 2
        write(live, UserForgotten("late"), ItemRemoved("new"))
        assert live.num_quarantined == 0
        for change in (UserForgotten("late"), ItemRemoved("new"), UserForgotten("nobody")):
            with pytest.raises(InputError):
                live.write(change)
        live.reload("rich")
        assert live.num_quarantined == 0
        assert "new" not in offered(live.retriever)
        with pytest.raises(InputError, match="no event or profile is of this user"):
            live.retriever.user("late")


def test_a_changed_and_removed_item_of_a_history_counts_the_same_after_a_restart(opened):
    def scores(live):
        return {each.item_id: each.score for each in live.retriever.recommend("user-03", 60)}

    first = opened()
    before = scores(first)
    first.write(ItemPut("item-012", NEW))  # the latest of user-03
    assert first.retriever.history("user-03")[-1] == "item-012"
    assert scores(first) != before
    first.write(ItemRemoved("item-012"))
    found = scores(first)
    first.close()
    assert scores(opened()) == found


def wait_until(condition):
    until = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_services_that_share_a_store_see_each_other_s_writes_and_reloads(root, tmp_path):
    def start():
        return LiveService(root, root / "first", tmp_path / "live.db", is_shared=True)

    with closing(start()) as one, closing(start()) as two:
        write(one, *CHANGES)
        check_all_is_there(one.retriever)
        write(two, ItemRemoved("new"), ItemPut("of two", NEW))  # applies what the other wrote first
        assert "of two" in offered(two.retriever)
        with pytest.raises(UnknownItem):
            one.write(ItemRemoved("new"))
        wait_until(lambda: "of two" in offered(one.retriever))
        two.reload("second")
        wait_until(lambda: one.retriever.bundle.folder.name == "second")
        assert offered(one.retriever) == offered(two.retriever)
        with closing(start()) as three:
            assert three.retriever.version == two.retriever.version
            assert offered(three.retriever) == offered(two.retriever)
        assert one.num_quarantined == two.num_quarantined == 0


def shared_without_a_follower(root, tmp_path):
    """Open a service over a shared store; the test calls `_follow_once`."""
    live = LiveService(root, root / "first", tmp_path / "live.db", is_shared=True)
    live._closing.set()
    live._threads["follow"].join()
    return live


def test_a_commit_while_a_follower_reads_the_store_is_applied(root, tmp_path, monkeypatch):
    with (
        closing(shared_without_a_follower(root, tmp_path)) as live,
        closing(ChangeStore(tmp_path / "live.db", is_shared=True)) as other,
    ):
        waiting = [[ItemPut("first new", NEW)], [ItemPut("second new", NEW)]]

        def read(get, store):
            value = get(store)
            if store is live._store and waiting:
                other.commit(waiting.pop())
            return value

        for name in ("last", "other_commits"):
            get = partial(read, getattr(ChangeStore, name).fget)
            monkeypatch.setattr(ChangeStore, name, property(get))
        for _ in range(3):
            live._follow_once()
        assert not waiting
        assert {"first new", "second new"} <= offered(live.retriever).keys()


def test_a_removed_item_is_not_offered_while_an_event_of_it_is_applied(root, tmp_path):
    with (
        closing(shared_without_a_follower(root, tmp_path)) as live,
        closing(ChangeStore(tmp_path / "live.db", is_shared=True)) as other,
    ):
        write(live, ItemPut("new", NEW), ItemRemoved("new"))
        other.commit([EventAdded("late", "new", tiny_bundle.NOW)])
        other.commit([ItemPut("unseen", NEW), ItemRemoved("unseen"), EventAdded("late", "unseen", 9)])
        with mock.patch.object(live.retriever.catalogue, "put") as put:
            live._follow_once()
        assert live.retriever.history("late") == ["new"]
        assert [item.item_id for call in put.call_args_list for item in call.args[0]] == ["unseen"]


class WatchedLock:
    """A lock that notes that a thread waits for it."""

    def __init__(self):
        self.lock, self.is_awaited = threading.Lock(), threading.Event()
        self.acquire, self.release = self.lock.acquire, self.lock.release

    def __enter__(self):
        self.is_awaited.set()
        self.lock.acquire()

    def __exit__(self, *raised):
        self.lock.release()


def test_a_reload_is_not_undone_by_the_follower_that_read_the_reload_before(root, tmp_path, monkeypatch):
    with closing(shared_without_a_follower(root, tmp_path)) as live:
        live.reload("second")
        live._reloading, switch = WatchedLock(), live._switch
        opened, follower = [], threading.Thread(target=live._follow_once)

        def switch_while_the_follower_waits(bundle):
            switch(bundle)
            opened.append(bundle.name)
            if len(opened) == 1:  # switched, and not yet in the store
                follower.start()
                assert live._reloading.is_awaited.wait(600)

        monkeypatch.setattr(live, "_switch", switch_while_the_follower_waits)
        live.reload("first")
        follower.join()
        assert opened == ["first"]


def test_a_service_that_cannot_follow_a_reload_keeps_its_bundle_and_follows_writes(
    root, tmp_path, monkeypatch
):
    def start():
        return LiveService(root, root / "first", tmp_path / "live.db", is_shared=True)

    with closing(start()) as one, closing(start()) as two:
        two.reload("second")
        wait_until(lambda: one.retriever.bundle.folder.name == "second")
        monkeypatch.setattr(one, "_switch", lambda bundle: 1 / 0)
        two.reload("first")
        wait_until(lambda: one._retry_at["switch"])
        two.write(ItemPut("new", NEW))
        wait_until(lambda: "new" in offered(one.retriever))
        assert one.retriever.bundle.folder.name == "second"


def test_a_store_in_use_is_refused_and_a_failed_start_lets_go_of_it(root, opened, tmp_path):
    opened()
    with pytest.raises(InputError, match="in use by another process"):
        opened()
    with pytest.raises(InputError, match="missing"):
        LiveService(root, root / "missing", tmp_path / "other.db")
    opened(store=tmp_path / "other.db")


def test_a_rebuild_runs_in_the_background_where_needed_and_one_at_a_time(opened, monkeypatch):
    live = opened()
    assert not live.rebuild_if_needed()
    write(live, *[ItemPut(f"n{number}", NEW) for number in range(120)])
    assert live.retriever.catalogue.drift().needs_rebuild
    rebuild, going, go = live.retriever.catalogue.rebuild, threading.Event(), threading.Event()

    def slow_rebuild():
        going.set()
        go.wait(600)
        rebuild()

    monkeypatch.setattr(live.retriever.catalogue, "rebuild", slow_rebuild)
    assert live.rebuild_if_needed()
    assert going.wait(600)
    assert not live.rebuild_if_needed()
    assert len(offered(live.retriever)) == 180
    go.set()
    live._threads["rebuild"].join(600)
    assert not live.retriever.catalogue.drift().needs_rebuild
    assert len(offered(live.retriever)) == 180


def test_a_rebuild_that_fails_is_logged_and_the_old_index_goes_on(opened, monkeypatch, caplog):
    live = opened()
    write(live, *[ItemPut(f"n{number}", NEW) for number in range(120)])
    monkeypatch.setattr(live.retriever.catalogue, "rebuild", lambda: 1 / 0)
    with caplog.at_level(logging.ERROR, "twotower"):
        assert live.rebuild_if_needed()
        live.close()
    assert "ZeroDivisionError" in caplog.text
    assert len(offered(live.retriever)) == 180


def test_a_bundle_is_opened_anew_where_changes_of_items_pile_up(opened, monkeypatch):
    monkeypatch.setattr("twotower.serving.live.live_service.MIN_LEFT_BEHIND", 5)
    live = opened()
    write(live, *CHANGES)
    write(live, *[ItemPut("new", NEW | {"price": float(number)}) for number in range(61)])
    before = live.retriever
    assert before.catalogue.items.num_left_behind == 62  # 61 of "new", and "gone", which was removed
    assert live.rebuild_if_needed()
    live._threads["rebuild"].join(600)
    assert live.retriever is not before
    assert live.retriever.version == before.version
    assert live.retriever.catalogue.items.num_left_behind == 1  # "gone" is in a history
    assert live.retriever.item("new")["features"]["price"] == 60.0
    check_all_is_there(live.retriever)
    assert not live.rebuild_if_needed()


def test_readers_see_one_version_while_bundles_and_items_change(root, opened):
    live, stop, wrong = opened(), threading.Event(), []
    scores = {}
    for name in ("first", "second"):
        retriever = Retriever.open(root / name)
        scores[retriever.version] = {each.item_id: each.score for each in retriever.recommend_new(k=60)}

    def read():
        while not stop.is_set():
            retriever = live.retriever
            found = {each.item_id: each.score for each in retriever.recommend_new(k=100)}
            found.pop("new", None)
            if found != pytest.approx(scores[retriever.version]):
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for position in range(6):
        live.write(ItemPut("new", NEW) if position % 2 == 0 else ItemRemoved("new"))
        live.reload(["second", "first"][position % 2])
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_a_bundle_with_a_rejected_index_is_served_only_if_that_is_allowed(root):
    tiny_bundle.write(root / "rejected", history_items="tower", rejected=True)
    for allowed in (False, True):
        find = partial(find_bundle, allow_rejected_index=allowed)
        with closing(LiveService(root, find(root / "first"), None, find)) as live:
            before = live.retriever
            if allowed:
                assert live.reload("rejected").startswith("rejected-")
                continue
            with pytest.raises(InputError, match=r"rejected: .* below index.min_recall"):
                live.reload("rejected")
            assert live.retriever is before
