"""Positions of item rows in a list of distinct ones."""

import torch
from torch import Tensor, nn


class RowLookup(nn.Module):
    """Finds rows in a list of distinct rows by a table of all items.

    Args:
        num_items: rows are 0 to this.
    """

    table: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        # All -1 between two calls: filling a new table of millions of items would be slow.
        self.register_buffer("table", torch.full((num_items + 1,), -1, dtype=torch.int32), persistent=False)

    def positions(self, rows: Tensor, wanted: Tensor) -> Tensor:
        """Return the position of each wanted row among distinct rows [C], int32; -1 for an absent row."""
        rows = rows.long()  # index_copy_ does not support int32
        self.table.index_copy_(0, rows, torch.arange(len(rows), dtype=torch.int32, device=rows.device))
        positions = self.table.index_select(0, wanted.flatten()).view(wanted.shape)
        self.table.index_fill_(0, rows, -1)
        return positions
