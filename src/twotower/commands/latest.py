"""Replaces `latest` on the command line by the folder of the newest run."""

import sys
from collections.abc import Sequence
from pathlib import Path

from twotower.commands.compose import compose
from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.runs.run_files import LATEST, resolve_latest

WITH_BUNDLE = ("run", "bundle", WARM_START, "rebuild_bundle")
"""Keys whose commands read the bundle of the run."""
KEYS = (*WITH_BUNDLE, "resume", "rerun")
"""Keys whose value is the folder of a run."""


def output_root() -> Path:
    """Return the folder of runs by the user's defaults."""
    return Path(compose("train")["output_root"])


def resolve_overrides(overrides: Sequence[str]) -> list[str]:
    """Return overrides with `latest` replaced by the folder of a run, which is printed.

    Raises:
        InputError: there is no such run.
    """
    return [
        f"{key}={_resolved(f'{key}=', value, key in WITH_BUNDLE)}" if key in KEYS else text
        for text in overrides
        for key, _, value in [text.partition("=")]
    ]


def resolve_paths(words: Sequence[str]) -> list[str]:
    """Return words of `twotower compare` with `latest` replaced by the folder of a run."""
    return [word if "=" in word or word.startswith("-") else _resolved("", word, False) for word in words]


def _resolved(prefix: str, value: str, with_bundle: bool) -> str:
    folder = value.strip("'\"")
    if Path(folder).name != LATEST:
        return value
    try:
        found = resolve_latest(folder, output_root(), with_bundle)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error
    if found == folder:  # a folder of this name
        return value
    print(f"{prefix}{folder}: {found}", file=sys.stderr)
    return found
