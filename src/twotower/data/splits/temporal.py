"""A split in time: earlier interactions train, later ones are targets."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveFloat
from twotower.data.blocks import blocks
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.sources.source import needs_times
from twotower.data.splits.split import NONE, TEST, TRAIN, VALID, Parts, Split
from twotower.data.times import SECONDS_A_DAY, date

IN_TIME = np.array([NONE, TRAIN, NONE, VALID, NONE, TEST, NONE], dtype=np.int8)
"""Parts in the order of time: too old, train, gap, valid, gap, test, too late."""
NEVER = int(np.iinfo(np.int64).max)


class Temporal(Split):
    """Two cutoffs on the global time: train, then the valid window, then the test window.

    The request time of all users is the cutoff, so that no later interaction trains: the future-leak rate is
    0.
    """

    class Config(Split.Config):
        test: PositiveFloat = 28.0
        """Length of the test window; it ends with the last interaction."""
        valid: PositiveFloat = 28.0
        """Length of the valid window before it."""
        unit: Literal["days", "share", "interactions"] = "days"
        """`days`, a `share` of all interactions, or a number of `interactions`; equal times at a cutoff go to
        the later window."""

        def size_settings(self, part: str) -> list[str]:
            """Return `user_share`, or the length of the window."""
            return super().size_settings(part) or [part]

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Require times, and windows that leave training interactions."""
            problems = needs_times(context.get("data"), "use split=leave_one_out or split=user_holdout")
            if self.unit == "share" and self.test + self.valid >= 1:
                message = (
                    "test + valid must be below 1 with unit=share, so that interactions are left to train"
                )
                problems.append(("", f"{message}; got {self.test} + {self.valid}"))
            return problems

    config: Config
    name = "temporal"

    def assign(self, interactions: Interactions) -> Parts:
        """Return the part of each interaction by its time."""
        return self._parts(interactions, self.edges(interactions))

    def spread(self, interactions: Interactions, parts: Parts) -> Parts:
        """Return the part of every interaction by its time."""
        return self._parts(interactions, self.edges(interactions.positives))

    def _parts(self, interactions: Interactions, edges: Sequence[int]) -> Parts:
        parts = np.empty(len(interactions), dtype=np.int8)
        for rows in blocks(len(interactions), interactions.times):
            parts[rows] = IN_TIME[np.searchsorted(edges, interactions.times[rows], side="right")]
        return parts

    def edges(self, interactions: Interactions) -> list[int]:
        """Return the first second of each part of `IN_TIME` after the first."""
        test = self.config.test
        valid_from, test_from = (
            self.cutoff(interactions.times, length) for length in (test + self.config.valid, test)
        )
        return [0, valid_from, valid_from, test_from, test_from, NEVER]

    def cutoff(self, times: NDArray[np.int64], length: float) -> int:
        """Return the first second of the last `length` of the log; 0 if the log is shorter."""
        if self.config.unit == "days":
            return max(int(times.max()) + 1 - round(length * SECONDS_A_DAY), 0)
        count = max(round(length * (len(times) if self.config.unit == "share" else 1)), 1)
        position = len(times) - count
        return int(np.partition(times, position)[position]) if position >= 0 else 0

    def cutoffs(self, interactions: Interactions) -> tuple[int, int]:
        """Return the first second of the valid window and of the test window."""
        _, _, valid_from, _, test_from, _ = self.edges(interactions)
        return valid_from, test_from

    def request_times(self, interactions: Interactions, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the cutoff of the targets' window for every user row."""
        valid_from, test_from = self.cutoffs(interactions.positives)
        is_test = (interactions.times[starts[starts < len(interactions)]] >= test_from).all()
        return np.full(len(starts), test_from if is_test else valid_from, dtype=np.int64)

    def audit(self, interactions: Interactions) -> Audit:
        """Return the two cutoffs."""
        valid_from, test_from = self.cutoffs(interactions)
        return {"valid_from": date(valid_from), "test_from": date(test_from)}

    def remedy(self, interactions: Interactions) -> str:
        """Return the windows and the settings that move them."""
        valid_from, test_from = self.cutoffs(interactions)
        first, last = int(interactions.times.min()), int(interactions.times.max())
        return (
            f"the log runs from {date(first)} to {date(last)} ({(last - first) / SECONDS_A_DAY:.1f} days), "
            f"valid from {date(valid_from)}, test from {date(test_from)}; change split.test and split.valid "
            f"(now {self.config.test} and {self.config.valid} {self.config.unit})"
        )
