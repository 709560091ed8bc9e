"""The last interaction of every user is predicted from the earlier ones."""

import numpy as np

from twotower.data.dataset import Audit
from twotower.data.log import Log
from twotower.data.splits.split import TEST, TRAIN, VALID, Parts, Split

MIN_INTERACTIONS = 3


class LeaveOneOut(Split):
    """Last interaction of a user = test, the one before = valid, the rest = train.

    The order is stable (time, then row order of the source), which decides the targets where a user's last
    timestamps are equal. Users with fewer than three interactions only train. A user asks at the time of
    the target, and other users' later interactions train: see the audit's future-leak rate.
    """

    name = "leave_one_out"
    by_order = True

    def assign(self, log: Log) -> Parts:
        """Return the part of each interaction, by its place in the user's log."""
        ends = log.offsets[1:][log.counts >= MIN_INTERACTIONS]
        parts = np.full(len(log), TRAIN, dtype=np.int8)
        parts[ends - 2] = VALID
        parts[ends - 1] = TEST
        return parts

    def facts(self, log: Log) -> Audit:
        """Return how many users have too few interactions to be tested."""
        return {"users_only_in_train": int(((log.counts > 0) & (log.counts < MIN_INTERACTIONS)).sum())}

    def remedy(self, log: Log) -> str:
        """Return why no user is tested."""
        return (
            f"no user has {MIN_INTERACTIONS} interactions (the most is {int(log.counts.max())}); "
            "use split=temporal or split=item_cold"
        )
