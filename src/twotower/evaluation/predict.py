"""What the towers recommend to the users of a holdout, by exact search."""

import numpy as np
import torch
from torch import Tensor

from twotower.data.dataset import Holdout
from twotower.evaluation.encode import encode_holdout
from twotower.evaluation.ranking import seen_pairs
from twotower.evaluation.top_k import exact_top_k
from twotower.towers.two_tower import TwoTower

CHUNK = 1024


def top_rows(
    model: TwoTower, items: Tensor, holdout: Holdout, positions: np.ndarray, k: int, filter_seen: bool
) -> tuple[Tensor, np.ndarray]:
    """Rank the catalogue for users at some positions of a holdout.

    Returns:
        user embeddings [b, D] and item rows [b, k], best first.
    """
    users = encode_holdout(model, holdout, positions)
    exclude = seen_pairs(holdout.history, holdout.users[positions]) if filter_seen else None
    rows, _ = exact_top_k(users, items, k, exclude)
    return users, rows


def rank_all(
    model: TwoTower, items: Tensor, holdout: Holdout, k: int, filter_seen: bool
) -> tuple[Tensor, np.ndarray]:
    """Rank the catalogue for every user of a holdout: embeddings [Q, D] and item rows [Q, k]."""
    chunks = np.split(np.arange(len(holdout.users)), range(CHUNK, len(holdout.users), CHUNK))
    found = [top_rows(model, items, holdout, chunk, k, filter_seen) for chunk in chunks]
    return torch.cat([users for users, _ in found]), np.concatenate([rows for _, rows in found])
