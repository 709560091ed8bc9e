"""The examples of a training step."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from twotower.model.towers.user_batch import UserBatch
from twotower.parallel.ranks import world_size


@dataclass(frozen=True)
class Batch:
    """Users, their positives, and the items to mask as negatives.

    Shapes: P positives, S impressions without a click behind them, B histories (P + S, unless examples share
    them), L history positions, K known items.

    Attributes:
        users: [P + S] users, with histories [B, L]; with `positive_to_user`, users [B].
        positives: [P] int64 item rows.
        weights: [P + S] float32; all 0 if the examples stand in for those of a process that has none.
        known_positives: [K] int32, ascending positions among the positives (with `positive_to_user`, among
            the users [B]), for
        known_items: [K] int32, the items that the users have interacted with.
        number: of the batch since the start of the training; decides all random draws.
        impressions: [S] int64 item rows; empty unless impressions are examples.
        positive_to_user: [P] int64, ascending: each positive's row among the users [B]; None where positive p
            is of user p.
        num_rows: number of `users.rows` in the batches of all processes; None: that of this one.
    """

    users: UserBatch
    positives: Tensor
    weights: Tensor
    known_positives: Tensor
    known_items: Tensor
    number: int
    impressions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    positive_to_user: Tensor | None = None
    num_rows: int | None = None

    @property
    def has_weight(self) -> bool:
        """Whether its examples count; those of a process without an example of its own do not."""
        return world_size() == 1 or bool(self.weights.any())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; Lightning calls it."""
        if self.positives.device == device:
            return self
        values = vars(self).items()
        moved: Any = {name: each.to(device) for name, each in values if isinstance(each, Tensor | UserBatch)}
        return dataclasses.replace(self, **moved)
