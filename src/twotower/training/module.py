"""The LightningModule: passes batches to the components and logs their values."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from twotower.data.interactions import Interactions
from twotower.model.features.encoders import DividedTable
from twotower.model.losses.batch_loss import BatchLoss
from twotower.model.scoring.batch import Batch
from twotower.model.towers.embedding_tables import sparse_parameters
from twotower.training.initialization.initialization import Initialization
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.validation import Validation

LOG = logging.getLogger("twotower")
BOOST = "new_items.boost"
FUSED_DEVICES = ("cpu", "cuda")
"""Devices for which torch has fused optimizer kernels."""


class RetrievalModule(pl.LightningModule):
    """Trains two towers; all arithmetic is in the components.

    Logs `train/loss`, `train/temperature`, `train/learning_rate` every few steps, and after each epoch
    `valid/<metric>_at_<k>` and `health/<figure>`.

    Args:
        compute_loss: the towers, the sampler and the loss, and how they give the loss of a batch.
        num_steps: of the learning-rate schedule.
        seed: seeds the draws and the dropout of each batch, with its number.
    """

    def __init__(
        self,
        compute_loss: BatchLoss,
        optimizer: OptimizerChoice,
        num_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.compute_loss = compute_loss
        self.model, self.negatives = compute_loss.model, compute_loss.sampler
        self.loss, self.scorer = compute_loss.loss, compute_loss.scorer
        self.optimizer_choice = optimizer
        self.validation: Validation | None = None
        """Ranks the validation users; None without validation."""
        self.num_steps = num_steps
        self.seed = seed
        self.initial_score: float | None = None
        """Validation score of the initial embeddings; None if they carry no information or no validation."""
        self.is_informed = False
        """Whether the initial embeddings carry information."""
        self.chosen: dict[str, float | None] = {}
        """Settings that the interactions or the validation split determined, by key."""
        self.draws = torch.Generator()

    def initialize(self, initialization: Initialization, interactions: Interactions, monitor: str) -> None:
        """Set the initial weights; the validation split, if any, selects among them."""
        validation, arguments = self.validation, (self.model, monitor, self.temperature)
        validation_score = None if validation is None else partial(validation.score, *arguments)
        initialization.set(self.model, interactions, validation_score)
        self.chosen |= {f"initialization.{key}": value for key, value in initialization.chosen().items()}
        self.is_informed = initialization.informed
        if validation_score is not None and self.is_informed:
            self.initial_score = validation_score()

    def select_boost(self, monitor: str) -> None:
        """Select the boost of new items on the validation split, if the settings ask for it."""
        new_items = self.model.new_items
        max_loss = new_items.config.max_loss()
        if self.validation is None or max_loss is None or not new_items.has_boost:
            return
        lists = self.validation.boosted_lists(self.model, monitor)
        if lists is None:
            LOG.warning(
                "new_items.max_known_loss: no new item with content, or no known target in the validation "
                "split, so it selects no boost; new_items.boost=%.2g is used",
                float(new_items.boost),
            )
            return
        boost = lists.largest_boost(max_loss)
        LOG.debug("new_items.boost=%.2f, selected on the validation split", boost)
        self.set_chosen({BOOST: boost})

    def set_chosen(self, chosen: Mapping[str, float | None]) -> None:
        """Set the boost of new items and leave out optional layers, if the validation split chose so."""
        if (boost := chosen.get(BOOST)) is not None:
            self.model.new_items.boost.fill_(boost)
            self.chosen[BOOST] = boost
        layers = self.model.optional_layers()
        left_out = {f"{key}.widths": None for key in layers if f"{key}.widths" in chosen}
        if left_out:
            self.model.skip_optional_layers(True)
            for each in layers.values():
                each.requires_grad_(False)
            self.chosen |= left_out

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed all random draws from the number of the batch, so that resuming is bit-identical."""
        state = (self.seed * 1_000_003 + batch.number) % 2**63
        own = (state + self.compute_loss.seed_offset) % 2**63
        if batch.positives.device.type == "cpu":
            torch.default_generator.manual_seed(own)  # without the search for GPUs in manual_seed
        else:
            torch.manual_seed(own)
        self.draws.manual_seed(state)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Minimize the loss of a batch."""
        loss = self.batch_loss(batch, remembers=True)
        self._log_step(loss.detach())
        return loss

    def batch_loss(self, batch: Batch, remembers: bool = False) -> Tensor:
        """Return the loss of a batch; see `BatchLoss`."""
        return self.compute_loss(batch, self.draws, remembers)

    def gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of each trained parameter, None without one; no table is updated."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.autograd.grad(loss, trained, allow_unused=True)

    def _log_step(self, loss: Tensor) -> None:
        """Log every few steps, directly to the loggers: `self.log` costs a millisecond in every step."""
        trainer = self.trainer
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # its logger connector sets it
        if (trainer.global_step + 1) % interval:
            return
        figures = {"train/loss": float(loss)}
        if self.scorer.temperature is not None:
            figures["train/temperature"] = self.temperature
        figures["train/learning_rate"] = trainer.optimizers[0].param_groups[0]["lr"]
        for logger in trainer.loggers:
            logger.log_metrics(figures, trainer.global_step)

    @property
    def temperature(self) -> float:
        """The current temperature of the loss; 1 if it has none."""
        temperature = self.scorer.temperature
        return 1.0 if temperature is None else float(temperature.value.detach())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the metrics of the whole validation split and the health of the embeddings."""
        assert self.validation is not None
        self.log_dict(self.validation.metrics(self.model, self.temperature), batch_size=1)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """Build optimizer and schedule, stepped every batch."""
        sparse = sparse_parameters(self.model)
        divided = [each for each in self.model.modules() if isinstance(each, DividedTable)]
        stand_ins = {id(table.weight) for table in divided}
        parameters = [each for each in self.parameters() if each.requires_grad or id(each) in stand_ins]
        # Lightning refuses to clip the gradients of a fused optimizer in mixed precision.
        fused = self.device.type in FUSED_DEVICES and not self.trainer.gradient_clip_val
        optimizer = self.optimizer_choice.optimizer(parameters, sparse, fused)
        for table in divided:
            table.set_optimizer(optimizer)
        scheduler = self.optimizer_choice.scheduler(optimizer, self.num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
