"""What is shown of items that training never saw, where a run measured it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_maker import make_run

from twotower.experiments.compare.comparison import compare
from twotower.experiments.compare.figure_names import find_figure, heading
from twotower.experiments.compare.output_forms import as_csv, as_json, text_columns
from twotower.experiments.compare.run_frame import figures_in, read_runs
from twotower.experiments.console.console_tables import cold_start_table
from twotower.experiments.runs.result import Result

PARTS = ("cold", "warm", "all", "cold_alone")
FOUND: dict[str, Any] = {
    **{
        who: {
            part: {"recall_at_10": base + at, "recall_at_20": 2 * base + at} for at, part in enumerate(PARTS)
        }
        for who, base in (("model", 0.03), ("content", 0.02), ("random", 0.01))
    },
    "intervals": {"model": {"cold": {"recall_at_10": [0.0, 0.1]}}},
    "num_cold_items": 1234,
    "num_users": dict.fromkeys(PARTS, 7),
    "num_targets": dict.fromkeys(PARTS, 9),
}
RESULT: dict[str, Any] = {
    "status": "ok",
    "training": {"monitor": "valid/recall_at_20"},
    "metrics": {"valid/recall_at_20": 0.3, "test/recall_at_20": 0.25, "test/recall_at_10": 0.2},
    "cold_start": FOUND,
}


def write(folder: Path, **changes: Any) -> Path:
    return make_run(folder, RESULT | changes, name=folder.name)


def test_figures_have_one_key_each() -> None:
    figures = Result(**RESULT).cold_start_figures()
    assert len(figures) == 3 * 4 * 2
    assert figures["cold_start/content/cold/recall_at_20"] == 0.04
    assert Result(status="ok").cold_start_figures() == {}
    # TensorBoard and the table of a sweep get those at the k of the metric that chooses.
    shown = {key for key in Result(**RESULT).final_figures() if key.startswith("cold_start/")}
    assert shown == {key for key in figures if key.endswith("_at_20")}


@pytest.mark.parametrize(
    "damaged", [{"model": 3}, {"model": {"cold": None}}, {"model": {"cold": {"x": "y"}}}]
)
def test_damaged_parts_are_no_figures(tmp_path: Path, damaged: Any) -> None:
    folders = [write(tmp_path / "run", cold_start=damaged), write(tmp_path / "other", cold_start=[1])]
    runs = read_runs(folders)
    assert list(runs["state"]) == ["ok", "unreadable"]
    assert not any(key.startswith("cold_start/") for key in figures_in(runs))
    known = figures_in(read_runs([write(tmp_path / "whole")]))
    assert find_figure("model/cold/recall@20", "metric", known) == "cold_start/model/cold/recall_at_20"
    assert heading("cold_start/random/all/recall_at_20") == "random all recall@20"


def test_columns_are_there_where_any_run_has_them(tmp_path: Path) -> None:
    runs = [write(tmp_path / "cold"), write(tmp_path / "plain", cold_start=None)]
    report = compare(runs, tests=False)
    columns = [*text_columns(report).values()]
    at = [column.heading for column in columns].index("cold recall@20")
    named = ["cold", "warm", "all", "content cold", "random cold"]
    assert [column.heading for column in columns[at : at + 5]] == [f"{name} recall@20" for name in named]
    names = enumerate(columns[-1].cells)
    shown = {name: [each.cells[row] for each in columns[at : at + 5]] for row, name in names}
    assert shown == {"cold": ["0.0600", "1.0600", "2.0600", "0.0400", "0.0200"], "plain": [""] * 5}
    assert "cold_start/content/cold/recall_at_20" in as_csv(report).splitlines()[0]
    by_name = {row["name"]: row["figures"] for row in json.loads(as_json(report))["rows"]}
    assert by_name["cold"]["cold_start/content/warm/recall_at_10"] == pytest.approx(1.02)
    assert compare(runs[1:], tests=False).columns == ["valid/recall_at_20"]
    asked = compare(runs, metric="test/recall_at_10", tests=False)
    assert asked.columns[0] == "cold_start/model/cold/recall_at_10"


def test_the_console_s_table() -> None:
    screen = Console(file=io.StringIO(), width=200)
    screen.print(cold_start_table(FOUND))
    title, headings, *rows = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert title.strip() == "cold start: 1,234 new items, added live"
    assert headings.split() == ["recall@10", "recall@20"]
    assert [row.partition(":")[0] for row in rows[::3]] == ["cold", "warm", "all", "cold alone"]
    assert [row.split()[-2:] for row in rows[3:6]] == [
        ["1.0300", "1.0600"],
        ["1.0200", "1.0400"],
        ["1.0100", "1.0200"],
    ]
    without = {key: value for key, value in FOUND.items() if key != "content"}
    screen.print(cold_start_table(without))
    assert screen.file.getvalue().count("content neighbors") == 4  # type: ignore[attr-defined]
