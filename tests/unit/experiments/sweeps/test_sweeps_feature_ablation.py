"""The sweep over left-out features: which jobs it has, on the settings of real choices."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.experiments.sweeps.axis import Axis
from twotower.experiments.sweeps.grid import FeatureAblation, Grid
from twotower.experiments.sweeps.sweep import Sweep, SweepContext

READ_ALL = ("user_tower.widths=[16]", "item_tower.widths=[]")
READ_NONE = ("user_tower.widths=null", "item_tower.widths=null")


def plan_of(folder: Path, *fixed: str, cases: list[str] | None = None, seeds: Sequence[str] = ()) -> Grid:
    def compose(texts: Sequence[str]) -> dict[str, Any]:
        return load_settings("train", texts)

    axes = (Axis("seed", tuple(seeds)),) if seeds else ()
    context = SweepContext(folder, axes, ("data=synthetic", *fixed), compose, False, "valid/recall_at_20")
    plan = FeatureAblation.Config(cases=cases).build(context)
    assert isinstance(plan, Grid)
    return plan


def names(plan: Grid) -> list[str]:
    return [job.name for job in plan.jobs]


def test_a_job_with_all_features_and_one_without_each(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *READ_ALL)
    features = ["segment", "category", "tags", "title", "price", "vector"]
    assert names(plan) == ["unchanged", *(f"no_{name}" for name in features)]
    whole, without_segment, *_, without_vector = (job.settings["features"] for job in plan.jobs)
    assert whole["user"].keys() - without_segment["user"].keys() == {"segment"}
    assert whole["item"].keys() - without_vector["item"].keys() == {"vector"}
    assert len({job.training for job in plan.jobs}) == len(plan.jobs)
    (note,) = plan.notes()
    assert note.startswith("always read  features.item.item_id: item_tower.residual: 'item_id' is no input")


def test_an_id_that_is_no_residual_is_left_out_too(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *READ_ALL, "item_tower.residual=null")
    assert "no_item_id" in names(plan)
    assert plan.notes() == []


def test_only_features_that_something_reads_are_left_out(tmp_path: Path) -> None:
    """Without layers, new items are embedded from dense features, words, tags and categories."""
    dense = ["unchanged", "no_category", "no_tags", "no_title", "no_vector"]
    assert names(plan_of(tmp_path, *READ_NONE)) == dense
    with pytest.raises(InputError, match=r"no feature that can be left out; user_tower.widths=\[\]"):
        plan_of(tmp_path, *READ_NONE, "new_items=by_tower")


def test_seeds_and_cases(tmp_path: Path) -> None:
    both = "~features.item.title ~features.item.tags"
    plan = plan_of(tmp_path, *READ_NONE, cases=[both], seeds=["1", "2"])
    assert names(plan)[:3] == ["seed1", "seed2", "no_category,seed1"]
    assert names(plan)[-1] == "no_title,no_tags,seed2"
    assert plan.num_jobs == 12


def test_the_yaml() -> None:
    sweep = Sweep.Config.model_validate(load_settings("train", ["sweep=features"])["sweep"])
    assert sweep.owner is FeatureAblation
