"""What is typed to re-index or evaluate a run changes the run's own settings, and nothing else of them."""

from typing import Any

from twotower.assemble import laid_over

OWN: dict[str, Any] = {"ks": [10], "num_bootstrap": 0, "kinds": {"recall": {"a": 1}, "map": {"b": 2}}}
DEFAULT: dict[str, Any] = {"ks": [5], "num_bootstrap": 1000, "kinds": {"recall": {"a": 9}, "mrr": {"c": 3}}}


def test_one_value_is_changed_and_the_others_stay_the_run_s_own() -> None:
    assert laid_over(OWN, DEFAULT, "metrics", ["run=x", "metrics.ks=[5]"]) == {**OWN, "ks": [5]}
    assert OWN["ks"] == [10]


def test_a_nested_value_and_one_taken_away() -> None:
    typed = ["metrics.kinds.recall.a=9", "~metrics.kinds.map", "+metrics.kinds.mrr.c=3"]
    assert laid_over(OWN, DEFAULT, "metrics", typed)["kinds"] == {"recall": {"a": 9}, "mrr": {"c": 3}}


def test_a_choice_replaces_the_whole_group() -> None:
    assert laid_over(OWN, DEFAULT, "metrics", ["metrics=standard", "metrics.ks=[5]"]) == DEFAULT
    assert laid_over(OWN, DEFAULT, "metrics", []) == DEFAULT


def test_other_groups_do_not_count_and_plain_values_are_what_was_given() -> None:
    assert laid_over(OWN, DEFAULT, "metrics", ["metricsx.ks=[1]", "index.k=2"]) == OWN
    assert laid_over("rich", "quiet", "console", ["run=x"]) == "quiet"
