"""The time that the baselines of a run may take."""

import math
import time
from collections.abc import Callable


class OutOfTime(Exception):  # noqa: N818  # ends a baseline without an error
    """The remaining time is too short for the next step of a baseline."""


class Budget:
    """A time limit that starts with its creation.

    A baseline calls `check` between blocks of its work, and before a step that nothing can interrupt.

    Args:
        seconds: the limit.
        clock: returns seconds.
    """

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def left(self) -> float:
        """Return the remaining seconds."""
        return self._end - self._clock()

    def half(self) -> "Budget":
        """Return a budget of half of the remaining time."""
        return Budget(self.left() / 2, self._clock)

    def check(self, seconds: float = 0.0) -> None:
        """Raise `OutOfTime` if fewer than these seconds remain."""
        if self.left() < seconds:
            raise OutOfTime
