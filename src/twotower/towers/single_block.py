"""The smallest tower: one block, as it is."""

from collections.abc import Iterator, Set
from typing import Literal

from torch import Tensor, nn

from twotower.config.spec import DropoutRate
from twotower.towers.dropout import Dropout
from twotower.towers.scaled_tower import ScaledTower, unknown_block


class SingleBlock(ScaledTower):
    """One block becomes the embedding, projected if its width differs; the others are not used.

    With `history` for users and `item_id` for items this is an item-to-item matrix factorisation.

    Args:
        config: see `Config`.
        block_dims: see `Tower`.
        embedding_dim: see `Tower`.
    """

    class Config(ScaledTower.Config):
        """Which block."""

        block: str
        """Its name."""
        dropout: DropoutRate = 0.0
        """Of the block's numbers, while training."""
        normalise: Literal["l2", "layer_norm", "none"] = "none"
        """See `ScaledTower`."""

        def reads(self, blocks: Set[str]) -> Set[str]:
            """Return the one block; see `Tower.Config.reads`."""
            return {self.block} & blocks

        def problems(self, blocks: Set[str] | None = None) -> Iterator[tuple[str, str]]:
            """Refuse a name that is no block."""
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
