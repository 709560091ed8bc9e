"""A split with users that training never sees; part of their interactions is the history."""

import numpy as np

from twotower.config.spec import ProperFraction, Seed
from twotower.data.dataset import Audit
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
        """Settings of the held-out users."""

        share: ProperFraction = 0.2
        """Share of the users with at least two interactions, valid and test together."""
        fold_in: ProperFraction = 0.8
        """Share of a held-out user's interactions that is history; at least one, and not all."""
        seed: Seed = 0
        """Seed of the choice of users."""

    config: Config
    name = "user_holdout"
    by_order = True

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction, by its user and its position among those of the user."""
        valid_users, test_users = self._held_out(interactions)
        counts = interactions.counts()
        known = np.clip(np.round(counts * self.config.fold_in), 1, np.maximum(counts - 1, 1))
        codes = np.full(
            (2, interactions.num_users + 1), TRAIN, dtype=np.int8
        )  # of the history, of the targets
        codes[:, valid_users] = [[VALID_HISTORY], [VALID]]
        codes[:, test_users] = [[TEST_HISTORY], [TEST]]
        known = np.minimum(known, counts).astype(np.int64)
        lengths = np.stack([known, counts - known])
        return np.repeat(codes.T.ravel(), lengths.T.ravel())

    def facts(self, interactions: Interactions) -> Audit:
        """Return the number of held-out users."""
        valid_users, test_users = self._held_out(interactions)
        return {"held_out_users": len(valid_users) + len(test_users)}

    def remedy(self, interactions: Interactions) -> str:
        """Return the number of users that can be held out."""
        return (
            f"{len(self._eligible(interactions))} users have {MIN_INTERACTIONS} interactions or more, and "
            f"split.share = {self.config.share} of them are held out, half for valid and half for test; "
            "change split.share"
        )

    def _eligible(self, interactions: Interactions) -> np.ndarray:
        return np.flatnonzero(interactions.counts() >= MIN_INTERACTIONS)

    def _held_out(self, interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
        shuffled = np.random.default_rng(self.config.seed).permutation(self._eligible(interactions))
        half = round(len(shuffled) * self.config.share / 2)
        return shuffled[:half], shuffled[half : 2 * half]
