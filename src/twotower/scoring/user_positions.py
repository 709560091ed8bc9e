"""Maps values between the users of a block of logits and their positives.

Shapes: P positives, B users, b of them in a block, p positives of these.
"""

from torch import Tensor, arange, searchsorted


class UserPositions:
    """The positives of each block of users; values are unchanged if positive p is of user p.

    Args:
        positive_to_user: [P] ascending rows of users, or None.
        num_users: B.
        block_rows: b.
    """

    def __init__(self, positive_to_user: Tensor | None, num_users: int, block_rows: int) -> None:
        self.positive_to_user, self.num_users, self.block_rows = positive_to_user, num_users, block_rows
        self.edges: list[int] = []
        if positive_to_user is not None:
            bounds = arange(0, num_users + block_rows, block_rows, device=positive_to_user.device)
            self.edges = searchsorted(positive_to_user, bounds).tolist()

    def positives(self, rows: slice) -> slice:
        """Return the positives of the users of a block."""
        if self.positive_to_user is None:
            return rows
        block = rows.start // self.block_rows
        return slice(self.edges[block], self.edges[block + 1])

    def spread(self, values: Tensor, rows: slice) -> Tensor:
        """Return for each positive [p] the value of its user, of values [b]."""
        if self.positive_to_user is None:
            return values
        return values.index_select(0, self.positive_to_user[self.positives(rows)] - rows.start)

    def sums(self, values: Tensor, rows: slice) -> Tensor:
        """Return for each user [b] the sum over the values [p] of its positives."""
        if self.positive_to_user is None:
            return values
        sums = values.new_zeros(min(rows.stop, self.num_users) - rows.start)
        return sums.index_add_(0, self.positive_to_user[self.positives(rows)] - rows.start, values)
