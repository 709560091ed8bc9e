"""Trainings of one weight, whose loss is the weight, with epochs that have given scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from twotower.training.checkpoints import LAST, CheckedCheckpoints
from twotower.training.fit import EXPECTED_WARNINGS
from twotower.training.module import RetrievalModule
from twotower.training.trainer import TrainerChoice

MONITOR = TrainerChoice.Config().monitor
IGNORED_WARNINGS = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (*EXPECTED_WARNINGS, ".*does not have many workers.*", ".*a `val_dataloader`.*")
]


class OneWeight(RetrievalModule):
    """`validated` has the weight that each validation reads."""

    temperature = 1.0

    def __init__(self, scores: Sequence[float]) -> None:
        pl.LightningModule.__init__(self)
        self.weight = nn.Parameter(torch.zeros(()))
        self.fixed = nn.Parameter(torch.ones(()), requires_grad=False)
        self.scores, self.validation = scores, Mock()
        self.validated: list[float] = []
        self.draws = torch.Generator()
        object.__setattr__(self, "model", Mock())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        pass

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.weight * self.fixed

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated.append(float(self.weight.detach()))
        self.log(MONITOR, torch.tensor(self.scores[self.current_epoch]), batch_size=1)

    def optimizer(self) -> torch.optim.Optimizer:
        """Lower the weight by 1 at each step."""
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = self.optimizer()
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fit(
    module: OneWeight,
    callbacks: Sequence[pl.Callback],
    *,
    epochs: int,
    steps: int = 1,
    resume: Path | None = None,
) -> None:
    """Train with so many steps an epoch; without scores there is no validation."""
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=[*callbacks],
        accelerator="cpu",
        logger=False,
        plugins=[CheckedCheckpoints()],
        enable_checkpointing=any(isinstance(each, pl.callbacks.Checkpoint) for each in callbacks),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1 if module.scores else 0,
    )
    batches, once = (torch.utils.data.DataLoader([0] * size) for size in (steps, 1))  # type: ignore[arg-type]
    trainer.fit(module, batches, once, ckpt_path=resume and resume / LAST, weights_only=True)
