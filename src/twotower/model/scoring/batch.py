"""The examples of a training step."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from twotower.model.towers.user_batch import UserBatch


class BatchShare(NamedTuple):
    """The rows of a batch that are computed here: all of them, or a share.

    Attributes:
        rows: contiguous, at least one.
        size: number of rows of the whole batch.
        weight: factor of the weights of the rows: 0 if the share has no rows; its single row is padding.
    """

    rows: slice
    size: int
    weight: float = 1.0

    @classmethod
    def full_batch(cls, size: int) -> "BatchShare":
        """Return all rows."""
        return cls(slice(0, size), size)


@dataclass(frozen=True)
class Batch:
    """Users, their positives, and the items to mask as negatives.

    Shapes: P positives, S impressions without a click behind them, B histories (P + S, unless examples share
    them), L history positions, K known items.

    Attributes:
        users: [P + S] users, with histories [B, L]; with `positive_to_user`, users [B].
        positives: [P] int64 item rows.
        weights: [P + S] float32; all 0 if the examples stand in for a share without any.
        known_positives: [K] int32, ascending positions among the positives (with `positive_to_user`, among
            the users [B]), for
        known_items: [K] int32, the items that the users have interacted with.
        number: of the batch since the start of the training; decides all random draws.
        impressions: [S] int64 item rows; empty unless impressions are examples.
        positive_to_user: [P] int64, ascending: each positive's row among the users [B]; None where positive p
            is of user p.
        num_rows: number of `users.rows` of the whole batch, if this is a share of it.
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

    def users_of_positives(self) -> Tensor:
        """Return the user row of each positive, [P]."""
        rows, to_user = self.users.rows, self.positive_to_user
        return rows[: len(self.positives)] if to_user is None else rows[to_user]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; Lightning calls it."""
        if self.positives.device == device:
            return self
        values = vars(self).items()
        moved: Any = {name: each.to(device) for name, each in values if isinstance(each, Tensor | UserBatch)}
        return dataclasses.replace(self, **moved)
