from twotower.reports.compare.page import axis_label, setting_axis


def test_values_of_a_setting_are_sorted_and_at_equal_distances() -> None:
    axis = setting_axis("embedding_dim", ["64", "1024", "–", "32"])
    assert axis is not None
    assert axis["values"] == [1, 2, 3, 0]
    assert axis["ticktext"] == ["32", "64", "1024", "–"]
    assert setting_axis("embedding_dim", ["64", "64"]) is None
    texts = [f"[{number}, 64]" for number in range(10, 35)]
    many = setting_axis("user_tower.widths", [*texts, "inf"])
    assert many is not None
    assert sorted(many["values"]) == list(range(26))
    assert many["ticktext"] == sorted([*texts, "inf"])[::3]


def test_a_long_axis_name_is_broken_between_words() -> None:
    assert axis_label("history.power") == "history.power"
    lines = axis_label("objective.recency_half_life_days").split("<br>")
    assert lines == ["objective.", "recency_half_", "life_days"]
