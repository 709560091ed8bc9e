"""No history: the user tower reads the features only."""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor

from twotower.model.towers.history.history_encoder import HistoryEncoder


class NoHistory(HistoryEncoder):
    """Ignores the history, so later interactions of a user do not change the embedding."""

    class Config(HistoryEncoder.Config):
        """No settings; the inherited ones have no effect."""

        length: Literal[0] = 0
        """No item is read."""

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield all inherited settings; see `Config.unused`."""
            for field in self.model_fields_set - {"length"}:
                yield field, "no history is read; choose another history, such as history=mean_pooling"

        def block_dims(self, dim: int) -> dict[str, int]:
            """Return no block."""
            return {}

    config: Config

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return an empty tensor [B, 0]; see `HistoryEncoder.latest`."""
        return embeddings.new_zeros((len(embeddings), 0))
