"""Signs that embeddings have collapsed."""

import numpy as np
import torch
from torch import Tensor


def effective_rank(vectors: Tensor) -> float:
    """Return exp(entropy of the singular values' shares): how many directions vectors [N, D] really use.

    Between 1 (all on one line) and min(N, D); 0 when all are zero.

    Reference: Roy and Vetterli (2007), The effective rank, section 2; used on embeddings as RankMe by
    Garrido et al. (2023).
    """
    wide = vectors.double()
    singular = torch.linalg.eigvalsh(wide.T @ wide).clamp(min=0).sqrt()
    if not singular.sum() > 0:
        return 0.0
    shares = singular / singular.sum()
    return float(torch.special.entr(shares).sum().exp())


def mean_cosine(vectors: Tensor) -> float:
    """Return the mean cosine over all pairs of different vectors [N, D]; near 1 when all point one way.

    Zero vectors count as orthogonal to all; 0 for fewer than two vectors.
    """
    num_vectors = len(vectors)
    if num_vectors < 2:
        return 0.0
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    total = unit.sum(dim=0).square().sum() - unit.square().sum()
    return float(total / (num_vectors * (num_vectors - 1)))


def norm_spread(vectors: Tensor) -> float:
    """Return standard deviation / mean of the norms of vectors [N, D]; 0 after L2 normalisation."""
    norms = vectors.double().norm(dim=1)
    mean = norms.mean()
    return float(norms.std(correction=0) / mean) if mean > 0 else 0.0


def top_1_share(top_rows: np.ndarray) -> float:
    """Return the share of users whose first place [Q, K] is the most shown item; 1 in full collapse."""
    first = top_rows[:, 0]
    first = first[first > 0]
    return float(np.bincount(first).max() / len(top_rows)) if len(first) else 0.0


def health(users: Tensor, items: Tensor, top_rows: np.ndarray) -> dict[str, float]:
    """Return the figures of both towers' embeddings ([Q, D] and [N, D]), as in `user_effective_rank`.

    With them `top_1_share` of what was recommended, [Q, K] item rows.
    """
    figures = {
        f"{side}_{figure.__name__}": figure(vectors)
        for side, vectors in (("user", users), ("item", items))
        for figure in (effective_rank, mean_cosine, norm_spread)
    }
    return figures | {"top_1_share": top_1_share(top_rows)}
