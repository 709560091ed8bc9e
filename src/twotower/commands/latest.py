"""`latest` in the place of a run's folder on the command line."""

import sys
from collections.abc import Sequence
from pathlib import Path

from twotower.commands.conf import own_defaults, plain_file
from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.runs.run_files import resolve_latest

WITH_BUNDLE = ("run", "bundle", WARM_START, "rebuild_bundle")
"""Keys whose commands read the bundle of the run."""
KEYS = (*WITH_BUNDLE, "resume", "rerun")
"""Keys whose value is the folder of a run."""


def output_root() -> Path:
    """Return the folder of runs: `output_root` of the user's own defaults, or else ours."""
    return Path(str(own_defaults().get("output_root", plain_file("run_keys")["output_root"])))


def resolve_overrides(overrides: Sequence[str]) -> list[str]:
    """Return overrides with the folder of a run in the place of `latest`, and print which one that is.

    Raises:
        InputError: there is no such run.
    """
    return [_resolved(text) for text in overrides]


def resolve_paths(words: Sequence[str]) -> list[str]:
    """Return words of `twotower compare` with the folder of a run in the place of `latest`."""
    return [word if "=" in word or word.startswith("-") else _named("", word, False) for word in words]


def _resolved(text: str) -> str:
    key, _, value = text.partition("=")
    return f"{key}={_named(f'{key}=', value, key in WITH_BUNDLE)}" if key in KEYS else text


def _named(prefix: str, value: str, with_bundle: bool) -> str:
    folder = value.strip("'\"")
    try:
        found = resolve_latest(folder, output_root(), with_bundle)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error
    if found == folder:
        return value
    print(f"{prefix}{folder}: {found}", file=sys.stderr)
    return found
