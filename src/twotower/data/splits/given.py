"""The split given by a column of the data."""

import numpy as np

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.config.spec import ProperFraction
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.data.splits.split import TEST, TRAIN, VALID, Parts, Split

NO_SPLIT = "this data has no split column; for table_files set data.split_column, or use another split"
MIN_TRAIN = 2  # training interactions of a user; one of them can become a validation target


class Given(Split):
    """The column `split` of the interactions holds train, valid or test.

    A history holds the interactions before the user's first target in the stable order; later training
    interactions still train. In data without times the training rows of a user should come first.

    Without any valid row the last training interactions of each user become the validation targets.
    """

    class Config(Split.Config):
        valid_share: ProperFraction = 0.1
        """Share of a user's training interactions, the last ones, that become validation targets; at least
        one of a user with two. Used only if no row is marked valid."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Require a source with a split."""
            data: Source.Config | None = context.get("data")
            return [("", NO_SPLIT)] if data is not None and not data.gives_split() else []

    config: Config
    name = "given"

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction; raises InputError if the source has no split."""
        parts = _given_parts(interactions)
        if (parts == VALID).any():
            return parts
        is_train = parts == TRAIN
        users = interactions.user_rows()[is_train]
        counts = np.bincount(users, minlength=interactions.num_users + 1)
        num_valid = np.maximum(np.round(counts * self.config.valid_share), 1).astype(np.int64)
        num_valid = np.where(counts < MIN_TRAIN, 0, np.minimum(num_valid, counts - 1))
        ordinals = np.arange(len(users)) - (np.cumsum(counts) - counts)[users]
        parts[is_train] = np.where(ordinals >= (counts - num_valid)[users], VALID, TRAIN)
        return parts

    def audit(self, interactions: Interactions) -> Audit:
        """Return `valid_share` if it is used."""
        is_given = (_given_parts(interactions) == VALID).any()
        return {} if is_given else {"valid_share_of_train": self.config.valid_share}

    def spread(self, interactions: Interactions, parts: Parts) -> Parts:
        """Return the given parts; interactions next to training interactions that became valid are valid."""
        given = _given_parts(interactions)
        if not (_given_parts(interactions.positives) == VALID).any():
            given[(given == TRAIN) & (super().spread(interactions, parts) == VALID)] = VALID
        return given

    def remedy(self, interactions: Interactions) -> str:
        """Return the requirement of the column."""
        return "set the split column of some rows to this word, in lower case"


def _given_parts(interactions: Interactions) -> Parts:
    if interactions.given is None:
        raise InputError(f"split=given: {NO_SPLIT}")
    parts: Parts = np.array([TRAIN, VALID, TEST], dtype=np.int8)[interactions.given]
    return parts
