"""An exponential moving average of the weights, with two steps per epoch that each lower one weight by 1."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.callbacks.moving_average import MovingAverage
from twotower.training.callbacks.plateau import Plateau
from twotower.training.checkpoints import BEST, LAST, CheckedCheckpoints, read_checkpoint
from twotower.training.fit import EXPECTED_WARNINGS
from twotower.training.module import RetrievalModule
from twotower.training.trainer import TrainerChoice

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (*EXPECTED_WARNINGS, ".*does not have many workers.*", ".*a `val_dataloader`.*")
]
MONITOR = TrainerChoice.Config().monitor
DECAY = 0.3
# In the first two steps the decay is 2 / 11 and 3 / 12, then 0.3.
AVERAGES = [-9 / 11]
for step, decay in enumerate([3 / 12, DECAY, DECAY, DECAY, DECAY], start=2):
    AVERAGES.append(decay * AVERAGES[-1] + (1 - decay) * -step)


class Falling(RetrievalModule):
    """Scores of epochs that are given, and the weight that each validation reads."""

    temperature = 1.0

    def __init__(self, scores: list[float]) -> None:
        pl.LightningModule.__init__(self)
        self.weight = nn.Parameter(torch.zeros(()))
        self.fixed = nn.Parameter(torch.ones(()), requires_grad=False)
        self.scores, self.validated = scores, list[float]()
        self.initial_score = self.initial_values = self.validation = None
        self.draws = torch.Generator()
        object.__setattr__(self, "model", Mock())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        pass

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.weight * self.fixed

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated.append(float(self.weight.detach()))
        self.log(MONITOR, torch.tensor(self.scores[self.current_epoch]), batch_size=1)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train(
    module: Falling, folder: Path, epochs: int = 3, resume: bool = False, reductions: int = 0
) -> tuple[Checkpointing, MovingAverage]:
    average, batches = MovingAverage(DECAY), Mock(state_dict=dict)
    checkpointing = Checkpointing(TrainerChoice.Config(checkpoint_every_steps=1), folder, batches, "max")
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[average, checkpointing, Plateau(checkpointing, "max", 1, reductions, average)],
        accelerator="cpu",
        logger=False,
        plugins=[CheckedCheckpoints()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    twice, once = torch.utils.data.DataLoader([0, 0]), torch.utils.data.DataLoader([0])  # type: ignore[arg-type]
    trainer.fit(module, twice, once, ckpt_path=folder / LAST if resume else None, weights_only=True)
    return checkpointing, average


def test_the_average_is_validated_and_the_weights_go_on(tmp_path: Path) -> None:
    module = Falling([0.1, 0.3, 0.2])
    checkpointing, average = train(module, tmp_path)
    assert module.validated == pytest.approx(AVERAGES[1::2])
    assert float(module.weight.detach()) == -6
    best = read_checkpoint(tmp_path / BEST)["state_dict"]
    assert float(best["weight"]) == pytest.approx(AVERAGES[3])
    assert float(best["fixed"]) == 1
    average.copy_to(module)
    assert float(module.weight.detach()) == pytest.approx(AVERAGES[5])
    checkpointing.load_best(module)
    assert float(module.weight.detach()) == pytest.approx(AVERAGES[3])


def test_without_validation_the_weights_stay_until_the_end() -> None:
    module, average = Falling([]), MovingAverage(DECAY)
    trainer = pl.Trainer(
        max_epochs=3,
        callbacks=[average],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, torch.utils.data.DataLoader([0, 0]))  # type: ignore[arg-type]
    assert float(module.weight.detach()) == -6
    average.copy_to(module)
    assert float(module.weight.detach()) == pytest.approx(AVERAGES[5])


def test_a_resumed_training_has_the_average_of_an_undisturbed_one(tmp_path: Path) -> None:
    train(Falling([0.1, 0.3]), tmp_path, epochs=2)
    module = Falling([0.1, 0.3, 0.4])
    _, average = train(module, tmp_path, resume=True)
    assert module.validated == pytest.approx(AVERAGES[5:])
    assert float(module.weight.detach()) == -6
    assert average.num_steps == 6


def test_a_reduction_begins_with_the_best_weights(tmp_path: Path) -> None:
    module = Falling([0.3, 0.1, 0.2])
    train(module, tmp_path, reductions=1)
    best = AVERAGES[1]
    first = best - 9 / 11 / 3
    second = 3 / 12 * first + 9 / 12 * (best - 2 / 3)
    assert module.validated == pytest.approx([best, AVERAGES[3], second])


def test_without_an_epoch_there_is_no_average() -> None:
    """As in a refit of a phase whose initial embeddings were best."""
    module, average = Falling([]), MovingAverage(DECAY)
    trainer = pl.Trainer(
        max_epochs=0, callbacks=[average], accelerator="cpu", logger=False, enable_checkpointing=False
    )
    trainer.fit(module, torch.utils.data.DataLoader([0]))  # type: ignore[arg-type]
    average.copy_to(module)
    assert float(module.weight.detach()) == 0
