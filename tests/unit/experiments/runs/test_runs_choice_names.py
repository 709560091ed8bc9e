"""Choices have the names that users type, not those of classes."""

import pytest

from twotower.commands.compose import load_settings
from twotower.experiments.runs.folder_name import flatten_with_choices

TYPED = ["loss=in_batch_softmax", "index=ivf_pq", "user_tower=mlp"]


@pytest.mark.parametrize("overrides", [TYPED, [*TYPED, "index.num_subquantizers=4"]])
def test_typed_and_untyped_choices_have_the_same_names(overrides: list[str]) -> None:
    settings = load_settings("train", overrides)
    named, untyped = (flatten_with_choices(settings, typed) for typed in (overrides, ()))
    assert named == untyped
    assert [named[key] for key in ("loss", "index", "negatives")] == [
        "in_batch_softmax",
        "ivf_pq",
        "catalogue",
    ]
    assert flatten_with_choices(load_settings("train", []))["loss"] == "power_softmax"


def test_a_choice_of_the_user_has_its_typed_name_else_that_of_its_class() -> None:
    settings = {"loss": {"_target_": "mine.Margin", "margin": 1}}
    assert flatten_with_choices(settings, ["loss=wide"]) == {"loss": "wide", "loss.margin": 1}
    assert flatten_with_choices(settings) == {"loss": "Margin", "loss.margin": 1}
