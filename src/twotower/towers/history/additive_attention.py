"""Additive attention: a weighted mean whose weights depend on the items."""

import torch
from torch import Tensor, nn

from twotower.towers.history.history_encoder import HistoryEncoder


class AdditiveAttention(HistoryEncoder):
    """The mean of the items, weighted by the softmax of v . tanh(W item + b) over the history.

    Reference: Wu et al., Neural News Recommendation with Multi-Head Self-Attention, EMNLP 2019, section 2.2.
    """

    def __init__(self, config: HistoryEncoder.Config, dim: int) -> None:
        super().__init__(config, dim)
        self.hidden = nn.Linear(dim, dim)
        self.query = nn.Parameter(torch.zeros(dim))  # initially the plain mean

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the weighted mean of the history; see `HistoryEncoder.latest`."""
        weights = self._weights(embeddings, mask)
        return (weights * embeddings).sum(1) / _above_zero(weights.sum(1))

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the weighted mean up to every position, [B, L, H]; see `HistoryEncoder`."""
        weights = self._weights(embeddings, mask)
        return (weights * embeddings).cumsum(1) / _above_zero(weights.cumsum(1))

    def _weights(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Return weights relative to the largest of the history, [B, L, 1]."""
        logits = (torch.tanh(self.hidden(embeddings)).to(self.query.dtype) @ self.query)[..., None]
        largest = logits.masked_fill(~mask[..., None], -torch.inf).amax(1, keepdim=True)
        return (logits - largest).masked_fill(~mask[..., None], -torch.inf).exp()


def _above_zero(total: Tensor) -> Tensor:
    """Return totals, 1 in place of 0: a small number would make gradients infinite."""
    return torch.where(total > 0, total, 1.0)
