"""The last interaction of every user is predicted from the earlier ones."""

import numpy as np

from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.splits.split import TEST, TRAIN, VALID, Parts, Split

MIN_INTERACTIONS = 3


class LeaveOneOut(Split):
    """Last interaction of a user = test, the one before = valid, the rest = train.

    Interactions are ordered by time, then by row of the source, which decides the targets if a user's last
    times are equal. Users with fewer than three interactions only train. The request time is the time of the
    target, and later interactions of other users train: see the future-leak rate of the audit.
    """

    name = "leave_one_out"
    by_order = True

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction, by its position in the user's log."""
        ends = interactions.offsets[1:][interactions.counts() >= MIN_INTERACTIONS]
        parts = np.full(len(interactions), TRAIN, dtype=np.int8)
        parts[ends - 2] = VALID
        parts[ends - 1] = TEST
        return parts

    def audit(self, interactions: Interactions) -> Audit:
        """Return the number of users with too few interactions for a target."""
        counts = interactions.counts()
        return {"users_only_in_train": int(((counts > 0) & (counts < MIN_INTERACTIONS)).sum())}

    def remedy(self, interactions: Interactions) -> str:
        """Return why no user has a target."""
        return (
            f"no user has {MIN_INTERACTIONS} interactions (the most is {int(interactions.counts().max())}); "
            "use split=temporal or split=item_cold"
        )
