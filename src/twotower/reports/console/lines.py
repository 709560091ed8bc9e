"""Log lines on a terminal: progress is one line, which is redrawn."""

import logging
import sys

from twotower.config.progress import PROGRESS
from twotower.reports.console.console import ConsoleFormatter

CLEARED = "\r\x1b[2K"  # to the start of the line, and clear it


class Lines(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints plain lines; on a terminal a line of `Progress` replaces the one before."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.setFormatter(ConsoleFormatter())
        self._drawn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        if not self.stream.isatty():
            super().emit(record)
            return
        if self._drawn:
            self.stream.write(CLEARED)
        share = getattr(record, PROGRESS, None)
        self._drawn = share is not None and share < 1
        self.terminator = "" if self._drawn else "\n"
        super().emit(record)

    def draw(self, text: str) -> None:
        """Replace the line drawn before; without a terminal, do nothing."""
        if self.stream.isatty():
            self.stream.write((CLEARED if self._drawn else "") + text)
            self.flush()
            self._drawn = True

    def close(self) -> None:
        """End an unfinished line of progress."""
        if self._drawn:
            self.stream.write("\n")
            self.flush()
            self._drawn = False
        super().close()
