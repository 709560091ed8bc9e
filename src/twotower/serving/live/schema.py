"""Tables of a store.

Opening a store compares the SQL text of its tables, because SQLite may skip rows if a bit of it is flipped.
"""

import contextlib
import functools
import sqlite3

APPLICATION, FORMAT_VERSION = 0x3254_4F57, 3
"""`application_id` and `user_version` of the database."""
NUMBERED = ("puts", "removals", "events", "named_events", "profiles")
"""Tables whose rows have a number and a checksum."""
BY_ID = ("puts", "removals", "profiles")
"""Those of them with an id as primary key; reading by number needs an index."""
OF_SQLITE = ("sqlite_stat1", "sqlite_stat4", "sqlite_sequence")

_SUMS = "\n".join(f"INSERT INTO sums VALUES ('{name}', 0, 0);" for name in NUMBERED)
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE puts (item_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL,
                                 features TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE removals (item_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL,
                                     checksum INTEGER NOT NULL);
CREATE TABLE events (number INTEGER PRIMARY KEY, user_id NOT NULL, item_id NOT NULL,
                                   time INTEGER NOT NULL, checksum INTEGER NOT NULL,
                                   UNIQUE (item_id, user_id, time));
CREATE TABLE named_events (number INTEGER PRIMARY KEY, user_id NOT NULL, item_id NOT NULL,
                                         time INTEGER NOT NULL, event TEXT NOT NULL,
                                         checksum INTEGER NOT NULL, UNIQUE (item_id, user_id, time, event));
CREATE TABLE profiles (user_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL,
                                     features TEXT, checksum INTEGER NOT NULL);
CREATE TABLE identity (id TEXT NOT NULL);
CREATE TABLE sums (name TEXT NOT NULL PRIMARY KEY, num INTEGER NOT NULL,
                                 total INTEGER NOT NULL);
CREATE TABLE quarantine (kind TEXT NOT NULL, item_id, user_id, time INTEGER, reason TEXT NOT NULL);
{_SUMS}
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT_VERSION};
COMMIT;
"""
"""Columns of ids have no type, so that SQLite stores each id in its own type: "1" differs from 1.

`features` of a deleted profile are NULL. `sums` holds the number of rows of each table and the sum of their
checksums as of the latest commit.
"""


def tables_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return name -> type, table name and SQL text of everything in a database except its indexes."""
    found = connection.execute("SELECT name, type, tbl_name, sql FROM sqlite_master WHERE type <> 'index'")
    return {name: " ".join(map(str, rest)) for name, *rest in found}


@functools.cache
def _expected_tables() -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        return tables_of(connection)


def find_table_problem(connection: sqlite3.Connection) -> str | None:
    """Return how the tables of a store differ from `SCHEMA`, or None if they do not."""
    expected = _expected_tables()
    tables = {name: text for name, text in tables_of(connection).items() if name not in OF_SQLITE}
    if unknown := sorted(tables.keys() - expected.keys()):
        return f"unknown table {unknown[0]!r:.80}"
    if missing := sorted(expected.keys() - tables.keys()):
        return f"table {missing[0]} is missing"
    changed = sorted(name for name, text in tables.items() if text != expected[name])
    return f"the definition of table {changed[0]} was changed" if changed else None


def make_tables(connection: sqlite3.Connection) -> None:
    """Create the tables of an empty database in one transaction."""
    if not tables_of(connection):
        connection.executescript(SCHEMA)
