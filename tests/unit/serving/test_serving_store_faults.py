"""A store that somebody hurts, while it is open or after a kill, never goes on as if nothing were missing."""

import contextlib
import errno
import logging
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from forks import Fork
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.serving.live.change_store import ChangeStore, StoreFailed
from twotower.serving.live.changes import (
    EventAdded,
    ItemPut,
    ItemRemoved,
    Quarantined,
    UserForgotten,
    UserPut,
)
from twotower.serving.live.store_check import promise_file


def write_and_die(path):
    store = ChangeStore(path)
    for number in range(40):
        store.commit([ItemPut(number, {"text": "x" * 300})])
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "live.db"


@pytest.fixture(scope="module")
def as_killed(tmp_path_factory):
    """What a process leaves that was killed after forty acknowledged changes."""
    folder = tmp_path_factory.mktemp("killed")
    out = tmp_path_factory.mktemp("out") / "out"
    assert Fork(lambda: write_and_die(folder / "live.db"), out).wait() == -signal.SIGKILL
    return folder


@pytest.fixture
def killed(as_killed, tmp_path):
    return shutil.copytree(as_killed, tmp_path / "copy") / "live.db"


def log_of(path):
    return path.with_name(f"{path.name}-wal")


def put_again(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


HURTS = {
    "deleted": (lambda path: path.unlink(), r"live\.db was deleted or moved away"),
    "moved": (lambda path: path.rename(path.with_name("old")), r"live\.db was deleted or moved away"),
    "replaced": (put_again, r"live\.db was replaced by another file"),
    "cut": (lambda path: os.truncate(path, 0), r"live\.db was cut from [0-9,]+ to 0 bytes"),
    "log deleted": (lambda path: log_of(path).unlink(), r"live\.db-wal was deleted or moved away"),
    "log replaced": (lambda path: put_again(log_of(path)), r"live\.db-wal was replaced by another file"),
    "log cut": (
        lambda path: os.truncate(log_of(path), 100),
        r"live\.db-wal was cut from [0-9,]+ to 100 bytes",
    ),
    "log written to": (
        lambda path: os.utime(log_of(path), ns=(1, 1)),
        r"live\.db-wal was changed by another",
    ),
    "written to": (lambda path: os.truncate(path, 10**6), r"live\.db was changed by another program"),
    "folder moved": (
        lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
        r"live\.db was deleted or moved away",
    ),
}


@pytest.mark.parametrize(("hurt", "problem"), HURTS.values(), ids=HURTS.keys())
def test_nothing_is_acknowledged_once_a_file_was_touched(tmp_path, hurt, problem):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "live.db"
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
        hurt(path)
        for _ in range(2):
            with pytest.raises(StoreFailed, match=f"nothing was kept: {problem}.*put it back as it was"):
                store.commit([ItemPut("b", {})])
        assert store.last == 1


def test_a_store_that_is_put_back_takes_writes_again(path):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
        path.rename(path.with_name("moved"))
        with pytest.raises(StoreFailed):
            store.commit([ItemPut("b", {})])
        path.with_name("moved").rename(path)
        assert store.commit([ItemPut("c", {})]) == 2
    with closing(ChangeStore(path)) as again:
        assert [change.item_id for change in again.changes()] == ["a", "c"]


def test_what_is_touched_within_a_commit_is_not_acknowledged(path, monkeypatch):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
        write = store._write

        def meanwhile(*given):
            path.unlink()
            return write(*given)

        monkeypatch.setattr(store, "_write", meanwhile)
        with pytest.raises(StoreFailed, match="it may be kept or not"):
            store.commit([ItemPut("b", {})])


def test_a_failed_commit_is_not_taken_for_another_program(path):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFailed, match="full"):
            store.commit([ItemPut("b", {"text": "x" * 50_000})])
        assert store.commit([ItemPut("c", {})]) == 2


def on_a_full_disk(monkeypatch):
    """Let every write beside the database fail, as after `kill -9`, whose log and shared memory are there."""

    def sync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", sync)


def test_a_start_on_a_full_disk_names_the_file_and_what_to_do(path, monkeypatch):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
    with monkeypatch.context() as patch:
        on_a_full_disk(patch)
        with pytest.raises(InputError) as error:
            ChangeStore(path)
    assert str(error.value).startswith(f"{path}: the disk is full, so live changes cannot be stored there")
    assert f"'{promise_file(path)}'); free some space and start again" in str(error.value)
    with closing(ChangeStore(path)) as again:
        assert again.last == 1


def test_a_disk_without_room_for_the_log_is_not_taken_for_a_damaged_store(path, monkeypatch):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
        patch.setattr("sqlite3.connect", Mock(side_effect=sqlite3.OperationalError("disk I/O error")))
        with pytest.raises(InputError, match=r"the disk is full, .* \(disk I/O error\); free some space"):
            ChangeStore(path)


