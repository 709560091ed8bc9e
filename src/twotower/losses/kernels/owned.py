"""Which positives are of the users of a block of logits.

Shapes: P positives, B users, b of them in a block, p positives of these.
"""

from torch import Tensor, arange, searchsorted


class Owned:
    """Moves values between users and their positives; where each user has one, nothing is moved.

    Args:
        owners: [P] ascending rows of users; None where positive p is of user p.
        num_users: B.
        block_rows: b.
    """

    def __init__(self, owners: Tensor | None, num_users: int, block_rows: int) -> None:
        self.owners, self.num_users, self.block_rows = owners, num_users, block_rows
        self.edges: list[int] = []
        if owners is not None:
            bounds = arange(0, num_users + block_rows, block_rows, device=owners.device)
            self.edges = searchsorted(owners, bounds).tolist()

    def positives(self, rows: slice) -> slice:
        """Return which positives are of the users of a block."""
        if self.owners is None:
            return rows
        block = rows.start // self.block_rows
        return slice(self.edges[block], self.edges[block + 1])

    def spread(self, values: Tensor, rows: slice) -> Tensor:
        """Return for each positive [p] its user's value, of [b]."""
        if self.owners is None:
            return values
        return values.index_select(0, self.owners[self.positives(rows)] - rows.start)

    def sums(self, values: Tensor, rows: slice) -> Tensor:
        """Return for each user [b] the sum over its positives' values, [p]."""
        if self.owners is None:
            return values
        sums = values.new_zeros(min(rows.stop, self.num_users) - rows.start)
        return sums.index_add_(0, self.owners[self.positives(rows)] - rows.start, values)
