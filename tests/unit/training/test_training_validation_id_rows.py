"""Validation places items whose ids have no row as the bundle does, by their content."""

from pathlib import Path

import torch

from twotower.commands.compose import load_settings
from twotower.evaluation.item_content import metric_data
from twotower.jobs.open_run import load_dataset
from twotower.jobs.run_config import RunConfig
from twotower.training.initialization.random import Random
from twotower.training.parts import build_training, id_rows

SETTINGS = (
    *("data=synthetic", "data.num_users=60", "data.num_items=40", "data.num_interactions=900"),
    *("features=synthetic", "features.item.item_id.min_count=15", "new_items=by_content", "embedding_dim=8"),
    *("initialization=random", "objective=next_item", "metrics.ks=[5,20]"),
)


def test_new_items_are_fitted_before_the_validation_if_an_id_has_no_row(tmp_path: Path) -> None:
    config = RunConfig.composed(load_settings("train", [*SETTINGS, f"output_root={tmp_path}"]))
    dataset = load_dataset(config, rebuild=False)
    evaluator = config.metrics.build(metric_data(dataset, config.features.item))
    module, _ = build_training(config, dataset, dataset.train, evaluator, Random.Config().build())
    model, (counts,) = module.model.eval(), id_rows(module.model).values()
    assert counts["rare"] > 0
    assert counts["rows"] + counts["rare"] == int(model.trained_items.sum())
    assert not model.new_items.is_fitted
    assert module.validation is not None
    with torch.no_grad():
        module.validation.metrics(model, 1.0)
    assert model.new_items.is_fitted
