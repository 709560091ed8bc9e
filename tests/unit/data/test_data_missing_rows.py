"""Users and items that the log names and their table lacks."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.audit import audit_table
from twotower.data.build_dataset import build_dataset
from twotower.data.check_tables import add_missing_rows, check_tables
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.splits.rolling import Rolling
from twotower.data.tables import Tables

T = 1_700_000_000
LOG = {"user_id": [9, 1, 7, 1, 9], "item_id": ["b", "a", "z", "b", "a"], "timestamp": [T] * 5}
USERS = {"user_id": [5, 1], "age": [30, 40]}
ITEMS = {"item_id": ["b", "a"], "name": ["B", None]}


def given(users: dict[str, Any] = USERS, items: dict[str, Any] = ITEMS) -> Tables:
    names = {"interactions": "log.csv", "users": "users.csv", "items": "items.csv"}
    return Tables(pd.DataFrame(LOG), pd.DataFrame(users), pd.DataFrame(items), names)


def test_ids_that_a_table_lacks_get_rows_at_its_end_with_everything_missing() -> None:
    found = check_tables(given())
    assert found.users["user_id"].tolist() == [5, 1, 9, 7]
    assert found.users["age"].tolist() == [30, 40, pd.NA, pd.NA]
    assert found.items["item_id"].tolist() == ["b", "a", "z"]
    assert found.items["name"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1, 2], dtype=np.int64), "Int64"),
        (np.array([1, 2], dtype=np.uint8), "UInt64"),
        (np.array([True, False]), "boolean"),
        (np.array([0.5, 1.5]), "float64"),
        (pd.Series(["a", "b"], dtype="str"), "str"),
        (pd.Series([1, None], dtype="Int64"), "Int64"),
        (pd.Series([["a"], ["b", "c"]], dtype=object), "object"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "datetime64[us]"),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_added_rows_keep_values_and_types(values: Any, dtype: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": [1, 2], "x": values})
    frame.index = pd.RangeIndex(2, 4, name="line")
    whole = add_missing_rows(frame, "user_id", pd.Series([2, 3, 3]))
    assert whole["user_id"].tolist() == [1, 2, 3]
    assert str(whole["x"].dtype) == dtype
    assert whole["x"].tolist()[:2] == frame["x"].tolist()
    assert bool(pd.isna(whole["x"].iloc[2]))
    whole.to_parquet(tmp_path / "stored.parquet")
    again = pd.read_parquet(tmp_path / "stored.parquet")["x"]
    assert again.isna().tolist() == whole["x"].isna().tolist()


def test_missing_ids_of_both_tables_are_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        check_tables(
            given(),
            config=TableFiles.Config(
                interactions_path="log.csv", missing_users="refuse", missing_items="refuse"
            ),
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 mistakes in the data"
    assert "log.csv: column 'user_id', row 1: 9 is not in users.csv (2 such ids in all)" in lines[1]
    assert "set data.missing_users=unknown (3 such rows in all)" in lines[1]
    assert "log.csv: column 'item_id', row 3: 'z' is not in items.csv (1 such ids in all)" in lines[2]


@pytest.mark.parametrize("ids", [[100, 200], []], ids=str)
def test_a_table_that_has_none_of_the_ids_is_always_refused(ids: list[int]) -> None:
    users = {"user_id": np.array(ids, dtype=np.int64)}
    with pytest.raises(InputError, match=r"\(3 such ids in all\); it has none of the ids here; spell them"):
        check_tables(given(users=users))


def test_the_audit_says_how_many(tmp_path: Path) -> None:
    for name, table in {"log": LOG, "users": USERS, "items": ITEMS}.items():
        pd.DataFrame(table).to_csv(tmp_path / f"{name}.csv", index=False)
    paths = {
        f"{table}_path": str(tmp_path / f"{file}.csv")
        for table, file in {"interactions": "log", "users": "users", "items": "items"}.items()
    }
    log = pd.DataFrame(
        {"user_id": [1, 1, 1, 7, 7, 7], "item_id": list("abzazb"), "timestamp": range(T, T + 6)}
    )
    log.to_csv(tmp_path / "log.csv", index=False)
    split = LeaveOneOut(LeaveOneOut.Config())
    for _ in range(2):  # built, and opened from the cache
        dataset = build_dataset(TableFiles(TableFiles.Config(**paths)), split, tmp_path / "cache")
        assert (dataset.audit["users_without_row"], dataset.audit["items_without_row"]) == (1, 1)
        assert ("users without row", "1") in audit_table(dataset.audit)
        assert dataset.users.values.tolist() == [1, 5, 7]
        assert dataset.user_table["age"].tolist() == [40, 30, pd.NA]
        assert dataset.items.values.tolist() == ["a", "b", "z"]
    strict = TableFiles(TableFiles.Config(**paths, missing_users="refuse"))
    with pytest.raises(InputError, match=r"^[^\n]*line 5: 7 is not in [^\n]*$"):
        build_dataset(strict, split, tmp_path / "cache")


def test_the_audit_of_an_older_window_counts_ids_that_occur_before_its_end(tmp_path: Path) -> None:
    users = [1, 2, 1, 2, 3, 1, 2, 3]
    log = pd.DataFrame({"user_id": users, "item_id": list("abbaazzy"), "timestamp": range(T, T + 8)})
    log.to_csv(tmp_path / "log.csv", index=False)
    pd.DataFrame(ITEMS).to_csv(tmp_path / "items.csv", index=False)
    paths = {"interactions_path": str(tmp_path / "log.csv"), "items_path": str(tmp_path / "items.csv")}
    source = TableFiles.Config(**paths).build()
    windows = {"unit": "interactions", "valid": 1, "test": 1, "num_windows": 2, "step": 1}
    for window, number in {1: 1, 2: 2}.items():  # y occurs only in the last row
        split = Rolling.Config(window=window, **windows).build()
        audit = build_dataset(source, split, tmp_path / "cache").audit
        assert audit["items_without_row"] == number
        assert "users_without_row" not in audit
