"""Early stopping that first reduces the learning rate, with one step per epoch of a single weight.

Adam moves it by the learning rate at each step, because the gradient is always 1.
"""

from pathlib import Path
from unittest.mock import Mock

import one_weight
import pytest
import torch
from one_weight import IGNORED_WARNINGS, fit

from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.selection.plateau import Plateau, RateEpochs
from twotower.training.trainer import TrainerChoice

pytestmark = IGNORED_WARNINGS
SCORES = [0.5, 0.6, 0.55, 0.5, 0.4, 0.7, 0.6, 0.6, 0.6, 0.65, 0.6, 0.5]
WEIGHTS = [-0.9, -1.8, -2.7, -3.6, -2.1, -2.4, -2.7, -3.0, -2.5, -2.6, -2.7, -2.8]
"""After each epoch: from 0 by 0.9, from the second epoch by 0.3, from the sixth one by 0.1."""


class OneWeight(one_weight.OneWeight):
    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.9)


def weights(module: OneWeight) -> list[float]:
    """Return the weight after each epoch."""
    return [round(weight, 4) for weight in module.validated]


def callbacks_of(
    folder: Path, reductions: int, patience: int = 2, every_steps: int = 1
) -> tuple[Checkpointing, Plateau]:
    batches = Mock(state_dict=dict)
    settings = TrainerChoice.Config(checkpoint_every_steps=every_steps)
    checkpointing = Checkpointing(settings, folder, batches, "max", keeps_initial=False)
    return checkpointing, Plateau(checkpointing, "max", patience, reductions)


@pytest.mark.parametrize("resume", [False, True])
def test_the_rate_falls_from_the_best_weights(resume: bool, tmp_path: Path) -> None:
    module, (checkpointing, plateau) = OneWeight(SCORES), callbacks_of(tmp_path, 2)
    if resume:
        for ended in (5, 9):  # once in the middle of a rate, once after its first epoch
            module = OneWeight(SCORES)
            fit(module, callbacks_of(tmp_path, 2), epochs=ended, resume=tmp_path if ended > 5 else None)
        module = OneWeight(SCORES)
    fit(module, [checkpointing, plateau], epochs=40, resume=tmp_path if resume else None)
    assert weights(module) == WEIGHTS[-len(module.validated) :]
    assert len(module.validated) == (3 if resume else 12)
    assert plateau.rate_epochs == [2, 2, 0]
    checkpointing.load_best(module)
    assert float(module.weight.detach()) == pytest.approx(-2.4)


class Killed(OneWeight):
    """Ends in the seventh epoch, after one that is better than all before."""

    def validation_step(self, batch: object, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if self.current_epoch == 6:
            raise KeyError("killed")


def test_a_killed_training_with_few_checkpoints_goes_back_to_the_same_weights(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="killed"):
        fit(Killed(SCORES), callbacks_of(tmp_path, 2, every_steps=100), epochs=40)
    module, (checkpointing, plateau) = OneWeight(SCORES), callbacks_of(tmp_path, 2, every_steps=100)
    fit(module, [checkpointing, plateau], epochs=40, resume=tmp_path)
    assert weights(module) == WEIGHTS[-len(module.validated) :]
    assert len(module.validated) == 8  # from the reduction on
    assert plateau.rate_epochs == [2, 2, 0]


def test_without_reductions_it_stops_and_logs_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, (checkpointing, plateau) = OneWeight(SCORES), callbacks_of(tmp_path, 0)
    with caplog.at_level("INFO", "twotower"):
        fit(module, [checkpointing, plateau], epochs=40)
    assert weights(module) == WEIGHTS[:4]
    assert plateau.rate_epochs == [2]
    assert [each.getMessage() for each in caplog.records if each.name == "twotower"] == [
        "no improvement (patience 2): training stops, epoch 2 kept"
    ]


@pytest.mark.parametrize(
    ("rate_epochs", "weight"), [([2, 2, 0], -2.4), ([0, 1], -0.3), ([0, 0, 2], -0.2), ([3], -2.7)]
)
def test_a_refit_repeats_the_rates(rate_epochs: list[int], weight: float) -> None:
    module = OneWeight([])
    fit(module, [RateEpochs(rate_epochs)], epochs=sum(rate_epochs))
    assert float(module.weight.detach()) == pytest.approx(weight)
