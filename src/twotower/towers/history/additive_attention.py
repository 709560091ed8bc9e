"""A mean whose weights depend on what each item is."""

import torch
from torch import Tensor, nn

from twotower.towers.history.history_encoder import HistoryEncoder


class AdditiveAttention(HistoryEncoder):
    """Softmax over v . tanh(W item + b), taken over the items that are there: what matters is learned.

    Reference: Wu et al., Neural News Recommendation with Multi-Head Self-Attention, EMNLP 2019, section 2.2.
    """

    def __init__(self, config: HistoryEncoder.Config, dim: int) -> None:
        super().__init__(config, dim)
        self.hidden = nn.Linear(dim, dim)
        self.asked = nn.Parameter(torch.zeros(dim))  # begins as the mean

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Weigh every item once; see `HistoryEncoder.latest`."""
        shares = self._shares(embeddings, mask)
        return (shares * embeddings).sum(1) / _above_zero(shares.sum(1))

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Weigh the items up to every position, [B, L, H]; see `HistoryEncoder`."""
        shares = self._shares(embeddings, mask)
        return (shares * embeddings).cumsum(1) / _above_zero(shares.cumsum(1))

    def _shares(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Return what each item counts for beside the heaviest of the history, [B, L, 1]."""
        logits = (torch.tanh(self.hidden(embeddings)).to(self.asked.dtype) @ self.asked)[..., None]
        heaviest = logits.masked_fill(~mask[..., None], -torch.inf).amax(1, keepdim=True)
        return (logits - heaviest).masked_fill(~mask[..., None], -torch.inf).exp()


def _above_zero(total: Tensor) -> Tensor:
    return total.clamp(min=torch.finfo(total.dtype).tiny)
