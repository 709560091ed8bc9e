"""Which console a mode of the settings means."""

import logging
from collections.abc import Mapping
from typing import Any

from twotower.config.errors import InputError
from twotower.reports.console.console import Console
from twotower.reports.console.jsonl import JsonLines
from twotower.reports.console.quiet import Quiet
from twotower.reports.console.rich import Rich

CONSOLES: dict[str, type[Console]] = {"rich": Rich, "quiet": Quiet, "jsonl": JsonLines, "silent": Console}


def console_of(mode: str) -> Console:
    """Return a console. Raises InputError: there is no such console."""
    if mode not in CONSOLES:
        raise InputError(f"console: expected rich, quiet or jsonl, got {mode!r}")
    return CONSOLES[mode]()


def screen_of(settings: Mapping[str, Any]) -> logging.Handler:
    """Return what shows the log lines of a run with these settings."""
    return console_of(settings["console"]).handler()
