"""The verbs that go on from a run, on its own settings and what else is typed: `continue=`, `refresh=`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.run_keys import CONTINUE
from twotower.config.trust import SETTING as TRUST
from twotower.runs.run_files import refuse_no_run

REFRESH = "refresh"
DOOR = "train"
"""Whose verbs these are."""
OF_THE_DOOR = ("run", "debug", TRUST)


def verb_of(config_name: str, overrides: Sequence[str]) -> str | None:
    """Return the verb that is typed, if one is.

    Raises:
        InputError: a setting of one is typed, and no verb.
    """
    if config_name != DOOR:
        return None
    for verb in (CONTINUE, REFRESH):
        if any(text.startswith(f"{verb}=") for text in overrides):
            return verb
    lost = [text for text in overrides if text.lstrip("+").startswith(f"{CONTINUE}.")]
    if lost:
        raise InputError(f"{lost[0]}: says how {CONTINUE}=RUN_FOLDER goes on; name the run, too")
    return None


def of_a_run(verb: str, overrides: Sequence[str]) -> list[str]:
    """Return overrides with the run under the key that doors have for it."""
    begin = f"{verb}="
    return [f"run={text.removeprefix(begin)}" if text.startswith(begin) else text for text in overrides]


def check(verb: str, overrides: Sequence[str]) -> None:
    """Refuse a run that cannot be gone on from, and other towers than its own.

    Raises:
        InputError: says so.
    """
    folders = [text.partition("=")[2] for text in overrides if text.startswith("run=")]
    if len(folders) > 1:
        raise InputError(f"{verb}= is typed {len(folders)} times; name one run")
    folder = Path(folders[0].strip("'\""))
    try:
        refuse_no_run(folder)
    except InputError as error:
        raise InputError(f"{verb}={error}") from error
    from twotower.pipeline.go_on import ended_run, refuse_other_towers  # with torch

    ended_run(folder, verb)
    refuse_other_towers(verb, overrides)


def task_of(verb: str) -> Callable[[dict[str, Any], Sequence[str]], int]:
    """Return what a verb does with its settings and with what was typed."""

    def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
        from twotower.pipeline.go_on import go_on, refresh

        changes = {key: value for key, value in settings.items() if key not in OF_THE_DOOR}
        run = go_on if verb == CONTINUE else refresh
        return run(Path(settings["run"]), changes, overrides, settings[TRUST])

    return task
