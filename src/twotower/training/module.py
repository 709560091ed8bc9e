"""The LightningModule: passes batches to the components and logs their values."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.data.interactions import Interactions
from twotower.model.features.row_wise_table import RowWiseTable
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import Negatives, NegativeSampler
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.logits import product_dtype
from twotower.model.scoring.scorer import Scorer
from twotower.model.towers.two_tower import TwoTower
from twotower.parallel.ranks import gather_rows, rank, share, sum_over_ranks, world_size
from twotower.training.initialization.initialization import Initialization
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.validation import Validation

LOG = logging.getLogger("twotower")
BOOST = "new_items.boost"
RANK_SEED = 10**12
"""Difference of the random seeds of two processes."""
FUSED_DEVICES = ("cpu", "cuda")
"""Devices for which torch has fused optimizer kernels."""


class RetrievalModule(pl.LightningModule):
    """Trains two towers; all arithmetic is in the components.

    Logs `train/loss`, `train/temperature`, `train/learning_rate` every few steps, and after each epoch
    `valid/<metric>_at_<k>` and `health/<figure>`.

    Args:
        validation: ranks the validation users; None without validation.
        num_steps: of the learning-rate schedule.
        seed: seeds the draws and the dropout of each batch, with its number.
    """

    def __init__(
        self,
        model: TwoTower,
        negatives: NegativeSampler,
        loss: Loss,
        optimizer: OptimizerChoice,
        validation: Validation | None,
        num_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.negatives = negatives
        self.loss = loss
        self.scorer = Scorer(loss.config.scoring(), negatives.num_items, model.num_members)
        self.optimizer_choice = optimizer
        self.validation = validation
        self.num_steps = num_steps
        self.seed = seed
        self.initial_score: float | None = None
        """Validation score of the initial embeddings; None if they carry no information or no validation."""
        self.initial_values: NDArray[np.float64] | None = None
        """The same by user; None for a metric without values of users, too."""
        self.chosen: dict[str, float | None] = {}
        """Settings that the interactions or the validation split determined, by key."""
        self.draws = torch.Generator()

    def initialize(self, initialization: Initialization, interactions: Interactions, monitor: str) -> None:
        """Set the initial weights; the validation split, if any, selects among them."""
        validation, arguments = self.validation, (self.model, monitor, self.temperature)
        validation_score = None if validation is None else partial(validation.score, *arguments)
        initialization.set(self.model, interactions, validation_score)
        self.chosen |= {f"initialization.{key}": value for key, value in initialization.chosen().items()}
        if validation is not None and validation_score is not None and initialization.informed:
            self.initial_score = validation_score()
            self.initial_values = validation.monitored(monitor)

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
        own = (state + rank() * RANK_SEED) % 2**63
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
        """Draw negatives, encode, compute the logits and the loss.

        Of several processes, each returns a loss whose mean over the processes is that of the whole batch, as
        the gradients are averaged.

        Args:
            remembers: the sampler may store the embeddings for later batches; a rehearsal stores nothing.
        """
        negatives = self.scorer.negatives(self.negatives, batch, self.draws)
        sent = self._sent(negatives, batch)
        negatives = negatives.share() if sent == "users" else negatives
        encoded = self.scorer.items(negatives, batch)
        users, items = self._encode(batch, encoded.rows, negatives.num_encoded if sent == "items" else 0)
        if remembers:
            self.negatives.remember(encoded.rows, items.detach())
        weight = batch.weights.sum()
        of_all = None if sent == "users" else sum_over_ranks(weight)
        if not batch.has_weight and sent != "users":
            # Every process has a gradient of every parameter, as the others wait for it.
            trained = [*self.scorer.parameters(), *self.loss.parameters()]
            return sum(((each * 0).sum() for each in trained), (users * 0).sum() + (items * 0).sum())
        all_logits = self.scorer(users, items, encoded, negatives, batch, self.model.item_bias)
        losses = [self.loss.batch_mean(logits) for logits in all_logits]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum() / self.model.num_members
        if world_size() > 1:
            loss = loss + empty_lookups(self.model)
        return loss if world_size() == 1 or of_all is None else loss * (weight / of_all * world_size())

    def _sent(self, negatives: Negatives, batch: Batch) -> Literal["", "items", "users"]:
        """Return which embeddings the processes send each other.

        Nothing if histories read the item tower: each process embeds most items anyway. Otherwise each embeds
        a share of the items. A softmax sends users, if they are fewer, and adds the sums over the shares.
        """
        if world_size() == 1 or self.model.history.config.reads_towers:
            return ""
        is_half = product_dtype(self.negatives.frequencies) == torch.float16
        is_possible = self.loss.takes_share_of_negatives() and negatives.embeddings is None and not is_half
        num_users = max(batch.num_rows or 0, world_size() - 1)  # a share has a row at least
        return "users" if is_possible and num_users < len(negatives.rows) else "items"

    def gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of each trained parameter, None without one; no table is updated."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.autograd.grad(loss, trained, allow_unused=True)

    def _encode(self, batch: Batch, rows: Tensor, num_shared: int) -> tuple[Tensor, Tensor]:
        """Embed the users of a batch, and items [R], of which the first are the same for all processes.

        Each process embeds a share of these, and receives the others with their gradients.
        """
        if not num_shared:
            return self.model.encode_both(rows, batch.users)
        own, others = rows[:num_shared][share(num_shared)], rows[num_shared:]
        users, items = self.model.encode_both(torch.cat([own, others]), batch.users)
        return users, torch.cat([gather_rows(items[: len(own)]), items[len(own) :]])

    def _log_step(self, loss: Tensor) -> None:
        """Log every few steps, directly to the loggers: `self.log` costs a millisecond in every step."""
        trainer = self.trainer
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # its logger connector sets it
        if (trainer.global_step + 1) % every:
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
        divided = [each for each in self.model.modules() if isinstance(each, RowWiseTable)]
        stand_ins = {id(table.weight) for table in divided}
        parameters = [each for each in self.parameters() if each.requires_grad or id(each) in stand_ins]
        # Lightning refuses to clip the gradients of a fused optimizer in mixed precision.
        fused = self.device.type in FUSED_DEVICES and not self.trainer.gradient_clip_val
        optimizer = self.optimizer_choice.optimizer(parameters, sparse, fused)
        for table in divided:
            table.set_optimizer(optimizer)
        scheduler = self.optimizer_choice.scheduler(optimizer, self.num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def empty_lookups(model: TwoTower) -> Tensor:
    """Return 0, of which each sparse table has a sparse gradient without rows.

    The processes exchange the gradients of all tables, also of those that no tower reads.
    """
    zero = torch.zeros(())
    for table in sparse_parameters(model):
        if table.requires_grad:
            nothing = torch.empty(0, dtype=torch.long, device=table.device)
            zero = zero + F.embedding(nothing, table, sparse=True).sum()
    return zero


def sparse_parameters(model: TwoTower) -> list[Tensor]:
    """Return the parameters whose gradients are sparse."""
    tables = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag | RowWiseTable) and module.sparse
    ]
    if model.item_bias.config.gives_sparse_gradients:
        tables.append(model.item_bias.get_parameter("biases"))
    return tables
