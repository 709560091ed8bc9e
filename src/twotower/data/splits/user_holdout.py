"""A split with users that are not in the training data; part of their interactions is the history."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.spec import ProperFraction, Seed
from twotower.data.interactions import Interactions
from twotower.data.splits.split import TEST, TEST_HISTORY, TRAIN, VALID, VALID_HISTORY, Parts, Split

MIN_INTERACTIONS = 2


class UserHoldout(Split):
    """Strong generalization: a share of the users does not train; half of them are valid, half test.

    Their earliest interactions are the history, the rest are targets. Users with a single interaction are
    never held out. The final fit trains on the validation users.

    Reference: Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, section 4.2.
    """

    class Config(Split.Config):
        share: ProperFraction = 0.2
        """Share of the users with at least two interactions, valid and test together."""
        fold_in: ProperFraction = 0.8
        """Share of a held-out user's interactions that is history; at least one, and not all."""
        seed: Seed = 0
        """Seed of the choice of users."""

        def size_settings(self, part: str) -> list[str]:
            """Return `user_share`, or the share of the users."""
            return super().size_settings(part) or ["share"]

    config: Config
    name = "user_holdout"
    by_order = True

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction, by its user and its position in the user's log."""
        counts = interactions.counts()
        num_history = history_lengths(counts, self.config.fold_in)
        users = np.flatnonzero(counts >= MIN_INTERACTIONS)
        shuffled = np.random.default_rng(self.config.seed).permutation(users)
        half = round(len(shuffled) * self.config.share / 2)
        codes = np.full((2, interactions.num_users + 1), TRAIN, dtype=np.int8)  # of history and targets
        codes[:, shuffled[:half]] = [[VALID_HISTORY], [VALID]]
        codes[:, shuffled[half : 2 * half]] = [[TEST_HISTORY], [TEST]]
        lengths = np.stack([num_history, counts - num_history])
        return np.repeat(codes.T.ravel(), lengths.T.ravel())

    def remedy(self, interactions: Interactions) -> str:
        """Return the number of users that can be held out."""
        num_users = int((interactions.counts() >= MIN_INTERACTIONS).sum())
        return (
            f"{num_users} users have {MIN_INTERACTIONS} interactions or more, and split.share = "
            f"{self.config.share} of them are held out, half for valid and half for test; change split.share"
        )


def history_lengths(counts: NDArray[np.int64], fold_in: float) -> NDArray[np.int64]:
    """Return the length of each user's history: a share of the interactions, at least one, and not all."""
    shares = np.clip(np.round(counts * fold_in).astype(np.int64), 1, np.maximum(counts - 1, 1))
    return np.minimum(shares, counts)
