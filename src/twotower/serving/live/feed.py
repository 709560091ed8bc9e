"""The store of another process, followed: what it acknowledged, in order, without writing anything."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from twotower.config.errors import InputError
from twotower.serving.live.change_rows import FOLLOWED
from twotower.serving.live.change_store import changes_in
from twotower.serving.live.changes import Change, Quarantined
from twotower.serving.live.schema import NUMBERED
from twotower.serving.live.store_check import remedy

LAST = " UNION ALL ".join(f"SELECT max(number) FROM {name}" for name in NUMBERED)


class Feed:
    """Reads a store that another process has open; see `ChangeStore` for what is in it.

    `reached` is the number of the latest change that the latest whole call of `changes` knew of.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).resolve()
        self.reached = 0
        with self._told():
            self._watched = _opened(self.path)
            self._version = self._data_version()

    @property
    def last(self) -> int:
        """The number of the latest change."""
        with self._told(), contextlib.closing(_opened(self.path)) as connection:
            return _last(connection)

    def is_newer(self) -> bool:
        """Tell whether anything was committed since this was last asked; takes some microseconds."""
        with self._told():
            before, self._version = self._version, self._data_version()
        return self._version != before

    def changes(self, after: int = 0) -> Iterator[Change]:
        """Return what `ChangeStore.changes` does."""
        with self._told(), contextlib.closing(_opened(self.path)) as connection:
            yield from changes_in(connection, after)
            self.reached = _last(connection)  # of the same snapshot

    def since(self, after: int) -> tuple[int, list[Change]]:
        """Return the number of the latest change, and what leads there for who made all up to a number."""
        with self._told(), contextlib.closing(_opened(self.path)) as connection:
            found = list(changes_in(connection, after, FOLLOWED))
            return _last(connection), found

    def quarantine(self, changes: Sequence[Quarantined]) -> None:
        """Do nothing: the store's owner notes them."""

    def close(self) -> None:
        """Let go of the file."""
        self._watched.close()

    def _data_version(self) -> int:
        version: int = self._watched.execute("PRAGMA data_version").fetchone()[0]
        return version

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise InputError(f"{self.path}: cannot be followed ({error}); {remedy(self.path)}") from error


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )


def _last(connection: sqlite3.Connection) -> int:
    return max(number or 0 for (number,) in connection.execute(LAST))
