"""A log in several files: which are taken, in what order, and what is said of files that do not fit."""

from pathlib import Path

import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.check_tables import check_tables
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.table_reader import table_paths

T = 1_700_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frame(items: list[int] | list[str], user: int | str = 7, time: int = T) -> pd.DataFrame:
    """Return rows of a user, all at one time, so that only the order of rows tells them apart."""
    return pd.DataFrame({"user_id": user, "item_id": items, "timestamp": time})


def save(name: str, rows: pd.DataFrame) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("csv"):
        rows.to_csv(name, index=False)
    else:
        rows.to_parquet(name, index=False)


def source(path: str | list[str], **settings) -> TableFiles:
    return TableFiles(TableFiles.Config(interactions_path=path, **settings))


def items_of(path: str | list[str]) -> list[int]:
    config = source(path).config
    assert config.problems() == []
    return check_tables(source(path).load()).interactions["item_id"].tolist()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_folder_and_a_pattern_are_read_by_name_and_a_list_as_it_stands(kind: str) -> None:
    for name, item in {"b": 2, "a": 1, "sub/c": 3, "_temporary/d": 4, ".e": 5}.items():
        save(f"log/{name}.{kind}", frame([item, 10 * item]))
    Path("log/_SUCCESS").write_text("")
    assert items_of("log") == [1, 10, 2, 20, 3, 30]
    assert items_of(f"log/*.{kind}") == [1, 10, 2, 20]
    assert items_of([f"log/b.{kind}", f"log/a.{kind}"]) == [2, 20, 1, 10]
    assert items_of(f"log/b.{kind}") == [2, 20]


def test_whole_numbers_with_gaps_stay_whole_in_several_files() -> None:
    save("log.csv", frame([10, 11, 12, 13]))
    for name, rows in {"a": "10,1999\n11,2000\n", "b": "12,\n13,2001\n"}.items():
        Path("items").mkdir(exist_ok=True)
        Path(f"items/{name}.csv").write_text(f"item_id,year\n{rows}")
    years = source("log.csv", items_path="items").load().items["year"]
    assert years.dtype == "Int64"
    assert [None if pd.isna(year) else year for year in years] == [1999, 2000, None, 2001]


def test_messages_name_the_file_of_an_item() -> None:
    save("log.csv", frame([10, 11]))
    save("items/a.csv", pd.DataFrame({"item_id": [10]}))
    save("items/b.csv", pd.DataFrame({"item_id": [11, 10]}))
    with pytest.raises(
        InputError, match=r"line 3 of .*b\.csv: duplicate id 10, first seen at line 2 of .*a\.csv"
    ):
        check_tables(source("log.csv", items_path="items").load())


def test_a_column_that_only_a_later_file_has_is_reported() -> None:
    save("log.csv", frame([10, 11]))
    save("items/a.csv", pd.DataFrame({"item_id": [10], "year": [1999]}))
    save("items/b.csv", pd.DataFrame({"item_id": [11], "year": [2000], "price": [5]}))
    config = source("log.csv", items_path="items").config
    message = "items/b.csv: column 'price' is not in items/a.csv; add it there, or name the columns to read"
    assert config.problems() == [("item_features", message)]
    assert source("log.csv", items_path="items", item_features=["year"]).config.problems() == []


def test_a_file_that_is_listed_twice_is_refused() -> None:
    save("log/a.csv", frame([1]))
    with pytest.raises(InputError, match=r"log/a\.csv: the list has this file more than once"):
        table_paths(["log", "log/a.csv"])


@pytest.mark.parametrize("longest", [0, 100], ids=["by batches", "in memory"])
def test_messages_name_the_file_of_a_row(
    longest: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("twotower.data.interaction_files.MAX_ROWS_IN_MEMORY", longest)
    monkeypatch.setattr("twotower.data.blocks.BLOCK_ROWS", 2)
    save("log/a.parquet", frame([1, 2, 3]))
    save("log/b.parquet", pd.concat([frame([4, 5, 6]), frame([7], time=5)]))
    with pytest.raises(
        InputError, match=r"column 'timestamp', row 4( of log/b.parquet)?: .*found 5"
    ) as caught:
        build_dataset(source("log"), LeaveOneOut(LeaveOneOut.Config()), tmp_path / "cache")
    assert "log/b.parquet" in str(caught.value)


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    save("log/a.parquet", frame([1]))
    save("log/b.parquet", frame(["x"]))
    with pytest.raises(InputError, match=r"column 'item_id', row 1 of log/b.parquet: .*of one kind"):
        build_dataset(source("log"), LeaveOneOut(LeaveOneOut.Config()), tmp_path / "cache")
    save("log/c.parquet", frame([1]).drop(columns="timestamp"))
    said = dict(source("log").config.problems())
    assert "log/c.parquet: column 'timestamp' is missing" in said["timestamp_column"]
    save("log/b.csv", frame([1]))
    assert "log/b.csv is CSV" in source(["log/a.parquet", "log/b.csv"]).config.problems()[0][1]
    Path("empty").mkdir()
    assert "name a file, a folder of files or a pattern" in source("empty").config.problems()[0][1]


def test_a_pattern_may_lie_in_a_hidden_folder(tmp_path: Path) -> None:
    for name in (".cache/_log/a.parquet", ".cache/_log/_b.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert table_paths(f"{tmp_path}/.cache/_log/*.parquet") == [tmp_path / ".cache/_log/a.parquet"]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_rows_of_a_later_file_replace_users_and_items(kind: str) -> None:
    save(f"log.{kind}", frame([1, 2, 3]))
    save(f"items.{kind}", pd.DataFrame({"item_id": [1, 2, 3], "price": [1.0, 2.0, 3.0]}))
    save(f"new.{kind}", pd.DataFrame({"item_id": [4, 2], "price": [4.0, 20.5]}))
    save(f"newest.{kind}", pd.DataFrame({"item_id": [4], "price": [40.0]}))
    files = [f"{name}.{kind}" for name in ("items", "new", "newest")]
    read = check_tables(source(f"log.{kind}", items_path=files).load()).items
    assert dict(zip(read["item_id"], read["price"], strict=True)) == {1: 1.0, 3: 3.0, 2: 20.5, 4: 40.0}
    save(f"twice.{kind}", pd.DataFrame({"item_id": [1, 2, 2], "price": 0.5}))
    location = "row 3" if kind == "parquet" else "line 4"
    with pytest.raises(InputError, match=f"{location} of twice.{kind}"):
        check_tables(source(f"log.{kind}", items_path=[files[0], f"twice.{kind}"]).load())
