"""Where in an embedding the tower's output ends and the item bias begins."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Vectors = TypeVar("Vectors", Tensor, np.ndarray)


@dataclass(frozen=True)
class EmbeddingLayout:
    """An embedding is the tower's output, then the item bias, which meets a 1 in the user's embedding.

    So the score stays one dot product.

    Attributes:
        tower_width: columns of the tower's output.
        bias_width: columns of the bias, 0 or 1.
    """

    tower_width: int
    bias_width: int

    def of_users(self, output: Tensor) -> Tensor:
        """Return the embeddings [B, D] of users from what their tower says."""
        return (
            self.of_items(output, torch.ones_like(output[:, : self.bias_width]))
            if self.bias_width
            else output
        )

    def of_items(self, output: Tensor, bias: Tensor) -> Tensor:
        """Return the embeddings [B, D] of items from what their tower says and biases [B, bias_width]."""
        return torch.cat([output, bias.to(output.dtype)], 1) if self.bias_width else output

    def tower(self, embeddings: Vectors) -> Vectors:
        """Return what the tower said, [B, tower_width]."""
        return embeddings[:, : self.tower_width]

    def bias(self, embeddings: Vectors) -> Vectors:
        """Return the columns of the bias, [B, bias_width]; of an array it is a part that can be set."""
        return embeddings[:, self.tower_width :]

    def item_queries(self, embeddings: np.ndarray) -> np.ndarray:
        """Turn item embeddings [B, D] into queries for similar items: the bias asks for nothing."""
        queries = embeddings.copy()
        self.bias(queries)[:] = 0
        return queries
