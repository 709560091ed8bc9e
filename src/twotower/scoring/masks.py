"""False negatives in blocks of logits, masked in place.

Shapes: B users, C negatives, M pairs, b rows of a block.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

ALIGNED = 16
"""Rows of logits are padded to a multiple of this, for aligned vector instructions."""


def padded(num_negatives: int) -> int:
    """Return the number of columns of a block of logits, at least one more than the negatives."""
    return (num_negatives // ALIGNED + 1) * ALIGNED


class FalseNegatives(NamedTuple):
    """Pairs of a user and a negative that the user is known to have interacted with.

    Attributes:
        users: [M] ascending rows of users.
        columns: [M] int32 positions among the negatives; -1 for other items.
    """

    users: Tensor
    columns: Tensor

    def select(self, users: Tensor) -> "FalseNegatives":
        """Return the pairs of users [P], ascending rows that may repeat, numbered from 0."""
        bounds = torch.arange(int(users[-1]) + 2, device=users.device, dtype=self.users.dtype)
        edges = torch.searchsorted(self.users, bounds)
        counts = (edges[1:] - edges[:-1])[users]
        rows = torch.repeat_interleave(counts)
        first = edges[:-1][users] - (counts.cumsum(0) - counts)
        pairs = first[rows] + torch.arange(len(rows), device=users.device)
        return FalseNegatives(rows.to(self.users.dtype), self.columns[pairs])

    def blocks(self, num_users: int, num_columns: int, block_rows: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield the users of each block of logits [b, num_columns], and the flat positions to mask in it.

        The column -1 of an item that is no negative is the last column of the previous row, which is padding.
        So pairs need not be selected first, which takes longer than masking them.
        """
        starts = range(0, num_users, block_rows)
        bounds = torch.tensor([*starts, num_users], dtype=self.users.dtype, device=self.users.device)
        edges: list[int] = torch.searchsorted(self.users, bounds).tolist()
        most = max((end - begin for begin, end in itertools.pairwise(edges)), default=0)
        rows = torch.empty(most, dtype=torch.int32, device=self.users.device)
        masked = torch.empty(most, dtype=torch.int64, device=self.users.device)  # as index_fill_ takes it
        for number, start in enumerate(starts):
            pairs = slice(edges[number], edges[number + 1])
            at = rows[: pairs.stop - pairs.start].copy_(self.users[pairs]).sub_(start)
            torch.add(self.columns[pairs], at, alpha=num_columns, out=at)
            yield slice(start, start + block_rows), masked[: len(at)].copy_(at)
