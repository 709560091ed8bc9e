"""What every tower is given and what it returns."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Tower(nn.Module, ABC):
    """From blocks (encoded features, a pooled history) to one embedding.

    Args:
        block_dims: name -> width of each block, in the order they are joined.
        embedding_dim: D, the width of the embedding.
    """

    def __init__(self, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__()
        self.block_dims = dict(block_dims)
        self.embedding_dim = embedding_dim

    @classmethod
    def problems(cls, blocks: set[str], **arguments: object) -> list[tuple[str, str]]:
        """Return (parameter, message) for what can be known to be wrong before any data is read."""
        return []

    @classmethod
    def provides(cls, **arguments: object) -> frozenset[str]:
        """Return what a loss may need of a tower's output (`Loss.needs`): `unit_vectors`, or nothing.

        Args:
            arguments: all keyword-only arguments of the constructor.
        """
        return frozenset()

    @abstractmethod
    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D] from blocks [B, width]."""
