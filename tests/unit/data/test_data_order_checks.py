"""Rows that are sorted by item id, and equal times, are no order: refused or warned of, by the data alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from twotower.config.errors import InputError
from twotower.data.build_dataset import build_dataset
from twotower.data.sources.item_lists import ItemLists
from twotower.data.sources.source import Source
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.given import Given
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.splits.split import Split
from twotower.data.splits.temporal import Temporal
from twotower.data.splits.user_holdout import UserHoldout

NUM_USERS, LENGTH = 30, 8
DAY = 86_400


def lines_of(num_sorted: int) -> list[list[int]]:
    """Items of users in a random order, those of the first users in ascending order."""
    rng = np.random.default_rng(0)
    lines = [rng.permutation(50)[:LENGTH].tolist() for _ in range(NUM_USERS)]
    return [sorted(line) if user < num_sorted else line for user, line in enumerate(lines)]


def pairs_of(lines: list[list[int]]) -> str:
    return "".join(f"{user} {item}\n" for user, line in enumerate(lines) for item in line)


def pairs_source(path: Path, ordered: bool = True) -> ItemLists:
    return ItemLists(ItemLists.Config(path=str(path), pairs=True, ordered=ordered))


def warning(source: Source, split: Split, folder: Path) -> str:
    return str(build_dataset(source, split, folder / "cache").audit.get("warning", ""))


def leave_one_out() -> Split:
    return LeaveOneOut(LeaveOneOut.Config())


def test_lines_that_all_ascend_by_id_are_refused_and_drawn_where_the_user_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(pairs_of(lines_of(NUM_USERS)))
    with pytest.raises(InputError) as refused:
        warning(pairs_source(path), leave_one_out(), tmp_path)
    said = str(refused.value)
    assert f"{path}: the items of all {NUM_USERS} users of 4 or more ascend by id" in said
    assert "set data.ordered=false" in said
    drawn = pairs_source(path, ordered=False)
    audit = build_dataset(drawn, leave_one_out(), tmp_path / "cache").audit
    assert audit["order"] == "none (drawn)"
    assert "warning" not in audit


@pytest.mark.parametrize(("num_sorted", "is_warned"), [(0, False), (14, False), (16, True)])
def test_more_than_half_of_the_lines_are_a_warning(tmp_path: Path, num_sorted: int, is_warned: bool) -> None:
    path = tmp_path / "log.csv"
    lines = lines_of(num_sorted)
    rows = [(user, item) for user, line in enumerate(lines) for item in line]
    pd.DataFrame(rows, columns=["user_id", "item_id"]).to_csv(path, index=False)
    source = TableFiles(TableFiles.Config(interactions_path=str(path), timestamp_column=None))
    expected = f"{path}: the items of 16 of {NUM_USERS} users ascend by id" if is_warned else ""
    assert warning(source, leave_one_out(), tmp_path).startswith(expected)
    assert bool(warning(source, leave_one_out(), tmp_path)) == is_warned


@pytest.mark.parametrize("ordered", [True, False])
def test_lines_of_train_and_of_test_ascend_each(tmp_path: Path, ordered: bool) -> None:
    """LightGCN's layout, sorted: the last train items are the highest ids, those of test begin again."""
    for name, lines in (("train", lines_of(NUM_USERS)), ("test", [[1, 2] for _ in range(NUM_USERS)])):
        text = "".join(f"{user} {' '.join(map(str, line))}\n" for user, line in enumerate(lines))
        (tmp_path / f"{name}.txt").write_text(text)
    paths = {f"{name}_path": str(tmp_path / f"{name}.txt") for name in ("train", "test")}
    source = ItemLists(ItemLists.Config(**paths, ordered=ordered))
    if ordered:
        with pytest.raises(InputError, match=rf"all {NUM_USERS} users' lists \(train and test apart\) of 4"):
            warning(source, Given(Given.Config()), tmp_path)
    else:
        assert warning(source, Given(Given.Config()), tmp_path) == ""


def test_few_rows_that_ascend_show_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(pairs_of([[1, 2, 3, 4], [2, 3, 4, 5], [1, 3, 5, 7]]))
    assert warning(pairs_source(path), leave_one_out(), tmp_path) == ""


def timed(folder: Path, every: int, lines: list[list[int]]) -> TableFiles:
    """A row a second of each user, with times cut to multiples of `every`."""
    rows = [
        (user, item, (100 * DAY + place) // every * every)
        for user, line in enumerate(lines)
        for place, item in enumerate(line)
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).to_csv(folder / "log.csv", index=False)
    return TableFiles(TableFiles.Config(interactions_path=str(folder / "log.csv")))


SPLITS: dict[str, Any] = {
    "leave_one_out": leave_one_out,
    "user_holdout": lambda: UserHoldout(UserHoldout.Config(share=0.5)),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("num_sorted", [0, NUM_USERS])
def test_equal_times_that_decide_targets_are_a_warning(tmp_path: Path, split: str, num_sorted: int) -> None:
    lines = lines_of(num_sorted)
    said = warning(timed(tmp_path, DAY, lines), SPLITS[split](), tmp_path)
    assert "valid users has the time of the interaction before it, so the order of rows decides" in said
    assert "use split=temporal" in said
    assert ("ascend by item id" in said) == bool(num_sorted)
    assert warning(timed(tmp_path, 1, lines), SPLITS[split](), tmp_path) == ""


def test_equal_times_are_none_for_a_split_by_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = np.sort(rng.integers(0, 100, 600))
    log = pd.DataFrame({"user_id": rng.integers(0, 9, 600), "timestamp": (days + 100) * DAY})
    log.assign(item_id=rng.integers(0, 200, 600)).to_csv(tmp_path / "log.csv", index=False)
    source = TableFiles(TableFiles.Config(interactions_path=str(tmp_path / "log.csv")))
    assert warning(source, Temporal(Temporal.Config()), tmp_path) == ""
