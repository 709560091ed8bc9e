"""Run one command: flags such as `--help`, validation of the settings, the task, and the exit status."""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.commands import parent_run
from twotower.commands.compose import NOTHING_DONE, as_run_config, checked, checked_with_config
from twotower.commands.conf import choices, own_defaults, shape
from twotower.commands.help import choices_text, group_text, help_text
from twotower.commands.hints import hints
from twotower.commands.latest import resolve_overrides
from twotower.commands.overrides import is_swept, validate_overrides
from twotower.commands.run_settings import quoted
from twotower.commands.show import show
from twotower.config.errors import InputError
from twotower.config.exits import DONE, exit_status
from twotower.config.problems import NOT_VARIED, Problem, raise_problems
from twotower.config.trust import SETTING as TRUST
from twotower.runs.run_files import require_run

HELP, MULTIRUN = ("--help", "-h"), ("--multirun", "-m")
FLAGS_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--info", "-i")
FLAGS = (*HELP, *MULTIRUN, *FLAGS_WITH_VALUE, "--resolve")

FOLDER_KEYS = ("run", "bundle")
VERBATIM = (*FOLDER_KEYS, "folder", "note")
THE_COMMAND = "the command; nothing was read or written"

Task = Callable[[Any, Sequence[str]], int]
"""Receives the checked settings of a command (of `train` a `RunConfig`) and the overrides; returns the exit
status."""
Mode = Callable[[Path, Sequence[str], str | None], int]


def run_command(
    config_name: str,
    task: Task,
    description: str,
    modes: Mapping[str, Mode] | None = None,
) -> None:
    """Run a command and leave with its exit status.

    Args:
        config_name: the command's YAML in `conf/`.
        task: receives the validated settings and the overrides; returns the exit status.
        description: printed by `--help`.
        modes: key -> function that `key=RUN_FOLDER` calls instead, such as `resume`, with the folder, the
            trusted packages, and the console if it is typed.
    """
    overrides, flags = split_arguments(sys.argv[1:])
    debug = "debug=true" in (override.lower() for override in overrides)

    def guarded() -> int:
        named = overrides
        if not set(HELP) & set(flags):
            raise_problems(_hints(config_name, sys.argv[1:], modes or {}), THE_COMMAND)
            named = resolve_overrides(overrides)
        if mode := parent_run.mode_of(config_name, named):
            of_a_run = parent_run.of_a_run(mode, named)
            if not set(HELP) & set(flags):
                parent_run.check(mode, of_a_run)
            return _answer(mode, parent_run.task_of(mode), description, {}, of_a_run, flags)
        return _answer(config_name, task, description, modes or {}, named, flags)

    raise SystemExit(exit_status(guarded, debug))


def _answer(
    config_name: str,
    task: Task,
    description: str,
    modes: Mapping[str, Mode],
    overrides: list[str],
    flags: list[str],
) -> int:
    overrides = [_verbatim(text) for text in overrides]
    if set(HELP) & set(flags):
        own = _own(config_name)
        groups = [text for text in overrides if "=" not in text]
        texts = [group_text(config_name, group, choices, own) for group in groups]
        print("\n\n".join(texts or [help_text(config_name, description, choices, own)]))
        return DONE
    if "choices" in flags:
        print(choices_text(config_name, choices, _own(config_name)))
        return DONE
    for mode, call in modes.items():
        if folders := [text.partition("=")[2] for text in overrides if text.startswith(f"{mode}=")]:
            return call(*_only(mode, folders[0], config_name, overrides))
    if others := [flag for flag in flags if flag not in MULTIRUN]:
        return _show(config_name, others, overrides)
    return _run(config_name, task, overrides, multirun=bool(flags))


def _own(config_name: str) -> dict[str, Any]:
    return own_defaults() if config_name == "train" else {}


def _run(config_name: str, task: Task, overrides: list[str], multirun: bool) -> int:
    groups, _ = shape(config_name)
    sweeps = "sweep" in groups
    if multirun and not sweeps:
        raise InputError("--multirun: only twotower train has sweeps")
    swept: list[str] = []
    if multirun or (sweeps and any(text.startswith(("sweep=", "seeds=")) for text in overrides)):
        swept = [text for text in overrides if is_swept(text) or text.startswith(NOT_VARIED)]
    fixed = [text for text in overrides if text not in swept]
    problems, _ = validate_overrides(swept, sweep=True)
    settings, config = checked_with_config(config_name, fixed, problems)
    if swept or settings.get("sweep") or settings.get("seeds", 1) > 1:
        from twotower.commands.run_sweep import run_sweep

        return run_sweep(config_name, fixed, swept, settings)
    if sweeps:
        for text in overrides:
            if text.startswith(("launcher=", "launcher.", "retry_failed=")):
                key = text.partition("=")[0]
                print(f"warning: {key}: no effect on a single run; add -m, sweep= or seeds=", file=sys.stderr)
        return task(as_run_config(config, settings, overrides), overrides)
    return task(settings, overrides)


def _show(config_name: str, flags: list[str], overrides: list[str]) -> int:
    """Answer flags such as `--cfg`, then report the problems of the configuration."""
    for text in filter(is_swept, overrides):
        raise InputError(f"{text}: several values, but {flags[0]} shows one job; give one value")
    problems, sound = validate_overrides(overrides)
    raise_problems(problems, NOTHING_DONE)
    show(config_name, flags, sound)
    checked(config_name, overrides)
    return DONE


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of a command line, and the flags with their values."""
    overrides: list[str] = []
    flags: list[str] = []
    for argument in arguments:
        is_value = bool(flags) and flags[-1] in FLAGS_WITH_VALUE
        (flags if argument.startswith("-") or is_value else overrides).append(argument)
    return overrides, flags


def _hints(config_name: str, arguments: list[str], modes: Collection[str]) -> Iterator[Problem]:
    chosen, keys = shape(config_name)
    known = chosen | keys | {*modes, "experiment"}
    folder_key = next((key for key in (*FOLDER_KEYS, "bundles", "folder") if key in keys), "resume")
    values = {at + 1 for at, word in enumerate(arguments) if word in FLAGS_WITH_VALUE}
    words = [word for at, word in enumerate(arguments) if at not in values]
    return hints(words, FLAGS, known, folder_key)


def _verbatim(text: str) -> str:
    """Quote the value of a run's folder or a note, because it may contain = and commas."""
    key, _, value = text.partition("=")
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return f"{key}={quoted(value)}" if key in VERBATIM and value and not is_quoted else text


def _only(
    mode: str, folder: str, config_name: str, overrides: list[str]
) -> tuple[Path, list[str], str | None]:
    """Return the run folder of a mode, the trusted packages, and the console if it is typed."""
    free = (f"{TRUST}=", "console=")
    taken = [text for text in overrides if text.startswith(free)]
    others = [text for text in overrides if not text.startswith((f"{mode}=", *free, "debug="))]
    if others:
        raise InputError(f"{mode}={folder} uses the settings of the run; leave out {', '.join(others)}")
    require_run(Path(folder))
    settings = checked(config_name, taken)
    console = settings["console"] if any(text.startswith("console=") for text in taken) else None
    return Path(folder), settings[TRUST], console
