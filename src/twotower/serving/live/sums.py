"""Number of rows of each table of a store and the sum of their checksums.

The checksum of a row finds a damaged row. Only these sums find a missing row, or a row of an earlier state
that reappears because part of the write-ahead log is lost.
"""

import sqlite3
from collections import defaultdict
from typing import Any

from twotower.serving.live.schema import NUMBERED


class Sums:
    """Rows and checksums that one transaction adds and deletes, by table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._added: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, table: str, num: int, checksum: int) -> None:
        """Add `num` rows (0 or 1; -1 for a deleted row) with this checksum."""
        added = self._added[table]
        added[0] += num
        added[1] += num * checksum

    def delete(self, table: str, column: str, value: Any) -> None:
        """Delete the row with this id, if any."""
        found = self._connection.execute(f"SELECT checksum FROM {table} WHERE {column} = ?", (value,))
        for (checksum,) in found.fetchall():
            self._connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,))
            self.add(table, -1, checksum)

    def write(self) -> None:
        """Update the table `sums`, within the same transaction."""
        self._connection.executemany(
            "UPDATE sums SET num = num + ?, total = total + ? WHERE name = ?",
            [(*added, table) for table, added in self._added.items() if added != [0, 0]],
        )


def find_row_problem(connection: sqlite3.Connection) -> tuple[str | None, int]:
    """Compare the rows of all tables with `sums`.

    Returns:
        The first difference (None if there is none), and the number of the latest change.
    """
    last = 0
    recorded = {name: tuple(rest) for name, *rest in connection.execute("SELECT name, num, total FROM sums")}
    for table in NUMBERED:
        num, total, wrong, latest = connection.execute(
            "SELECT count(*), coalesce(sum(checksum), 0), sum(typeof(number) <> 'integer' OR number < 1), "
            f"max(number) FROM {table}"
        ).fetchone()
        if wrong:
            return f"a row of {table} has no number", 0
        if recorded.get(table) != (num, total):
            return f"rows of {table} are missing or were changed", 0
        last = max(last, latest or 0)
    return None, last
