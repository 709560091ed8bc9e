"""The split that the data itself brings."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.config.spec import ProperFraction
from twotower.data.dataset import Audit
from twotower.data.log import Log
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

    def assign(self, log: Log) -> Parts:
        """Return the part of each interaction; an InputError if the source gives no split."""
        parts = _given(log)
        if not (parts == VALID).any():
            parts[self._carved(log, parts)] = VALID
        return parts

    def facts(self, log: Log) -> Audit:
        """Return the share of train that is valid, where the source marks none."""
        assert log.given is not None
        return {} if (log.given == VALID).any() else {"valid_share_of_train": self.config.valid_share}

    def _carved(self, log: Log, parts: Parts) -> NDArray[np.bool_]:
        """Return which interactions are the last of their user's that train, [n]."""
        trains = parts == TRAIN
        users = log.users[trains]
        counts = np.bincount(users, minlength=log.num_users + 1)
        taken = np.maximum(np.round(counts * self.config.valid_share), 1).astype(np.int64)
        taken = np.where(counts < MIN_TRAIN, 0, np.minimum(taken, counts - 1))
        ordinals = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
        carved = np.zeros(len(log), dtype=np.bool_)
        carved[trains] = ordinals >= (counts - taken)[users]
        return carved

    def spread(self, log: Log, parts: Parts) -> Parts:
        """Return the part that the source gives every interaction; what is near a carved one goes with it."""
        found = _given(log)
        if not (_given(log.positives) == VALID).any():
            found[(found == TRAIN) & (super().spread(log, parts) == VALID)] = VALID
        return found

    def remedy(self, log: Log) -> str:
        """Return which value of the column is missing."""
        return "mark some rows of the split column with that word, in lower case"


def _given(log: Log) -> Parts:
    if log.given is None:
        raise InputError(f"split=given: {NO_SPLIT}")
    return np.array([TRAIN, VALID, TEST], dtype=np.int8)[log.given]
