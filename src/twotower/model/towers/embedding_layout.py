"""The layout of an embedding: the output of the tower, then the item bias."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Vectors = TypeVar("Vectors", Tensor, np.ndarray)


@dataclass(frozen=True)
class EmbeddingLayout:
    """The columns of an embedding: `tower_width` of the tower's output, then `bias_width`, 0 or 1.

    User embeddings have a 1 in the column of the bias, so that the score is one dot product.
    """

    tower_width: int
    bias_width: int
    neutral_bias: float = 0.0
    """The column of an item with bias 0, if biases multiply embeddings (`ItemBias.neutral_bias`); else 0."""

    def user_embeddings(self, output: Tensor) -> Tensor:
        """Return user embeddings [B, D] from outputs of the user tower."""
        return self.item_embeddings(output, torch.ones_like(output[..., : self.bias_width]))

    def item_embeddings(self, output: Tensor, bias: Tensor) -> Tensor:
        """Return item embeddings [B, D] from outputs of the item tower and biases [B, bias_width]."""
        return torch.cat([output, bias.to(output.dtype)], -1) if self.bias_width else output

    def members(self, embeddings: Tensor, number: int, factor: float = 1.0) -> list[Tensor]:
        """Divide outputs in embeddings [B, D] among members, times a factor; each has the bias, an addend."""
        outputs, bias = self.tower(embeddings), self.bias(embeddings)
        parts = (outputs * factor if factor != 1 else outputs).chunk(number, -1)
        return [self.item_embeddings(part, bias) for part in parts]

    def for_ranking(self, embeddings: Tensor) -> Tensor:
        """Convert item embeddings [B, D] with the bias as an addend to item embeddings for ranking."""
        if not self.neutral_bias:
            return embeddings
        factors = torch.exp(embeddings[:, self.tower_width :] / self.neutral_bias)
        outputs = embeddings[:, : self.tower_width]
        return torch.cat([outputs, torch.full_like(factors, self.neutral_bias)], 1) * factors

    def tower(self, embeddings: Vectors) -> Vectors:
        """Return the outputs of the item tower, [B, tower_width]."""
        outputs = embeddings[:, : self.tower_width]
        return outputs * (self.neutral_bias / self.bias(embeddings)) if self.neutral_bias else outputs

    def copy_biases(self, embeddings: np.ndarray, bias_source: np.ndarray) -> np.ndarray:
        """Return item embeddings [B, D] with the biases of other embeddings [B, D]."""
        if self.neutral_bias:
            factored: np.ndarray = embeddings * (self.bias(bias_source) / self.bias(embeddings))
            return factored
        return np.concatenate([self.tower(embeddings), self.bias(bias_source)], axis=1)

    def bias(self, embeddings: Vectors) -> Vectors:
        """Return the columns of the bias, [B, bias_width], a view."""
        return embeddings[:, self.tower_width :]

    def boosted(self, scores: NDArray[np.float32], boost: float) -> NDArray[np.float32]:
        """Return the scores of items after an addition to their biases, if these have a column."""
        return scores * np.float32(np.exp(boost / self.neutral_bias)) if self.neutral_bias else scores + boost

    def item_queries(self, embeddings: np.ndarray) -> np.ndarray:
        """Turn item embeddings [B, D] into queries for similar items: the bias is 0."""
        queries = embeddings.copy()
        self.bias(queries)[:] = 0
        return queries
