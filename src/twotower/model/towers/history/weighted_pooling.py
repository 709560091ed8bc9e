"""A weighted mean with one learned weight per position, counted from the latest item."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.model.towers.history.history_encoder import HistoryEncoder


class WeightedPooling(HistoryEncoder):
    """The mean of the items, weighted by the softmax of one learned logit per age (0 = the latest item)."""

    is_linear = True

    def __init__(self, config: HistoryEncoder.Config, dim: int) -> None:
        super().__init__(config, dim)
        self.age_logits = nn.Parameter(torch.zeros(config.length))

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return the weighted mean; see `HistoryEncoder.latest`."""
        weights = self._weights(mask).to(embeddings.dtype)
        return (weights[:, None] @ embeddings)[:, 0]

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Sum rows of the table without gathering them; see `HistoryEncoder.pool`."""
        weights = self._weights(positions > 0).to(table.dtype)
        return functional.embedding_bag(
            positions, table, mode="sum", padding_idx=0, per_sample_weights=weights
        )

    def _weights(self, mask: Tensor) -> Tensor:
        """Return the weight of each position, [B, L]; 0 where masked."""
        logits = self.age_logits[: mask.shape[1]].flip(0).expand(mask.shape)
        return torch.softmax(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), -1) * mask
