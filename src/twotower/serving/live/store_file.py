"""The files of a store: nobody else has them, and they are still there as they were left."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from twotower.config.errors import InputError

SUFFIXES = ("", "-wal", "-shm")
"""The database, its write-ahead log, and the memory that its users share."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file under whatever name somebody else may ask for it; it is made if there is none.

    A database in it must be closed before this ends: whoever closes a file drops the locks SQLite has on it.

    Raises:
        InputError: another process holds it.
        OSError: it cannot be opened for writing.
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
