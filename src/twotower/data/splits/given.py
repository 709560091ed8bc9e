"""The split that the data itself brings."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.config.spec import ProperFraction
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.splits.split import TEST, TRAIN, VALID, Parts, Split

NO_SPLIT = (
    "this data brings no split; for table_files name the column in data.split_column, or use another split"
)
MIN_TRAIN = 2  # of a user, to give one of them to valid


class Given(Split):
    """The column `split` of the interactions says train, valid or test.

    A history holds what precedes the user's first target in the stable order; train interactions after it
    still train. Where rows have an order and no times, those of a user that train should stand first.

    Where nothing is marked valid, the last train interactions of each user are taken for it.
    """

    class Config(Split.Config):
        """What is taken for valid."""

        valid_share: ProperFraction = 0.1
        """Of a user's train interactions, the last ones; at least one of a user with two. Only where the
        source marks none as valid."""

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """Tell whether the source gives a split."""
            return [("", NO_SPLIT)] if facts.gives_split is False else []

    config: Config
    name = "given"

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction; an InputError if the source gives no split."""
        parts = _given(interactions)
        if not (parts == VALID).any():
            parts[self._carved(interactions, parts)] = VALID
        return parts

    def facts(self, interactions: Interactions) -> Audit:
        """Return the share of train that is valid, where the source marks none."""
        assert interactions.given is not None
        return (
            {} if (interactions.given == VALID).any() else {"valid_share_of_train": self.config.valid_share}
        )

    def _carved(self, interactions: Interactions, parts: Parts) -> NDArray[np.bool_]:
        """Return which interactions are the last of their user's that train, [n]."""
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
        """Return the part that the source gives every interaction; what is near a carved one goes with it."""
        found = _given(interactions)
        if not (_given(interactions.positives) == VALID).any():
            found[(found == TRAIN) & (super().spread(interactions, parts) == VALID)] = VALID
        return found

    def remedy(self, interactions: Interactions) -> str:
        """Return which value of the column is missing."""
        return "mark some rows of the split column with that word, in lower case"


def _given(interactions: Interactions) -> Parts:
    if interactions.given is None:
        raise InputError(f"split=given: {NO_SPLIT}")
    parts: Parts = np.array([TRAIN, VALID, TEST], dtype=np.int8)[interactions.given]
    return parts
