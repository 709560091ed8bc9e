"""Exact top-k over the whole catalogue, in blocks of users.

Shapes: Q users (queries), B users of a block, D embedding, N items; item row r stands at position r - 1.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from twotower.evaluation.half_search import HalfItems, half_search, is_quick
from twotower.evaluation.top_candidates import (
    BLOCK_USERS,
    Bits,
    Pairs,
    TopItems,
    float_bits,
    group_maxima,
    group_size,
    top_candidates,
    top_items,
)

CHUNK_SCORES = 2**24  # of a block of users; as float32 they are 64 MiB
USERS_AT_ONCE = 1024  # at most, that a thread searches for
FEWEST_ITEMS, ITEMS_A_PLACE = 4096, 80  # with fewer, scoring candidates again outweighs what is saved


class ExactSearch:
    """Exact search of a catalogue by dot product in float32.

    On processors that multiply bfloat16, `half_search` preselects candidates; the results are equal.

    Args:
        item_embeddings: [N, D].
    """

    def __init__(self, item_embeddings: Tensor) -> None:
        self._items = item_embeddings.float()
        self._half = None
        if self._items.device.type == "cpu" and len(self._items) >= FEWEST_ITEMS and is_quick():
            self._half = HalfItems.of(self._items)

    def top(self, user_vectors: Tensor, k: int, exclude: Pairs | None = None) -> TopItems:
        """Return the k best items of each user [Q, D].

        Returns:
            Item rows int64 [Q, k], best first and equal scores lower row first, 0 where no item is left;
            their scores float32 [Q, k] (-inf beside row 0).
        """
        users = user_vectors.float()
        size = max(BLOCK_USERS, min(USERS_AT_ONCE, -(-len(users) // torch.get_num_threads())))
        parts = [slice(first, first + size) for first in range(0, len(users), size)]

        def search(part: slice) -> TopItems:
            return self._top(users[part], k, _of_part(exclude, part))

        found = list(map(search, parts) if self._half is None else _in_threads(search, parts))
        none = np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32)
        rows, scores = zip(none, *found, strict=True)
        return np.concatenate(rows), np.concatenate(scores)

    @torch.inference_mode()
    def _top(self, users: Tensor, k: int, exclude: Pairs | None) -> TopItems:
        few = len(self._items) < ITEMS_A_PLACE * k
        if few or self._half is None or not self._half.suits(users):
            return self._whole(users, k, exclude)
        (rows, scores), left = half_search(users, self._half, k, exclude)
        if len(left):
            places = torch.from_numpy(left)
            rows[left], scores[left] = self._whole(users[places], k, _of_users(exclude, left))
        return rows, scores

    def _whole(self, users: Tensor, k: int, exclude: Pairs | None) -> TopItems:
        num_items = len(self._items)
        held = self._items.new_empty(min(len(users), block_size(num_items)), num_items)

        def score(part: slice) -> Tensor:  # into the same memory: fresh pages take as long as the product
            return torch.mm(users[part], self._items.T, out=held[: part.stop - part.start])

        return top_k_of(score, len(users), num_items, k, exclude)


def exact_top_k(
    user_vectors: Tensor, item_embeddings: Tensor, k: int, exclude: Pairs | None = None
) -> TopItems:
    """Return the k best items [N, D] of each user [Q, D], once: see `ExactSearch.top`."""
    return ExactSearch(item_embeddings).top(user_vectors, k, exclude)


@torch.inference_mode()
def top_k_of(
    score: Callable[[slice], Tensor], num_queries: int, num_items: int, k: int, exclude: Pairs | None = None
) -> TopItems:
    """Return what `exact_top_k` does for any scorer.

    Args:
        score: users as a slice of at most `block_size` -> their scores float32 [B, N], which are written to.
        num_queries: Q.
        num_items: N.
        k: number of items.
        exclude: see `Pairs`.
    """
    found_rows = np.zeros((num_queries, k), dtype=np.int64)
    found_scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
    size = block_size(num_items)
    for start in range(0, num_queries, size):
        queries = slice(start, min(start + size, num_queries))
        scores = score(queries).float()  # whose bits are compared
        if exclude is not None:
            _mask(scores, queries, exclude)
        found_rows[queries], found_scores[queries] = _best(scores, k)
    return found_rows, found_scores


def block_size(num_items: int) -> int:
    """Return the number of users that are scored at once."""
    return max(1, min(BLOCK_USERS, CHUNK_SCORES // max(num_items, 1)))


def _in_threads(search: Callable[[slice], TopItems], parts: list[slice]) -> list[TopItems]:
    """Search in as many threads as PyTorch has, each for its own users: half of the work is NumPy's."""
    threads = torch.get_num_threads()
    if threads == 1 or len(parts) == 1:
        return [search(part) for part in parts]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(search, parts))
    finally:
        torch.set_num_threads(threads)


def _of_part(exclude: Pairs | None, part: slice) -> Pairs | None:
    """Return the pairs of some users, by their position among these."""
    if exclude is None:
        return None
    first, last = np.searchsorted(exclude[0], [part.start, part.stop])
    return exclude[0][first:last] - part.start, exclude[1][first:last]


def _of_users(exclude: Pairs | None, users: np.ndarray) -> Pairs | None:
    """Return the pairs of some users, ascending positions [q], by their position among these."""
    if exclude is None:
        return None
    inside = np.isin(exclude[0], users)
    return np.searchsorted(users, exclude[0][inside]), exclude[1][inside]


def _mask(scores: Tensor, queries: slice, exclude: Pairs) -> None:
    """Set the scores [B, N] of the excluded items of these users to -inf, in place."""
    positions, rows = exclude
    first, last = np.searchsorted(positions, [queries.start, queries.stop])
    query = torch.from_numpy(positions[first:last] - queries.start).to(scores.device, torch.int64)
    item = torch.from_numpy(rows[first:last] - 1).to(scores.device, torch.int64)
    scores.index_put_((query, item), torch.tensor(-torch.inf, device=scores.device, dtype=scores.dtype))


def _best(scores: Tensor, k: int) -> TopItems:
    """Return rows and scores [B, k] of the best items; equal scores lower row first, -inf as row 0."""
    if scores.device.type != "cpu":
        return _sorted_best(scores, k)
    bits, size = float_bits(scores), group_size(scores.shape[1], k)
    found = top_candidates([bits], group_maxima(bits, size), k, size, _reached)
    owners = np.repeat(np.arange(len(scores)), found.counts)
    rows, values = top_items(found, scores.numpy()[owners, found.columns], k)
    if len(found.overfull):
        rows[found.overfull], values[found.overfull] = _sorted_best(
            scores[torch.from_numpy(found.overfull)], k
        )
    return rows, values


def _reached(bound: Bits) -> Bits:
    """Return what candidates must reach where k items reach `bound`: that, and -0.0 where it is 0.0."""
    lowered: Bits = np.where(bound == 0, bound.dtype.type(-1), bound)
    return lowered


def _sorted_best(scores: Tensor, k: int) -> TopItems:
    """Return what `_best` does, on any device and however many scores are equal.

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
    found = torch.nn.functional.pad(rows, padding), torch.nn.functional.pad(values, padding, value=-torch.inf)
    return found[0].cpu().numpy(), found[1].cpu().numpy()
