"""The examples of a training step."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from twotower.towers.history.history_encoder import Slots


@dataclass(frozen=True)
class Batch:
    """Users, the item that each interacted with, and what came before it.

    Shapes: P positives, S impressions without a click behind them, B users or histories (P + S, unless
    examples share them), L history positions, K known items, H query negatives. The larger tensors are int32:
    summing histories of 300 items takes four fifths of the time of int64.

    Attributes:
        users: [P + S] int64 user rows.
        positives: [P] int64 item rows.
        history_rows: [B, L] int32 item rows, right-aligned, 0 = padding.
        history_times: [B, L] int64 unix seconds.
        request_times: [P + S] int64 unix seconds of the interaction.
        weights: [P + S] float32.
        known_positives: [K] int32, ascending: with
        known_items: [K] int32, every item that the user of a position has in the train log.
        number: of the batch, counted from the start of the training; decides all its random draws.
        impressions: [S] int64 item rows; empty unless the loss takes labelled examples.
        query_negatives: [P, H] int64 item rows that only this positive is scored against, 0 = none; None
            unless the loss takes impressions as query negatives.
        context_rows: [P + S] int64 rows of the table of contexts, 0 = unknown; None where there is none.
        history_events: [B, L] int32 codes of events, 0 = none; None where the data has no events.
        slots: where in the histories each example [P + S] looks; None where each has one of its own.
        positive_to_user: [P] int64, ascending: each positive's row among the users [B]; None where positive p
            is of user p.
    """

    users: Tensor
    positives: Tensor
    history_rows: Tensor
    history_times: Tensor
    request_times: Tensor
    weights: Tensor
    known_positives: Tensor
    known_items: Tensor
    number: int
    impressions: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    query_negatives: Tensor | None = None
    context_rows: Tensor | None = None
    history_events: Tensor | None = None
    slots: Slots | None = None
    positive_to_user: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; Lightning calls it."""
        if self.users.device == device:
            return self
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        if self.slots is not None:
            moved["slots"] = self.slots.to(device)
        return dataclasses.replace(self, **moved)
