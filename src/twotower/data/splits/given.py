"""The split given by a column of the data."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.spec import ProperFraction
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.data.splits.split import TEST, TRAIN, VALID, Parts, Split

NO_SPLIT = "this data has no split column; for table_files set data.split_column, or use another split"
MIN_TRAIN = 2  # of a user, to give one of them to valid


class Given(Split):
    """The column `split` of the interactions holds train, valid or test.

    A history holds the interactions before the user's first target in the stable order; later training
    interactions still train. In data without times the training rows of a user should come first.

    Without any valid row the last training interactions of each user become the validation targets.
    """

    class Config(Split.Config):
        """Settings of the validation targets."""

        valid_share: ProperFraction = 0.1
        """Share of a user's training interactions, the last ones, that become validation targets; at least
        one of a user with two. Used only if no row is marked valid."""

        def problems(self, data: Source.Config | None = None) -> list[tuple[str, str]]:
            """Require a source with a split."""
            return [("", NO_SPLIT)] if data is not None and not data.gives_split() else []

    config: Config
    name = "given"

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction; raises InputError if the source has no split."""
        parts = _given(interactions)
        if not (parts == VALID).any():
            parts[self._carved(interactions, parts)] = VALID
        return parts

    def facts(self, interactions: Interactions) -> Audit:
        """Return `valid_share` if it is used."""
        assert interactions.given is not None
        return (
            {} if (interactions.given == VALID).any() else {"valid_share_of_train": self.config.valid_share}
        )

    def _carved(self, interactions: Interactions, parts: Parts) -> NDArray[np.bool_]:
        """Return which interactions are the last training interactions of their user, bool [n]."""
        trains = parts == TRAIN
        users = interactions.user_rows()[trains]
        counts = np.bincount(users, minlength=interactions.num_users + 1)
        taken = np.maximum(np.round(counts * self.config.valid_share), 1).astype(np.int64)
        taken = np.where(counts < MIN_TRAIN, 0, np.minimum(taken, counts - 1))
        ordinals = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
        carved = np.zeros(len(interactions), dtype=np.bool_)
        carved[trains] = ordinals >= (counts - taken)[users]
        return carved

    def spread(self, interactions: Interactions, parts: Parts) -> Parts:
        """Return the given part of every interaction; those next to a carved validation target go with it."""
        found = _given(interactions)
        if not (_given(interactions.positives) == VALID).any():
            found[(found == TRAIN) & (super().spread(interactions, parts) == VALID)] = VALID
        return found

    def remedy(self, interactions: Interactions) -> str:
        """Return what the column needs."""
        return "mark some rows of the split column with this word, in lower case"


def _given(interactions: Interactions) -> Parts:
    if interactions.given is None:
        raise InputError(f"split=given: {NO_SPLIT}")
    parts: Parts = np.array([TRAIN, VALID, TEST], dtype=np.int8)[interactions.given]
    return parts
