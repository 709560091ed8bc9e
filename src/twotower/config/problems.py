"""Mistakes of a user's, gathered and then told all at once."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from twotower.config.errors import InputError

NOT_VARIED = "~sweep.vary."
"""What stands before a key that a named sweep shall not vary."""

LONGEST_NAME, LONGEST_LIST = 60, 400
"""Characters of a message: the header of a binary file, taken for CSV, has names of thousands."""


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


class Gathered:
    """What several checks refuse, so that one message tells it all.

    Args:
        what: the checks are of, for the message.
        messages: what was refused so far.
    """

    def __init__(self, what: str, messages: Iterable[str] = ()) -> None:
        self.what = what
        self.messages = list(messages)

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """Keep what an `InputError` in this block says, and go on after the block."""
        try:
            yield
        except InputError as error:
            self.messages.append(str(error))

    def raise_if_any(self) -> None:
        """Raise one `InputError` with all messages, if there are any; a single one as it stands."""
        found = list(dict.fromkeys(self.messages))
        if len(found) == 1:
            raise InputError(found[0])
        if found:
            raise InputError("\n  ".join([f"{len(found)} mistakes in {self.what}", *found]))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a phrase that offers the nearest of the valid names and lists them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    valid_names = f"valid: {listed(names)}" if names else "none are valid here"
    return f"did you mean {legible(close[0])!r}? {valid_names}" if close else valid_names


def listed(names: Iterable[str]) -> str:
    """Return names with commas between them, each legible; of a very long list the beginning."""
    shown = [legible(name) for name in names]
    kept, length = 0, 0
    while kept < len(shown) and length + len(shown[kept]) <= LONGEST_LIST:
        length += len(shown[kept]) + 2
        kept += 1
    more = len(shown) - kept
    return ", ".join(shown[:kept]) + (f" and {more:,} more" if more else "")


def legible(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a text with escapes for what cannot be printed, and cut where it is very long."""
    beginning = text[:longest]
    printable = beginning if beginning.isprintable() else repr(beginning)[1:-1]
    return printable[:longest] + ("..." if max(len(text), len(printable)) > longest else "")
