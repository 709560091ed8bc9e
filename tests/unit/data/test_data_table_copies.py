"""Copies of files with rows added or changed, in their own form."""

import datetime
import gzip

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twotower.config.errors import InputError
from twotower.data.table_copies import copy_table, time_value
from twotower.data.table_reader import open_text_file


@pytest.mark.parametrize("end", ["", "\n"])
def test_csv_keeps_its_lines_and_gets_more(tmp_path, end):
    before = f'who;price;what\n1;2.50;"a;b"\n2;;c{end}'
    (tmp_path / "log.csv").write_text(before)
    copy_table(tmp_path / "log.csv", tmp_path / "new.csv", [{"what": 'd;"e"', "who": 3}, {"price": 1.5}], ";")
    assert (tmp_path / "new.csv").read_text() == f'{before.rstrip()}\n3;;"d;""e"""\n;1.5;\n'


def test_gzip_gets_lines(tmp_path):
    with gzip.open(tmp_path / "log.csv.gz", "wt") as file:
        file.write("who,what\n1,a")
    copy_table(tmp_path / "log.csv.gz", tmp_path / "new.csv.gz", [{"who": 2, "what": "ü"}], ",")
    with gzip.open(tmp_path / "new.csv.gz", "rt", encoding="utf-8") as file:
        assert file.read() == "who,what\n1,a\n2,ü\n"


@pytest.mark.parametrize("blank", ["\n\n", "\n\n\n", "\r\n\r\n", "\n,\n", "\n\n,\r\n\n", "\n,"])
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_rows_follow_the_last_row_where_a_file_ends_with_blank_lines(tmp_path, name, blank):
    with open_text_file(tmp_path / name, "wb") as file:
        file.write(f"who,what\n1,a{blank}".encode())
    copy_table(tmp_path / name, tmp_path / f"new-{name}", [{"who": 2, "what": "b"}], ",")
    with open_text_file(tmp_path / f"new-{name}") as file:
        assert file.read() == b"who,what\n1,a\n2,b\n"


def test_parquet_keeps_its_types(tmp_path):
    schema = pa.schema(
        {
            "who": pa.int32(),
            "when": pa.timestamp("ms", tz="UTC"),
            "what": pa.dictionary(pa.int8(), pa.string()),
        }
    )
    noon = datetime.datetime(2024, 5, 31, 12, tzinfo=datetime.UTC)
    pq.write_table(
        pa.Table.from_pylist([{"who": 1, "when": noon, "what": "a"}], schema), tmp_path / "log.parquet"
    )
    rows = [{"who": 2, "when": time_value(1_717_156_801, "iso", schema.field("when").type), "what": "b"}]
    copy_table(tmp_path / "log.parquet", tmp_path / "new.parquet", rows, ",")
    table = pq.read_table(tmp_path / "new.parquet")
    assert table.schema == schema
    assert table.to_pylist()[1] == {"who": 2, "when": noon + datetime.timedelta(seconds=1), "what": "b"}
    with pytest.raises(InputError, match="a live value does not fit its column's type"):
        copy_table(tmp_path / "log.parquet", tmp_path / "new.parquet", [{"who": "two"}], ",")


@pytest.mark.parametrize(
    ("unit", "kind", "expected"),
    [
        ("s", None, 1_717_156_800),
        ("ms", None, 1_717_156_800_000),
        ("iso", None, "2024-05-31T12:00:00Z"),
        ("iso", pa.string(), "2024-05-31T12:00:00Z"),
        ("iso", pa.timestamp("us"), datetime.datetime(2024, 5, 31, 12)),
    ],
)
def test_times_are_as_the_column_has_them(unit, kind, expected):
    assert time_value(1_717_156_800, unit, kind) == expected
    with pytest.raises(InputError, match="it holds dates without a time of day"):
        time_value(1_717_156_800, "iso", pa.date32())


def test_rows_are_changed_where_they_stand(tmp_path):
    (tmp_path / "items.csv").write_text("id,name,price\na,x,1\nb,y,2\nc,z,3\n")
    copy_table(
        tmp_path / "items.csv", tmp_path / "new.csv", [], ",", {"b": {"price": 2.5, "name": None}}, "id"
    )
    assert (tmp_path / "new.csv").read_text() == "id,name,price\na,x,1\nb,,2.5\nc,z,3\n"
    (tmp_path / "items.csv").write_text("id,name,price\na,x,1\nb,y,2\n,,\n\n")
    copy_table(tmp_path / "items.csv", tmp_path / "new.csv", [], ",", {"b": {"price": 3}}, "id")
    assert (tmp_path / "new.csv").read_text() == "id,name,price\na,x,1\nb,y,3\n"
    changes = {"b": {"price": 4}}
    copy_table(tmp_path / "items.csv", tmp_path / "new.csv", [{"id": "c", "price": 5}], ",", changes, "id")
    assert (tmp_path / "new.csv").read_text() == "id,name,price\na,x,1\nb,y,4\nc,,5\n"
    pq.write_table(
        pa.table({"id": [7, 8], "price": pa.array([1.0, 2.0], pa.float32())}), tmp_path / "items.parquet"
    )
    copy_table(tmp_path / "items.parquet", tmp_path / "new.parquet", [], ",", {"8": {"price": None}}, "id")
    assert pq.read_table(tmp_path / "new.parquet").to_pylist() == [
        {"id": 7, "price": 1.0},
        {"id": 8, "price": None},
    ]


def test_an_index_that_pandas_keeps_as_three_numbers_stays_a_column(tmp_path):
    table = pd.DataFrame({"price": [1.0, 2.0, 3.0]}, index=pd.RangeIndex(1, 4, name="item_id"))
    table.to_parquet(tmp_path / "items.parquet")
    copy_table(
        tmp_path / "items.parquet", tmp_path / "changed.parquet", [], ",", {"2": {"price": 9.0}}, "item_id"
    )
    copy_table(tmp_path / "changed.parquet", tmp_path / "new.parquet", [{"item_id": 9, "price": 4.0}], ",")
    copy_table(tmp_path / "items.parquet", tmp_path / "more.parquet", [{"item_id": 9, "price": 4.0}], ",")
    found = [pq.read_table(tmp_path / f"{name}.parquet").to_pydict() for name in ("new", "more")]
    assert [each["item_id"] for each in found] == [[1, 2, 3, 9]] * 2
    assert [each["price"] for each in found] == [[1, 9, 3, 4], [1, 2, 3, 4]]
