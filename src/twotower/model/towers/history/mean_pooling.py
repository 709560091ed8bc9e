"""Mean pooling of a history."""

from torch import Tensor
from torch.nn import functional

from twotower.config.spec import Fraction
from twotower.model.towers.history.history_encoder import HistoryEncoder


class MeanPooling(HistoryEncoder):
    """The sum of the item embeddings, divided by a power of their number."""

    class Config(HistoryEncoder.Config):
        power: Fraction = 1.0
        """1 = mean, 0 = sum; below 1, scores of longer histories are larger relative to the item bias."""

    config: Config
    is_linear = True

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Sum over the positions; see `HistoryEncoder.latest`."""
        return embeddings.sum(1) / self._divisor(mask)

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Sum up to every position, [B, L, H]; see `HistoryEncoder`."""
        return embeddings.cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None] ** self.config.power

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Sum rows of the table without gathering them; see `HistoryEncoder.pool`."""
        mask = positions > 0
        return functional.embedding_bag(positions, table, mode="sum", padding_idx=0) / self._divisor(mask)

    def _divisor(self, mask: Tensor) -> Tensor:
        return mask.sum(1).clamp(min=1)[:, None] ** self.config.power
