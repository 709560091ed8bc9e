"""Live changes on disk: what was acknowledged is there after any end of the process."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.errors import InputError
from twotower.experiments.lock import held
from twotower.serving.live.changes import Change, Event, ItemPut, ItemRemoved
from twotower.serving.live.store_rows import INSERTS, SELECTS, change_of, checksum_of, values_of
from twotower.serving.recommendation import ItemId, UserId

APPLICATION, FORMAT_VERSION = 0x3254_4F57, 1
SCHEMA = f"""
BEGIN;
CREATE TABLE puts (item_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL, features TEXT NOT NULL,
                   checksum INTEGER NOT NULL);
CREATE TABLE removals (item_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE events (number INTEGER PRIMARY KEY, user_id NOT NULL, item_id NOT NULL, time INTEGER NOT NULL,
                     checksum INTEGER NOT NULL, UNIQUE (item_id, user_id, time));
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT_VERSION};
COMMIT;
"""
"""Columns of ids have no type, so that SQLite keeps theirs: "1" is not 1."""

LAST = (
    "SELECT max(number) FROM (SELECT max(number) AS number FROM puts UNION ALL "
    "SELECT max(number) FROM removals UNION ALL SELECT max(number) FROM events)"
)
REMEDY = (
    "restore a copy of it, or move it away together with its -wal and -shm files "
    "to start without the live changes that it holds"
)


class StoreFailed(OSError):  # noqa: N818 - what happened, and to what
    """A commit did not succeed (the disk is full, say); nothing of it was kept."""


class Store:
    """Live changes in one SQLite file.

    SQLite keeps a write-ahead log, and `synchronous=FULL` has the system bring every commit to the disk
    before it returns. So what was committed outlives a killed process and, as far as the disk tells the
    truth, a loss of power; and a transaction that was cut off is wholly absent, because every frame of the
    log has a checksum. Pages of the database itself have none: opening it looks for damage of its structure
    (`PRAGMA quick_check`), and every row has a CRC-32 of its own that is compared when it is read, so that
    a flipped bit is an error and no wrong price. It must lie on a local disk (the log needs shared memory).

    It holds the last state of each item and every distinct event, so it grows with those and not with the
    number of changes. Ids are whole numbers of 64 bits or text, and keep their kind. Safe from several
    threads; one process at a time.

    Args:
        path: of the file; made if there is none.

    Raises:
        InputError: another process uses it, or it is damaged, of another format or no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held(self.path.parent, self.path.name))
            except OSError as error:
                raise InputError(f"{self.path}: no store can be here ({error})") from error
            try:
                self._connection = stack.enter_context(contextlib.closing(_connected(self.path)))
                _prepare(self._connection, self.path)
                self._last: int = self._connection.execute(LAST).fetchone()[0] or 0
            except sqlite3.Error as error:
                raise InputError(f"{self.path}: not readable as a store ({error}); {REMEDY}") from error
            self._open = stack.pop_all()

    @property
    def last(self) -> int:
        """The number of the latest change; 0 where there is none."""
        return self._last

    def put_item(self, item_id: ItemId, features: Mapping[str, Any]) -> int:
        """Keep an item that is offered, and return the number of this change."""
        return self.commit([ItemPut(item_id, features)])

    def remove_item(self, item_id: ItemId) -> int:
        """Keep that an item is offered no more, and return the number of this change."""
        return self.commit([ItemRemoved(item_id)])

    def add_event(self, user_id: UserId, item_id: ItemId, time: int) -> int:
        """Keep an event; one that is there already changes nothing. Return the latest number."""
        return self.commit([Event(user_id, item_id, time)])

    def commit(self, changes: Sequence[Change]) -> int:
        """Keep all of some changes or none, in one transaction; they are on the disk when this returns.

        Returns:
            The number of the latest change.

        Raises:
            InputError: an id or a feature cannot be kept.
            StoreFailed: the disk did not take it.
        """
        rows = [values_of(change) for change in changes]
        with self._lock:
            number = self._last
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for change, row in zip(changes, rows, strict=True):
                    number += self._write(type(change), row, number + 1)
                self._connection.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise StoreFailed(f"{self.path}: not written, nothing was kept ({error})") from error
                raise
            self._last = number
            return number

    def changes(self, after: int = 0) -> Iterator[Change]:
        """Return what leads from the state at a number to the latest one, as few changes as will do.

        First items that are put, then events, then removals, each in order of arrival. Of an item that was
        removed the latest features come too where events name it, because it stays in histories.

        Args:
            after: the number; 0 for all.

        Raises:
            InputError: a row is damaged.
        """
        try:
            with contextlib.closing(_connected(self.path)) as connection:
                connection.execute("BEGIN")  # one snapshot for all that is read
                for kind, select in SELECTS.items():
                    for row in connection.execute(select, {"after": after}):
                        yield change_of(kind, row)
        except (sqlite3.Error, ValueError) as error:
            raise InputError(f"{self.path}: damaged ({error}); {REMEDY}") from error

    def close(self) -> None:
        """Let go of the file; twice is harmless."""
        with self._lock:
            self._open.close()

    def _write(self, kind: type[Change], row: tuple[Any, ...], number: int) -> int:
        """Write one change, and return how many numbers it took: 0 for an event that is there already."""
        written = self._connection.execute(INSERTS[kind], (number, *row, checksum_of(number, *row))).rowcount
        if kind is ItemPut:
            self._connection.execute("DELETE FROM removals WHERE item_id = ?", row[:1])
        return written


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check a database, make its tables if it is new, and set what makes commits last."""

    def one(statement: str) -> Any:
        return connection.execute(statement).fetchone()[0]

    application, version = one("PRAGMA application_id"), one("PRAGMA user_version")
    new = one("SELECT count(*) FROM sqlite_master") == 0 and application == version == 0
    if not new and application != APPLICATION:
        raise InputError(f"{path}: a database of another program; name another file for the store")
    if not new and version != FORMAT_VERSION:
        raise InputError(
            f"{path}: a store of format {version}, and this version of twotower reads {FORMAT_VERSION}; "
            "open it with the version that wrote it, or name another file for the store"
        )
    problem = one("PRAGMA quick_check(1)")
    if problem != "ok":
        raise InputError(f"{path}: damaged ({problem}); {REMEDY}")
    if one("PRAGMA journal_mode = WAL") != "wal":
        raise InputError(f"{path}: this disk takes no write-ahead log; name a file on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    if new:
        connection.executescript(SCHEMA)
