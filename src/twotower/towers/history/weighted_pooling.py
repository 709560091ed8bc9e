"""A mean whose weights depend on how long ago, in items, an item came."""

import torch
from torch import Tensor, nn

from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.history.weighted_sum import weighted_sum


class WeightedPooling(HistoryEncoder):
    """Softmax over one learned weight an age (0 = the latest item), taken over the items that are there."""

    is_linear = True

    def __init__(self, config: HistoryEncoder.Config, dim: int) -> None:
        super().__init__(config, dim)
        self.weight_of_age = nn.Parameter(torch.zeros(config.length))

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Weigh each position once; see `HistoryEncoder.latest`."""
        weights = self._weights(mask).to(embeddings.dtype)
        return (weights[:, None] @ embeddings)[:, 0]

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Sum straight from the table; see `HistoryEncoder.pool`."""
        return weighted_sum(table, positions, self._weights(positions > 0))

    def _weights(self, mask: Tensor) -> Tensor:
        """Return what each position [B, L] counts for at the last one."""
        return _masked_softmax(self.weight_of_age[: mask.shape[1]].flip(0).expand(mask.shape), mask)


def _masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where the mask is true; all zeros where nothing is."""
    weights = torch.softmax(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), -1)
    return weights * mask
