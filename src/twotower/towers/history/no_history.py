"""No history: a user is known by features alone."""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor

from twotower.towers.history.history_encoder import EventEmbeddings, HistoryEncoder, QueryPositions


class NoHistory(HistoryEncoder):
    """Gives the user tower nothing; what a user does after training changes nothing for that user."""

    class Config(HistoryEncoder.Config):
        """Nothing to set; what it inherits says how a history is read, and none is."""

        length: Literal[0] = 0
        """No item is looked at."""

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield all that is set; see `Config.unused`."""
            for field in self.model_fields_set - {"length"}:
                yield field, "no history is read; choose another history, such as history=mean_pooling"

        def block_dims(self, dim: int) -> dict[str, int]:
            """Return no block."""
            return {}

    config: Config

    def latest(self, embeddings: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """Return nothing, [B, 0]; see `HistoryEncoder.latest`."""
        return embeddings.new_zeros((len(embeddings), 0))

    def blocks(
        self,
        table: Tensor,
        positions: Tensor,
        times: Tensor,
        events: EventEmbeddings | None = None,
        queries: QueryPositions | None = None,
    ) -> dict[str, Tensor]:
        """Return no block."""
        return {}
