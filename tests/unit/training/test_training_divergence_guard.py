import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.training.callbacks.divergence_guard import DivergenceGuard

TRAINER: Any = SimpleNamespace(accumulate_grad_batches=1)


def after_an_epoch(losses: list[float], watched: DivergenceGuard | None = None) -> DivergenceGuard:
    watched = watched or DivergenceGuard()
    batch: Any = None
    for number, loss in enumerate(losses):
        outputs = {"loss": torch.tensor(loss, dtype=torch.float64)}
        watched.on_train_batch_end(TRAINER, batch, outputs, batch, number)
    watched.on_train_epoch_end(TRAINER, batch)
    return watched


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([0.35, -653.4], "loss: the training diverged, the loss fell from 0.35 to -653.4 .*unit vectors"),
        ([8.0, -1600.1], "from 8 to -1600 "),
        ([-8.0, -1600.1], "from -8 to -1600 "),
        ([8.0, math.nan], "optimizer.learning_rate: the training diverged, the loss is nan; lower it"),
        ([8.0, math.inf], "the loss is inf"),
    ],
)
def test_a_loss_that_diverges_is_an_error(losses: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        after_an_epoch(losses)


@pytest.mark.parametrize(
    "losses", [[], [0.35, -200.0], [8.0, -1599.9], [8.0, 1e12], [8.0, -1e9, 3.0], [math.nan, 1.0]]
)
def test_what_comes_back_or_only_rises_is_left_alone(losses: list[float]) -> None:
    after_an_epoch(losses)


@given(
    st.floats(0.01, 1.0),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.floats(1, 20),
)
def test_cosines_at_any_temperature_never_run_away(
    temperature: float, first: list[float], last: list[float], weight: float
) -> None:
    """Of a loss without a floor of its own, -s+ + max s_j, times a weight that its first value has too."""

    def loss(cosines: list[float]) -> float:
        positive, *negatives = cosines
        return weight * (1 + (max(negatives) - positive) / temperature)

    if abs(loss(first)) >= weight:
        after_an_epoch([loss(first), loss(last)])


def test_a_resumed_training_is_judged_by_its_first_loss() -> None:
    state = after_an_epoch([0.35, -150.0]).state_dict()
    assert state == {"first": 0.35, "latest": -150.0}
    resumed = DivergenceGuard()
    resumed.load_state_dict(state)
    with pytest.raises(InputError, match=r"from 0\.35 to -210"):
        after_an_epoch([-210.0], resumed)
    fresh = DivergenceGuard()
    fresh.load_state_dict(DivergenceGuard().state_dict())
    assert fresh.first is None
