"""What an item says of itself as a vector of length 1 a feature, and what a regression makes of it.

Shapes: B items, N known items, W width of a feature, V rows of a bag's table, D output.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional


class Content(nn.Module, ABC):
    """One feature of items.

    Args:
        width: V, of its vectors.
        dim: D.
    """

    weight: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, dim))

    def weigh(self, encoded: Tensor) -> None:
        """Learn from known items, encoded [N, W], what their components weigh."""

    @abstractmethod
    def matrix(self, encoded: Tensor) -> sparse.csr_array:
        """Return the vectors of items [N, W] as a sparse matrix [N, V]."""

    @abstractmethod
    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the weights make of items [B, W], [B, D]; and whether each says anything, [B, 1]."""


class BagContent(Content):
    """Rows [B, W], 0 = nothing -> TF-IDF of length 1, where each row counts once, times weights [V, D].

    Rows of values that training did not know come behind and weigh nothing.
    """

    idf: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(width, dim)
        self.register_buffer("idf", torch.zeros(width))

    def weigh(self, rows: Tensor) -> None:
        """Learn how rare each row is among the bags [N, W] of known items: see `content_of`."""
        counts = torch.bincount(rows[rows > 0].long().cpu(), minlength=len(self.idf)).double()
        idf = torch.where(counts > 0, 1 + torch.log((1 + len(rows)) / (1 + counts)), 0.0)
        self.idf.copy_(idf)

    def matrix(self, rows: Tensor) -> sparse.csr_array:
        """Return TF-IDF, [N, V]."""
        scaled = self._scaled(rows.long()).double().cpu().numpy()
        places = np.nonzero(scaled)
        return sparse.csr_array(
            (scaled[places], (places[0], rows.cpu().numpy()[places])), shape=(len(rows), len(self.idf))
        )

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the rows that are there."""
        rows = rows.long()
        scaled = self._scaled(rows)
        there = (scaled > 0).any(dim=1, keepdim=True).to(scaled.dtype)
        return torch.einsum("bw,bwd->bd", scaled, functional.embedding(rows, self.weight)), there

    def _scaled(self, rows: Tensor) -> Tensor:
        weights = self.idf[rows]
        length = weights.square().sum(1, keepdim=True).sqrt()
        return weights / torch.where(length > 0, length, 1.0)


class DenseContent(Content):
    """Vectors [B, V] -> scaled to length 1, times weights [V, D]."""

    def matrix(self, vectors: Tensor) -> sparse.csr_array:
        """Return them of length 1."""
        return sparse.csr_array(self._scaled(vectors).double().cpu().numpy())

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply."""
        there = (vectors != 0).any(dim=1, keepdim=True).to(vectors.dtype)
        return self._scaled(vectors) @ self.weight, there

    def _scaled(self, vectors: Tensor) -> Tensor:
        length = vectors.square().sum(1, keepdim=True).sqrt()
        return vectors / torch.where(length > 0, length, 1.0)
