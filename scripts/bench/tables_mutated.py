"""Tables as people send them: small sound ones, and what becomes of them on the way."""

import datetime
import decimal
import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NUM_USERS, NUM_ITEMS, NUM_ROWS, DAY = 12, 40, 240, 86_400
START = 1_700_000_000
FORMATS = ("csv", "csv", "csv.gz", "tsv", "parquet", "parquet", "parquet")
UNITS = ("s", "s", "ms", "iso")


@dataclass
class Case:
    """Three tables on their way to files.

    Args:
        rng: what happens to them.
        formats: table -> ending of its file.
        unit: of the times.
        tables: table -> its columns.
        happened: what was done, in words.
    """

    rng: random.Random
    formats: dict[str, str]
    unit: str
    tables: dict[str, pd.DataFrame]
    happened: list[str] = field(default_factory=list)

    def path(self, table: str) -> Path:
        return Path(f"{table}.{self.formats[table]}")

    def separator(self, table: str) -> str:
        return "\t" if self.formats[table] == "tsv" else ","


def case_of(seed: int) -> Case:
    """Return sound tables in formats that a seed chooses."""
    rng = random.Random(seed)
    # One separator holds for all three files.
    tabs = rng.random() < 0.1
    kinds = [kind for kind in FORMATS if tabs == (kind == "tsv") or kind == "parquet"]
    formats = {table: rng.choice(kinds) for table in ("log", "users", "items")}
    return Case(rng, formats, rng.choice(UNITS), sound_tables(rng))