def flip(path, at, bit=0):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


FRAME = 24 + 4096
AFTER_A_KILL = {
    "a bit of the log": (
        lambda path: flip(log_of(path), 32 + 20 * FRAME + 1000),
        "of 40 changes that were acknowledged it has the first",
    ),
    "a bit of the last frame": (lambda path: flip(log_of(path), -5), "it has the first 39"),
    "the header of the log": (
        lambda path: flip(log_of(path), 25),
        "of 40 changes that were acknowledged|no store",
    ),
    "the tail of the log": (
        lambda path: os.truncate(log_of(path), log_of(path).stat().st_size - 10 * FRAME),
        "of 40 changes that were acknowledged it has the first",
    ),
    "all of the log": (lambda path: log_of(path).unlink(), "of 40 changes that were acknowledged|no store"),
    "the store": (lambda path: path.unlink(), "there is no store, but 40 changes were acknowledged"),
    "all of the store": (
        lambda path: [each.unlink() for each in path.parent.glob("live.db*")],
        "there is no store, but 40 changes were acknowledged",
    ),
    "emptied": (lambda path: os.truncate(path, 0), "there is no store, but 40 changes were acknowledged"),
}


@pytest.mark.parametrize(("hurt", "problem"), AFTER_A_KILL.values(), ids=AFTER_A_KILL.keys())
def test_what_was_acknowledged_and_is_not_there_is_told_and_nothing_is_changed(killed, hurt, problem):
    hurt(killed)
    before = {
        each.name: each.read_bytes() for each in killed.parent.glob("live.db*") if "shm" not in each.name
    }
    for _ in range(2):
        with pytest.raises(InputError, match=problem) as caught:
            ChangeStore(killed)
        assert str(promise_file(killed)) in str(caught.value)
    for name, content in before.items():
        assert (killed.parent / name).read_bytes() == content


def test_who_removes_the_promise_as_told_goes_on_with_what_is_there(killed):
    flip(log_of(killed), 32 + 20 * FRAME + 1000)
    promise_file(killed).unlink()
    with closing(ChangeStore(killed)) as store:
        held = [change.item_id for change in store.changes()]
        assert held == list(range(len(held)))
        assert 0 < len(held) < 40
    assert promise_file(killed).is_file()
    ChangeStore(killed).close()  # it is promised anew


def test_a_log_without_its_store_is_not_thrown_away(killed):
    killed.unlink()
    promise_file(killed).unlink()
    with pytest.raises(InputError, match="no store, but a write-ahead log"):
        ChangeStore(killed)
    assert log_of(killed).stat().st_size


def test_a_killed_store_is_whole_and_nothing_is_told(killed, caplog):
    with caplog.at_level(logging.WARNING, "twotower"), closing(ChangeStore(killed)) as store:
        assert [change.item_id for change in store.changes()] == list(range(40))
    assert caplog.text == ""


def test_what_was_never_acknowledged_is_no_damage(killed, caplog):
    """A kill within a commit leaves part of a frame, or a whole one whose checksum is not there yet."""
    size = log_of(killed).stat().st_size
    with log_of(killed).open("ab") as log:
        log.write(log_of(killed).read_bytes()[32 : 32 + FRAME])
    assert log_of(killed).stat().st_size == size + FRAME
    with caplog.at_level(logging.WARNING, "twotower"), closing(ChangeStore(killed)) as store:
        assert store.last == 40
    assert caplog.text == ""


def test_another_store_or_an_older_one_is_told(path, tmp_path):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
    older = path.read_bytes()
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("b", {})])
    with closing(ChangeStore(tmp_path / "other.db")) as other:
        for number in range(5):
            other.commit([ItemPut(number, {})])
    newer = path.read_bytes()
    path.write_bytes((tmp_path / "other.db").read_bytes())
    with pytest.raises(InputError, match="another store than the one whose 2 changes were acknowledged"):
        ChangeStore(path)
    path.write_bytes(older)
    with pytest.raises(InputError, match=r"of 2 changes that were acknowledged it has the first 1;.*restore"):
        ChangeStore(path)
    path.write_bytes(newer)
    with closing(ChangeStore(path)) as store:
        assert store.last == 2


def test_a_damaged_promise_is_told_and_written_anew(path, caplog):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
    flip(promise_file(path), 40)
    with caplog.at_level(logging.WARNING, "twotower"), closing(ChangeStore(path)) as store:
        assert store.last == 1
    assert ".live.db.acknowledged: damaged" in caplog.text
    caplog.clear()
    ChangeStore(path).close()
    assert caplog.text == ""


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_lets_nobody_in(path, tmp_path, link):
    with closing(ChangeStore(path)) as store:
        link(path, tmp_path / "link.db")
        with pytest.raises(InputError, match="in use by"):
            ChangeStore(tmp_path / "link.db")
        store.commit([ItemPut("a", {})])
    with closing(ChangeStore(tmp_path / "link.db")) as again:
        assert again.last == 1


