"""How far long work is: log lines for what lasts over five seconds, none for what does not.

Packages that work report how far they are, and know nothing of screens; a console that draws tells these
records by `PROGRESS`.
"""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

LOG = logging.getLogger("twotower")
FIRST_AFTER, EVERY = 5.0, 10.0  # seconds
PROGRESS = "progress"
"""The attribute of records that tell of progress: how much is done, from 0 to 1."""


class Progress:
    """Tells how far something is; entered as a context, and called with how much of it is done.

    Args:
        what: it is, as in `validation: ranking users`.
        total: how much there is to do.
        clock: in seconds.
    """

    def __init__(self, what: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._began, self._told = clock(), False
        self._next = self._began + FIRST_AFTER

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told and error is None:
            spent = in_words(self._clock() - self._began)
            LOG.info("%s: done in %s", self._what, spent, extra={PROGRESS: 1.0})

    def __call__(self, done: int) -> None:
        """Say that so much is done; tells of it at most every ten seconds."""
        now = self._clock()
        if now < self._next or not 0 < done < self._total:
            return
        left = (now - self._began) * (self._total - done) / done
        counts = f"{done:,} of {self._total:,}"
        share = {PROGRESS: done / self._total}
        LOG.info("%s: %s, about %s left", self._what, counts, in_words(left), extra=share)
        self._told, self._next = True, now + EVERY


def on_a_clock(seconds: float) -> str:
    """Return a duration where there is little room: `0:42`, `3:05`, `2:10:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def in_words(seconds: float) -> str:
    """Return a duration to read: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
