"""The base class of towers with a normalization at the end."""

from abc import ABC
from collections.abc import Iterator, Set
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from twotower.towers.tower import Tower

MIN_NORM = 1e-12
"""Minimum of the divisor."""


class L2Norm(nn.Module):
    """Scale each embedding to norm 1, so that the score is the cosine similarity."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return embeddings of norm 1; zero vectors stay zero."""
        if torch.compiler.is_compiling():  # an export has plain operators only
            return functional.normalize(embeddings, dim=-1)
        scaled: Tensor = _Normalize.apply(embeddings)  # type: ignore[no-untyped-call]
        return scaled


class _Normalize(torch.autograd.Function):
    """Bit-identical to `functional.normalize`, with a backward pass of 4 operations instead of 15."""

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
        slope = torch.addcmul(gradient, scaled, projection, value=-1).div_(lengths)
        return slope.to(ctx.dtype)  # type: ignore[no-any-return]


class ScaledTower(Tower, ABC):
    """A tower whose last step is `self.norm`.

    Args:
        config: see `Config`.
        block_dims: see `Tower`.
        embedding_dim: see `Tower`.
    """

    class Config(Tower.Config):
        """Settings of the normalization."""

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


def unknown_block(field: str, block: str, blocks: Set[str] | None) -> Iterator[tuple[str, str]]:
    """Yield a problem if a field names an unknown block."""
    if blocks is not None and block not in blocks:
        yield field, f"{block!r} is no input of this tower; it has {', '.join(sorted(blocks))}"
