"""Modes of `train` that start from a run: `warm_start=` trains further, `rebuild_bundle=` does not."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.config.trust import SETTING as TRUST
from twotower.runs.run_files import require_run

REBUILD_BUNDLE = "rebuild_bundle"
NOT_OF_THE_RUN = ("run", "debug", TRUST)


def mode_of(overrides: Sequence[str]) -> str | None:
    """Return the mode in the overrides of `train`, or None.

    Raises:
        InputError: a setting of a mode is typed without the mode.
    """
    for mode in (WARM_START, REBUILD_BUNDLE):
        if any(text.startswith(f"{mode}=") for text in overrides):
            return mode
    for text in overrides:
        if text.lstrip("+").startswith(f"{WARM_START}."):
            raise InputError(f"{text}: a setting of {WARM_START}=RUN_FOLDER; name the run, too")
    return None


def with_run(mode: str, overrides: Sequence[str]) -> list[str]:
    """Return overrides with the folder of the run under the key `run`."""
    begin = f"{mode}="
    return [f"run={text.removeprefix(begin)}" if text.startswith(begin) else text for text in overrides]


def check(mode: str, overrides: Sequence[str]) -> None:
    """Raise InputError if the parent run has not ended, or if overrides change its towers."""
    folder, *others = [text.partition("=")[2].strip("'\"") for text in overrides if text.startswith("run=")]
    if others:
        raise InputError(f"{mode}= is typed {len(others) + 1} times; name one run")
    try:
        require_run(Path(folder))
    except InputError as error:
        raise InputError(f"{mode}={error}") from error
    from twotower.pipeline.train_run import refuse_other_towers  # with torch
    from twotower.runs.result import read_finished_result

    read_finished_result(Path(folder), mode)
    refuse_other_towers(mode, overrides)


def task_of(mode: str) -> Callable[[dict[str, Any], Sequence[str]], int]:
    """Return the task of a mode; see `run_command`."""

    def task(settings: dict[str, Any], overrides: Sequence[str]) -> int:
        from twotower.pipeline.train_run import rebuild_bundle, warm_start

        changes = {key: value for key, value in settings.items() if key not in NOT_OF_THE_RUN}
        run = warm_start if mode == WARM_START else rebuild_bundle
        return run(Path(settings["run"]), changes, overrides, settings[TRUST])

    return task
