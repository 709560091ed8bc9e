"""The plain mean of a history."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

from twotower.config.spec import DropoutRate, Fraction, Length
from twotower.towers.history.history_encoder import HistoryEncoder


class MeanPooling(HistoryEncoder):
    """The sum of a history's items over their number to a power; every item counts the same.

    Args:
        dim: see `HistoryEncoder`, as are the others.
        power: 1 for the mean, 0 for the sum; in between, longer histories outweigh the item bias more.
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
        power: Fraction = 1.0,
    ) -> None:
        super().__init__(dim, length=length, strict=strict, items=items, last_item=last_item, dropout=dropout)
        self.power = power

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Compute running means [B, L, H]; see `HistoryEncoder.forward`."""
        return embeddings.cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None] ** self.power

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Sum over the positions; see `HistoryEncoder.latest`."""
        return embeddings.sum(1) / mask.sum(1).clamp(min=1)[:, None] ** self.power

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Sum straight from the table; see `HistoryEncoder.pool`."""
        total = functional.embedding_bag(positions, table, mode="sum", padding_idx=0)
        return total / (positions > 0).sum(1).clamp(min=1)[:, None] ** self.power
