"""The tables of a store, word for word: a flipped bit of their text would have SQLite pass rows over."""

import contextlib
import functools
import sqlite3

APPLICATION, FORMAT_VERSION, OLDEST_VERSION = 0x3254_4F57, 2, 1
"""Stores of the first format, without `sums`, are brought up to date when they are opened."""
NUMBERED = ("puts", "removals", "events", "named_events", "profiles")
"""Tables whose rows have a number and a checksum; early versions have no profiles, no words of events."""
BY_ID = ("puts", "removals", "profiles")
"""Those of them that are kept by id, so that only an index finds a number quickly."""
NOTED = "quarantine"
"""Of the bundle in use, and noted anew with each, so that an earlier version's table goes."""
OF_SQLITE = ("sqlite_stat1", "sqlite_stat4", "sqlite_sequence")

_SUMS = "\n".join(
    f"INSERT OR IGNORE INTO sums SELECT '{name}', count(*), coalesce(sum(checksum), 0) FROM {name};"
    for name in NUMBERED
)
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS puts (item_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL,
                                 features TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS removals (item_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL,
                                     checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, user_id NOT NULL, item_id NOT NULL,
                                   time INTEGER NOT NULL, checksum INTEGER NOT NULL,
                                   UNIQUE (item_id, user_id, time));
CREATE TABLE IF NOT EXISTS named_events (number INTEGER PRIMARY KEY, user_id NOT NULL, item_id NOT NULL,
                                         time INTEGER NOT NULL, event TEXT NOT NULL,
                                         checksum INTEGER NOT NULL, UNIQUE (item_id, user_id, time, event));
CREATE TABLE IF NOT EXISTS profiles (user_id NOT NULL PRIMARY KEY, number INTEGER NOT NULL,
                                     features TEXT, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS identity (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sums (name TEXT NOT NULL PRIMARY KEY, num INTEGER NOT NULL,
                                 total INTEGER NOT NULL);
DROP TABLE IF EXISTS {NOTED};
CREATE TABLE {NOTED} (kind TEXT NOT NULL, item_id, user_id, time INTEGER, reason TEXT NOT NULL);
{_SUMS}
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT_VERSION};
COMMIT;
"""
"""Columns of ids have no type, so that SQLite keeps theirs: "1" is not 1.

A forgotten profile has no features. `sums` has the number of rows of each table and what their checksums add
up to, as of the latest commit.
"""


def tables_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what a database says of its tables, by name: their kind, whose they are and their statement."""
    found = connection.execute("SELECT name, type, tbl_name, sql FROM sqlite_master WHERE type <> 'index'")
    return {name: " ".join(map(str, rest)) for name, *rest in found}


@functools.cache
def _ours() -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        return tables_of(connection)


def problem_of(tables: dict[str, str], version: int) -> str | None:
    """Return what is wrong with the tables of a store of this format; None where they are as we make them."""
    for name, found in tables.items():
        if name not in _ours() and name not in OF_SQLITE:
            return f"there is no table {name!r:.80}"
        if name not in (NOTED, *OF_SQLITE) and found != _ours()[name]:
            return f"the table {name} is not as it was made"
    if version > OLDEST_VERSION and (missing := sorted(_ours().keys() - tables.keys())):
        return f"the table {missing[0]} is gone"
    return None


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing, all or none, and sum up what an earlier version's hold."""
    if tables_of(connection) != _ours():
        connection.executescript(SCHEMA)
