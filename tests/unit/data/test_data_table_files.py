import gzip
import logging

import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.check_tables import check_tables
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.leave_one_out import LeaveOneOut

LOG = "user_id,item_id,timestamp,junk\n7,A1,1700000000,\n8,007,1700000001,x\n7,007,1700000002,\n"
ITEMS = 'item_id,name,genres,price,code\nA1,"Alpha, beta",x| y,1.5,007\n007,Gamma,,2,100\n'
USERS = "user_id,country\n7,NL\n8,NA\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(log=LOG, items=None, users=None, **arguments):
        for name, text in (("interactions", log), ("items", items), ("users", users)):
            if text is not None:
                content = text if isinstance(text, bytes) else text.encode()
                (tmp_path / f"{name}.csv").write_bytes(content)
                arguments.setdefault(f"{name}_path", f"{name}.csv")
        return TableFiles(TableFiles.Config(**arguments))

    return write


def test_csv(files):
    source = files(items=ITEMS, users=USERS, tag_columns=["genres"], item_label="name")
    assert source.config.problems() == []
    tables = check_tables(source.load())
    assert tables.interactions.columns.tolist() == ["user_id", "item_id", "timestamp"]
    assert tables.interactions["user_id"].tolist() == [7, 8, 7]
    assert tables.interactions["item_id"].tolist() == ["A1", "007", "007"]
    assert tables.interactions["timestamp"].tolist() == [1_700_000_000, 1_700_000_001, 1_700_000_002]
    assert tables.items["name"].tolist() == ["Alpha, beta", "Gamma"]
    assert tables.items["genres"].iloc[0] == ["x", "y"]
    assert pd.isna(tables.items["genres"].iloc[1])
    assert tables.items["price"].tolist() == [1.5, 2.0]
    assert tables.items["code"].tolist() == ["007", "100"]
    assert pd.isna(tables.users["country"].iloc[1])
    assert source.config.columns() == {
        "users": {"user_id", "country"},
        "items": {"item_id", "name", "genres", "price", "code"},
        "context": set(),
    }
    assert tables.source_paths == {
        "interactions": "interactions.csv",
        "users": "users.csv",
        "items": "items.csv",
    }


@pytest.mark.parametrize(
    ("values", "one", "other"),
    [
        (["1.1", "1.10", "2"], "1.1", "1.10"),
        (["12E3", "3.5", "", "12000"], "12E3", "12000"),
        (
            ["0.12345678901234567", "0.123456789012345670001"],
            "0.12345678901234567",
            "0.123456789012345670001",
        ),
    ],
)
def test_codes_that_are_one_number_are_named_and_may_stay_text(files, caplog, values, one, other):
    caplog.set_level(logging.INFO, "twotower")
    items = "item_id,code,price\n" + "".join(f"{n},{value},{n}.50\n" for n, value in enumerate(values))
    numbers = files(items=items).load().items["code"]
    assert numbers.isna().tolist() == [not value for value in values]
    assert numbers.dtype == float
    (message,) = caplog.messages
    assert message == (
        f"items.csv: {one!r} and {other!r} of column 'code' are one number; if they are codes, add it to "
        "data.text_columns"
    )
    tables = files(items=items, text_columns=["code"]).load()
    assert tables.items["code"].fillna("").tolist() == values
    assert tables.items["price"].iloc[0] == 0.5
    assert len(caplog.messages) == 1


def test_numbers_of_parquet_cannot_be_text(files, tmp_path):
    pd.DataFrame({"item_id": ["A1", "007"], "code": [1.1, 2.0]}).to_parquet(tmp_path / "items.parquet")
    source = files(items_path="items.parquet", text_columns=["code"])
    with pytest.raises(
        InputError, match=r"text_columns: items\.parquet: column 'code' holds numbers; save it"
    ):
        source.load()


def test_a_text_column_that_is_not_read_is_refused(files):
    problems = files(items="item_id,code\n1,1.1\n", text_columns=["cod"]).config.problems()
    (message,) = [message for key, message in problems if key == "text_columns"]
    assert "'code'" in message


def test_numbers_of_several_writers_stay_numbers(files, caplog):
    items = "item_id,price\n" + "".join(
        f"{n},{value}\n" for n, value in enumerate(("1", "1.0", "-0.0", "0", "2.5"))
    )
    assert files(items=items).load().items["price"].tolist() == [1, 1, 0, 0, 2.5]
    assert not caplog.messages


def test_without_tables_the_entities_are_those_of_the_interactions(files):
    tables = check_tables(files().load())
    assert tables.users["user_id"].tolist() == [7, 8]
    assert tables.items["item_id"].tolist() == ["A1", "007"]


