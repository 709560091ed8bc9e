"""Early stopping that first reduces the learning rate, with one step per epoch of a single weight.

Adam moves it by the learning rate at each step, because the gradient is always 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.callbacks.plateau import Plateau, RateEpochs
from twotower.training.checkpoints import LAST, CheckedCheckpoints
from twotower.training.fit import EXPECTED_WARNINGS
from twotower.training.module import RetrievalModule
from twotower.training.trainer import TrainerChoice

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (*EXPECTED_WARNINGS, ".*does not have many workers.*", ".*a `val_dataloader`.*")
]
MONITOR = TrainerChoice.Config().monitor
SCORES = [0.5, 0.6, 0.55, 0.5, 0.4, 0.7, 0.6, 0.6, 0.6, 0.65, 0.6, 0.5]
WEIGHTS = [-0.9, -1.8, -2.7, -3.6, -2.1, -2.4, -2.7, -3.0, -2.5, -2.6, -2.7, -2.8]
"""After each epoch: from 0 by 0.9, from the second epoch by 0.3, from the sixth one by 0.1."""


class OneWeight(RetrievalModule):
    """Scores of epochs that are given, and the weight after each epoch."""

    temperature = 1.0

    def __init__(self, scores: Sequence[float], initial_score: float | None) -> None:
        pl.LightningModule.__init__(self)
        self.weight = nn.Parameter(torch.zeros(()))
        self.scores, self.initial_score = scores, initial_score
        self.initial_values, self.validation = None, Mock()
        self.weights: list[float] = []
        self.draws = torch.Generator()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        pass

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.weight * 1.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.weights.append(round(float(self.weight), 4))
        self.log(MONITOR, torch.tensor(self.scores[self.current_epoch]), batch_size=1)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = torch.optim.Adam(self.parameters(), lr=0.9)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fit(
    module: OneWeight, folder: Path, callbacks: Sequence[pl.Callback], resume: bool = False, epochs: int = 40
) -> None:
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[*callbacks],
        accelerator="cpu",
        logger=False,
        plugins=[CheckedCheckpoints()],
        enable_checkpointing=any(isinstance(each, Checkpointing) for each in callbacks),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1 if module.scores else 0,
    )
    ones = torch.utils.data.DataLoader([0])  # type: ignore[arg-type]
    trainer.fit(module, ones, ones, ckpt_path=folder / LAST if resume else None, weights_only=True)


def callbacks_of(
    folder: Path, reductions: int, patience: int = 2, every_steps: int = 1
) -> tuple[Checkpointing, Plateau]:
    batches = Mock(state_dict=dict)
    settings = TrainerChoice.Config(checkpoint_every_steps=every_steps)
    checkpointing = Checkpointing(settings, folder, batches, "max")
    return checkpointing, Plateau(checkpointing, "max", patience, reductions)


@pytest.mark.parametrize("resume", [False, True])
def test_the_rate_falls_from_the_best_weights(resume: bool, tmp_path: Path) -> None:
    module, (checkpointing, plateau) = OneWeight(SCORES, None), callbacks_of(tmp_path, 2)
    if resume:
        for ended in (5, 9):  # once in the middle of a rate, once after its first epoch
            module = OneWeight(SCORES, None)
            fit(module, tmp_path, callbacks_of(tmp_path, 2), resume=ended > 5, epochs=ended)
        module = OneWeight(SCORES, None)
    fit(module, tmp_path, [checkpointing, plateau], resume)
    assert module.weights == WEIGHTS[-len(module.weights) :]
    assert len(module.weights) == (3 if resume else 12)
    assert plateau.rate_epochs == [2, 2, 0]
    checkpointing.load_best(module_with_new_items(module))
    assert float(module.weight.detach()) == pytest.approx(-2.4)


class Killed(OneWeight):
    """Ends in the seventh epoch, after one that is better than all before."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if self.current_epoch == 6:
            raise KeyError("killed")


def test_a_killed_training_with_few_checkpoints_goes_back_to_the_same_weights(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="killed"):
        fit(Killed(SCORES, None), tmp_path, callbacks_of(tmp_path, 2, every_steps=100))
    module, (checkpointing, plateau) = OneWeight(SCORES, None), callbacks_of(tmp_path, 2, every_steps=100)
    fit(module, tmp_path, [checkpointing, plateau], resume=True)
    assert module.weights == WEIGHTS[-len(module.weights) :]
    assert len(module.weights) == 8  # from the reduction on
    assert plateau.rate_epochs == [2, 2, 0]


def test_without_reductions_it_stops_and_logs_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, (checkpointing, plateau) = OneWeight(SCORES, None), callbacks_of(tmp_path, 0)
    with caplog.at_level("INFO", "twotower"):
        fit(module, tmp_path, [checkpointing, plateau])
    assert module.weights == WEIGHTS[:4]
    assert plateau.rate_epochs == [2]
    assert [each.getMessage() for each in caplog.records if each.name == "twotower"] == [
        "no improvement (patience 2): training stops, epoch 2 kept"
    ]


def test_a_rate_that_destroys_the_initial_weights_is_reduced_from_them(tmp_path: Path) -> None:
    scores = [0.4, 0.3, 0.2, 0.55, 0.5, 0.4]
    module, (checkpointing, plateau) = OneWeight(scores, 0.5), callbacks_of(tmp_path, 1)
    fit(module, tmp_path, [checkpointing, plateau])
    assert module.weights == [-0.9, -1.8, -2.7, -0.3, -0.6, -0.9]
    assert plateau.rate_epochs == [0, 1]


@pytest.mark.parametrize(
    ("rate_epochs", "weight"), [([2, 2, 0], -2.4), ([0, 1], -0.3), ([0, 0, 2], -0.2), ([3], -2.7)]
)
def test_a_refit_repeats_the_rates(rate_epochs: list[int], weight: float, tmp_path: Path) -> None:
    module = OneWeight([], None)
    fit(module, tmp_path, [RateEpochs(rate_epochs)], epochs=sum(rate_epochs))
    assert float(module.weight.detach()) == pytest.approx(weight)


def module_with_new_items(module: OneWeight) -> OneWeight:
    object.__setattr__(module, "model", Mock())
    return module
