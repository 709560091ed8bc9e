import numpy as np
import pytest
import torch
from evaluation_logs import make_history

from twotower.evaluation.baselines import elsa
from twotower.evaluation.baselines.baseline import BaselineData, Budget, OutOfTime
from twotower.evaluation.baselines.elsa import Elsa, distance

GROUPS = [[1, 2, 3], [1, 2], [2, 3], [4, 5, 6], [4, 5], [5, 6], []]


def fitted(past: BaselineData, **settings: float) -> Elsa:
    baseline = Elsa.Config.model_validate({"factors": 4, "epochs": 60, **settings}).build()
    assert isinstance(baseline, Elsa)
    baseline.fit(past)
    return baseline


def past_of(budget: Budget | None = None) -> BaselineData:
    return BaselineData(make_history(GROUPS), 6, now=9, budget=budget or Budget())


def test_the_item_of_most_users_of_a_history_is_first() -> None:
    found = fitted(past_of()).scores(make_history([[1], [6], []]), np.array([1, 2, 3]))
    assert found[:2].argmax(axis=1).tolist() == [1, 4]
    assert found[[0, 1], [0, 5]] == pytest.approx([0, 0], abs=1e-6)  # of an item for itself
    assert found[2].tolist() == past_of().fallback.tolist()


def test_the_distance_is_that_of_unit_vectors() -> None:
    """Of a history of items 0 and 1 the scores are .6 for both and 0 for item 2: the same direction."""
    unit = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 0.0]])
    assert float(distance(torch.tensor([[1.0, 1.0, 0.0]]), unit)) == pytest.approx(0, abs=1e-6)
    # Of item 0 alone: scores 0, .6, 0 are orthogonal to it.
    assert float(distance(torch.tensor([[1.0, 0.0, 0.0]]), unit)) == pytest.approx(2)


def test_small_batches_for_large_catalogues_and_the_same_result_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, again = fitted(past_of()).unit, fitted(past_of()).unit
    assert first.tolist() == again.tolist()
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    monkeypatch.setattr(elsa, "BATCH_NUMBERS", 12)  # two users
    assert fitted(past_of()).unit.tolist() == fitted(past_of(), batch_size=2).unit.tolist()


def test_it_ends_when_the_time_does_not_suffice() -> None:
    with pytest.raises(OutOfTime):
        fitted(past_of(Budget(0.0)))


def test_it_is_left_out_of_small_catalogues() -> None:
    holdout = None
    config = Elsa.Config(min_items=7)
    assert not config.applies_to(holdout, past_of())  # type: ignore[arg-type]
    assert Elsa.Config(min_items=6).applies_to(holdout, past_of())  # type: ignore[arg-type]
