"""The modes of `train` that start from a run: `warm_start=` trains it further, `rebuild_bundle=` does not."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.config.trust import SETTING as TRUST
from twotower.runs.run_files import refuse_no_run

REBUILD_BUNDLE = "rebuild_bundle"
COMMAND = "train"
"""The command that has these modes."""
OF_THE_COMMAND = ("run", "debug", TRUST)


def mode_of(config_name: str, overrides: Sequence[str]) -> str | None:
    """Return the mode in the overrides, or None.

    Raises:
        InputError: a setting of a mode is given without the mode.
    """
    if config_name != COMMAND:
        return None
    for mode in (WARM_START, REBUILD_BUNDLE):
        if any(text.startswith(f"{mode}=") for text in overrides):
            return mode
    lost = [text for text in overrides if text.lstrip("+").startswith(f"{WARM_START}.")]
    if lost:
        raise InputError(f"{lost[0]}: says how {WARM_START}=RUN_FOLDER goes on; name the run, too")
    return None


def of_a_run(mode: str, overrides: Sequence[str]) -> list[str]:
    """Return overrides with the run under the key that commands have for it."""
    begin = f"{mode}="
    return [f"run={text.removeprefix(begin)}" if text.startswith(begin) else text for text in overrides]


def check(mode: str, overrides: Sequence[str]) -> None:
    """Refuse a parent run that has not ended, and settings that change its towers.

    Raises:
        InputError: says so.
    """
    folders = [text.partition("=")[2] for text in overrides if text.startswith("run=")]
    if len(folders) > 1:
        raise InputError(f"{mode}= is typed {len(folders)} times; name one run")
    folder = Path(folders[0].strip("'\""))
    try:
        refuse_no_run(folder)
    except InputError as error:
        raise InputError(f"{mode}={error}") from error
    from twotower.pipeline.grown_data import read_finished_run, refuse_other_towers  # with torch

    read_finished_run(folder, mode)
    refuse_other_towers(mode, overrides)


def task_of(mode: str) -> Callable[[dict[str, Any], Sequence[str]], int]:
    """Return the task of a mode, called with the settings and the overrides."""

    def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
        from twotower.pipeline.grown_data import rebuild_bundle, warm_start

        changes = {key: value for key, value in settings.items() if key not in OF_THE_COMMAND}
        run = warm_start if mode == WARM_START else rebuild_bundle
        return run(Path(settings["run"]), changes, overrides, settings[TRUST])

    return task
