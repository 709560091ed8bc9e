"""The inputs of the user tower."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class UserBatch:
    """The users of a batch: features, histories, request times and contexts.

    Shapes: B users, W histories (B, unless users share them), L history positions. History rows and events
    may be int32; other tensors are int64.
    """

    rows: Tensor
    """[B] user rows, 0 = unknown."""
    history_rows: Tensor
    """[W, L] item rows, right-aligned, 0 = padding."""
    history_times: Tensor
    """[W, L] unix seconds of these interactions."""
    request_times: Tensor
    """[B] unix seconds."""
    context_rows: Tensor | None = None
    """[B] rows of the context table, 0 = unknown; None: all are unknown."""
    history_events: Tensor | None = None
    """[W, L] event codes from 1, 0 = unknown; None: all are unknown."""
    query_positions: Tensor | None = None
    """[B] flat positions of the users among the W * L of the histories; None: user b reads the end of history
    b."""
    latest_requests: Tensor | None = None
    """[W] unix seconds of the latest request of each history; None: the request time of user b."""
    features: dict[str, Tensor] | None = None
    """Name -> encoded features [B, width] of users and contexts; None: the features of the rows."""

    @classmethod
    def from_features(
        cls,
        features: dict[str, Tensor],
        history_rows: Tensor,
        history_times: Tensor,
        request_times: Tensor,
        history_events: Tensor | None = None,
    ) -> "UserBatch":
        """Return users with encoded features in place of rows; contexts without a feature are unknown."""
        rows = torch.zeros_like(request_times)
        given = (rows, history_rows, history_times, request_times)
        return cls(*given, history_events=history_events, features=features)

    def to(self, device: torch.device) -> "UserBatch":
        """Return the users on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        if self.features is not None:
            moved["features"] = {name: values.to(device) for name, values in self.features.items()}
        return dataclasses.replace(self, **moved)
