"""Log lines about the progress of work that takes more than five seconds.

A console with progress bars recognizes these records by the attribute `PROGRESS`.
"""

import logging
import time
from collections.abc import Callable
from typing import Self

LOG = logging.getLogger("twotower")
FIRST_AFTER, EVERY = 5.0, 10.0  # seconds
PROGRESS = "progress"
"""Attribute of log records of progress: the share that is done, from 0 to 1."""


class Progress:
    """Logs the progress of work: a context manager, called with the amount that is done.

    Args:
        what: name of the work, such as `validation: ranking users`.
        total: the whole amount.
        clock: returns seconds.
    """

    def __init__(self, what: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._start, self._has_logged = clock(), False
        self._next = self._start + FIRST_AFTER

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *details: object) -> None:
        if self._has_logged and error is None:
            duration = duration_text(self._clock() - self._start)
            LOG.info("%s: done in %s", self._what, duration, extra={PROGRESS: 1.0})

    def __call__(self, done: int) -> None:
        """Report the amount that is done; logged at most every ten seconds."""
        now = self._clock()
        if now < self._next or not 0 < done < self._total:
            return
        left = (now - self._start) * (self._total - done) / done
        counts = f"{done:,} of {self._total:,}"
        share = {PROGRESS: done / self._total}
        LOG.info("%s: %s, about %s left", self._what, counts, duration_text(left), extra=share)
        self._has_logged, self._next = True, now + EVERY


def clock_text(seconds: float) -> str:
    """Return a duration in short form: `0:42`, `3:05`, `2:10:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration_text(seconds: float) -> str:
    """Return a duration with units: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
