"""The files of a store: nobody else has them, they are valid, and nothing acknowledged is lost.

What is looked at before a store is opened changes nothing until all of it is in order.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.files.atomic import FULL, write_text_atomically
from twotower.serving.live.schema import APPLICATION, FORMAT_VERSION, find_table_problem
from twotower.serving.live.sums import find_row_problem

LOG = logging.getLogger("twotower")


@dataclass(frozen=True)
class Acknowledged:
    """How far a store goes, or was promised to: the number of the latest change that somebody was told of."""

    store: str
    last: int

    def line(self) -> bytes:
        """Return it as the one line of its file; always as long."""
        content = f"{self.store} {self.last:020d}"
        return f"{content} {zlib.crc32(content.encode()):08x}\n".encode()


def promise_file(store: Path) -> Path:
    """Return the file in which a store's promises are kept."""
    return store.with_name(f".{store.name}.acknowledged")


def promised(store: Path) -> Acknowledged | None:
    """Read what was promised of a store; None where nothing was, or where that cannot be known any more."""
    path = promise_file(store)
    if not path.is_file():
        return None
    content = path.read_bytes()
    with contextlib.suppress(ValueError):  # of another number of words, no number, no UTF-8
        identity, last, _ = content.decode().split()
        found = Acknowledged(identity, int(last))
        if found.line() == content:
            return found
    LOG.warning("%s: damaged, so nobody can tell whether the store lacks something; it is written anew", path)
    return None


class Promises:
    """Writes promises over one another; each is on the disk when `keep` returns, as its change is."""

    def __init__(self, path: Path, first: Acknowledged) -> None:
        write_text_atomically(path, first.line().decode())
        self._store = first.store
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def keep(self, last: int) -> None:
        """Remember that the change of this number was kept; the change itself is on the disk already."""
        try:
            os.pwrite(self._descriptor, Acknowledged(self._store, last).line(), 0)
            os.fdatasync(self._descriptor)
        except OSError as error:  # one change later is told of the less
            LOG.warning("how far the store was acknowledged could not be written (%s)", error)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


SUFFIXES = ("", "-wal", "-shm")
"""The database, its write-ahead log, and the memory that its users share."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file under whatever name somebody else may ask for it; it is made if there is none.

    A database in it must be closed before this ends: whoever closes a file drops the locks SQLite has on it.
    Raises InputError (another process holds it) or OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InputError(
            f"{path}: in use by another process, perhaps under another name; stop that one first"
        ) from error
    finally:
        os.close(descriptor)


class StoreFiles:
    """Tells when somebody else has touched the files of an open database.

    SQLite writes on to a file that was deleted, and believes what it remembers of one that was cut.
    """

    def __init__(self, path: Path) -> None:
        self._paths = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
        self._seen = list(map(_stat, self._paths))

    def problem(self, written: bool = False) -> str | None:
        """Return what others have done to the files since they were last looked at; None where nothing was.

        Where we have `written` meanwhile and that is all, the files are remembered as they are.
        """
        now = list(map(_stat, self._paths))
        for path, was, found in zip(self._paths, self._seen, now, strict=True):
            # We make files, and lengthen them; the shared memory has no time of a change.
            ours = written or path == self._paths[-1]
            if was is not None and (problem := _damage(was, found, ours)) is not None:
                return f"{path.name} was {problem}"
        if written:
            self._seen = now
        return None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _damage(was: os.stat_result, now: os.stat_result | None, ours: bool) -> str | None:
    if now is None:
        return "deleted or moved away"
    if not os.path.samestat(was, now):
        return "replaced by another file"
    if now.st_size < was.st_size:
        return f"cut from {was.st_size:,} to {now.st_size:,} bytes"
    changed = (was.st_size, was.st_mtime_ns) != (now.st_size, now.st_mtime_ns)
    return "changed by another program" if changed and not ours else None


def remedy(path: Path) -> str:
    """Say what can be done about a damaged store."""
    return (
        "restore a copy of it, or move it away together with its -wal and -shm files and "
        f"{promise_file(path).name} to start without the live changes that it holds"
    )


SPARE_BYTES = 2**16
"""Where less is free than this, SQLite cannot open a store: its shared memory alone takes half of it."""


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error of a store that cannot be opened, with what to do; a full disk is no damage."""
    is_full = getattr(error, "errno", None) in FULL or getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
    if is_full or shutil.disk_usage(path.parent).free < SPARE_BYTES:
        return InputError(
            f"{path}: the disk is full, so live changes cannot be stored there ({error}); free some space "
            "and start again: what was acknowledged is still in the store"
        )
    return InputError(f"{path}: not readable as a store ({error}); {remedy(path)}")


def check(path: Path) -> Acknowledged | None:
    """Look at a store that nobody else has and what was promised of it, and tell what is missing.

    Returns its identity and how far it goes; None where it is new. Raises
    InputError where it is damaged, no store, of another format, or lacks changes that were acknowledged.
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
    """Read what a database says of itself, and see that it is valid; None where it has no tables yet."""
    try:
        # Opened so, it is not written to, nor is its log moved into it when it is closed.
        opened = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        with contextlib.closing(opened) as connection:
            return _sound(connection, path)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


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
            f"{path}: a store of format {version}; this version of twotower reads format {FORMAT_VERSION} "
            "only. Write its changes into the data with `twotower export_live` of the version that wrote it, "
            "or choose another file for new changes (store=FILE)"
        )
    problem = find_table_problem(connection) or one("PRAGMA integrity_check(1)")
    last = 0
    if problem == "ok":
        problem, last = find_row_problem(connection)
    if problem is not None:
        raise InputError(f"{path}: damaged ({problem}); {remedy(path)}")
    return Acknowledged(one("SELECT id FROM identity"), last)
