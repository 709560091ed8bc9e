import pandas as pd
import pytest

from twotower.data.build_dataset import build_dataset
from twotower.data.source_column import SourceColumn
from twotower.data.sources.table_files import TableFiles
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.times import time_warning

DAY = 86_400
YEAR = 365 * DAY
T = 1_700_000_000


def warned(times: list[int]) -> str:
    values = pd.Series(times, index=pd.RangeIndex(2, 2 + len(times), name="line"))
    return time_warning(SourceColumn(values, "log.csv", "when")) or ""


@pytest.mark.parametrize(
    "times",
    [[T], [T, T + 9 * YEAR], [T - 18 * YEAR, T - 9 * YEAR, T], [DAY, 100 * DAY]],
    ids=["one", "nine years", "twice nine years", "counted from 1970"],
)
def test_times_that_a_log_can_have(times: list[int]) -> None:
    assert warned(times) == ""


def test_the_fewer_rows_beyond_the_widest_gap_are_named() -> None:
    said = warned([T, T // 1_000, T + DAY, T // 1_000 + 5, T + 2 * DAY])
    assert said.startswith(
        "log.csv: column 'when': 2 of 5 rows (line 3 is the first) are 53 years from all others, "
        "with none between 1970-01-20 16:13:25 and 2023-11-14 22:13:20"
    )
    assert "data.timestamp_unit" in said
    assert "1 of 3 rows (line 2 is the first) are 10 years" in warned([T + 10 * YEAR + 1, T, T - DAY])
    assert warned([T + 10 * YEAR, T, T - DAY]) == ""


def test_a_span_without_a_gap() -> None:
    assert warned([T - years * YEAR for years in range(0, 51, 5)]) == ""
    said = warned([T - years * YEAR for years in (*range(0, 51, 5), 50.1)])
    assert "times run from 1973-10-" in said
    assert "more than 50 years" in said


def test_seconds_taken_for_milliseconds() -> None:
    assert "all 2 rows are between 1970-01-20 16:13:20 and 1970-01-20 16:13:25" in warned(
        [T // 1_000, T // 1_000 + 5]
    )


def test_the_warning_is_stored_with_the_data_set(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    times = [T * 1_000, T, T * 1_000 + 5_000, T * 1_000 + 9_000]
    log = pd.DataFrame({"user_id": [1, 1, 1, 1], "item_id": [1, 2, 3, 4], "timestamp": times})
    log.to_csv("log.csv", index=False)
    source = TableFiles(TableFiles.Config(interactions_path="log.csv", timestamp_unit="ms"))
    for _ in "built", "from the cache":
        warning = build_dataset(source, LeaveOneOut(LeaveOneOut.Config()), tmp_path / "cache").audit[
            "warning"
        ]
        assert str(warning).startswith(
            "log.csv: column 'timestamp': 1 of 4 rows (line 3 is the first) are 53"
        )
