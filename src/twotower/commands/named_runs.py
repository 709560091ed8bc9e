"""Runs that a command line names: `latest`, and `train` from the towers of a run."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twotower.commands.compose import compose
from twotower.commands.overrides import GRAMMAR
from twotower.commands.run_settings import quoted
from twotower.config.errors import InputError
from twotower.config.run_keys import REBUILD_BUNDLE, WARM_START
from twotower.config.trust import SETTING as TRUST
from twotower.experiments.runs.run_files import LATEST, Needs, resolve_latest

NEEDS: dict[str, Needs] = {
    **dict.fromkeys(("run", "bundle", WARM_START, REBUILD_BUNDLE), "bundle"),
    **{"resume": "run", "rerun": "result"},
}
"""Key whose value is the folder of a run -> what the command reads of the run."""
VERBATIM = ("run", "bundle", "note")
PATHS = ("out", "parts", "shards", "queries")
"""Keys whose value is a path that messages repeat in a command."""


def resolve_overrides(overrides: Sequence[str]) -> list[str]:
    """Return overrides with `latest` replaced by the folder of a run, which is printed.

    Raises:
        InputError: there is no such run.
    """
    return [
        f"{key}={_resolved(f'{key}=', value, NEEDS[key])}" if key in NEEDS else text
        for text in overrides
        for key, _, value in [text.partition("=")]
    ]


def resolve_paths(words: Sequence[str]) -> list[str]:
    """Return words of `twotower compare` with `latest` replaced by the folder of a run."""
    return [word if "=" in word or word.startswith("-") else _resolved("", word, "run") for word in words]


def _resolved(prefix: str, value: str, needs: Needs) -> str:
    folder = value.strip("'\"")
    if Path(folder).name != LATEST:
        return value
    try:
        found = resolve_latest(folder, Path(compose("train")["output_root"]), needs)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error
    if found == folder:  # a folder of this name
        return value
    print(f"{prefix}{folder}: {found}", file=sys.stderr)
    return found


def quote_verbatim(text: str) -> str:
    """Quote the value of a path or a note, because it may contain = and commas.

    In `PATHS`, escapes and interpolations keep their meaning.
    """
    key, _, value = text.partition("=")
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    is_path = key in PATHS and not GRAMMAR.isdisjoint(value) and {*"$\\"}.isdisjoint(value)
    return f"{key}={quoted(value)}" if (key in VERBATIM or is_path) and value and not is_quoted else text


def check_parent(mode: str, overrides: Sequence[str]) -> None:
    """Raise InputError if the parent run, under `run`, has not ended, or if overrides change its towers."""
    folder, *others = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith("run=")]
    if others:
        raise InputError(f"{mode}= is typed {len(others) + 1} times; name one run")
    from twotower.experiments.runs.result import read_finished_result

    read_finished_result(Path(folder), mode)
    from twotower.jobs.train_run import refuse_other_towers  # with torch

    refuse_other_towers(mode, overrides)


def train_from_parent(mode: str, settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Start a run from the towers of another: the task of the mode `warm_start` or `rebuild_bundle`."""
    from twotower.jobs.train_run import rebuild_bundle, warm_start

    changes = {key: value for key, value in settings.items() if key not in ("run", "debug", TRUST)}
    run = warm_start if mode == WARM_START else rebuild_bundle
    return run(Path(settings["run"]), changes, overrides, settings[TRUST])
