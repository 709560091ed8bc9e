"""What the tables of a store hold as a whole: how many rows, and what their checksums add up to.

A row that is hurt does not match its own checksum; one that is passed over, or is back from an earlier state
because part of the write-ahead log is gone, is missed only here.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from twotower.serving.live.schema import OLDEST_VERSION


class Sums:
    """What one transaction adds and takes out, table by table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._added: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, table: str, num: int, checksum: int) -> None:
        """Count a row that was written, or (0) was not."""
        added = self._added[table]
        added[0] += num
        added[1] += num * checksum

    def take_out(self, table: str, column: str, value: Any) -> None:
        """Delete the row of an id, if there is one."""
        found = self._connection.execute(f"SELECT checksum FROM {table} WHERE {column} = ?", (value,))
        for (checksum,) in found.fetchall():
            self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,))
            self.add(table, -1, checksum)

    def keep(self) -> None:
        """Write what the transaction came to beside its rows."""
        self._connection.executemany(
            "UPDATE sums SET num = num + ?, total = total + ? WHERE name = ?",
            [(*added, table) for table, added in self._added.items() if added != [0, 0]],
        )


def problem_of_rows(
    connection: sqlite3.Connection, tables: Sequence[str], version: int
) -> tuple[str | None, int]:
    """Return what is wrong with the rows of tables as a whole, if anything is, and the latest number."""
    last, found = 0, {}
    for table in tables:
        num, total, wrong, latest = connection.execute(
            "SELECT count(*), coalesce(sum(checksum), 0), sum(typeof(number) <> 'integer' OR number < 1), "
            f"max(number) FROM {table}"
        ).fetchone()
        if wrong:
            return "a change has no number", 0
        last, found[table] = max(last, latest or 0), (num, total)
    if version > OLDEST_VERSION:
        kept = {name: tuple(rest) for name, *rest in connection.execute("SELECT name, num, total FROM sums")}
        for table in tables:
            if kept.get(table) != found[table]:
                return f"{table} has not the rows that it had", 0
    return None, last
