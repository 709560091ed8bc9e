"""A split in time: earlier interactions train, later ones are targets."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twotower.config.spec import Days
from twotower.data.blocks import blocks, highest, lowest, take
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source, needs_times
from twotower.data.splits.split import TEST, TRAIN, VALID, Parts, Split
from twotower.data.times import SECONDS_A_DAY, date


class Temporal(Split):
    """Two cutoffs on the global time: train, then the valid window, then the test window.

    The request time of all users is the cutoff, so that no later interaction trains: the future-leak rate is
    0.
    """

    class Config(Split.Config):
        """Settings of the two windows."""

        test: Days = 28.0
        """Length of the test window; it ends with the last interaction."""
        valid: Days = 28.0
        """Length of the valid window before it."""
        unit: Literal["days", "share"] = "days"
        """`days`, or `share` of all interactions (equal times at a cutoff go to the later window)."""

        def problems(self, data: Source.Config | None = None) -> list[tuple[str, str]]:
            """Require times, and windows that leave training interactions."""
            problems = needs_times(data, "use split=leave_one_out or split=user_holdout")
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
        return _by_time(interactions, *self.cutoffs(interactions))

    def spread(self, interactions: Interactions, parts: Parts) -> Parts:
        """Return the part of every interaction by its time."""
        return _by_time(interactions, *self.cutoffs(interactions.positives))

    def cutoffs(self, interactions: Interactions) -> tuple[int, int]:
        """Return the first second of the valid window and of the test window."""
        if self.config.unit == "days":
            end = highest(interactions.times) + 1
            test_from = end - round(self.config.test * SECONDS_A_DAY)
            return test_from - round(self.config.valid * SECONDS_A_DAY), test_from
        config = self.config
        return _start(interactions.times, config.test + config.valid), _start(interactions.times, config.test)

    def request_times(self, interactions: Interactions, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the cutoff of the targets' window for every user row."""
        valid_from, test_from = self.cutoffs(interactions.positives)
        is_test = (take(interactions.times, starts[starts < len(interactions)]) >= test_from).all()
        return np.full(len(starts), test_from if is_test else valid_from, dtype=np.int64)

    def facts(self, interactions: Interactions) -> Audit:
        """Return the two cutoffs."""
        valid_from, test_from = self.cutoffs(interactions)
        return {"valid_from": date(valid_from), "test_from": date(test_from)}

    def remedy(self, interactions: Interactions) -> str:
        """Return the windows and the settings that move them."""
        valid_from, test_from = self.cutoffs(interactions)
        first, last = lowest(interactions.times), highest(interactions.times)
        return (
            f"the log runs from {date(first)} to {date(last)} ({(last - first) / SECONDS_A_DAY:.1f} days), "
            f"valid from {date(valid_from)}, test from {date(test_from)}; change split.test and split.valid "
            f"(now {self.config.test} and {self.config.valid} {self.config.unit})"
        )


def _by_time(interactions: Interactions, valid_from: int, test_from: int) -> Parts:
    parts = np.full(len(interactions), TRAIN, dtype=np.int8)
    for rows in blocks(len(interactions), interactions.times):
        times, some = interactions.times[rows], parts[rows]
        some[times >= valid_from] = VALID
        some[times >= test_from] = TEST
    return parts


def _start(times: np.ndarray, share: float) -> int:
    """Return the time at which the last `share` of the times begins."""
    count = min(max(round(len(times) * share), 1), len(times))
    return int(np.partition(times, len(times) - count)[len(times) - count])
