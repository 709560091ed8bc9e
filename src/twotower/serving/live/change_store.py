"""Live changes in one SQLite database: an acknowledged change is on disk."""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.live.changes import Change, EventAdded, ItemPut, ItemRemoved, UserForgotten, UserPut

STORE = "live.sqlite"
"""Default file name, in the folder of the run."""
LOCK_SECONDS = 60.0
"""Time that a write waits for writes of other processes of the same service."""
APPLICATION_ID, FORMAT_VERSION = 0x3254_4F57, 4
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key NOT NULL, json TEXT,
                      UNIQUE (kind, key));
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
COMMIT;
"""
"""One row per item, removal, event and profile, and one for the bundle in use.

A later change of the same kind and key replaces the row and gets a new `seq`, so rows with a `seq` above n
are the changes after n. `key` has no type: the id 1 differs from "1". The key of an event is its JSON.
"""

IS_REMOVED = "EXISTS (SELECT 1 FROM changes AS r WHERE r.kind = 'removal' AND r.key = c.key)"
NAMED_BY_EVENTS = "SELECT json_extract(key, '$[0]') FROM changes WHERE +kind = 'event' AND seq > :after"
SINCE = "SELECT seq, key, json FROM changes AS c WHERE +kind = '{}' AND seq > :after"
OF_EVENTS = (
    "SELECT seq, key, json FROM changes AS c "
    f"WHERE kind = '{{}}' AND {IS_REMOVED} AND key IN ({NAMED_BY_EVENTS})"
)
QUERIES = {
    "item": f"{SINCE} AND NOT {IS_REMOVED} UNION {OF_EVENTS} ORDER BY seq",
    "event": f"{SINCE} ORDER BY seq",
    "removal": f"{SINCE} UNION {OF_EVENTS} ORDER BY seq",
    "user": f"{SINCE} ORDER BY seq",
}
"""Changes after a number, in the order in which they apply.

Items precede the events that name them, and removals follow. An item that was removed is put and removed
again if an event since then names it, because it stays in histories.
"""


class StoreFailed(OSError):  # noqa: N818
    """A commit failed, for example because the disk is full; nothing of it is stored."""


class ChangeStore:
    """Live changes in one SQLite file, in WAL mode with `synchronous=FULL`: commits return once on disk.

    The file must be on a local disk. It has the latest state of each item and profile and each distinct
    event. One service at a time uses it. Only `changes` may be called while another thread uses the store.

    Args:
        path: the file, created if needed.
        is_shared: processes of one service share the store; the write lock of SQLite orders their writes.

    Raises:
        InputError: another service uses the file, or it is damaged, not a store, or of another format.
    """

    def __init__(self, path: Path, is_shared: bool = False) -> None:
        self.path = Path(path).resolve()
        with contextlib.ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock_store(self.path, is_shared))
                if self.path.stat().st_size:
                    validate(self.path)
                self._connection = stack.enter_context(contextlib.closing(_connect(self.path)))
                if self._value("PRAGMA journal_mode = WAL") != "wal":
                    raise InputError(
                        f"{self.path}: SQLite needs a local disk for WAL; choose another file with store=FILE"
                    )
                self._connection.execute("PRAGMA synchronous = FULL")
                if not self._value("SELECT count(*) FROM sqlite_master"):
                    self._connection.executescript(SCHEMA)
            except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
                raise unreadable(self.path, error) from error
            self._open = stack.pop_all()

    @property
    def last(self) -> int:
        """The number of the latest change."""
        return int(self._value("SELECT coalesce(max(seq), 0) FROM changes"))

    @property
    def other_commits(self) -> int:
        """A number that changes whenever another process commits."""
        return int(self._value("PRAGMA data_version"))

    @property
    def bundle(self) -> Path | None:
        """The bundle that `reload` chose for all processes; None if it is the one of the settings."""
        row = self._connection.execute("SELECT json FROM changes WHERE kind = 'bundle'").fetchone()
        return Path(row[0]) if row else None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what `insert` and `use_bundle` write in this context, or nothing. Raises StoreFailed."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreFailed(f"{self.path}: nothing was stored ({error})") from error
            raise

    def insert(self, changes: Sequence[Change]) -> None:
        """Write checked changes, within a transaction."""
        for change in changes:
            kind, key, content = _row(change)
            if_exists = "IGNORE" if kind == "event" else "REPLACE"
            self._connection.execute(
                f"INSERT OR {if_exists} INTO changes (kind, key, json) VALUES (?, ?, ?)", (kind, key, content)
            )
            if kind == "item":
                self._connection.execute("DELETE FROM changes WHERE kind = 'removal' AND key = ?", (key,))

    def commit(self, changes: Sequence[Change]) -> int:
        """Write changes in a transaction of their own; return the number of the latest change."""
        with self.transaction():
            self.insert(changes)
        return self.last

    def use_bundle(self, bundle: Path | None) -> None:
        """Set or delete `bundle`, within a transaction."""
        self._connection.execute("DELETE FROM changes WHERE kind = 'bundle'")
        if bundle is not None:
            self._connection.execute(
                "INSERT INTO changes (kind, key, json) VALUES ('bundle', '', ?)", (str(bundle),)
            )

    def changes(self, after: int = 0) -> Iterator[Change]:
        """Return the changes after a number, in the order in which they apply; see `QUERIES`.

        They are of one moment, and writes can go on meanwhile. Raises InputError: the file is damaged.
        """
        return _read(self.path, after)

    def close(self) -> None:
        """Close the file; a second call has no effect."""
        self._open.close()

    def _value(self, statement: str) -> Any:
        return self._connection.execute(statement).fetchone()[0]


def read_changes(path: Path) -> list[Change]:
    """Read all changes of a store, which a service may have open.

    Raises:
        InputError: the file does not exist, is damaged, not a store, or of another format.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise InputError(f"{path}: there is no store of live changes; name the file that the service writes")
    validate(path)
    return list(_read(path, 0))


