"""Side information follows from the settings of a run."""

from pathlib import Path

import pytest

from twotower.commands.compose import load_run_config
from twotower.jobs.side_information import side_information

LISTS = ["experiment=gowalla", "data.train_path={lines}", "data.test_path={lines}"]
DEFAULT_TIMES = ["item_bias", "objective.recency_half_life_days", "objective.horizon_days"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["experiment=ml_1m_sasrec", "data.path={lines}"], {"order": ["history"]}),
        (
            ["experiment=ml_1m_hstu"],
            {"order": ["history"], "times": ["history.time_bias"], "request_times": ["history"]},
        ),
        (["experiment=ml_1m_hstu_no_times", "data.path={lines}"], {"order": ["history"]}),
        (LISTS, {"order": ["objective.recency_half_life_share"]}),
        ([*LISTS, "benchmark=gowalla_unordered"], {}),  # the weights follow a random order
        ([*LISTS, "objective.recency_half_life_share=null"], {}),
        (
            ["user_tower.widths=null", "item_tower.widths=null"],  # the description is read for new items
            {"order": ["history"], "times": DEFAULT_TIMES, "item_features": ["features.item.description"]},
        ),
        (
            [],
            {
                "order": ["history"],
                "times": ["item_bias", "features.user.request_time", *DEFAULT_TIMES[1:]],
                "request_times": ["features.user.request_time"],
                "user_features": ["features.user.country"],
                "item_features": ["features.item.description", "features.item.price"],
            },
        ),
        (
            ["experiment=online_retail_mlp"],
            {
                "order": ["history"],
                "times": ["item_bias", "features.user.request_time", "objective.recency_half_life_days"],
                "request_times": ["features.user.request_time"],
                "user_features": ["features.user.country"],
                "item_features": ["features.item.description", "features.item.price"],
            },
        ),
    ],
)
def test_side_information(typed: list[str], expected: dict[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("1 2\n")
    config = load_run_config([each.format(lines=tmp_path / "lines.txt") for each in typed])
    assert side_information(config) == expected
