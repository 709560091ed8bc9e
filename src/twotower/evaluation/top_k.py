"""Exact top-k over the whole catalogue, in chunks of users.

Shapes: Q users (queries), B users of a chunk, D embedding, N items; item row r stands at position r - 1.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pairs = tuple[np.ndarray, np.ndarray]
"""(position of the user, item row) of items that a user must not be shown; positions ascending."""
Found = tuple[NDArray[np.int64], NDArray[np.float32]]  # item rows and scores, both [Q, k]
CHUNK_SCORES = 2**24  # of a chunk of users; as float32 they are 64 MiB


def exact_top_k(user_vectors: Tensor, item_vectors: Tensor, k: int, exclude: Pairs | None = None) -> Found:
    """Return the k best items of each user by dot product.

    Returns:
        Item rows int64 [Q, k], best first and equal scores lower row first, 0 where no item is left; their
        scores float32 [Q, k] (-inf beside row 0).
    """
    items = item_vectors.float().T

    def score(queries: slice) -> Tensor:
        return user_vectors[queries].float() @ items

    return top_k_of(score, len(user_vectors), len(item_vectors), k, exclude)


@torch.inference_mode()
def top_k_of(
    score: Callable[[slice], Tensor], num_queries: int, num_items: int, k: int, exclude: Pairs | None = None
) -> Found:
    """Return what `exact_top_k` does for any scorer: a slice of users -> fresh scores float32 [B, N]."""
    found_rows = np.zeros((num_queries, k), dtype=np.int64)
    found_scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
    size = max(1, CHUNK_SCORES // max(num_items, 1))
    for start in range(0, num_queries, size):
        queries = slice(start, min(start + size, num_queries))
        scores = score(queries)
        if exclude is not None:
            _mask(scores, queries, exclude)
        rows, values = _best(scores, k)
        found_rows[queries], found_scores[queries] = rows.cpu().numpy(), values.cpu().numpy()
    return found_rows, found_scores


def _mask(scores: Tensor, queries: slice, exclude: Pairs) -> None:
    """Set the scores [B, N] of the excluded items of these users to -inf, in place."""
    positions, rows = exclude
    first, last = np.searchsorted(positions, [queries.start, queries.stop])
    query = torch.from_numpy(positions[first:last] - queries.start).to(scores.device, torch.int64)
    item = torch.from_numpy(rows[first:last] - 1).to(scores.device, torch.int64)
    scores.index_put_((query, item), torch.tensor(-torch.inf, device=scores.device, dtype=scores.dtype))


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return rows and scores [B, k] of the best items; equal scores lower row first, -inf as row 0.

    `torch.topk` promises no order among equal scores, so ties are put in order afterwards: inside the list
    by sorting it, across its end (told by a look at place k + 1) by a stable sort of those users' scores.
    """
    width = min(k, scores.shape[1])
    values, positions = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    if values.shape[1] > width:
        torn = (values[:, width] == values[:, width - 1]) & values[:, width].isfinite()
        values, positions = values[:, :width], positions[:, :width]
        if torn.any():
            ordered, order = scores[torn].sort(dim=1, descending=True, stable=True)
            values[torn], positions[torn] = ordered[:, :width], order[:, :width]
    positions, by_row = positions.sort(dim=1)
    values, by_score = values.gather(1, by_row).sort(dim=1, descending=True, stable=True)
    rows = positions.gather(1, by_score) + 1
    rows = rows.masked_fill(values == -torch.inf, 0)
    padding = (0, k - width)
    return (
        torch.nn.functional.pad(rows, padding),
        torch.nn.functional.pad(values, padding, value=-torch.inf),
    )
