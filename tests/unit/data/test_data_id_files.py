"""The benchmarks' own layouts: lists of items and pairs, without times, in an order or in none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.audit import audit_table
from twotower.data.build_dataset import build_dataset
from twotower.data.check_tables import check_tables, row_positions
from twotower.data.sources.item_lists import ItemLists
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.given import Given
from twotower.data.splits.leave_one_out import LeaveOneOut


def rows_of(tables):
    return list(tables.interactions[["user_id", "item_id", "timestamp"]].itertuples(index=False, name=None))


def pairs(path: Path, text: str | bytes) -> ItemLists:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ItemLists(ItemLists.Config(path=str(path), pairs=True, ordered=True))


def lists(tmp_path: Path, train: str, test: str, ordered: bool = False) -> ItemLists:
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "test.txt").write_text(test)
    paths = {f"{name}_path": str(tmp_path / f"{name}.txt") for name in ("train", "test")}
    return ItemLists(ItemLists.Config(**paths, ordered=ordered))


def test_pairs_keep_the_order_of_their_lines(tmp_path: Path) -> None:
    source = pairs(tmp_path / "p.txt", "2 7\n1\t9\n\n2 5\n1 7\n")
    tables = check_tables(source.load())
    assert rows_of(tables) == [(2, 7, 1), (1, 9, 2), (2, 5, 3), (1, 7, 4)]
    assert tables.interactions.index.tolist() == [1, 2, 4, 5]
    assert not tables.has_times
    assert tables.ordered


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2\n1 2 3\n", "p.txt: line 2: expected a user and an item, found 3 fields"),
        ("1 2\n\n7\n", "p.txt: line 3: expected a user and an item, found 1 fields"),
        ("", "p.txt: holds no interactions"),
        ("1 2\n1 " + "9" * 300, "p.txt: column 'item_id', line 2"),
        (b"1 2\n1 \xff\n", "p.txt: line 2: 'utf-8' codec can't decode byte 0xff"),
        ("1 2\n1 3.0\n", "p.txt: column 'item_id', line 2: id '3.0' is a decimal number"),
    ],
)
def test_lines_that_are_no_pair_are_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_tables(pairs(tmp_path / "p.txt", text).load())
    assert said in str(caught.value)


def test_lists_in_two_files_give_the_split(tmp_path: Path) -> None:
    source = lists(tmp_path, "1 5 6\n2\n3 7\n", "1 8\n3\n", ordered=True)
    tables = check_tables(source.load())
    assert rows_of(tables) == [(1, 5, 1), (1, 6, 2), (3, 7, 3), (1, 8, 4)]
    assert tables.interactions["split"].tolist() == ["train", "train", "train", "test"]
    assert tables.interactions.index.tolist() == ["train.txt:1"] * 2 + ["train.txt:3", "test.txt:1"]
    assert source.config.gives_split()


def test_files_of_lists_are_named_together(tmp_path: Path) -> None:
    def said(**given: str) -> str:
        return str(ItemLists.Config(**given).problems())

    assert "name one file, or train_path and test_path; set is none of them" in said()
    assert "set is data.train_path" in said(train_path=str(tmp_path / "no.txt"))
    assert said(train_path="no.txt", test_path="none.txt").count("there is no file") == 2


def test_rows_without_an_order_are_given_one_with_test_last() -> None:
    parts = pd.Series(["test", "train", "valid", "train"] * 50)
    places = row_positions(parts, 200, ordered=False)
    assert sorted(places) == list(range(1, 201))
    by_part = {name: places[(parts == name).to_numpy()] for name in ("train", "valid", "test")}
    assert by_part["train"].max() == 100
    assert (by_part["valid"].min(), by_part["valid"].max()) == (101, 150)
    assert (np.diff(by_part["train"]) < 0).any()  # drawn
    assert (places == row_positions(parts, 200, ordered=False)).all()
    assert row_positions(parts, 200, ordered=True).tolist() == list(range(1, 201))


def test_the_audit_tells_the_order_and_no_dates(tmp_path: Path) -> None:
    text = "".join(f"{user} {item}\n" for user in range(1, 6) for item in range(1, 5))
    dataset = build_dataset(pairs(tmp_path / "p.txt", text), LeaveOneOut.Config().build(), tmp_path / "c")
    assert dataset.audit["order"] == "rows"
    told = {"first_time", "last_time", "equal_timestamp_rate", "future_leak_rate", "warning"}
    assert not told & dataset.audit.keys()
    assert ("order", "rows") in audit_table(dataset.audit)
    assert not dataset.has_times
    assert dataset.test.target_items.tolist() == [4] * 5
    assert dataset.test.request_times.tolist() == [4, 8, 12, 16, 20]
    train = "".join(f"{user} 1 2 3 4\n" for user in range(1, 6))
    source = lists(tmp_path, train, "1 5\n2 6\n")
    drawn = build_dataset(source, Given.Config().build(), tmp_path / "c")
    assert drawn.audit["order"] == "none (drawn)"
    assert drawn.audit["valid_share_of_train"] == 0.1
    assert drawn.test.target_items.tolist() == [5, 6]
    assert drawn.test.history.counts()[1:].tolist() == [4] * 5
    assert len(set(drawn.valid.target_items.tolist())) > 1  # not the last of each line


def test_a_table_without_times_is_in_the_order_of_its_rows(tmp_path: Path) -> None:
    rows = [(2, "x"), (1, "c"), (1, "a"), (2, "y"), (1, "b"), (2, "z")]
    pd.DataFrame(rows, columns=["user_id", "item_id"]).to_csv(tmp_path / "log.csv", index=False)
    config = TableFiles.Config(interactions_path=str(tmp_path / "log.csv"), timestamp_column=None)
    assert not config.has_times()
    assert list(config.problems()) == []
    dataset = build_dataset(config.build(), LeaveOneOut.Config().build(), tmp_path / "c")
    assert dataset.audit["order"] == "rows"
    names = dataset.items.ids(np.concatenate([dataset.train.items, dataset.test.target_items])).tolist()
    assert names == ["c", "x", "b", "z"]
    assert dataset.test.history.times.tolist() == [2, 3, 1, 4]


@pytest.mark.parametrize("text", ["1\n2\n", "\n", ""])
def test_users_without_any_item_are_no_rows(tmp_path: Path, text: str) -> None:
    tables = lists(tmp_path, "1 5 6\n", text).load()
    assert len(tables.interactions) == 2
    assert set(tables.interactions["split"]) == {"train"}
