"""The smallest tower: one block, as it is."""

from torch import Tensor, nn

from twotower.config.spec import DropoutRate
from twotower.towers.normalise import NormName, norm_of, provided_by
from twotower.towers.tower import Tower


class SingleBlock(Tower):
    """One block becomes the embedding, projected if its width differs; the others are not used.

    With `history` for users and `item_id` for items this is an item-to-item matrix factorisation.

    Args:
        block_dims: see `Tower`.
        embedding_dim: see `Tower`.
        block: its name.
        dropout: of the block's numbers, while training.
        normalise: see `Mlp`.
    """

    def __init__(
        self,
        block_dims: dict[str, int],
        embedding_dim: int,
        *,
        block: str,
        dropout: DropoutRate = 0.0,
        normalise: NormName = "none",
    ) -> None:
        super().__init__(block_dims, embedding_dim)
        self.block = block
        self.dropout = nn.Dropout(dropout)
        same = block_dims[block] == embedding_dim
        self.projection: nn.Module = (
            nn.Identity() if same else nn.Linear(block_dims[block], embedding_dim, bias=False)
        )
        self.norm = norm_of(normalise, embedding_dim)

    @classmethod
    def problems(cls, blocks: set[str], **arguments: object) -> list[tuple[str, str]]:
        """Refuse a name that is no block."""
        block = arguments.get("block")
        if block in blocks:
            return []
        return [("block", f"{block!r} is no input of this tower; it has {', '.join(sorted(blocks))}")]

    @classmethod
    def provides(cls, **arguments: object) -> frozenset[str]:
        """Return that all outputs have length 1, if they are so scaled."""
        return provided_by(arguments["normalise"])

    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D]; see `Tower.forward`."""
        embeddings: Tensor = self.norm(self.projection(self.dropout(blocks[self.block])))
        return embeddings