def test_parquet_and_gzip_and_other_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = pd.DataFrame({"when": pd.to_datetime(["2024-01-01", "2024-01-02"]), "who": [1, 2], "what": [5, 6]})
    log.to_parquet("log.parquet")
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(b"what,price\n5,1\n6,2\n9,3\n"))
    source = TableFiles(
        TableFiles.Config(
            interactions_path="log.parquet",
            items_path="items.csv.gz",
            user_column="who",
            item_column="what",
            timestamp_column="when",
            timestamp_unit="iso",
        )
    )
    tables = check_tables(source.load())
    assert tables.interactions["timestamp"].tolist() == [1_704_067_200, 1_704_153_600]
    assert tables.items["price"].tolist() == [1, 2, 3]
    assert tables.items["item_id"].tolist() == [5, 6, 9]


@pytest.mark.parametrize(
    ("unit", "times", "expected"),
    [
        ("s", ("1700000000", "1700000001.0"), [1_700_000_000, 1_700_000_001]),
        ("ms", ("1700000000999", "1700000001000"), [1_700_000_000, 1_700_000_001]),
        ("iso", ("2024-01-01", "2024-01-01T01:00:00.5+01:00"), [1_704_067_200, 1_704_067_200]),
    ],
)
def test_units_of_time(files, unit, times, expected):
    log = "user_id,item_id,timestamp\n" + "".join(f"1,2,{time}\n" for time in times)
    assert (
        check_tables(files(log=log, timestamp_unit=unit).load()).interactions["timestamp"].tolist()
        == expected
    )


def test_the_fingerprint_follows_content_not_place(files, tmp_path):
    first = files().fingerprint()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "interactions.csv").write_text(LOG)
    assert files(interactions_path="other/interactions.csv").fingerprint() == first
    assert files(log=LOG + "7,A2,1700000009,\n").fingerprint() != first
    assert files(timestamp_unit="ms").fingerprint() != first


