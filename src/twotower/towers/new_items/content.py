"""Content features of items as unit vectors, with the weights of a regression.

Shapes: B items, N known items, W width of a feature, V rows of a bag's table, D output.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional


class Content(nn.Module, ABC):
    """One content feature of items, as unit vectors.

    Args:
        width: V, width of the vectors.
        dim: D.
    """

    weight: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, dim))

    def fit(self, encoded: Tensor) -> None:
        """Fit the scaling of the components to known items, encoded [N, W]."""

    @abstractmethod
    def matrix(self, encoded: Tensor) -> sparse.csr_array:
        """Return the vectors of items [N, W] as a sparse matrix [N, V]."""

    @abstractmethod
    def forward(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors times weights of items [B, W], [B, D], and whether each has content, [B, 1]."""


class BagContent(Content):
    """Rows [B, W], 0 = padding -> binary TF-IDF vectors of norm 1, times weights [V, D].

    Values without training items have weight 0.
    """

    idf: Tensor

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(width, dim)
        self.register_buffer("idf", torch.zeros(width))

    def fit(self, rows: Tensor) -> None:
        """Compute the inverse document frequency of each row in the bags [N, W] of known items."""
        counts = torch.bincount(rows[rows > 0].long().cpu(), minlength=len(self.idf)).double()
        idf = torch.where(counts > 0, 1 + torch.log((1 + len(rows)) / (1 + counts)), 0.0)
        self.idf.copy_(idf)

    def matrix(self, rows: Tensor) -> sparse.csr_array:
        """Return the TF-IDF vectors, [N, V]."""
        scaled = self._scaled(rows.long()).double().cpu().numpy()
        positions = np.nonzero(scaled)
        return sparse.csr_array(
            (scaled[positions], (positions[0], rows.cpu().numpy()[positions])),
            shape=(len(rows), len(self.idf)),
        )

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the weighted rows; see `Content.forward`."""
        rows = rows.long()
        scaled = self._scaled(rows)
        has_content = (scaled > 0).any(dim=1, keepdim=True).to(scaled.dtype)
        return torch.einsum("bw,bwd->bd", scaled, functional.embedding(rows, self.weight)), has_content

    def _scaled(self, rows: Tensor) -> Tensor:
        weights = self.idf[rows]
        length = weights.square().sum(1, keepdim=True).sqrt()
        return weights / torch.where(length > 0, length, 1.0)


class DenseContent(Content):
    """Vectors [B, V], scaled to norm 1, times weights [V, D]."""

    def matrix(self, vectors: Tensor) -> sparse.csr_array:
        """Return the vectors with norm 1, [N, V]."""
        return sparse.csr_array(self._scaled(vectors).double().cpu().numpy())

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Multiply; see `Content.forward`."""
        has_content = (vectors != 0).any(dim=1, keepdim=True).to(vectors.dtype)
        return self._scaled(vectors) @ self.weight, has_content

    def _scaled(self, vectors: Tensor) -> Tensor:
        length = vectors.square().sum(1, keepdim=True).sqrt()
        return vectors / torch.where(length > 0, length, 1.0)
