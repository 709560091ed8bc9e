"""Live changes on disk: what was acknowledged is there after any end of the process."""

import contextlib
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.live.change_rows import (
    INSERT_QUARANTINED,
    SELECTS,
    change_of,
    checksum_of,
    insert_of,
    noted,
    replaced_by,
    values_of,
)
from twotower.serving.live.changes import Change, Quarantined
from twotower.serving.live.schema import BY_ID, make_tables
from twotower.serving.live.store_check import (
    Acknowledged,
    Promises,
    StoreFiles,
    check,
    locked,
    promise_file,
    remedy,
    unreadable,
)
from twotower.serving.live.sums import Sums

STORE = "live.sqlite"
"""The file of a run's live changes, in its folder, unless another is named."""

TOUCHED = "put it back as it was, or restart the service, which will tell what is missing"


class StoreFailed(OSError):  # noqa: N818 - what happened, and to what
    """A commit did not succeed (the disk is full, say); nothing of it was kept."""


class ChangeStore:
    """Live changes in one SQLite file.

    SQLite keeps a write-ahead log, and `synchronous=FULL` has the system bring every commit to the disk
    before it returns. So what was committed outlives a killed process and, as far as the disk tells the
    truth, a loss of power; and a transaction that was cut off is wholly absent, because every frame of the
    log has a checksum. Pages of the database itself have none: opening it looks for damage of its structure
    and indexes (`PRAGMA integrity_check`), of the text of its tables, and of their rows as a whole (`sums`);
    and every row has a CRC-32 of its own that is compared when it is read. So a flipped bit is an error, and
    no wrong price or missing item. It must lie on a local disk (the log needs shared memory).

    What lies beyond SQLite is looked at too. The number of the latest change that was acknowledged is kept in
    a file beside it, so that a store which lacks some, or is gone, is refused and not taken for whole. And
    before and after each commit its files must be those that were opened, as they were left: SQLite itself
    would write on to a file that was deleted.

    It holds the last state of each item and profile and every distinct event, so it grows with those and not
    with the number of changes. Ids are whole numbers of 64 bits or text, and keep their kind. Safe from
    several threads; one process at a time.

    Raises:
        InputError: another process uses it, or it is damaged, of another format or no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).resolve()  # SQLite too puts its log beside the file that a link leads to
        self._lock = threading.Lock()
        with contextlib.ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                there = self.path.exists()
                if there:
                    stack.enter_context(locked(self.path))
                content = check(self.path)
                if not there:  # only now: where one is missed, none is made
                    stack.enter_context(locked(self.path))
                self._connection = stack.enter_context(contextlib.closing(_connected(self.path)))
                identity = _prepare(self._connection, self.path)
                self.last = 0 if content is None else content.last  # the number of the latest change
                first = Acknowledged(identity, self.last)
                promises = Promises(promise_file(self.path), first)
                self._promises = stack.enter_context(contextlib.closing(promises))
            except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
                raise unreadable(self.path, error) from error
            self._files = StoreFiles(self.path)
            self._closed = False
            self._open = stack.pop_all()

    def commit(self, changes: Sequence[Change]) -> int:
        """Keep all of some changes or none, on the disk when this returns; return the latest number.

        Raises InputError (what cannot be kept) or StoreFailed (the disk).
        """
        rows = [values_of(change) for change in changes]
        with self._lock:
            number, sums = self.last, Sums(self._connection)
            with self._transaction():
                for change, row in zip(changes, rows, strict=True):
                    number += self._write(change, row, number + 1, sums)
                sums.write()
            self.last = number
            self._see_to_files()
            self._promises.keep(number)
            return number

    def index_numbers(self) -> None:
        """Make what others find the latest changes by, without a walk through all of them; or StoreFailed."""
        with self._lock:
            with self._transaction():
                for table in BY_ID:
                    self._connection.execute(
                        f"CREATE INDEX IF NOT EXISTS {table}_by_number ON {table} (number)"
                    )
            self._see_to_files()

    def quarantine(self, changes: Sequence[Quarantined]) -> None:
        """Keep, for other bundles too, which changes the one in use cannot take and why; or StoreFailed."""
        with self._lock:
            with self._transaction():
                self._connection.execute("DELETE FROM quarantine")
                self._connection.executemany(INSERT_QUARANTINED, map(noted, changes))
            self._see_to_files()

    def changes(self, after: int = 0) -> Iterator[Change]:
        """Return what leads from the state at a number to the latest one, as few changes as will do.

        First items that are put, then events, removals, profiles, and profiles forgotten, each in order of
        arrival. Of an item that was removed the latest features come too where events name it, because it
        stays in histories. Raises InputError where a row is damaged.
        """
        try:
            with contextlib.closing(_connected(self.path)) as connection:
                yield from changes_in(connection, after)
        except (sqlite3.Error, ValueError) as error:
            raise InputError(f"{self.path}: damaged ({error}); {remedy(self.path)}") from error

    def close(self) -> None:
        """Let go of the file; twice is harmless."""
        with self._lock:
            self._closed = True
            self._open.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        problem = "the store is closed" if self._closed else self._files.problem()
        if problem is not None:
            raise StoreFailed(f"{self.path}: not written, nothing was kept: {problem}; {TOUCHED}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            self._files.problem(written=True)
            if isinstance(error, sqlite3.Error):
                raise StoreFailed(f"{self.path}: not written, nothing was kept ({error})") from error
            raise

    def _see_to_files(self) -> None:
        """Raise StoreFailed where what was committed went to files that others have touched."""
        problem = self._files.problem(written=True)
        if problem is not None:
            raise StoreFailed(f"{self.path}: it may be kept or not: {problem}; {TOUCHED}")

    def _write(self, change: Change, row: tuple[Any, ...], number: int, sums: Sums) -> int:
        """Write one change, and return how many numbers it took: 0 for an event that is there already."""
        for table, column in replaced_by(change):
            sums.delete(table, column, row[0])
        checksum = checksum_of(number, *row)
        table, statement = insert_of(change)
        written = self._connection.execute(statement, (number, *row, checksum)).rowcount
        sums.add(table, written, checksum)
        return written


def changes_in(
    connection: sqlite3.Connection, after: int = 0, selects: Mapping[type[Change], str] = SELECTS
) -> Iterator[Change]:
    """Yield what `ChangeStore.changes` does. Raises sqlite3.Error or ValueError if a database is damaged."""
    connection.execute("BEGIN")  # one snapshot for all that is read
    for kind, select in selects.items():
        for row in connection.execute(select, {"after": after}):
            yield change_of(kind, row)


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path) -> str:
    """Set what makes commits last, make the tables that are missing, and return the store's identity."""
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise InputError(f"{path}: this disk takes no write-ahead log; name a file on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    make_tables(connection)
    if connection.execute("SELECT id FROM identity").fetchone() is None:
        connection.execute("INSERT INTO identity VALUES (?)", (uuid.uuid4().hex,))
    identity: str = connection.execute("SELECT id FROM identity").fetchone()[0]
    return identity
