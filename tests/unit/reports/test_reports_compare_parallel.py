"""Axes of settings: logarithmic where the range is wide, with a place for runs without the setting."""

import math

import pytest

from twotower.reports.compare.page_data import axis_label, setting_axis


def test_few_values_are_drawn_at_equal_distances() -> None:
    axis = setting_axis("embedding_dim", ["64", "1024", "–", "32"])
    assert axis is not None
    assert axis["values"] == [1, 2, 3, 0]
    assert axis["ticktext"] == ["32", "64", "1024", "–"]
    assert setting_axis("embedding_dim", ["64", "64"]) is None


def test_many_numbers_are_drawn_to_scale() -> None:
    axis = setting_axis("history.power", [str(number / 8) for number in range(9)])
    assert axis is not None
    assert axis["values"] == [number / 8 for number in range(9)]
    assert axis["ticktext"] == ["0", "0.25", "0.5", "0.75", "1"]


def test_a_wide_range_is_logarithmic_and_absent_values_are_below() -> None:
    rates = ["–", *(f"1e-{power}" for power in range(8))]
    axis = setting_axis("optimizer.learning_rate", rates)
    assert axis is not None
    assert axis["values"] == pytest.approx([-8.75, *(-power for power in range(8))])
    assert axis["tickvals"] == pytest.approx([-8.75, -7, -5.25, -3.5, -1.75, 0])
    assert axis["ticktext"] == ["–", "1e-07", "5.62e-06", "0.000316", "0.0178", "1"]
    assert axis["range"] == [-8.75, 0]


def test_many_texts_share_few_ticks() -> None:
    texts = [f"[{number}, 64]" for number in range(10, 35)]
    axis = setting_axis("user_tower.widths", [*texts, "inf"])
    assert axis is not None
    assert sorted(axis["values"]) == list(range(26))
    assert axis["ticktext"] == sorted([*texts, "inf"])[::3]
    assert all(math.isfinite(value) for value in axis["values"])


def test_a_long_axis_name_is_broken_between_words() -> None:
    assert axis_label("history.power") == "history.power"
    lines = axis_label("objective.recency_half_life_days").split("<br>")
    assert lines == ["objective.", "recency_half_", "life_days"]
