"""A weighted mean with one learned weight per position, counted from the latest item."""

import torch
from torch import Tensor, nn

from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.history.weighted_sum import weighted_sum


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
        return weighted_sum(table, positions, self._weights(positions > 0))

    def _weights(self, mask: Tensor) -> Tensor:
        """Return the weight of each position, [B, L]."""
        return _masked_softmax(self.age_logits[: mask.shape[1]].flip(0).expand(mask.shape), mask)


def _masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where the mask is true; zeros elsewhere."""
    weights = torch.softmax(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), -1)
    return weights * mask
