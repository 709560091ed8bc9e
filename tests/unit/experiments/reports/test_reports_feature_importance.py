"""The importance of features on the console, and as a figure of TensorBoard."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from twotower.experiments.console.console_tables import importance_table
from twotower.experiments.runs.result import Result, read_result, write_result
from twotower.experiments.runs.result_parts import FeatureImportance
from twotower.experiments.tensorboard.plots import feature_importance, to_png
from twotower.experiments.tensorboard.tensorboard_run import TensorBoardRun

FOUND: dict[str, Any] = {
    "metric": "recall_at_20",
    "repeats": 3,
    "num_users": {"all": 1234, "new_items": 56},
    "values": {"all": 0.125, "new_items": 0.0625},
    "drops": {
        "user.country": {"all": [0.002, 0.001], "new_items": [-0.001, 0.002]},
        "item.description": {"all": [0.0, 0.0], "new_items": [0.05, 0.01]},
        "history": {"all": [0.06, 0.001], "new_items": [0.03, 0.002]},
        "item.price": {"all": [0.0, 0.0], "new_items": [0.0, 0.0]},
    },
    "only_for_new_items": ["item.description"],
    "constant": ["user.request_time"],
    "seconds": 1.5,
}


def test_the_console_s_table() -> None:
    screen = Console(file=io.StringIO(), width=200)
    screen.print(importance_table(FeatureImportance(**FOUND)))
    title, headings, *rows, unused, note = (
        line.strip()
        for line in screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    )
    assert title == "features: drop of recall@20 on validation if permuted, ± sd of 3"
    assert headings.split() == ["all", "new", "items"]
    assert [" ".join(row.split()) for row in rows] == [
        "users 1,234 56",
        "recall@20 0.1250 0.0625",
        "history +0.0600 ± 0.0010 +0.0300 ± 0.0020",
        "user.country +0.0020 ± 0.0010 -0.0010 ± 0.0020",
        "item.description (new items only) +0.0000 ± 0.0000 +0.0500 ± 0.0100",
    ]
    assert unused == "no effect: item.price"
    assert note == "not measured, because of one value: user.request_time"


def test_one_permutation_has_no_spread() -> None:
    drops = {"user.country": {"all": [0.002, None], "new_items": [-0.001, None]}}
    one = FeatureImportance(**FOUND | {"repeats": 1, "drops": drops})
    screen = Console(file=io.StringIO(), width=200)
    screen.print(importance_table(one))
    assert "user.country  +0.0020    -0.0010" in screen.file.getvalue()  # type: ignore[attr-defined]
    to_png(feature_importance(one))


def test_the_figure_has_a_panel_for_each_part_and_the_best_feature_on_top() -> None:
    figure = feature_importance(FeatureImportance(**FOUND))
    to_png(figure)
    overall, new_items = figure.axes
    assert [each.get_text() for each in overall.get_yticklabels()] == [
        "item.description",
        "item.price",
        "user.country",
        "history",
    ]
    assert [bar.get_width() for bar in overall.patches] == [0.0, 0.0, 0.002, 0.06]
    assert [bar.get_width() for bar in new_items.patches] == [0.05, 0.0, -0.001, 0.03]
    assert new_items.get_title() == "new items: 0.0625\n56 users"
    assert not any(each.get_text() for each in new_items.get_yticklabels())


def test_the_section_is_stored_and_drawn(tmp_path: Path) -> None:
    write_result(tmp_path, Result(status="ok", feature_importance=FOUND))  # type: ignore[arg-type]
    result = read_result(tmp_path)
    assert result is not None
    assert result.plain()["feature_importance"] == FOUND
    with TensorBoardRun(tmp_path) as board:
        board.result(result)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["images"] == ["features/importance"]
