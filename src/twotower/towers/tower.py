"""The base class of towers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Set

from torch import Tensor, nn

from twotower.config.component import Component


class Tower(Component, nn.Module, ABC):
    """Computes an embedding from blocks (encoded features, an encoded history).

    Args:
        config: the choice.
        block_dims: name -> width of each block, in the order of concatenation.
        embedding_dim: D, the width of the embedding.
    """

    class Config(Component.Config):
        """Settings of every tower."""

        @property
        def provides(self) -> frozenset[str]:
            """Properties of the output that a loss may need (`Loss.Config.needs`): `unit_vectors` or none."""
            return frozenset()

        def remedy(self, key: str) -> str:
            """Return the setting for unit vectors; `key` is the key of this choice."""
            return f"choose a {key} of unit vectors"

        def reads(self, blocks: Set[str]) -> Set[str]:
            """Return the blocks that the embedding depends on."""
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
