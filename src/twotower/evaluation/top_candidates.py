"""The top items of rows of scores without sorting: a bound from maxima of groups, then all items above it.

Floats are compared as the integers that their bits are: those of positive numbers ascend as the numbers do,
`ascending` turns the others round, and of integers of 16 bits a processor compares 32 at once.

Shapes: B users of a block (at most 256), N items, C candidates of all of them together.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bits = NDArray[np.signedinteger[Any]]
Pairs = tuple[np.ndarray, np.ndarray]
"""(position of the user, item row) of excluded items; positions ascend."""
TopItems = tuple[NDArray[np.int64], NDArray[np.float32]]  # item rows and scores, both [Q, k]

BLOCK_USERS = 256  # whose numbers have 8 bits
LARGEST_GROUP, GROUPS_A_PLACE = 32, 4
MOST_CANDIDATES = 16  # times k, of a user: more have many equal scores, or a bound that is loose


class TopCandidates(NamedTuple):
    """The `counts` [B] of users, and item positions `columns` [C], user by user and ascending within each.

    `overfull` are the users [o] with too many: they have none here.
    """

    counts: NDArray[np.int64]
    columns: NDArray[np.int64]
    overfull: NDArray[np.int64]


def float_bits(scores: Tensor) -> Tensor:
    """Return the bits of floats as integers of the same width, in the same memory."""
    return scores.view(torch.int16 if scores.element_size() == 2 else torch.int32)


def ascending(bits: Bits) -> Bits:
    """Return integers that order as the floats do whose bits these are; it is its own inverse."""
    width = 8 * bits.itemsize
    turned: Bits = bits ^ ((bits >> (width - 1)) & bits.dtype.type(2 ** (width - 1) - 1))
    return turned


def group_size(num_items: int, k: int) -> int:
    """Return how many items share a maximum: a power of 2 that leaves some groups for each of k places."""
    size = 1
    while size < LARGEST_GROUP and num_items // (2 * size) >= GROUPS_A_PLACE * k:
        size *= 2
    return size


def group_maxima(bits: Tensor, size: int) -> Bits:
    """Return the maxima [B, M] of groups of a tile [B, width]; items of a group lie width / size apart."""
    whole = bits.shape[1] // size * size
    if size == 1 or not whole:
        return bits.numpy()
    found = bits[:, :whole].unflatten(1, (size, -1)).amax(1)
    return torch.cat([found, bits[:, whole:]], dim=1).numpy()


def top_candidates(
    tiles: Sequence[Tensor], maxima: Bits, k: int, size: int, lowered: Callable[[Bits], Bits]
) -> TopCandidates:
    """Return all items that may be among the k best; none whose score is -inf.

    Args:
        tiles: bits [B, width] of the scores of consecutive items.
        maxima: [B, M] of their groups.
        k: places.
        size: of a group.
        lowered: what at least k items of each user reach [B] -> what candidates must reach [B], both
            `ascending`.
    """
    lines = [tile.numpy() for tile in tiles]
    least = lowered(_kth_largest(maxima, k))
    if (least <= 0).any():  # where there are no positive numbers for all places, bits do not ascend
        lines = [ascending(each) for each in lines]
        maxima = np.concatenate([group_maxima(torch.from_numpy(each), size) for each in lines], axis=1)
        least = lowered(_kth_largest(maxima, k))
    nothing = ascending(float_bits(torch.tensor([-torch.inf], dtype=_float_of(tiles[0]))).numpy())
    least = np.maximum(least, nothing + nothing.dtype.type(1))[:, None]
    return _reaching(lines, least, MOST_CANDIDATES * k)


def _float_of(bits: Tensor) -> torch.dtype:
    return torch.bfloat16 if bits.element_size() == 2 else torch.float32


def _kth_largest(maxima: Bits, k: int) -> Bits:
    place = maxima.shape[1] - k
    if place < 0:
        return np.full(len(maxima), np.iinfo(maxima.dtype).min, maxima.dtype)
    found: Bits = np.partition(maxima, place, axis=1)[:, place]
    return found


def _reaching(lines: Sequence[Bits], least: Bits, most: int) -> TopCandidates:
    """Return where lines [B, width] reach the `least` [B, 1]; of users with more than `most`, nothing."""
    num_users, before = len(least), 0
    mask = np.empty(num_users * max(each.shape[1] for each in lines), dtype=np.bool_)
    counts = np.zeros(num_users, dtype=np.int64)
    owners, columns = [], []
    for line in lines:
        inside, width = mask[: line.size], line.shape[1]
        np.greater_equal(line, least, out=inside.reshape(line.shape))
        places = np.flatnonzero(inside)
        users = places // width
        counts += np.bincount(users, minlength=num_users)
        least[counts > most] = np.iinfo(least.dtype).max  # they need not be looked at any more
        owners.append(users.astype(np.uint8))  # which NumPy sorts by counting
        columns.append(places - users * width + before)
        before += width
    order = np.argsort(np.concatenate(owners), kind="stable")
    ordered = np.concatenate(columns)[order]
    overfull = counts > most
    if overfull.any():
        ordered = ordered[~np.repeat(overfull, counts)]
        counts[overfull] = 0
    return TopCandidates(counts, ordered, np.flatnonzero(overfull))


def top_items(candidates: TopCandidates, scores: NDArray[np.float32], k: int) -> TopItems:
    """Return rows, scores [B, k] of the best candidates; equal scores lower row first, then 0 and -inf."""
    counts, columns, _ = candidates
    width = int(counts.max(initial=0))
    inside = np.arange(width) < counts[:, None]
    keys = np.full((len(counts), width), np.iinfo(np.int64).max)
    falling = ~ascending((scores + np.float32(0)).view(np.int32))  # -0.0 equals 0.0
    keys[inside] = (falling.astype(np.int64) << 32) | np.arange(len(columns))
    keys.sort(axis=1)  # a short line at a time: ten times as fast as all together
    taken = np.arange(min(k, width)) < counts[:, None]
    chosen = keys[:, :k][taken] & (2**32 - 1)
    rows = np.zeros((len(counts), k), dtype=np.int64)
    values = np.full((len(counts), k), -np.inf, dtype=np.float32)
    rows[:, :width][taken] = columns[chosen] + 1
    values[:, :width][taken] = scores[chosen]
    return rows, values
