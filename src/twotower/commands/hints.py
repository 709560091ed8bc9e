"""Suggestions for words that are not `key=value`: flags, paths, and values that the shell split."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from twotower.config.problems import Problem, nearest

OPENING, CLOSING = "[{(", "]})"


def hints(
    arguments: Sequence[str], flags: Collection[str], known: Collection[str], folder_key: str
) -> Iterator[Problem]:
    """Yield suggestions for words that cannot be overrides.

    Args:
        arguments: words of the command line.
        flags: existing flags.
        known: groups and keys of the command.
        folder_key: the key that takes a folder, such as `run`.
    """
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "-":  # of a list in YAML
            continue
        if word.startswith("-"):
            if word.partition("=")[0] not in flags:
                yield _flag_problem(word, waiting, flags, known)
        elif _depth(word) > 0:
            whole = [word]
            while waiting and _depth(" ".join(whole)) > 0:
                whole.append(waiting.pop(0))
            if _depth(" ".join(whole)) == 0:
                message = f"the shell splits a value at its spaces; write '{' '.join(whole)}'"
                yield Problem(word.partition("=")[0], message)
        elif word.endswith(":") and waiting:  # as in YAML
            yield Problem(word, f"write {word.removesuffix(':')}={waiting.pop(0)}")
        elif _is_path(word):
            yield Problem(word, _path_message(word, folder_key, known))


def _depth(text: str) -> int:
    """Return the number of open brackets of a value."""
    value = text.partition("=")[2]
    return sum(map(value.count, OPENING)) - sum(map(value.count, CLOSING))


def _flag_problem(word: str, waiting: list[str], flags: Collection[str], known: Collection[str]) -> Problem:
    name, equals, value = word.partition("=")
    key = name.lstrip("-").replace("-", "_")
    if key.partition(".")[0] not in known:
        return Problem(name, f"unknown flag; {nearest(name, flags)}")
    if not equals and waiting and "=" not in waiting[0] and not waiting[0].startswith("-"):
        value = waiting.pop(0)
    return Problem(name, f"keys have no dashes; write {key}={value or '...'}")


def _is_path(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return word[0] not in "+~" and ("/" in key or (not equals and Path(word).exists()))


def _path_message(word: str, folder_key: str, known: Collection[str]) -> str:
    group, _, choice = word.partition("/")
    if group in known and "=" not in word:
        return f"a choice needs =; write {group}={choice}"
    if folder_key == "resume" and Path(word).is_file():
        return f"for your own data, run: twotower init {word} --name NAME"
    return f"a path needs its key; write {folder_key}={word}"
