"""What a command line was meant to be: flags of other tools, folders without a key, spaces in a list."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from twotower.commands.conf import shape
from twotower.config.errors import InputError
from twotower.config.problems import Problem

VERBS = frozenset({"resume", "rerun", "continue", "refresh"})
"""Of scripts/train.py, beside its keys."""
NOT_QUOTED = frozenset("[]{}(),=$'\"\\")
"""Characters that mean something in the grammar of overrides."""


def meant_by_flag(flag: str, arguments: Sequence[str], config_name: str) -> str | None:
    """Return what to write instead of `--key value`, `--key=value` or `--some-key`; None for no key of ours.

    Args:
        flag: that is unknown.
        arguments: all that was typed.
        config_name: of the door.
    """
    key, equals, value = flag.lstrip("-").partition("=")
    key = key.replace("-", "_")
    if key.partition(".")[0] not in frozenset().union(*shape(config_name)) | VERBS:
        return None
    behind = arguments[arguments.index(flag) + 1 :]
    if not equals:
        is_value = bool(behind) and "=" not in behind[0] and not behind[0].startswith("-")
        value = behind[0] if is_value else "VALUE"
    return f"write {shlex.quote(f'{key}={value}')}"


def refuse_bare_folder(overrides: Iterable[str], config_name: str, folder_keys: Iterable[str]) -> None:
    """Refuse a path without a key where a door begins from a folder. Raises InputError: says which key."""
    _, keys = shape(config_name)
    key = next((key for key in folder_keys if key in keys), None)
    for text in overrides:
        if key and ("/" in text.partition("=")[0] or ("=" not in text and Path(text).exists())):
            raise InputError(f"{text}: write {shlex.quote(f'{key}={text}')}")


def joined(texts: Iterable[str]) -> tuple[list[Problem], list[str]]:
    """Return what the shell split at the spaces of a list, with how to write it, and all other overrides."""
    problems: list[Problem] = []
    whole: list[str] = []
    parts: list[str] = []
    for text in texts:
        if not parts and not ("=" in text and _depth(text) > 0):
            whole.append(text)
            continue
        parts.append(text)
        if _depth("".join(parts)) <= 0:
            written = shlex.quote("".join(parts))
            message = f"the shell split it at its spaces; write {written}, without them"
            problems.append(Problem(" ".join(parts), message))
            parts = []
    return problems, [*whole, *parts]


def _depth(text: str) -> int:
    return text.count("[") - text.count("]")


def as_text(override: str) -> str | None:
    """Return an override whose value is in quotes, if that makes it one that can be read."""
    key, equals, value = override.partition("=")
    quote = next((mark for mark in "\"'" if mark not in value), None)
    if not equals or not value or quote is None or "\\" in value:
        return None
    quoted = f"{key}={quote}{value}{quote}"
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return None
    return quoted
