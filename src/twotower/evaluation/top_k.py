"""Exact top-k over the whole catalogue, in blocks of users.

Shapes: Q users, B users of a block, D embedding, N items; the item of row r is in column r - 1.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.model.towers.two_tower import score

ExcludedPairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""(position of the user, item row) of each excluded item, distinct and in ascending order."""

BLOCK_SCORES, BLOCK_USERS = 2**25, 256  # at most 128 MiB of float32 scores
GROUP_ITEMS, MIN_GROUPS_PER_RESULT = 32, 3


def exact_top_k(
    user_vectors: Tensor,
    item_embeddings: Tensor,
    k: int,
    exclude: ExcludedPairs | None = None,
    outside: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k items with the highest score of users [Q, D] and items [N, D], in float32.

    Items `outside` [N] are in no result.

    Returns:
        Item rows [Q, k], best first, equal scores by row, 0 if no item is left; scores [Q, k], -inf of row 0.
    """
    users, items = user_vectors.float(), item_embeddings.float()
    num_items = len(items)
    buffer = items.new_empty(min(len(users), block_size(num_items)), num_items)

    def block_scores(block: slice) -> Tensor:
        # The first write to new memory takes as long as the product, so it is reused.
        return score(users[block], items, out=buffer[: block.stop - block.start])

    return top_k_by(block_scores, len(users), num_items, k, exclude, outside)


@torch.inference_mode()
def top_k_by(
    block_scores: Callable[[slice], Tensor],
    num_users: int,
    num_items: int,
    k: int,
    exclude: ExcludedPairs | None = None,
    outside: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the result of `exact_top_k` for any scorer.

    `block_scores` returns the scores [B, N] of a slice of at most `block_size` users; they are modified.
    """
    rows = np.zeros((num_users, k), dtype=np.int64)
    scores = np.full((num_users, k), -np.inf, dtype=np.float32)
    size, width = block_size(num_items), min(k, num_items)
    masked = None if outside is None else torch.from_numpy(outside)
    for start in range(0, num_users, size):
        block = slice(start, min(start + size, num_users))
        found = block_scores(block).float()
        if masked is not None:
            masked = masked.to(found.device)
            found.masked_fill_(masked, -torch.inf)
        if exclude is not None:
            first, last = np.searchsorted(exclude[0], [block.start, block.stop])
            users, items = exclude[0][first:last] - block.start, exclude[1][first:last] - 1
            places = tuple(torch.from_numpy(each).to(found.device, torch.int64) for each in (users, items))
            found.index_put_(places, found.new_tensor(-torch.inf))
        values, columns = _top(found, width)
        rows[block, :width] = (columns + 1).masked_fill(values == -torch.inf, 0).cpu().numpy()
        scores[block, :width] = values.cpu().numpy()
    return rows, scores


def block_size(num_items: int) -> int:
    """Return the number of users that are scored at once."""
    return max(1, min(BLOCK_USERS, BLOCK_SCORES // max(num_items, 1)))


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k <= N highest scores [B, k] and their columns [B, k]; equal scores by column.

    The k best items are in the k groups of consecutive items with the highest maxima; this search is faster
    than `torch.topk` over all scores. `topk` promises no order of equal scores: those within the result are
    sorted by column, and users with equal scores on both sides of its end are sorted in full.
    """
    num_items = scores.shape[1]
    size = GROUP_ITEMS if num_items >= MIN_GROUPS_PER_RESULT * k * GROUP_ITEMS else 1
    num_groups = num_items // size
    maxima = scores[:, : num_groups * size].unflatten(1, (num_groups, size)).amax(2)
    groups = maxima.topk(min(k + 1, num_groups), dim=1)
    inside = groups.indices[:, :k, None] * size + torch.arange(size, device=scores.device)
    tail = torch.arange(num_groups * size, num_items, device=scores.device).expand(len(scores), -1)
    candidates = torch.cat([inside.flatten(1), tail], dim=1)
    best = scores.gather(1, candidates).topk(min(k + 1, candidates.shape[1]), dim=1)
    values, columns = best.values[:, :k], candidates.gather(1, best.indices[:, :k])
    outside = torch.cat([best.values[:, k:], groups.values[:, k:]], dim=1)
    is_torn = (outside == values[:, -1:]).any(1) & values[:, -1].isfinite()
    if is_torn.any():
        ordered = scores[is_torn].sort(dim=1, descending=True, stable=True)
        values[is_torn], columns[is_torn] = ordered.values[:, :k], ordered.indices[:, :k]
    columns, by_column = columns.sort(dim=1)
    values, by_score = values.gather(1, by_column).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, by_score)
