"""Log lines on a screen: how far something is stays one line, drawn again, where there is a terminal."""

import logging
import sys

from twotower.config.progress import PROGRESS

CLEARED = "\r\x1b[2K"  # back to the line's beginning, and nothing on it


class Lines(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints plain lines; those of `Progress` take each other's place on a terminal."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
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
        """Draw a line in the place of the one drawn before; nothing where there is no terminal."""
        if self.stream.isatty():
            self.stream.write((CLEARED if self._drawn else "") + text)
            self.flush()
            self._drawn = True

    def close(self) -> None:
        """End a line of progress that nothing came after: whoever speaks next begins a line."""
        if self._drawn:
            self.stream.write("\n")
            self.flush()
            self._drawn = False
        super().close()
