"""Additive attention: a weighted mean whose weights depend on the items."""

import torch
from torch import Tensor, nn

from twotower.model.towers.history.history_encoder import HistoryEncoder


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
        return self._means(embeddings, mask[:, None])[:, 0]

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the weighted mean up to every position, [B, L, H]; see `HistoryEncoder`."""
        up_to = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).tril()
        return self._means(embeddings, mask[:, None] & up_to)

    def _means(self, embeddings: Tensor, masks: Tensor) -> Tensor:
        """Return the weighted mean of each subset of a history, [B, K, H], for masks [B, K, L]."""
        logits = (torch.tanh(self.hidden(embeddings)).to(self.query.dtype) @ self.query)[:, None]
        weights = torch.softmax(logits.masked_fill(~masks, torch.finfo(logits.dtype).min), -1) * masks
        return weights.to(embeddings.dtype) @ embeddings
