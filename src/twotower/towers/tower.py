"""What every tower is given and what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Set

from torch import Tensor, nn

from twotower.config.component import Component


class Tower(Component, nn.Module, ABC):
    """From blocks (encoded features, a pooled history) to one embedding.

    Args:
        config: the choice.
        block_dims: name -> width of each block, in the order they are joined.
        embedding_dim: D, the width of the embedding.
    """

    class Config(Component.Config):
        """Settings of every tower."""

        @property
        def provides(self) -> frozenset[str]:
            """What a loss may need of a tower's output (`Loss.Config.needs`): `unit_vectors`, or nothing."""
            return frozenset()

        def remedy(self, key: str) -> str:
            """Return what to set for unit vectors; `key` is where this choice stands."""
            return f"choose a {key} of unit vectors"

        def reads(self, blocks: Set[str]) -> Set[str]:
            """Return the blocks, of those given, that the embedding depends on."""
            return blocks

        def problems(self, blocks: Set[str] | None = None) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`.

            Args:
                blocks: the names of its inputs.
            """
            return ()

        def build(self, block_dims: dict[str, int], embedding_dim: int) -> "Tower":
            """Build the tower, untrained."""
            return self.make(Tower, block_dims, embedding_dim)

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        self.block_dims = dict(block_dims)
        self.embedding_dim = embedding_dim

    @abstractmethod
    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D] from blocks [B, width]."""
