"""The made-up logs of `scripts/bench/studies.py`, and what it says a recipe learns from."""

from typing import Any

import pytest
from pandas.testing import assert_frame_equal
from record import Line
from studies import LOGS, kind_of, show_first_looks


@pytest.mark.parametrize("kind", LOGS)
def test_a_seed_determines_the_log(kind: str) -> None:
    log, again, other = (LOGS[kind](seed) for seed in (3, 3, 4))
    for name, table in log.items():
        assert_frame_equal(table, again[name])
    assert not log["interactions"].equals(other["interactions"])
    taken = log["interactions"]
    assert not taken.duplicated(["user_id", "item_id"]).any()
    assert not taken.duplicated(["user_id", "timestamp"]).any()
    assert taken.item_id.isin(log["items"].item_id).all()


@pytest.mark.parametrize(
    ("recipe", "chosen", "kind"),
    [
        ("sequences", {}, "sequence"),
        ("mlp", {}, "features"),
        ("default", {"initialization.score_scale": 2.0}, "features"),
        ("default", {"user_tower.widths": None, "item_tower.widths": None}, "ids"),
        ("factorization", {}, "ids"),
    ],
)
def test_a_recipe_that_left_its_features_out_learns_from_ids(
    recipe: str, chosen: dict[str, Any], kind: str
) -> None:
    assert kind_of(recipe, {"training": {"chosen": chosen}}) == kind


def test_the_report_counts_right_choices_and_compares_on_both_splits() -> None:
    first: dict[str, Any] = {"winner": "sequences", "right": True}
    first |= {"valid": 0.4, "valid: other kind": "default", "valid: its": 0.2}
    first |= {"test": 0.3, "test: other kind": "mlp", "test: its": 0.2}
    second = first | {"winner": "mlp", "right": False, "valid": 0.3, "test": 0.1}
    lines = [
        Line("first_look", "sequence", "", None, None, seed, None, "", {}, 1.0, figures)
        for seed, figures in enumerate((first, second))
    ]
    assert show_first_looks(lines).splitlines()[-1] == (
        "sequence: right on 1 of 2, better on the test split on 1; recall@20 over that of the other kinds: "
        "valid x 1.75, at worst 1.50; test x 1.00, at worst 0.50"
    )
