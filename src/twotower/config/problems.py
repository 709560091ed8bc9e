"""Mistakes in settings and data, reported all at once."""

import contextlib
import difflib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from twotower.config.errors import InputError

NOT_VARIED = "~sweep.vary."
"""Prefix of a key that a named sweep does not vary."""

MAX_NAME, MAX_LIST = 60, 400
"""Characters in messages; a binary file read as CSV may have column names of thousands."""


@dataclass(frozen=True)
class Problem:
    """A mistake: the key, and a message with a remedy."""

    key: str
    message: str


class Mistakes(InputError):  # noqa: N818
    """Several mistakes in one message.

    Attributes:
        problems: the mistakes.
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


class ErrorCollector:
    """Collects the messages of several checks, to raise them as one error."""

    def __init__(self, what: str, messages: Iterable[str] = ()) -> None:
        self.what = what
        self.messages = list(messages)

    @contextlib.contextmanager
    def collect(self, prefix: str = "") -> Iterator[None]:
        """Add the message of an `InputError` in this block with a prefix, and continue after the block."""
        try:
            yield
        except InputError as error:
            self.messages.append(f"{prefix}{error}")

    def raise_if_any(self) -> None:
        """Raise one `InputError` with all messages, if there are any; a single message is unchanged."""
        messages = list(dict.fromkeys(self.messages))
        if len(messages) == 1:
            raise InputError(messages[0])
        if messages:
            raise InputError("\n  ".join([f"{len(messages)} mistakes in {self.what}", *messages]))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint with the nearest valid name and all valid names."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    valid_names = f"valid: {listed(names)}" if names else "none are valid here"
    return f"did you mean {legible(close[0])!r}? {valid_names}" if close else valid_names


def listed(names: Iterable[str]) -> str:
    """Return legible names separated by commas; a long list is cut."""
    texts = [legible(name) for name in names]
    ends = itertools.accumulate(len(text) + len(", ") for text in texts)
    number = sum(end - len(", ") <= MAX_LIST for end in ends)
    more = len(texts) - number
    return ", ".join(texts[:number]) + (f" and {more:,} more" if more else "")


def legible(text: str, longest: int = MAX_NAME) -> str:
    """Return a text with escapes for unprintable characters, cut if it is long."""
    beginning = text[:longest]
    printable = beginning if beginning.isprintable() else repr(beginning)[1:-1]
    return printable[:longest] + ("..." if max(len(text), len(printable)) > longest else "")
