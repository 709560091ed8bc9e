"""How an embedding is scaled before the score."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

NormName = Literal["l2", "layer_norm", "none"]


class L2Norm(nn.Module):
    """Scale each embedding to length 1, so that the score is the cosine."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return embeddings of length 1 (zeros stay zeros)."""
        return F.normalize(embeddings, dim=-1)


def provided_by(name: object) -> frozenset[str]:
    """Return what `Tower.provides` says of a tower that ends with this norm."""
    return frozenset({"unit_vectors"} if name == "l2" else ())


def norm_of(name: NormName, embedding_dim: int) -> nn.Module:
    """Build the norm a YAML names."""
    if name == "l2":
        return L2Norm()
    return nn.LayerNorm(embedding_dim) if name == "layer_norm" else nn.Identity()
