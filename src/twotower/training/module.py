"""The LightningModule: it passes batches to the components and logs their values."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.data.interactions import Interactions
from twotower.losses.loss import Loss
from twotower.negatives.sampler import NegativeSampler
from twotower.scoring.batch import Batch
from twotower.scoring.scorer import Scorer
from twotower.towers.two_tower import TwoTower
from twotower.training.initialization.initialization import Initialization
from twotower.training.large_tables import sparse_parameters
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.validation import Validation

FUSED_DEVICES = ("cpu", "cuda")
"""Devices for which torch has fused optimizer kernels."""


class RetrievalModule(pl.LightningModule):
    """Two towers in training. It does no arithmetic of its own.

    Logs `train/loss`, `train/temperature`, `train/learning_rate` every so many steps, and after each epoch
    `valid/<metric>_at_<k>` and `health/<figure>`.

    Args:
        model: the towers.
        negatives: draws the negatives.
        loss: minimised.
        optimizer: choice of optimizer and schedule.
        validation: ranks the validation users, or None where there is nothing to validate on.
        epoch_batches: batches of an epoch; the learning-rate schedule spans all epochs.
        seed: with a batch's number it decides that batch's draws and dropout.
    """

    def __init__(
        self,
        model: TwoTower,
        negatives: NegativeSampler,
        loss: Loss,
        optimizer: OptimizerChoice,
        validation: Validation | None,
        epoch_batches: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.negatives = negatives
        self.loss = loss
        self.scorer = Scorer(loss.config.scoring(), negatives.num_items)
        self.optimizer_choice = optimizer
        self.validation = validation
        self.epoch_batches = epoch_batches
        self.seed = seed
        self.start_optimizer: Callable[[Optimizer], None] | None = None
        """Gives a new optimizer what an earlier training's has gathered."""
        self.untrained: float | None = None
        """The monitored metric before training, more is better, where the start may be the best there is."""
        self.chosen: dict[str, float | None] = {}
        """Settings that the log or the validation split decided, by key."""
        self.draws = torch.Generator()
        self.latest_loss = torch.zeros(())

    def begin(self, initialization: Initialization, interactions: Interactions, monitor: str) -> None:
        """Set the weights that training starts from, chosen on the validation split where there is one."""
        validation, arguments = self.validation, (self.model, monitor, self.temperature)
        judge = None if validation is None else partial(validation.judge, *arguments)
        initialization.set(self.model, interactions, judge)
        self.chosen |= {f"initialization.{key}": value for key, value in initialization.chosen().items()}
        self.untrained = judge() if judge is not None and initialization.informed else None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed everything random from the batch's number: nothing depends on what ran before."""
        state = (self.seed * 1_000_003 + batch.number) % 2**63
        if batch.positives.device.type == "cpu":
            torch.default_generator.manual_seed(state)  # as manual_seed does, which looks for GPUs each time
        else:
            torch.manual_seed(state)
        self.draws.manual_seed(state)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Minimise the loss of a batch."""
        self.negatives.observe(batch.positives)
        loss = self.loss_of(batch)
        self.latest_loss = loss.detach()
        self._log_step(batch_idx)
        return loss

    def loss_of(self, batch: Batch) -> Tensor:
        """Draw negatives, encode, compute the logits and the loss."""
        negatives = self.scorer.negatives(self.negatives, batch, self.draws)
        encoded = self.scorer.items(negatives, batch)
        users, items = self.model.encode_both(encoded.rows, batch.users)
        self.negatives.remember(encoded.rows, items.detach())
        every = self.scorer(users, items, encoded, negatives, batch, self.model.item_bias)
        losses = [self.loss.batch_mean(logits) for logits in every]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _log_step(self, batch_idx: int) -> None:
        """Log every so many steps, straight to the loggers: `self.log` costs a millisecond in every step."""
        trainer = self.trainer
        accumulated = trainer.accumulate_grad_batches
        steps = (batch_idx + 1) % accumulated == 0 or batch_idx + 1 == trainer.num_training_batches
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # its logger connector sets it
        if not steps or (trainer.global_step + 1) % every:
            return
        figures = {"train/loss": float(self.latest_loss)}
        if self.scorer.temperature is not None:
            figures["train/temperature"] = self.temperature
        figures["train/learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        for logger in trainer.loggers:
            logger.log_metrics(figures, trainer.global_step)

    @property
    def temperature(self) -> float:
        """What the loss divides scores by as it is now; 1 where it does not."""
        temperature = self.scorer.temperature
        return 1.0 if temperature is None else float(temperature.value.detach())

    def on_validation_epoch_start(self) -> None:
        """Embed the catalogue once."""
        assert self.validation is not None
        self.validation.start(self.model, self.temperature)

    def validation_step(self, chunk: Tensor, batch_idx: int) -> None:
        """Rank one chunk of validation users."""
        assert self.validation is not None
        self.validation.rank(self.model, chunk)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole validation split and the health of the embeddings."""
        assert self.validation is not None
        self.log_dict(self.validation.finish())

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """Build optimizer and schedule, stepped every batch."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        # Lightning refuses to clip the gradients of a fused optimizer in mixed precision.
        fused = self.device.type in FUSED_DEVICES and not self.trainer.gradient_clip_val
        optimizer = self.optimizer_choice.optimizer(parameters, sparse_parameters(self.model), fused)
        if self.start_optimizer is not None:
            self.start_optimizer(optimizer)
        # Not trainer.estimated_stepping_batches: asking for it sets up the data before a checkpoint's loader
        # state is there to be loaded, and a resumed training then starts its epoch again.
        num_epochs = self.trainer.max_epochs or 1
        num_steps = num_epochs * self.epoch_batches // self.trainer.accumulate_grad_batches
        scheduler = self.optimizer_choice.scheduler(optimizer, num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
