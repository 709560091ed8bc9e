"""The layout of an embedding: the output of the tower, then the item bias."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Vectors = TypeVar("Vectors", Tensor, np.ndarray)


@dataclass(frozen=True)
class EmbeddingLayout:
    """The columns of an embedding: the output of the tower, then the item bias.

    User embeddings have a 1 in the column of the bias, so that the score is one dot product.

    Attributes:
        tower_width: columns of the tower's output.
        bias_width: columns of the bias, 0 or 1.
        unit: the neutral bias if the bias is a factor of the whole embedding (`ItemBias.unit`); 0 if the
            bias is an addend.
    """

    tower_width: int
    bias_width: int
    unit: float = 0.0

    def of_users(self, output: Tensor) -> Tensor:
        """Return user embeddings [B, D] from outputs of the user tower."""
        return (
            self.of_items(output, torch.ones_like(output[:, : self.bias_width]))
            if self.bias_width
            else output
        )

    def of_items(self, output: Tensor, bias: Tensor) -> Tensor:
        """Return item embeddings [B, D] from outputs of the item tower and biases [B, bias_width]."""
        return torch.cat([output, bias.to(output.dtype)], 1) if self.bias_width else output

    def ranked(self, embeddings: Tensor) -> Tensor:
        """Return item embeddings [B, D] for ranking from those with the bias as an addend."""
        if not self.unit:
            return embeddings
        factors = torch.exp(embeddings[:, self.tower_width :] / self.unit)
        outputs = embeddings[:, : self.tower_width]
        return torch.cat([outputs, torch.full_like(factors, self.unit)], 1) * factors

    def tower(self, embeddings: Vectors) -> Vectors:
        """Return the outputs of the item tower, [B, tower_width]."""
        outputs = embeddings[:, : self.tower_width]
        return outputs * (self.unit / self.bias(embeddings)) if self.unit else outputs

    def with_biases_of(self, embeddings: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return item embeddings [B, D] with the biases of other embeddings [B, D]."""
        if self.unit:
            factored: np.ndarray = embeddings * (self.bias(others) / self.bias(embeddings))
            return factored
        return np.concatenate([self.tower(embeddings), self.bias(others)], axis=1)

    def bias(self, embeddings: Vectors) -> Vectors:
        """Return the columns of the bias, [B, bias_width], a view."""
        return embeddings[:, self.tower_width :]

    def item_queries(self, embeddings: np.ndarray) -> np.ndarray:
        """Turn item embeddings [B, D] into queries for similar items: the bias is 0."""
        queries = embeddings.copy()
        self.bias(queries)[:] = 0
        return queries
