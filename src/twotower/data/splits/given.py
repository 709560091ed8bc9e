"""The split that the data itself brings."""

import numpy as np

from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.data.history import Log
from twotower.data.splits.split import TEST, TRAIN, VALID, Parts, Split

NO_SPLIT = (
    "this data brings no split; for table_files name the column in data.split_column, or use split=temporal"
)


class Given(Split):
    """The column `split` of the interactions says train, valid or test.

    A history holds what precedes the user's first target in the stable order; train interactions after it
    still train. Without real times, order the rows so that a user's train rows come first and give all the
    same time.
    """

    class Config(Split.Config):
        """Nothing to set."""

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """Tell whether the source gives a split."""
            return [("", NO_SPLIT)] if facts.gives_split is False else []

    name = "given"

    def assign(self, log: Log) -> Parts:
        """Return the part of each interaction; an InputError if the source gives no split."""
        if log.given is None:
            raise InputError(f"split=given: {NO_SPLIT}")
        return np.array([TRAIN, VALID, TEST], dtype=np.int8)[log.given]

    def spread(self, log: Log, parts: Parts) -> Parts:
        """Return the part that the source gives every interaction."""
        return self.assign(log)

    def remedy(self, log: Log) -> str:
        """Return which value of the column is missing."""
        return "mark some rows of the split column with that word, in lower case"
