"""Files that are ordinary enough to come along, and odd enough to need a word."""

import datetime
import decimal
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twotower.config.component import Config
from twotower.config.errors import InputError
from twotower.config.reading import read
from twotower.data.check_tables import check_tables
from twotower.data.sources.source import Source
from twotower.data.sources.table_files import TableFiles
from twotower.data.table_reader import typed


class Held(Config):
    data: Source.Config


LOG = "user_id,item_id,timestamp\n1,5,1700000000\n2,6,1700000001\n"
FRAME = pd.DataFrame({"user_id": [1, 2], "item_id": [5, 6], "timestamp": [1_700_000_000, 1_700_000_001]})


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def from_csv(content, name="log.csv", **arguments):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return TableFiles(TableFiles.Config(interactions_path=name, **arguments))


def from_table(table, **arguments):
    pq.write_table(table, "log.parquet")
    return TableFiles(TableFiles.Config(interactions_path="log.parquet", **arguments))


def arrow(**columns):
    return pa.table({name: columns.get(name, pa.array(FRAME[name])) for name in FRAME})


def told(source):
    with pytest.raises(InputError) as caught:
        check_tables(source.load())
    return str(caught.value)


def log_of(source):
    return check_tables(source.load()).interactions.to_dict("list")


@pytest.mark.parametrize("key", [["user_id"], ["user_id", "item_id"], ["timestamp"]], ids=str)
def test_an_index_that_pandas_saved_is_a_column(key):
    FRAME.set_index(key).to_parquet("log.parquet")
    assert log_of(TableFiles(TableFiles.Config(interactions_path="log.parquet"))) == FRAME.to_dict("list")


def test_an_index_without_a_name_is_none():
    FRAME.to_parquet("log.parquet", index=True)
    items = pd.DataFrame({"item_id": [5, 6], "price": [1.5, 2.5]}, index=[7, 9])
    items.to_parquet("items.parquet")
    items.to_csv("items.csv")
    for name in ("items.parquet", "items.csv"):
        source = TableFiles(TableFiles.Config(interactions_path="log.parquet", items_path=name))
        assert source.config.columns() == {
            "users": {"user_id"},
            "items": {"item_id", "price"},
            "context": set(),
        }
        assert check_tables(source.load()).items.to_dict("list") == items.to_dict("list")


def test_types_that_hold_the_same_values():
    table = arrow(
        user_id=pa.array(["a", "b"]).dictionary_encode(),
        item_id=pa.array(["x", "y"], pa.large_string()),
        timestamp=pa.array([decimal.Decimal(1_700_000_000), decimal.Decimal(1_700_000_001)]),
    )
    assert log_of(from_table(table)) == {
        "user_id": ["a", "b"],
        "item_id": ["x", "y"],
        "timestamp": [1_700_000_000, 1_700_000_001],
    }
    dates = arrow(timestamp=pa.array([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)]))
    assert log_of(from_table(dates, timestamp_unit="iso"))["timestamp"] == [1_704_067_200, 1_704_153_600]


IDS_THAT_ARE_NONE = {
    "lists": pa.array([[1], [2]]),
    "structs": pa.array([{"id": 1}, {"id": 2}]),
    "maps": pa.array([[("a", 1)], [("a", 2)]], pa.map_(pa.string(), pa.int64())),
    "bytes": pa.array([b"a", b"b"]),
    "decimals": pa.array([decimal.Decimal("1.5"), decimal.Decimal("2.5")]),
    "times": pa.array([1, 2], pa.timestamp("s")),
    "nothing": pa.nulls(2),
    "truths": pa.array([True, False]),
}


@pytest.mark.parametrize("kind", IDS_THAT_ARE_NONE)
def test_ids_of_a_type_that_cannot_be_one(kind):
    said = told(from_table(arrow(item_id=IDS_THAT_ARE_NONE[kind])))
    assert said.startswith("log.parquet: column 'item_id', row 1: ids must be whole numbers or text")
    assert said.endswith("(2 such rows in all)")


def test_times_of_a_type_that_cannot_be_one():
    duration = {"duration": pa.array([1_700_000_000, 1_700_000_001], pa.duration("ns"))}
    values = IDS_THAT_ARE_NONE | duration
    for kind in ("lists", "structs", "bytes", "truths", "nothing", "duration"):
        said = told(from_table(arrow(timestamp=values[kind])))
        assert said.startswith("log.parquet: column 'timestamp', row 1: expected ")


