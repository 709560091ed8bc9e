"""Exact search in two steps: bfloat16 scores select candidates, which are rescored in float32.

Shapes: Q users, B of a block, D embedding, N items, C candidates of a block.
"""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.evaluation.top_candidates import (
    BLOCK_USERS,
    Bits,
    Pairs,
    TopCandidates,
    TopItems,
    ascending,
    float_bits,
    group_maxima,
    group_size,
    top_candidates,
    top_items,
)

TILE_ITEMS = 8192  # whose scores, 4 MiB for a block of users, stay in the cache until their maxima are known
TILES_HOLD = 2**25  # scores of 16 bits: 64 MiB
LONGEST = 1e15  # so that products are far from the largest of either precision
UNIT = 2.0**-8  # relative, that rounding to bfloat16 may move a number by
SUMS = 2.0**-21  # relative and per dimension: all that sums in float32 of either kind may be wrong by
USERS_AT_ONCE, FEWEST_COLUMNS = 8, 64
"""Of a product that scores candidates again. It makes 8 times the scores that are wanted, and is the quicker
for it; in smaller products MKL adds in another order, so that scores would differ in their last bit."""
EIGHT = np.arange(USERS_AT_ONCE)
NOTHING = np.int16(-128)  # the bits of -inf


class HalfItems(NamedTuple):
    """A catalogue [N, D] in both precisions, the length of its longest vector and of its longest rounding."""

    whole: Tensor
    half: Tensor
    length: float
    rounding: float

    @classmethod
    def of(cls, vectors: Tensor) -> "HalfItems":
        """Round float32 vectors."""
        half = vectors.bfloat16()
        return cls(vectors, half, _longest(vectors), _longest(vectors - half.float()))

    def suits(self, users: Tensor) -> bool:
        """Tell whether all scores of these users [Q, D] are numbers that can be bounded."""
        return self.length < LONGEST and _longest(users) < LONGEST  # neither is where one is not a number


def is_quick() -> bool:
    """Tell whether the processor multiplies bfloat16 numbers."""
    return bool(torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported())


def half_search(
    users: Tensor, items: HalfItems, k: int, exclude: Pairs | None
) -> tuple[TopItems, NDArray[np.int64]]:
    """Return what `exact_top_k` does, and the users [o] who are to be searched for in another way.

    s and s' are a score and what bfloat16 makes of it before it rounds the sum, e bounds their difference:
    by Cauchy and Schwarz |u - u'| |v| + |u'| |v - v'| and what sums are wrong by. If k items have a rounded
    score of t or more, their s' is at least t - |t| UNIT, so their s, and the k-th best s, is at least
    t - |t| UNIT - e. An item that good has an s' of at least t - |t| UNIT - 2 e: all such are candidates.

    Args:
        users: float32 [Q, D], finite.
        items: of finite vectors.
        k: how many are wanted.
        exclude: see `Pairs`.
    """
    rows = np.zeros((len(users), k), dtype=np.int64)
    scores = np.full((len(users), k), -np.inf, dtype=np.float32)
    size, block = group_size(len(items.whole), k), max(1, min(BLOCK_USERS, TILES_HOLD // len(items.whole)))
    starts = range(0, len(items.whole), TILE_ITEMS)
    tiles = [torch.empty(block, len(items.half[a : a + TILE_ITEMS]), dtype=torch.bfloat16) for a in starts]
    left = [np.empty(0, dtype=np.int64)]
    for first in range(0, len(users), block):
        part = slice(first, min(first + block, len(users)))
        some = users[part]
        rounded = some.bfloat16()
        masked = _masked(exclude, part, len(tiles))
        bits, maxima = [], []
        for start, tile, (owners, columns) in zip(starts, tiles, masked, strict=True):
            tile = tile[: len(some)]
            torch.mm(rounded, items.half[start : start + TILE_ITEMS].T, out=tile)
            bits.append(float_bits(tile))
            bits[-1].numpy()[owners, columns] = NOTHING
            maxima.append(group_maxima(bits[-1], size))
        slack = 2 * _difference(some, rounded, items)
        found = top_candidates(bits, np.concatenate(maxima, axis=1), k, size, partial(_lowered, slack=slack))
        exact = _scores_again(some, items.whole, found)
        rows[part], scores[part] = top_items(found, exact, k)
        left.append(found.overfull + first)
    return (rows, scores), np.concatenate(left)


def _longest(vectors: Tensor) -> float:
    return float(torch.linalg.vector_norm(vectors, dim=1).max()) if len(vectors) else 0.0


def _difference(users: Tensor, rounded: Tensor, items: HalfItems) -> NDArray[np.float64]:
    """Return how far a score of each user [B] may be from the sum of its rounded factors."""
    length, rounding = (
        torch.linalg.vector_norm(each, dim=1).numpy().astype(np.float64)
        for each in (users, users - rounded.float())
    )
    of_sums = SUMS * users.shape[1] * length * items.length
    difference: NDArray[np.float64] = rounding * items.length + (length + rounding) * items.rounding + of_sums
    return difference


def _lowered(bound: Bits, slack: NDArray[np.float64]) -> Bits:
    """Return what candidates must reach [B], see `half_search`, where k items reach a `bound` [B]."""
    reached = (ascending(bound).astype(np.int32) << 16).view(np.float32).astype(np.float64)
    reached[np.isnan(reached)] = -np.inf  # there are too few items
    least = (reached - UNIT * np.abs(reached) - slack).astype(np.float32)
    lowered: Bits = ((ascending(least.view(np.int32)) >> 16) - 1).astype(np.int16)
    return lowered


def _masked(exclude: Pairs | None, part: slice, num_tiles: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the positions (user, column) of excluded items in each tile."""
    none = np.empty(0, dtype=np.int64)
    if exclude is None:
        return [(none, none)] * num_tiles
    first, last = np.searchsorted(exclude[0], [part.start, part.stop])
    owners, items = exclude[0][first:last] - part.start, exclude[1][first:last] - 1
    order = np.argsort((items // TILE_ITEMS).astype(np.int16), kind="stable")
    owners, items = owners[order], items[order]
    bounds = np.searchsorted(items // TILE_ITEMS, np.arange(num_tiles + 1))
    return [(owners[a:b], items[a:b] % TILE_ITEMS) for a, b in pairwise(bounds)]


def _scores_again(users: Tensor, items: Tensor, candidates: TopCandidates) -> NDArray[np.float32]:
    """Return the scores of candidates in float32 [C]."""
    counts, columns, _ = candidates
    padding = -len(users) % USERS_AT_ONCE
    of_users = torch.cat([users, users[-1:].expand(padding, -1)]).split(USERS_AT_ONCE)
    numbers = np.pad(counts, (0, padding)).reshape(-1, USERS_AT_ONCE)
    widths = np.maximum(numbers.sum(axis=1), FEWEST_COLUMNS)
    wanted, vectors = (
        np.pad(columns, (0, FEWEST_COLUMNS)),
        np.empty((widths.max(), items.shape[1]), np.float32),
    )
    found, start, values = np.empty(len(wanted), dtype=np.float32), 0, items.numpy()
    for some, own, width in zip(of_users, numbers, widths, strict=True):
        # NumPy copies rows four times as fast as indexing a tensor does.
        values.take(wanted[start : start + width], axis=0, out=vectors[:width], mode="clip")
        scores = torch.mm(some, torch.from_numpy(vectors[:width]).T).numpy()
        owners = np.repeat(EIGHT, own)
        found[start : start + len(owners)] = scores[owners, np.arange(len(owners))]
        start += len(owners)
    return found[: len(columns)]
