import os
import re
import shutil
import signal
import sqlite3
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from forks import Fork
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from twotower.config.errors import InputError
from twotower.serving.live.change_store import ChangeStore, StoreFailed, read_changes
from twotower.serving.live.changes import EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut


@pytest.fixture
def path(tmp_path):
    return tmp_path / "live.db"


@pytest.fixture
def store(path):
    with closing(ChangeStore(path)) as opened:
        yield opened


def test_a_commit_that_fails_keeps_nothing(store):
    store.commit([ItemPut("a", {})])
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFailed, match=r"live\.db: nothing was stored.*full"):
        store.commit([ItemPut("b", {}), ItemPut("c", {"text": "x" * 50_000})])
    assert store.last == 1
    assert list(store.changes()) == [ItemPut("a", {})]
    assert store.commit([ItemRemoved("a")]) == 2


def test_commits_are_brought_to_the_disk(store):
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_killed_process_keeps_what_it_committed_and_frees_the_store(path):
    def die_within_a_transaction():
        store = ChangeStore(path)
        store.commit([ItemPut("a", {"x": 1})])
        with store.transaction():
            store.insert([ItemRemoved("a"), ItemPut("b", {})])
            os.kill(os.getpid(), signal.SIGKILL)

    assert Fork(die_within_a_transaction, path.with_name("out")).wait() == -signal.SIGKILL
    with closing(ChangeStore(path)) as store:
        assert list(store.changes()) == [ItemPut("a", {"x": 1})]


def test_one_process_at_a_time_and_the_message_says_which(store, path):
    with pytest.raises(InputError, match=r"live\.db: in use by another process"):
        ChangeStore(path)
    closer = threading.Thread(target=store.close)  # another thread than the one that opened it
    closer.start()
    closer.join()
    ChangeStore(path).close()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_a_store_in_use_is_refused(store, path, tmp_path, link):
    link(path, tmp_path / "link.db")
    with pytest.raises(InputError, match="in use by"):
        ChangeStore(tmp_path / "link.db")


def test_a_store_is_read_while_a_service_has_it_open(store, path):
    with pytest.raises(InputError, match="there is no store"):
        read_changes(path.with_name("other.db"))
    store.commit([ItemPut("a", {}), UserForgotten("u")])
    assert read_changes(path) == [ItemPut("a", {}), UserForgotten("u")]


def test_a_closed_store_takes_nothing(store):
    store.close()
    with pytest.raises(StoreFailed, match="nothing was stored"):
        store.commit([ItemPut("a", {})])


def written(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def damage_an_index(path):
    content = bytearray(path.read_bytes())
    leaves = [start for start in range(4096, len(content), 4096) if content[start] == 0x0A]
    content[leaves[-1] + 8 : leaves[-1] + 12] = b"\xff" * 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda path: path.write_text("user,item\n" * 1000), ["not readable as a store", "move it"]),
        (lambda path: path.write_bytes(path.read_bytes()[:-4096]), ["malformed", "move it", "-wal"]),
        (damage_an_index, ["not readable as a store", "restore a copy", "-wal"]),
        (
            lambda path: written(path, "PRAGMA user_version = 3"),
            ["format 3", "reads format 4 only", "twotower export_live", "store=FILE"],
        ),
        (lambda path: written(path, "PRAGMA application_id = 7"), ["another program"]),
    ],
)
def test_a_file_that_is_no_valid_store_is_refused_and_unchanged(path, spoil, parts):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut(f"item {number}", {"text": "x" * 100}) for number in range(300)])
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        ChangeStore(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_changes(path)
    path.unlink()
    ChangeStore(path).close()  # the lock was released


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(InputError, match="not readable"):
        ChangeStore(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not readable as a store"):
        ChangeStore(tmp_path / "file" / "live.db")


def test_reading_goes_on_while_others_write(store):
    store.commit([ItemPut(number, {}) for number in range(3)])
    reading = store.changes()
    assert next(reading) == ItemPut(0, {})

    for number in range(100, 160):
        store.commit([ItemPut(number, {})])
    assert [change.item_id for change in reading] == [1, 2]  # the state when the reading began
    assert store.last == 63
    assert len(list(store.changes())) == 63


IDS = st.sampled_from([1, 2, "1", "2", "a\0b", "é"])
CHANGE = st.one_of(
    st.builds(ItemPut, IDS, st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3))),
    st.builds(ItemRemoved, IDS),
    st.builds(EventAdded, IDS, IDS, st.integers(0, 2), st.sampled_from([None, "view"])),
    st.builds(UserPut, IDS, st.dictionaries(st.text(max_size=3), st.none() | st.floats(0, 1))),
    st.builds(UserForgotten, IDS),
)


class StoreAsLists(RuleBasedStateMachine):
    """The store equals plain lists of what was committed, whatever is written, closed and opened again."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.store = ChangeStore(self.folder / "live.db")
        self.states = {0: ({}, {}, [], {})}  # number -> latest puts, removals, events, user changes

    @rule(changes=st.lists(CHANGE, max_size=4))
    def commit(self, changes):
        for change in changes:
            puts, removed, events, users = self.states[self.store.last]
            match change:
                case ItemPut():
                    puts = {k: v for k, v in puts.items() if k != change.item_id} | {change.item_id: change}
                    removed = {k: v for k, v in removed.items() if k != change.item_id}
                case ItemRemoved():
                    removed = {k: v for k, v in removed.items() if k != change.item_id}
                    removed = removed | {change.item_id: change}
                case EventAdded():
                    if change in events:
                        assert self.store.commit([change]) == self.store.last
                        continue
                    events = [*events, change]
                case UserPut() | UserForgotten():
                    users = {k: v for k, v in users.items() if k != change.user_id} | {change.user_id: change}
            self.states[self.store.commit([change])] = (puts, removed, events, users)

    @rule()
    def reopen(self):
        self.store.close()
        self.store = ChangeStore(self.folder / "live.db")

    @rule()
    def kill(self):
        """What is on the disk at this moment, as a kill leaves it, opens to the same."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.folder.glob("live.db*"):
            shutil.copy(path, copy)
        with closing(ChangeStore(copy / "live.db")) as found:
            assert list(found.changes()) == list(self.store.changes())

    @rule(share=st.floats(0, 1))
    @precondition(lambda self: len(self.states) > 1)
    def catch_up(self, share):
        """From the state at a number, the changes since then lead to the last one."""
        after = list(self.states)[round(share * (len(self.states) - 1))]
        puts, removed, events, users = self.states[after]
        offered = {k: dict(v.features) for k, v in puts.items() if k not in removed}
        events = list(events)
        for change in self.store.changes(after):
            match change:
                case ItemPut():
                    offered[change.item_id] = dict(change.features)
                case ItemRemoved():
                    offered.pop(change.item_id, None)
                case EventAdded():
                    events.append(change)
                case UserPut() | UserForgotten():
                    users = users | {change.user_id: change}
        puts, removed, last_events, last_users = self.states[self.store.last]
        assert users == last_users
        assert offered == {k: dict(v.features) for k, v in puts.items() if k not in removed}
        assert events == last_events

    @invariant()
    def everything_is_there(self):
        puts, removed, events, users = self.states[self.store.last]
        named = {event.item_id for event in events}
        expected = [put for key, put in puts.items() if key not in removed or key in named]
        known = [*expected, *events, *removed.values(), *users.values()]
        assert list(self.store.changes()) == known
        assert self.store.last == max(self.states)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


TestStoreAsLists = StoreAsLists.TestCase
TestStoreAsLists.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
