"""The base classes of towers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Set
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component

MIN_NORM = 1e-12
"""Minimum of the divisor of a normalization."""


class Tower(Component, nn.Module, ABC):
    """Computes an embedding from blocks (encoded features, an encoded history).

    Args:
        config: the choice.
        block_dims: name -> width of each block, in the order of concatenation.
        embedding_dim: D, the width of the embedding.
    """

    class Config(Component.Config):
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

        def has_optional_layers(self, blocks: Set[str]) -> bool:
            """Whether a tower with these inputs has layers that it may do without."""
            return False

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`."""
            return ()

        @staticmethod
        def blocks_of(context: ChoiceContext) -> Set[str] | None:
            """Return the names of the inputs of the tower of a context; None if they are not known."""
            names: dict[str, Set[str]] = context.get("block_names") or {}
            return names.get(context.key)

        def build(self, block_dims: dict[str, int], embedding_dim: int) -> "Tower":
            """Build the tower, untrained."""
            return self.make(Tower, block_dims, embedding_dim)

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__(config)
        self.block_dims = dict(block_dims)
        self.embedding_dim = embedding_dim
        self.skips_layers = False
        """Whether `optional_layers` are left out."""

    @property
    def optional_layers(self) -> nn.Module | None:
        """Layers that the tower may do without; they have no effect before training. None: no such layers."""
        return None

    def reads(self) -> Set[str]:
        """Return the blocks that the embedding depends on."""
        return self.config.reads(self.block_dims.keys())

    @abstractmethod
    def forward(self, blocks: dict[str, Tensor]) -> Tensor:
        """Compute embeddings [B, D] from blocks [B, width]."""


class ScaledTower(Tower, ABC):
    """A tower whose last step is `self.norm`."""

    class Config(Tower.Config):
        normalize: Literal["l2", "layer_norm", "none"] = "l2"
        """`l2` (score = cosine), `layer_norm` or `none` (the norm may model popularity)."""

        @property
        def provides(self) -> frozenset[str]:
            """`unit_vectors` with `normalize: l2`."""
            return frozenset({"unit_vectors"} if self.normalize == "l2" else ())

        def remedy(self, key: str) -> str:
            """Return the setting for unit vectors."""
            return f"set {key}.normalize=l2"

    config: Config

    def __init__(self, config: Config, block_dims: dict[str, int], embedding_dim: int) -> None:
        super().__init__(config, block_dims, embedding_dim)
        norms = {"l2": L2Norm(), "layer_norm": nn.LayerNorm(embedding_dim), "none": nn.Identity()}
        self.norm: nn.Module = norms[config.normalize]


class L2Norm(nn.Module):
    """Scale each embedding to norm 1, so that the score is the cosine similarity."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return embeddings of norm 1; zero vectors stay zero."""
        if torch.compiler.is_compiling():  # an export has plain operators only
            return functional.normalize(embeddings, dim=-1)
        scaled: Tensor = _Normalize.apply(embeddings)  # type: ignore[no-untyped-call]
        return scaled


class _Normalize(torch.autograd.Function):
    """Bit-identical to `functional.normalize`, with a backward pass of 5 operations instead of 15.

    The gradient of a zero vector is the gradient of the identity.
    """

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        ctx.dtype = embeddings.dtype
        embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        lengths = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True).clamp_(min=MIN_NORM)
        scaled: Tensor = embeddings / lengths
        ctx.save_for_backward(scaled, lengths)
        return scaled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        scaled, lengths = ctx.saved_tensors
        projection = (gradient * scaled).sum(-1, keepdim=True)
        # Of a zero vector, 1 / length would be so large that the optimizer would not forget it.
        lengths = lengths.masked_fill(lengths <= MIN_NORM, 1)
        slope = torch.addcmul(gradient, scaled, projection, value=-1).div_(lengths)
        return slope.to(ctx.dtype)  # type: ignore[no-any-return]
