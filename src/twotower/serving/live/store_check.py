"""What is looked at before a store is opened: nothing is changed until all of it is in order."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.live.acknowledged import Acknowledged, promise_file, promised

APPLICATION, FORMAT_VERSION = 0x3254_4F57, 1
LAST = (
    "SELECT max(number) FROM (SELECT max(number) AS number FROM puts UNION ALL "
    "SELECT max(number) FROM removals UNION ALL SELECT max(number) FROM events)"
)


def remedy(path: Path) -> str:
    """Say what can be done about a damaged store."""
    return (
        "restore a copy of it, or move it away together with its -wal and -shm files and "
        f"{promise_file(path).name} to start without the live changes that it holds"
    )


def check(path: Path) -> Acknowledged | None:
    """Look at a store and what was promised of it, and tell what is missing.

    Returns:
        Its identity ("" of one that an earlier version made) and how far it goes; None where it is new.

    Raises:
        InputError: it is damaged, no store, of another format, or lacks changes that were acknowledged.
    """
    log, promise = path.with_name(f"{path.name}-wal"), promised(path)
    content = _content(path) if path.is_file() and path.stat().st_size else None
    last = 0 if promise is None else promise.last
    problem = None
    if content is None and last:
        problem = f"there is no store, but {last:,} changes were acknowledged; restore it, or remove "
    elif content is None and log.is_file() and log.stat().st_size:  # SQLite would throw it away
        raise InputError(
            f"{path}: there is no store, but a write-ahead log; put the store back, or move its -wal and "
            "-shm files away to start without"
        )
    elif content is not None and last and promise is not None and content.store != promise.store:
        problem = (
            f"another store than the one whose {last:,} changes were acknowledged; put that one back, "
            "or remove "
        )
    elif content is not None and content.last < last:
        problem = (
            f"of {last:,} changes that were acknowledged it has the first {content.last:,}; restore a copy "
            "of it, or remove "
        )
    if problem is not None:
        raise InputError(f"{path}: {problem}{promise_file(path)} to go on without the rest")
    return content


def _content(path: Path) -> Acknowledged | None:
    """Read what a database says of itself, and see that it is sound; None where it has no tables yet."""
    try:
        # Opened so, it is not written to, nor is its log moved into it when it is closed.
        opened = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        with contextlib.closing(opened) as connection:
            return _sound(connection, path)
    except sqlite3.Error as error:
        raise InputError(f"{path}: not readable as a store ({error}); {remedy(path)}") from error


def _sound(connection: sqlite3.Connection, path: Path) -> Acknowledged | None:
    def one(statement: str) -> Any:
        found = connection.execute(statement).fetchone()
        return None if found is None else found[0]

    application, version = one("PRAGMA application_id"), one("PRAGMA user_version")
    if one("SELECT count(*) FROM sqlite_master") == 0 and application == version == 0:
        return None
    if application != APPLICATION:
        raise InputError(f"{path}: a database of another program; name another file for the store")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: a store of format {version}, and this version of twotower reads {FORMAT_VERSION}; "
            "open it with the version that wrote it, or name another file for the store"
        )
    problem = one("PRAGMA integrity_check(1)")
    if problem != "ok":
        raise InputError(f"{path}: damaged ({problem}); {remedy(path)}")
    named = one("SELECT 1 FROM sqlite_master WHERE name = 'identity'")
    return Acknowledged(one("SELECT id FROM identity") if named else "", one(LAST) or 0)
