"""The plain mean of a history."""

from torch import Tensor

from twotower.config.spec import Fraction
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.history.weighted_sum import weighted_sum


class MeanPooling(HistoryEncoder):
    """The sum of a history's items over their number to a power; every item counts the same."""

    class Config(HistoryEncoder.Config):
        """Settings of a mean."""

        power: Fraction = 1.0
        """1 for the mean, 0 for the sum; in between, longer histories outweigh the item bias more."""

    config: Config
    is_linear = True

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Sum over the positions; see `HistoryEncoder.latest`."""
        return embeddings.sum(1) / self._divisor(mask)

    def forward(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Sum up to every position, [B, L, H]; see `HistoryEncoder`."""
        return embeddings.cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None] ** self.config.power

    def pool(self, table: Tensor, positions: Tensor, times: Tensor) -> Tensor:
        """Sum straight from the table; see `HistoryEncoder.pool`."""
        there = positions > 0
        return weighted_sum(table, positions, there) / self._divisor(there)

    def _divisor(self, mask: Tensor) -> Tensor:
        return mask.sum(1).clamp(min=1)[:, None] ** self.config.power
