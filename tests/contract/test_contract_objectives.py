"""What every objective promises, for each entry of `conf/objective/` and its settings."""

from typing import Any

import numpy as np
import pytest
from variants import specs_of

from twotower.config.spec import locate_class
from twotower.data.interactions import Interactions
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.training.objectives.objective import Objective

DAY = 86_400
COUNTS = [36, 20, 4]
"""Interactions of each user, one a day."""
LOG = Interactions.from_rows(
    np.repeat([1, 2, 3], COUNTS),
    np.concatenate([np.arange(56) % 12 + 1, [13, 14, 15, 13]]),
    np.concatenate([np.arange(count) * DAY for count in COUNTS]),
    3,
)


def cases() -> dict[str, dict[str, Any]]:
    small = {"batch_size": 8, "epoch_examples": 24}
    specs = {
        name: spec | {key: small[key] for key in small if key in spec}
        for name, spec in specs_of("objective").items()
    }
    recent = {
        f"{name}, at most 10 days": {**spec, "max_age_days": 10.0}
        for name, spec in specs.items()
        if "max_age_days" in locate_class(spec, Objective).Config.model_fields
    }
    return specs | recent


@pytest.fixture(params=cases().values(), ids=cases().keys())
def objective(request: pytest.FixtureRequest) -> Objective:
    return Objective.Config.model_validate(request.param).resolve(LOG).build()


def test_there_are_objectives() -> None:
    assert {"next_item", "recent_interactions"} <= cases().keys()


def test_weights_are_of_interactions_and_one_on_average(objective: Objective) -> None:
    weights = objective.weights(LOG)
    assert weights.dtype == np.float32
    assert weights.shape == LOG.items.shape
    assert (weights >= 0).all()
    assert weights[weights > 0].mean() == pytest.approx(1)


def test_frequencies_are_what_an_epoch_does(objective: Objective) -> None:
    frequencies = objective.frequencies(LOG, 20).numpy()
    assert frequencies.shape == (21,)
    assert frequencies.sum() == pytest.approx(1)
    assert (frequencies[16:] == 0).all()
    batches = objective.batches(LOG, history=MeanPooling.Config(length=4, strict=False), seed=1)
    counted = np.zeros(21)
    while counted.sum() < 6_000:
        for batch in batches:
            counted += np.bincount(batch.positives.numpy(), minlength=21)
    assert counted / counted.sum() == pytest.approx(frequencies, abs=0.02)


def test_an_epoch_has_as_many_examples_as_it_says(objective: Objective) -> None:
    weights = objective.weights(LOG)
    expected = objective.num_draws(weights) or int((weights > 0).sum())
    batches = objective.batches(LOG, history=MeanPooling.Config(length=4, strict=False), seed=1)
    examples = (batch.positives if batch.positive_to_user is None else batch.users.rows for batch in batches)
    assert sum(map(len, examples)) == expected
