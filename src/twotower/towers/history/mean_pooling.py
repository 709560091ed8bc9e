"""The plain mean of a history."""

from torch import Tensor

from twotower.towers.history.history_encoder import HistoryEncoder


class MeanPooling(HistoryEncoder):
    """Every item of the history counts the same. Args: see `HistoryEncoder`."""

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Compute running means [B, L, H]; see `HistoryEncoder.forward`."""
        return embeddings.cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None]

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Compute the mean of all items [B, H]."""
        return embeddings.sum(1) / mask.sum(1).clamp(min=1)[:, None]
