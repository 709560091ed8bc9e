"""Mistakes of a user's, gathered and then told all at once."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from twotower.errors import InputError

NOT_VARIED = "~sweep.vary."
"""What stands before a key that a named sweep shall not vary."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where, and what is wrong with what to do about it."""

    key: str
    message: str


class Mistakes(InputError):  # noqa: N818 - what a user made, not what failed
    """Several mistakes in one message.

    Attributes:
        problems: one a mistake.
    """

    def __init__(self, message: str, problems: list[Problem]) -> None:
        super().__init__(message)
        self.problems = problems


def raise_problems(problems: Iterable[Problem], what: str = "the configuration") -> None:
    """Raise one `Mistakes` that lists all problems, if there are any."""
    found = list(dict.fromkeys(problems))
    if found:
        mistakes = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
        lines = [f"  {problem.key}: {problem.message}" for problem in found]
        raise Mistakes("\n".join([f"{mistakes} in {what}", *lines]), found)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a phrase that offers the nearest of the valid names and lists all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listed = f"valid: {', '.join(names)}" if names else "none are valid here"
    return f"did you mean {close[0]!r}? {listed}" if close else listed
