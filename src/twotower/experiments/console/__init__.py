"""Purpose: what a user sees of runs and sweeps on the screen, for people and for programs.

May import: what experiments may, but nothing heavy.
To add one: a file with a class that extends `Console`, named in `console.py`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # Until assemble.py is switched to `console_of`.
    if name in ("say", "audit_table", "result_table"):
        return getattr(__import__("twotower.experiments.console.old", fromlist=["old"]), name)
    raise AttributeError(name)
