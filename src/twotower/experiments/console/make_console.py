"""The console of a mode, and of commands without runs."""

import contextlib
import logging
from collections.abc import Iterator

from twotower.experiments.console.console import Console, JsonLines, Quiet
from twotower.experiments.console.rich import Rich


def make_console(mode: str) -> Console:
    """Return the console of a value of the setting `console`, or of `silent`, for jobs of a sweep."""
    consoles: dict[str, type[Console]] = {"quiet": Quiet, "jsonl": JsonLines, "silent": Console}
    return consoles[mode]() if mode in consoles else Rich(has_details=mode == "full")


@contextlib.contextmanager
def logging_console() -> Iterator[Console]:
    """Show what a command logs, from INFO on, in the mode `full`."""
    log = logging.getLogger("twotower")
    level = log.level
    with make_console("full") as console:
        log.addHandler(console)
        log.setLevel("INFO")
        try:
            yield console
        finally:
            log.removeHandler(console)
            log.setLevel(level)
