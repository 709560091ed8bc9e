"""Diagnostics of collapsed or diverging embeddings."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

UNIFORMITY_VECTORS = 1024  # half a million pairs


def effective_rank(vectors: Tensor) -> float:
    """Return exp(entropy of the singular values' shares): the number of directions that vectors [N, D] use.

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
    """Return the mean cosine over all pairs of different vectors [N, D]; near 1 if all have one direction.

    Zero vectors count as orthogonal to all; 0 for fewer than two vectors.
    """
    num_vectors = len(vectors)
    if num_vectors < 2:
        return 0.0
    unit = functional.normalize(vectors.double(), dim=1)
    total = unit.sum(dim=0).square().sum() - unit.square().sum()
    return float(total / (num_vectors * (num_vectors - 1)))


def alignment(users: Tensor, items: Tensor) -> float:
    """Return the mean squared distance between each user [P, D] and a positive item [P, D], both of length 1.

    0 for equal directions, 2 for orthogonal ones; 0 without any pair.

    Reference: Wang and Isola, Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere, ICML 2020, section 4.1 (alpha = 2); of recommendation Wang et al.
    (DirectAU), KDD 2022.
    """
    apart = functional.normalize(users.double(), dim=1) - functional.normalize(items.double(), dim=1)
    return float(apart.square().sum(1).mean()) if len(apart) else 0.0


def uniformity(vectors: Tensor) -> float:
    """Return log of the mean exp(-2 squared distance) over pairs of different vectors [N, D] of length 1.

    0 in full collapse, near -4 if they are spread over the sphere in many dimensions. At most
    `UNIFORMITY_VECTORS` evenly spaced vectors are used.

    Reference: as of `alignment`, section 4.1 (t = 2).
    """
    size = min(len(vectors), UNIFORMITY_VECTORS)
    if size < 2:
        return 0.0
    chosen = torch.linspace(0, len(vectors) - 1, size, dtype=torch.float64).round().long()
    unit = functional.normalize(vectors[chosen.to(vectors.device)].double(), dim=1)
    return float((torch.pdist(unit).square() * -2).exp().mean().log())


def top_1_share(top_rows: np.ndarray) -> float:
    """Return the share of users whose first place [Q, K] is the most recommended item; 1 in full collapse."""
    first = top_rows[:, 0]
    first = first[first > 0]
    return float(np.bincount(first).max() / len(top_rows)) if len(first) else 0.0


def health(
    users: Tensor, items: Tensor, top_rows: np.ndarray, pairs: tuple[NDArray[np.integer], NDArray[np.integer]]
) -> dict[str, float]:
    """Return diagnostics of embeddings of users [Q, D] and items [N, D], such as `user_effective_rank`.

    `top_rows` are recommended item rows [Q, K], `pairs` user positions and item rows of positives.
    """
    figures = {
        f"{side}_{figure.__name__}": figure(vectors)
        for side, vectors in (("user", users), ("item", items))
        for figure in (effective_rank, mean_cosine, uniformity)
    }
    which, wanted = (torch.from_numpy(each.astype(np.int64)).to(items.device) for each in pairs)
    figures["alignment"] = alignment(users[which], items[wanted - 1])
    return figures | {"top_1_share": top_1_share(top_rows)}