def test_a_stored_data_set_names_the_files_of_this_run(files, tmp_path):
    (tmp_path / "other").mkdir()
    log = HEAD + "".join(f"{user},{item},90000\n" for user in (1, 2) for item in range(4))
    for name, text in {"interactions": log, "items": "item_id\n0\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
        (tmp_path / "other" / f"{name}.csv").write_text(text)
    split = LeaveOneOut(LeaveOneOut.Config())
    for folder in ("", "other/"):
        paths = {table: f"{folder}{table}.csv" for table in ("interactions", "items")}
        settings = {f"{table}_path": path for table, path in paths.items()}
        dataset = build_dataset(TableFiles(TableFiles.Config(**settings)), split, tmp_path / "cache")
        assert dataset.source_paths == paths | {"users": paths["interactions"]}
        assert dataset.audit["warning"].startswith(f"{paths['interactions']}: the first target of 2 of 2 ")
    assert len(list((tmp_path / "cache").iterdir())) == 1


HEAD = "user_id,item_id,timestamp\n"
BAD_VALUES = {
    "decimal ids": (
        {"log": HEAD + "1,2,90000\n1.0,3,90000\n"},
        "interactions.csv: column 'user_id', line 3: .*'1.0'",
    ),
    "blank line": (
        {"log": HEAD + "1,2,90000\n\n1,3,90000\n"},
        "interactions.csv: column '.*', line 3: .*nothing",
    ),
    "seconds as milliseconds": (
        {"log": HEAD + "1,2,1700000000000\n1,2,1700000000\n", "timestamp_unit": "ms"},
        "column 'timestamp', line 3: .*as if seconds were read as milliseconds",
    ),
    "nanoseconds as seconds": (
        {"log": HEAD + "1,2,1704067200000000000\n"},
        "line 2: .*found 1704067200000000000, which looks like nanoseconds: divide by 1,000,000,000$",
    ),
    "microseconds as milliseconds": (
        {"log": HEAD + "1,2,1704067200000000\n", "timestamp_unit": "ms"},
        "line 2: .*milliseconds .*found 1704067200000000, which looks like microseconds: divide by 1,000$",
    ),
    "dates as seconds": (
        {"log": HEAD + "1,2,2024-01-01\n"},
        "column 'timestamp', line 2: .*timestamp_unit=iso",
    ),
    "seconds as dates": (
        {"log": HEAD + "1,2,90000\n", "timestamp_unit": "iso"},
        "'timestamp', line 2: .*ISO 8601.*'90000'",
    ),
    "line breaks in quotes": (
        {"log": 'user_id,item_id,timestamp,"no\nte"\n1,2,90000,"a\r\n\r\nb"\n1,"2\n",x,"a\nb"\n'},
        "interactions.csv: column 'timestamp', line 6: .*'x'",
    ),
    "own name": ({"log": "who,item_id,timestamp\n,2,90000\n", "user_column": "who"}, "column 'who', line 2"),
    "ragged": ({"log": HEAD + "1,2,90000\n1,2,3,4,5\n"}, "interactions.csv: cannot be read as CSV: .*line 3"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_bad_values_are_named_by_file_column_and_line(files, name):
    arguments, pattern = BAD_VALUES[name]
    with pytest.raises(InputError, match=pattern):
        check_tables(
            files(**arguments).load(),
            config=TableFiles.Config(interactions_path="log.csv", missing_items="refuse"),
        )


BAD_SETTINGS = {
    "no times but an order": ({"ordered": False}, "ordered", "there are times; leave this out"),
    "no file": ({"interactions_path": "none.csv"}, "interactions_path", "there is no file none.csv"),
    "unknown kind": ({"items_path": "items.xlsx"}, "items_path", "unknown kind of file; expected .parquet"),
    "missing column": ({"timestamp_column": "timestmp"}, "timestamp_column", "did you mean 'timestamp'?"),
    "missing key": (
        {"items": ITEMS.replace("item_id", "sku")},
        "item_column",
        "items.csv: column 'item_id' is missing",
    ),
    "missing feature": (
        {"items": ITEMS, "item_features": ["prise"]},
        "item_features",
        "did you mean 'price'?",
    ),
    "label not read": (
        {"items": ITEMS, "item_features": ["price"], "item_label": "name"},
        "item_label",
        "'name' is missing",
    ),
    "not Parquet": ({"items_path": "bad.parquet"}, "items_path", "cannot be read as Parquet"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_mistakes_in_headers_are_reported_before_reading(files, tmp_path, name):
    arguments, key, part = BAD_SETTINGS[name]
    (tmp_path / "items.xlsx").write_text("")
    (tmp_path / "bad.parquet").write_text("not parquet at all")
    source = files(**arguments)
    problems = dict(source.config.problems())
    assert part in problems[key]
    with pytest.raises(InputError):
        build_dataset(source, LeaveOneOut(LeaveOneOut.Config()), tmp_path / "cache")


def test_all_missing_columns_of_all_files_are_known_from_the_headers(files, tmp_path):
    source = files(log="a\n", users="who,b\n", user_column="who", user_features=["age", "b", "city"])
    said = [message for _, message in source.config.problems()]
    assert said == [
        "interactions.csv: column 'who' is missing; there is a",
        "interactions.csv: column 'item_id' is missing; there is a",
        "interactions.csv: column 'timestamp' is missing; there is a",
        "users.csv: columns age, city are missing; there is who, b",
    ]
    with pytest.raises(InputError, match=r"^4 mistakes in the data"):
        build_dataset(source, LeaveOneOut(LeaveOneOut.Config()), tmp_path / "cache")


def test_unreadable_files_are_reported_together(files):
    source = files(users="user_id\n1\n1,2\n", items="item_id,x\n3,\n3,4,5\n")
    with pytest.raises(InputError) as caught:
        source.load()
    first, users, items = str(caught.value).splitlines()
    assert first == "2 mistakes in the data"
    assert users.startswith("  users.csv: cannot be read as CSV: ")
    assert items.startswith("  items.csv: cannot be read as CSV: ")


@pytest.mark.parametrize("largest", [2**63 - 1, 2**63])
def test_whole_numbers_of_19_digits_are_the_same_ids_in_csv_and_parquet(tmp_path, largest):
    """Ids as snowflakes have them; beyond 64 bits they are text in CSV, and refused in Parquet."""
    ids = [1_450_000_000_000_000_001, 7, largest]
    log = pd.DataFrame({"user_id": ids, "item_id": [1, 2, 3], "timestamp": [90_000] * 3})
    log.to_csv(tmp_path / "log.csv", index=False)
    log.to_parquet(tmp_path / "log.parquet")

    def users(name):
        source = TableFiles(TableFiles.Config(interactions_path=str(tmp_path / name)))
        return check_tables(source.load()).interactions["user_id"].tolist()

    if largest < 2**63:
        assert users("log.csv") == users("log.parquet") == ids
    else:
        assert users("log.csv") == [str(each) for each in ids]
        with pytest.raises(InputError, match="does not fit 64 bits; store these ids as text"):
            users("log.parquet")


def test_settings_of_tables_and_columns_that_are_not_there_have_no_effect(files):
    without = {"user_features": ["country"], "item_features": ["name"], "missing_items": "refuse"}
    source = files(
        **without, missing_users="refuse", tag_separator=";", timestamp_column=None, timestamp_unit="ms"
    )
    assert dict(source.config.unused()) == {
        "user_features": "there is no data.users_path",
        "missing_users": "there is no data.users_path",
        "item_features": "there is no data.items_path",
        "missing_items": "there is no data.items_path",
        "tag_separator": "there are no data.tag_columns",
        "timestamp_unit": "data.timestamp_column is null",
    }
    more = {**without, "item_features": ["name", "genres"], "tag_columns": ["genres"], "tag_separator": "|"}
    source = files(items=ITEMS, users=USERS, **more, missing_users="refuse", timestamp_unit="ms")
    assert list(source.config.unused()) == []