@contextlib.contextmanager
def lock_store(path: Path, is_shared: bool) -> Iterator[None]:
    """Lock a file, created if needed, against other services; processes of one service share the lock.

    Close the database before the context ends: closing any descriptor of a file drops the locks of SQLite.
    Raises InputError: another service has the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InputError(
            f"{path}: in use by another process, perhaps under another name; stop that one first"
        ) from error
    finally:
        os.close(descriptor)


def validate(path: Path) -> None:
    """Check a database without changing it. Raises InputError."""
    try:
        with contextlib.closing(_connect(path, "ro")) as connection:
            application, version, problem = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version", "quick_check(1)")
            )
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    if application != APPLICATION_ID:
        raise InputError(f"{path}: a database of another program; choose another file with store=FILE")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: a store of format {version}; this version of twotower reads format {FORMAT_VERSION} "
            "only. Write its changes into the data with `twotower export_live` of the version that wrote it, "
            "or choose another file with store=FILE"
        )
    if problem != "ok":
        raise unreadable(path, problem)


def unreadable(path: Path, problem: object) -> InputError:
    """Return the error for a store that cannot be read or written."""
    return InputError(
        f"{path}: not readable as a store ({problem}); if the disk is full, free some space and start again. "
        "If the file is damaged, restore a copy, or move it and its -wal and -shm files away to start "
        "without its live changes"
    )


def _row(change: Change) -> tuple[str, int | str, str | None]:
    """Return kind, key and JSON of a change."""
    match change:
        case ItemPut():
            return "item", change.item_id, json.dumps(dict(change.features))
        case ItemRemoved():
            return "removal", change.item_id, None
        case UserPut():
            return "user", change.user_id, json.dumps(dict(change.features))
        case UserForgotten():
            return "user", change.user_id, None
    return "event", json.dumps([change.item_id, change.user_id, change.time, change.event]), None


def _read(path: Path, after: int) -> Iterator[Change]:
    try:
        with contextlib.closing(_connect(path, "ro")) as connection:
            connection.execute("BEGIN")  # all queries read one snapshot
            for kind, query in QUERIES.items():
                for _, key, content in connection.execute(query.format(kind, kind), {"after": after}):
                    yield _change(kind, key, content)
    except (sqlite3.Error, ValueError) as error:
        raise unreadable(path, error) from error


def _change(kind: str, key: int | str, content: str | None) -> Change:
    features = None if content is None else json.loads(content)
    if kind == "event":
        item_id, user_id, time, event = json.loads(str(key))
        return EventAdded(user_id, item_id, time, event)
    if kind == "user":
        return UserForgotten(key) if features is None else UserPut(key, features)
    return ItemRemoved(key) if features is None else ItemPut(key, features)


def _connect(path: Path, mode: str = "rw") -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        timeout=LOCK_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
