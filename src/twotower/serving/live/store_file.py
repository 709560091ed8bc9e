"""The files of a store: nobody else has them, and they are still there as they were left."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twotower.config.errors import InputError

SUFFIXES = ("", "-wal", "-shm")
"""The database, its write-ahead log, and the memory that its users share."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file under whatever name somebody else may ask for it; it is made if there is none.

    A database in it must be closed before this ends: whoever closes a file drops the locks SQLite has on it.

    Args:
        path: of the file.

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


@dataclass(frozen=True)
class _Seen:
    """A file as it was last seen."""

    identity: tuple[int, int]
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "_Seen | None":
        try:
            found = path.stat()
        except OSError:
            return None
        return cls((found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns)


class StoreFiles:
    """Tells when somebody else has touched the files of an open database.

    SQLite writes on to a file that was deleted, and believes what it remembers of one that was cut.

    Args:
        path: of the database, without links; it is open, and nobody writes to it now.
    """

    def __init__(self, path: Path) -> None:
        self._paths = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
        self._seen = [_Seen.of(each) for each in self._paths]

    def problem(self) -> str | None:
        """Return what was done to the files since they were last looked at; None where nothing was."""
        for path, was in zip(self._paths, self._seen, strict=True):
            now = _Seen.of(path)
            if (problem := _damage(path, was, now)) is not None:
                return problem
            if was != now and was is not None and path != self._paths[-1]:  # memory has no time of a change
                return f"{path.name} was changed by another program"
        return None

    def look_after_writing(self) -> str | None:
        """Return what else than our own writing was done to the files; where nothing was, remember them."""
        now = [_Seen.of(each) for each in self._paths]
        problems = map(_damage, self._paths, self._seen, now)
        problem = next((each for each in problems if each is not None), None)
        if problem is None:
            self._seen = now
        return problem


def _damage(path: Path, was: _Seen | None, now: _Seen | None) -> str | None:
    """Return what can only have been done by another program; we make files, and lengthen them."""
    if was is None:
        return None
    if now is None:
        return f"{path.name} was deleted or moved away"
    if now.identity != was.identity:
        return f"{path.name} was replaced by another file"
    if now.size < was.size:
        return f"{path.name} was cut from {was.size:,} to {now.size:,} bytes"
    return None