def sound_tables(rng: random.Random) -> dict[str, pd.DataFrame]:
    """Return a log, users and items that a training takes."""
    text = rng.random() < 0.5
    users = [f"u{number}" if text else number for number in range(1, NUM_USERS + 1)]
    items = [f"i{number}" if text else number + 100 for number in range(NUM_ITEMS)]
    log = {
        "user_id": [users[row % NUM_USERS] for row in range(NUM_ROWS)],
        "item_id": [items[(row % NUM_USERS * 7 + row // NUM_USERS) % NUM_ITEMS] for row in range(NUM_ROWS)],
        "timestamp": [START + row * DAY // 2 for row in range(NUM_ROWS)],
    }
    return {
        "log": pd.DataFrame(log, dtype=object),
        "users": pd.DataFrame(
            {
                "user_id": users,
                "country": [rng.choice(["NL", "FR", "DE"]) for _ in users],
                "age": [rng.randrange(18, 90) for _ in users],
            },
            dtype=object,
        ),
        "items": pd.DataFrame(
            {
                "item_id": items,
                "price": [rng.randrange(100, 9_000) / 100 for _ in items],
                "title": [
                    f"A {rng.choice(['red', 'blue'])} mug, no. {number}" for number in range(NUM_ITEMS)
                ],
                "tags": ["|".join(rng.sample(["new", "hot", "old"], 2)) for _ in items],
                "code": [rng.randrange(5) for _ in items],
            },
            dtype=object,
        ),
    }


VALUES: list[Any] = [
    None,
    np.nan,
    np.inf,
    -np.inf,
    0,
    -1,
    1.5,
    2**53 + 1,
    2**63,
    10**40,
    -(10**19),
    1e308,
    "1e999",
    True,
    "",
    " ",
    "NA",
    "null",
    "None",
    "x" * 300,
    "\x00",
    "a\nb",
    'say "no"',
    "a,b\tc;d",
    "007",
    "1.0",
    "1_000",
    "0x1F",
    "١٢",
    "é\u0301🙂",
    "\ufeff",
    "=1+1",
    "now",
    "2024-02-30",
    "2024-05-01",
    "0001-01-01",
    "9999-12-31",
    "2024-05-01T12:00:00.123456789+14:00",
    "01/02/2024",
    START * 1_000,
    START * 10**9,
    86_399,
    4_102_444_800,
]
"""What a cell may hold instead."""

TYPES: list[Callable[[int], pa.Array]] = [
    lambda n: pa.array([[row] for row in range(n)]),
    lambda n: pa.array([["a", None] for _ in range(n)]),
    lambda n: pa.array([{"a": row} for row in range(n)], pa.struct([("a", pa.int64())])),
    lambda n: pa.array([[("k", row)] for row in range(n)], pa.map_(pa.string(), pa.int64())),
    lambda n: pa.array([str(row) for row in range(n)]).dictionary_encode(),
    lambda n: pa.array([None] * n, pa.string()).dictionary_encode(),
    lambda n: pa.array([decimal.Decimal(row) for row in range(n)], pa.decimal128(30, 0)),
    lambda n: pa.array([decimal.Decimal(row) + decimal.Decimal("0.25") for row in range(n)]),
    lambda n: pa.array([START + row for row in range(n)], pa.timestamp("s")),
    lambda n: pa.array([(START + row) * 10**9 for row in range(n)], pa.timestamp("ns", "Europe/Paris")),
    lambda n: pa.array([2**62 + row for row in range(n)], pa.timestamp("us")),
    lambda n: pa.array([datetime.date(2024, 1, 1) + datetime.timedelta(row) for row in range(n)]),
    lambda n: pa.array([datetime.time(row % 24) for row in range(n)]),
    lambda n: pa.array([datetime.timedelta(row) for row in range(n)]),
    lambda n: pa.array([str(row) for row in range(n)], pa.large_string()),
    lambda n: pa.array([str(row).encode() for row in range(n)], pa.large_binary()),
    lambda n: pa.array([b"\xff\xfe" for _ in range(n)]),
    lambda n: pa.array([b"%04d" % row for row in range(n)], pa.binary(4)),
    lambda n: pa.nulls(n),
    lambda n: pa.array([row % 2 == 0 for row in range(n)]),
    lambda n: pa.array(np.arange(n, dtype=np.float16)),
    lambda n: pa.array([row / 3 for row in range(n)], pa.float32()),
    lambda n: pa.array([2**64 - 1 - row for row in range(n)], pa.uint64()),
    lambda n: pa.array([row % 100 for row in range(n)], pa.int8()),
    lambda n: pa.array([None if row == 1 else 2**60 + row for row in range(n)], pa.int64()),
    lambda n: pa.array([1e300] * n),
    lambda n: pa.array([[1e300, 2.0]] * n),
]
"""Arrow columns of n rows that something else wrote."""

NOTES = [b"", b"{}", b"[]", b"null", b"\xff", b'{"index_columns": ["gone"], "columns": [{}]}']


def some_table(case: Case) -> str:
    return case.rng.choice(["log", "users", "users", "items", "items", "items"])


def change_cells(case: Case) -> None:
    table = some_table(case)
    frame, column = case.tables[table], case.rng.choice(list(case.tables[table]))
    values = list(frame[column])
    value = case.rng.choice(VALUES)
    share = case.rng.choice([0, 0, 0.3, 1])
    places = [case.rng.randrange(len(values))] if values else []
    places += [place for place in range(len(values)) if case.rng.random() < share]
    for place in places:
        values[place] = value
    case.tables[table] = frame.assign(**{str(column): pd.Series(values, index=frame.index, dtype=object)})
    case.happened.append(f"{table}.{column}: {value!r:.40} in {len(places)} rows")


def change_rows(case: Case) -> None:
    table = some_table(case)
    frame = case.tables[table]
    how = case.rng.choice(["none", "one", "half", "twice", "shuffled", "empty one"])
    rows = {
        "none": frame.iloc[:0],
        "one": frame.iloc[:1],
        "half": frame.iloc[: len(frame) // 2],
        "twice": pd.concat([frame, frame]),
        "shuffled": frame.iloc[case.rng.sample(range(len(frame)), len(frame))],
        "empty one": pd.concat([frame, frame.iloc[:1].map(lambda _: None), frame.iloc[:1]]),
    }
    case.tables[table] = rows[how].reset_index(drop=True)
    case.happened.append(f"{table}: {how} of the rows")


def change_columns(case: Case) -> None:
    table = some_table(case)
    frame = case.tables[table]
    how = case.rng.choice(
        ["lost", "twice", "renamed", "none", "empty", "nameless", "capitals", "binary name"]
    )
    column = case.rng.choice(list(frame)) if len(frame.columns) else None
    if how == "none" or column is None:
        frame = frame[[]]
    elif how == "lost":
        frame = frame.drop(columns=column)
    elif how == "twice":
        frame = pd.concat([frame, frame[[column]]], axis=1)
    elif how == "empty":
        frame = frame.assign(**{str(column): None})
    else:
        other = {"nameless": "", "capitals": str(column).upper(), "binary name": "\x00\x1b\x7f" * 99}
        frame = frame.rename(columns={column: other.get(how, f" {column} ")})
    case.tables[table] = frame
    case.happened.append(f"{table}.{column}: column {how}")


def mix_units(case: Case) -> None:
    frame = case.tables["log"]
    factor = case.rng.choice([1_000, 1_000_000, 0.001, 3_600])
    if "timestamp" not in frame or not isinstance(frame, pd.DataFrame) or frame["timestamp"].ndim != 1:
        return
    times = [
        value * factor if isinstance(value, int) and case.rng.random() < 0.5 else value
        for value in frame["timestamp"]
    ]
    case.tables["log"] = frame.assign(timestamp=pd.Series(times, index=frame.index, dtype=object))
    case.happened.append(f"log.timestamp: half of them times {factor}")


def reduce_entities(case: Case) -> None:
    frame, key = case.tables["log"], case.rng.choice(["user_id", "item_id"])
    if key in frame and len(frame) and frame[key].ndim == 1:
        case.tables["log"] = frame.assign(**{key: frame[key].iloc[0]})
        case.happened.append(f"log: one {key}")


FRAME_CHANGES = (
    change_cells,
    change_cells,
    change_cells,
    change_rows,
    change_columns,
    mix_units,
    reduce_entities,
)


def arrow_of(case: Case, table: str) -> pa.Table:
    """Return a table as Arrow types it; columns of mixed values as text."""
    frame = case.tables[table]
    columns = []
    for place in range(len(frame.columns)):
        values = list(frame.iloc[:, place])
        try:
            columns.append(pa.array(values, from_pandas=True))
        except (pa.ArrowException, OverflowError, TypeError):
            columns.append(pa.array([None if value is None else str(value) for value in values]))
    return pa.Table.from_arrays(columns, names=[str(name) for name in frame.columns])


def write_parquet(case: Case, table: str) -> None:
    content, happened = arrow_of(case, table), []
    if case.rng.random() < 0.25 and content.num_columns:
        place, kind = case.rng.randrange(content.num_columns), case.rng.randrange(len(TYPES))
        made = TYPES[kind](content.num_rows)
        content = content.set_column(place, content.schema.names[place], made)
        happened.append(f"{table}.{content.schema.names[place]}: {made.type}")
    if case.rng.random() < 0.15:
        note = case.rng.choice(NOTES)
        content = content.replace_schema_metadata({b"pandas": note})
        happened.append(f"{table}: pandas noted {note!r}")
    path = case.path(table)
    names = content.schema.names
    if case.rng.random() < 0.15 and names and len(set(names)) == len(names):
        key = case.rng.choice(names)
        try:
            content.to_pandas().set_index(key).to_parquet(path)
        except Exception:  # pandas cannot write it so
            pq.write_table(content, path)
        happened.append(f"{table}: {key} is the index")
    else:
        pq.write_table(content, path, compression=case.rng.choice(["none", "snappy", "zstd"]))
    case.happened += happened


def write_csv(case: Case, table: str) -> None:
    frame, rng = case.tables[table], case.rng
    text = frame.to_csv(index=rng.random() < 0.1, sep=case.separator(table))
    how = rng.choice(
        ["plain"] * 20 + ["quotes", "BOM", "CRLF", "CR", "latin-1", "UTF-16", "separator", "tail"]
    )
    if how == "quotes":
        text = frame.to_csv(index=False, sep=case.separator(table), quoting=1)
    elif how == "CRLF":
        text = text.replace("\n", "\r\n")
    elif how == "CR":
        text = text.replace("\n", "\r")
    elif how == "separator":
        text = text.replace(case.separator(table), rng.choice([";", "|", "\t", ",,"]), rng.choice([1, 5, -1]))
    elif how == "tail":
        text += rng.choice(["\n\n", ",,\n", "total\n", "\x1a", " \n"])
    content = text.encode(
        {"BOM": "utf-8-sig", "latin-1": "latin-1", "UTF-16": "utf-16"}.get(how, "utf-8"), "replace"
    )
    if how != "plain":
        case.happened.append(f"{table}: {how}")
    if case.formats[table] == "csv.gz":
        content = gzip.compress(content, mtime=0)
    case.path(table).write_bytes(content)


def damage(case: Case) -> None:
    """Change the bytes of a file."""
    path = case.path(some_table(case))
    content, rng = bytearray(path.read_bytes()), case.rng
    how = rng.choice(
        ["flipped", "flipped", "cut", "cut", "inserted", "gone", "zeros", "not a file", "folder", "other"]
    )
    if how == "flipped":
        for _ in range(rng.choice([1, 1, 5, 50])):
            if content:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        content = content[: rng.randrange(len(content) + 1)]
    elif how == "inserted":
        place = rng.randrange(len(content) + 1)
        content[place:place] = rng.randbytes(rng.choice([1, 3, 100]))
    elif how == "zeros":
        content = bytearray(rng.choice([0, 10, 1_000]))
    elif how == "not a file":
        content = bytearray(rng.randbytes(2_000))
    elif how == "other":
        content = bytearray(json.dumps({"user_id": [1, 2]}).encode())
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        path.write_bytes(content)
    case.happened.append(f"{path}: {how}")


def write(seed: int) -> Case:
    """Write the three files of a seed into the working folder; returns what was done."""
    case = case_of(seed)
    if case.unit != "s":
        factor, log = 1_000, case.tables["log"]
        times = (
            [value * factor for value in log["timestamp"]]
            if case.unit == "ms"
            else [
                datetime.datetime.fromtimestamp(value, datetime.UTC).isoformat() for value in log["timestamp"]
            ]
        )
        case.tables["log"] = log.assign(timestamp=pd.Series(times, dtype=object))
    for _ in range(case.rng.choice([0, 0, 1, 1, 1, 2])):
        case.rng.choice(FRAME_CHANGES)(case)
    for table in case.tables:
        (write_parquet if case.formats[table] == "parquet" else write_csv)(case, table)
    if case.rng.random() < 0.2:
        damage(case)
    return case


def num_rows(path: Path, separator: str) -> int:
    """Count the rows of a file by other means than the package's: empty lines at the end are none."""
    import csv

    if path.suffix == ".parquet":
        return int(pq.ParquetFile(path).metadata.num_rows)
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    while rows and not any(rows[-1]):
        rows.pop()
    return len(rows) - 1
