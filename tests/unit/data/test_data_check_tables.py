import numpy as np
import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.check_tables import check_tables
from twotower.data.sources.table_files import TableFiles
from twotower.data.tables import Tables

T = 1_700_000_000
REFUSE = TableFiles.Config(interactions_path="log.csv", missing_users="refuse", missing_items="refuse")


def tables(log=None, users=None, items=None, **log_columns):
    log = {"user_id": [1, 2, 1], "item_id": ["a", "a", "b"], "timestamp": [T, T + 1, T + 2], **(log or {})}
    return Tables(
        pd.DataFrame({**log, **log_columns}),
        pd.DataFrame({"user_id": [1, 2], "age": [30, 40], **(users or {})}),
        pd.DataFrame({"item_id": ["a", "b"], "name": ["A", "B"], **(items or {})}),
        {"interactions": "log.csv", "users": "users.csv", "items": "items.csv"},
        item_label="name",
    )


def test_valid_tables_get_plain_types():
    found = check_tables(tables(user_id=np.array([1, 2, 1], dtype=np.uint8)))
    assert found.interactions["user_id"].dtype == np.int64
    assert found.users["user_id"].tolist() == [1, 2]
    assert found.items["item_id"].tolist() == ["a", "b"]


BAD = {
    "float ids": (
        {"user_id": [1.0, 2.0, 1.0]},
        ["log.csv", "'user_id'", "row 1", "whole numbers or text", "1.0"],
    ),
    "missing id": ({"item_id": ["a", None, "b"]}, ["log.csv", "'item_id'", "row 2", "nothing (NaN)"]),
    "mixed ids": ({"item_id": ["a", "a", 7]}, ["log.csv", "'item_id'", "row 3", "7 (int)"]),
    "boolean ids": ({"user_id": [True, False, True]}, ["log.csv", "'user_id'", "row 1", "True (bool"]),
    "empty id": ({"item_id": ["a", "", "b"]}, ["log.csv", "'item_id'", "row 2", "1 to 256 characters"]),
    "huge id": ({"user_id": [1, 2**63, 1]}, ["log.csv", "'user_id'", "row 2", "does not fit 64 bits"]),
    "other kind": (
        {"user_id": ["1", "2", "1"]},
        ["log.csv", "users.csv", "'user_id'", "text ('1')", "whole numbers (1)"],
    ),
    "duplicate user": (
        {"users": {"user_id": [1, 2, 1], "age": [3, 4, 5]}},
        ["users.csv", "'user_id'", "row 3", "duplicate id 1", "row 1"],
    ),
    "unlisted item": (
        {"item_id": ["a", "z", "y"]},
        ["log.csv", "'item_id'", "row 2", "'z'", "items.csv", "2 such"],
    ),
    "unlisted user": ({"user_id": [1, 2, 3]}, ["log.csv", "'user_id'", "row 3", "3", "users.csv"]),
    "milliseconds": (
        {"timestamp": [T, T * 1000, T]},
        ["log.csv", "'timestamp'", "row 2", "milliseconds", "1,000"],
    ),
    "no time": (
        {"timestamp": [T, 0, T]},
        ["log.csv", "'timestamp'", "row 2", "1970-01-02 and 2100", "found 0"],
    ),
    "fraction of a second": (
        {"timestamp": [T, T + 0.5, T]},
        ["log.csv", "'timestamp'", "row 2", "whole unix seconds"],
    ),
    "missing time": ({"timestamp": [T, T, np.nan]}, ["log.csv", "'timestamp'", "row 3", "nothing (NaN)"]),
    "time as text": ({"timestamp": [str(T), "x", "y"]}, ["log.csv", "'timestamp'", "row 2", "'x'"]),
    "odd split": (
        {"split": ["train", "dev", "test"]},
        ["log.csv", "'split'", "row 2", "train, valid, test", "'dev'"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named_by_file_column_and_row(name):
    changes, parts = BAD[name]
    with pytest.raises(InputError) as caught:
        check_tables(tables(**changes), config=REFUSE)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_a_missing_column_is_named_with_the_nearest(column):
    given = tables()
    renamed = given.interactions.rename(columns={column: column.upper() + "s"})
    with pytest.raises(InputError, match=rf"log.csv: column '{column}' is missing; .*there is"):
        check_tables(Tables(renamed, given.users, given.items, given.source_paths))


def test_no_interactions():
    given = tables()
    with pytest.raises(InputError, match=r"log\.csv: holds no interactions"):
        check_tables(Tables(given.interactions.iloc[:0], given.users, given.items, given.source_paths))


def test_a_named_index_and_the_name_in_the_file_are_quoted():
    given = tables(item_id=["a", None, "b"])
    given.interactions.index = pd.RangeIndex(2, 5, name="line")
    named = Tables(
        given.interactions, given.users, given.items, given.source_paths, file_columns={"item_id": "sku"}
    )
    with pytest.raises(InputError, match=r"log.csv: column 'sku', line 3: "):
        check_tables(named)


def holes(table, frame, source_path):
    return [f"{source_path}: column {name!r} has holes" for name in frame if frame[name].isna().any()]


def test_all_mistakes_of_all_columns_are_one_message():
    given = tables(
        log={"user_id": [1, None, 9], "item_id": ["a", "z", "b"], "timestamp": [T, -1, None]},
        users={"user_id": [1, 2], "age": [30, None]},
        items={"item_id": ["a", 7], "name": ["A", None]},
        split=["train", "dev", "test"],
    )
    with pytest.raises(InputError) as caught:
        check_tables(given, holes)
    lines = str(caught.value).splitlines()
    assert lines[0] == "6 mistakes in the data"
    starts = [
        "log.csv: column 'split', row 2: expected one of train",
        "log.csv: column 'timestamp', row 3: expected whole unix seconds",
        "log.csv: column 'user_id', row 2: ids must be",
        "users.csv: column 'age' has holes",
        "items.csv: column 'item_id', row 2: ids must be",
        "items.csv: column 'name' has holes",
    ]
    for start in starts:
        assert any(line.startswith("  " + start) for line in lines), start


def test_a_missing_id_without_a_table_is_reported_once_with_its_row():
    given = tables(user_id=[1, 1, None])
    source_paths = {"interactions": "log.parquet", "items": "items.csv"}
    own = Tables(given.interactions, items=given.items, source_paths=source_paths)
    with pytest.raises(InputError, match=r"^log.parquet: column 'user_id', row 3: [^\n]*$"):
        check_tables(own)
