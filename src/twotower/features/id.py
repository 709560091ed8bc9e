"""Who it is: one embedding for each user or item seen in training."""

from twotower.config.spec import DropoutRate, WidthOrNone
from twotower.features.categorical import Categorical
from twotower.features.feature import Missing


class Id(Categorical):
    """The entity's own key as a feature.

    An entity without train interactions has the unknown row, which training reaches by `dropout` only: with
    0, new entities get an embedding that never learned (zeros).

    Args:
        column: `user_id` or `item_id`.
        dim: width of the embedding; 0 for the width of the tower's output, so that it can be its residual.
        dropout: share of ids replaced by the unknown one while training.
        sparse: give sparse gradients (for large tables); the optimizer must take them.
        missing: see `Feature`.
    """

    def __init__(
        self,
        *,
        column: str,
        dim: WidthOrNone = 0,
        dropout: DropoutRate = 0.1,
        sparse: bool = False,
        missing: Missing = "error",
    ) -> None:
        super().__init__(column=column, dim=dim, dropout=dropout, sparse=sparse, missing=missing)

    def widen(self, width: int) -> None:
        """Take the tower's width where the configuration leaves it open."""
        self.dim = self.dim or width