class Left:
    """The files that a store has left, and its changes; a failed test prints no more of it than this."""

    def __init__(self, path, changes):
        self.changes = changes
        self.files = {each.name: each.read_bytes() for each in path.parent.glob("*live.db*")}
        self.files.pop("live.db-shm", None)

    def put_down(self, folder):
        for each in folder.iterdir():
            each.unlink()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder / "live.db"

    def __repr__(self):
        return ", ".join(self.files)


@pytest.fixture(scope="module")
def closed_and_killed(tmp_path_factory):
    """A store of every kind of change: closed, and killed once its log was moved but not yet begun anew."""
    path = tmp_path_factory.mktemp("left") / "live.db"
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut(f"item {number}", {"price": number}) for number in range(60)])
        store.commit([EventAdded("u", f"item {number}", number) for number in range(0, 60, 3)])
        store.commit([EventAdded("u", f"item {number}", number, "view") for number in range(60)])
        store.commit([ItemRemoved(f"item {number}") for number in range(0, 60, 4)])
        store.commit([UserPut(f"user {number}", {"age": number}) for number in range(60)])
        store.commit([UserForgotten(f"user {number}") for number in range(3, 60, 5)])
        changes = list(store.changes())
        store._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        killed = Left(path, changes)
    return Left(path, changes), killed


def test_a_flipped_bit_of_an_index_is_found(tmp_path, closed_and_killed):
    """Rows are found by it: with one wrong id, an item that an event names would be left out."""
    content = closed_and_killed[0].files["live.db"]
    leaves = [start for start in range(4096, len(content), 4096) if content[start] == 0x0A]
    assert len(leaves) == 6
    for start in leaves:
        path = closed_and_killed[0].put_down(tmp_path)
        flip(path, start + 4090, 2)
        with pytest.raises(InputError, match="damaged"):
            ChangeStore(path)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.sampled_from(["live.db", "live.db-wal"]))
def test_a_flipped_bit_is_harmless_or_told(tmp_path, closed_and_killed, share, bit, name):
    """All of them: scripts/bench/store_bits.py."""
    closed, killed = closed_and_killed
    left = killed if name in killed.files.keys() - closed.files.keys() else closed
    path, at = left.put_down(tmp_path), int(share * len(left.files[name]))
    flip(path.with_name(name), at, bit)
    with contextlib.suppress(InputError), closing(ChangeStore(path)) as store:
        assert list(store.changes()) == left.changes, f"bit {bit} of byte {at} of {name} lost changes"


HURT_TABLES = {
    "a row that is gone": (
        "DELETE FROM events WHERE number = 2",
        "rows of events are missing or were changed",
    ),
    "a row of earlier": ("UPDATE puts SET checksum = 5", "rows of puts are missing or were changed"),
    "no number": ("UPDATE removals SET number = 'x'", "a row of removals has no number"),
    "no sum": ("DELETE FROM sums WHERE name = 'profiles'", "rows of profiles are missing or were changed"),
    "a table's text": (
        "UPDATE sqlite_master SET sql = replace(sql, 'time I', 'time\x09I') WHERE name = 'events'",
        "the definition of table events was changed",
    ),
    "a table that is gone": ("DROP TABLE named_events", "table named_events is missing"),
}


@pytest.mark.parametrize(("statement", "problem"), HURT_TABLES.values(), ids=HURT_TABLES.keys())
def test_what_sqlite_holds_for_sound_is_told(path, statement, problem):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {}), EventAdded("u", "a", 1), ItemRemoved("a"), UserPut("u", {})])
        store._connection.execute("PRAGMA writable_schema = ON")
        store._connection.execute(statement)
    with pytest.raises(InputError, match=problem):
        ChangeStore(path)


def test_a_quarantined_change_is_recorded_with_its_reason(path):
    with closing(ChangeStore(path)) as store:
        store.commit([ItemPut("a", {})])
        event = EventAdded("u", 5, 7)
        store.quarantine(
            [Quarantined(event, "item 5 is unknown"), Quarantined(ItemRemoved("a"), "it cannot")]
        )
        rows = store._connection.execute("SELECT * FROM quarantine").fetchall()
        assert rows == [
            ("EventAdded", 5, "u", 7, "item 5 is unknown"),
            ("ItemRemoved", "a", None, None, "it cannot"),
        ]
        store.quarantine([])
        assert store._connection.execute("SELECT * FROM quarantine").fetchall() == []
        assert list(store.changes()) == [ItemPut("a", {})]
        assert store.last == 1
