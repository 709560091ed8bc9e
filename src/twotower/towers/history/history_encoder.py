"""What every history encoder is given and what it returns."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.spec import DropoutRate, Length


class HistoryEncoder(nn.Module, ABC):
    """From the embeddings of a user's earlier items, oldest first, to one vector a position.

    Shapes: B users, L positions right-aligned (the latest item is at -1), H the width of an embedding.

    Args:
        dim: H.
        length: L, the latest items looked at.
        strict: a training example's history holds only items strictly earlier than its target; without it
            items of the same timestamp that stand before the target in the log are in it too.
        items: `table` (embeddings of its own) or `tower` (the item tower's outputs, so that new items count).
        last_item: give the latest item's embedding to the tower as a block of its own.
        dropout: probability with which an item is left out of a history, while training.
    """

    def __init__(
        self,
        dim: int,
        *,
        length: Length = 50,
        strict: bool = False,
        items: Literal["table", "tower"] = "table",
        last_item: bool = True,
        dropout: DropoutRate = 0.0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.length = length
        self.strict = strict
        self.items = items
        self.last_item = last_item
        self.dropout = dropout

    @abstractmethod
    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Summarise, at every position, the items up to and with it.

        Args:
            embeddings: [B, L, H], zeros where masked.
            mask: [B, L] bool, true where there is an item.
            times: [B, L] int64 unix seconds, 0 where masked.

        Returns:
            [B, L, H]; zeros where nothing has come yet.
        """

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return `forward` at the last position, [B, H]; subclasses may have a shorter way."""
        every: Tensor = self(embeddings, mask, times)
        return every[:, -1]

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Summarise whole histories, [B, H]; subclasses may do without the [B, L, H] in between.

        Args:
            table: [R, H] item embeddings.
            positions: [B, L] rows of the table, 0 = nothing there.
            times: [B, L] int64 unix seconds, 0 where there is nothing.
        """
        mask = positions > 0
        return self.latest(functional.embedding(positions, table) * mask[..., None], mask, times)

    def blocks(self, table: Tensor, positions: Tensor, times: Tensor) -> dict[str, Tensor]:
        """Return what the user tower is given: `history` [B, H] and, if wanted, `last_item` [B, H].

        Args: see `pool`.
        """
        if self.training and self.dropout > 0:
            positions = positions * (torch.rand(positions.shape, device=positions.device) >= self.dropout)
        found = {"history": self.pool(table, positions, times * (positions > 0))}
        if self.last_item:
            last = positions[:, -1]
            found["last_item"] = functional.embedding(last, table) * (last > 0)[:, None]
        return found

    def block_dims(self) -> dict[str, int]:
        """Return the widths of `blocks`."""
        return {"history": self.dim} | ({"last_item": self.dim} if self.last_item else {})