@pytest.mark.parametrize("word", ["now", "today", "-2024-01-01"])
def test_words_that_a_parser_takes_for_dates(word):
    source = from_csv(
        LOG.replace("1700000000", word).replace("1700000001", "2024-01-01"), timestamp_unit="iso"
    )
    assert "column 'timestamp', line 2: expected a date" in told(source)


def test_whole_numbers_with_gaps_stay_whole():
    items = pa.table({"item_id": [5, 6], "code": pa.array([2**60 + 1, None], pa.int64())})
    pq.write_table(items, "items.parquet")
    tables = check_tables(from_csv(LOG, items_path="items.parquet").load())
    assert tables.items["code"].iloc[0] == 2**60 + 1
    assert pd.isna(tables.items["code"].iloc[1])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2"], [1, 2]),
        (["1", "99999999999999999999999"], ["1", "99999999999999999999999"]),
        (["9223372036854775807"], [2**63 - 1]),
        (["9223372036854775808"], ["9223372036854775808"]),
        (["-9223372036854775809"], ["-9223372036854775809"]),
        (["9007199254740993", None], [2**53 + 1, None]),
        (["9007199254740992", None], [2.0**53, None]),
        (["1.5", "99999999999999999999999"], [1.5, pytest.approx(1e23)]),
        (["1e999"], [np.inf]),
    ],
    ids=str,
)
def test_numbers_that_no_type_holds_exactly_stay_text(values, expected):
    found = typed(pd.Series(values, dtype="str"))
    assert [None if pd.isna(value) else value for value in found] == expected


def test_a_file_that_is_cut_short():
    whole = gzip.compress(LOG.encode() + b"1,5,1700000002\n" * 999)
    for end in (5, len(whole) // 2, len(whole) - 4):
        assert told(from_csv(whole[:end], "log.csv.gz")).startswith("log.csv.gz: cannot be read as CSV: ")


FORMS = {
    "BOM": b"\xef\xbb\xbf" + LOG.encode(),
    "BOM and quotes": b"\xef\xbb\xbf" + b'"user_id","item_id","timestamp"\n1,5,"1700000000"\n2,6,1700000001',
    "CRLF": LOG.replace("\n", "\r\n").encode(),
    "CR": LOG.replace("\n", "\r").encode(),
    "empty lines at the end": LOG.encode() + b"\n,,\n\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_same_file(form):
    assert log_of(from_csv(FORMS[form])) == FRAME.to_dict("list")


BROKEN = {
    "a line of other columns at the end": (
        "user_id,item_id,timestamp,note\n1,5,1700000000,\n,,,lost\n",
        "column 'user_id', line 3: ids must be",
    ),
    "nothing": ("", "log.csv: cannot be read as CSV: "),
    "empty first line": ("\n" + LOG, "log.csv: cannot be read as CSV: "),
    "a separator too many in every line": (
        LOG.replace("0000000\n", "0000000,\n"),
        "log.csv: cannot be read as CSV: ",
    ),
    "not UTF-8": (LOG.encode() + b"1,\xff,1700000002\n", "save the file as UTF-8"),
    "a quote that does not end": (LOG + '1,"5,1700000002\n', "log.csv: cannot be read as CSV: "),
    "a column twice": (
        "user_id,item_id,user_id,timestamp\n1,5,2,1700000000\n",
        "log.csv: more than one column is called user_id; rename all but one",
    ),
    "another separator": (LOG.replace(",", ";"), "if ';' separates its fields, set data.separator=';'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_messages_about_broken_files(case):
    content, said = BROKEN[case]
    assert said in told(from_csv(content))


def test_a_column_twice_that_would_be_read_is_known_from_the_header():
    Path("items.csv").write_text("item_id,price,price\n5,1,2\n6,1,2\n")
    assert from_csv(LOG, items_path="items.csv").config.problems() == [
        ("item_features", "items.csv: more than one column is called price; rename all but one")
    ]


@pytest.mark.parametrize("separator", ["\t", r"\t", ";", "|", " "])
def test_separators(separator):
    content = LOG.replace(",", "\t" if separator == r"\t" else separator)
    assert log_of(from_csv(content, separator=separator)) == FRAME.to_dict("list")


@pytest.mark.parametrize("separator", ["", "::", r"\s+", "é", '"', "\n", "\0"])
def test_separators_that_cannot_be(separator):
    spec = {"_target_": "twotower.data.sources.table_files.TableFiles", "interactions_path": "log.csv"}
    _, (problem,) = read(Held, {"data": spec | {"separator": separator}})
    assert problem.key == "data.separator"
    assert problem.message == rf"expected one ASCII character (\t for a tab), got {separator!r}"
