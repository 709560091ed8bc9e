"""One row of a table for each value."""

import torch
from torch import Tensor, nn


class LookupEncoder(nn.Module):
    """Rows [..., 1] -> their embeddings [..., dim].

    Row 0 (unknown) starts at zero. While training, each row is replaced by row 0 with probability `dropout`:
    the unknown row learns what to say of an entity never seen.

    Args:
        num_rows: with row 0.

    Reference: Volkovs et al., DropoutNet: Addressing Cold Start in Recommender Systems, NIPS 2017, section 4.
    """

    def __init__(self, num_rows: int, dim: int, dropout: float = 0.0, sparse: bool = False) -> None:
        super().__init__()
        self.dropout = dropout
        self.table = nn.Embedding(num_rows, dim, sparse=sparse)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        with torch.no_grad():
            self.table.weight[0] = 0

    def forward(self, rows: Tensor) -> Tensor:
        """Embed rows [..., 1] -> [..., dim]."""
        rows = rows.squeeze(-1)
        if self.training and self.dropout > 0:
            dropped = torch.rand(rows.shape, device=rows.device) < self.dropout
            rows = rows.masked_fill(dropped, 0)
        embeddings: Tensor = self.table(rows)
        return embeddings
