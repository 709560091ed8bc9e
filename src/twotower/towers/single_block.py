"""A tower with one block and no hidden layers."""

from collections.abc import Iterator, Set
from typing import Literal

from torch import Tensor, nn

from twotower.config.spec import DropoutRate
from twotower.towers.dropout import Dropout
from twotower.towers.scaled_tower import ScaledTower, unknown_block


class SingleBlock(ScaledTower):
    """The embedding is one block, projected if its width differs; other blocks are ignored.

    With `history` for users and `item_id` for items this is an item-to-item matrix factorization.

    Args:
        config: see `Config`.
        block_dims: see `Tower`.
        embedding_dim: see `Tower`.
    """

    class Config(ScaledTower.Config):
        """Settings of a single block."""

        block: str
        """Name of the block."""
        dropout: DropoutRate = 0.0
        """Dropout rate of the block, in training."""
        normalize: Literal["l2", "layer_norm", "none"] = "none"
        """See `ScaledTower`."""

        def reads(self, blocks: Set[str]) -> Set[str]:
            """Return the block; see `Tower.Config.reads`."""
            return {self.block} & blocks

        def problems(self, blocks: Set[str] | None = None) -> Iterator[tuple[str, str]]:
            """Refuse an unknown block."""
            return unknown_block("block", self.block, blocks)

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__(config, block_dims, embedding_dim)
        self.dropout = Dropout(config.dropout)
        width = block_dims[config.block]
        self.projection: nn.Module = (
            nn.Identity() if width == embedding_dim else nn.Linear(width, embedding_dim, bias=False)
        )

    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D]; see `Tower.forward`."""
        embeddings: Tensor = self.norm(self.projection(self.dropout(blocks[self.config.block])))
        return embeddings
