"""Run one command: flags such as `--help`, validation of the settings, the task, and the exit status."""

import functools
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from twotower.commands.compose import (
    NOTHING_DONE,
    as_run_config,
    compose_with_defaults,
    load_settings,
    load_settings_and_config,
)
from twotower.commands.conf import OVERLAYS, choices, shape
from twotower.commands.help import choices_text, group_text, help_text
from twotower.commands.named_runs import check_parent, quote_verbatim, resolve_overrides, train_from_parent
from twotower.commands.overrides import is_swept, validate_overrides
from twotower.config.errors import InputError
from twotower.config.exits import DONE, exit_status
from twotower.config.problems import NOT_VARIED, Problem, nearest, raise_problems
from twotower.config.run_keys import REBUILD_BUNDLE, WARM_START
from twotower.config.trust import SETTING as TRUST
from twotower.experiments.runs.fingerprint import flatten
from twotower.experiments.runs.run_files import LATEST, require_run
from twotower.parallel.launched import launched_size

HELP, MULTIRUN = ("--help", "-h"), ("--multirun", "-m")
FLAGS_WITH_VALUE = ("--cfg", "-c", "--info", "-i")
FLAGS = (*HELP, *MULTIRUN, *FLAGS_WITH_VALUE)

THE_COMMAND = "the command; nothing was read or written"

Task = Callable[[Any, Sequence[str]], int]
"""Receives the checked settings of a command (of `train` a `RunConfig`) and the overrides; returns the exit
status."""
MODE_KEYS = {"resume": ("console", "trainer.devices", "trainer.num_nodes"), "rerun": ("console",)}
"""Settings of a run that its resumption or repetition may change."""


def run_command(command: str, task: Task, description: str) -> None:
    """Run a command and leave with its exit status.

    Args:
        command: its settings come from its YAML in `conf/`; `demo` has the settings of `train`.
        task: receives the validated settings and the overrides; returns the exit status.
        description: printed by `--help`.
    """
    overrides, flags = split_arguments(sys.argv[1:])
    debug = "debug=true" in (override.lower() for override in overrides)
    raise SystemExit(exit_status(lambda: _answer(command, task, description, overrides, flags), debug))


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of a command line, and the flags with their values."""
    overrides: list[str] = []
    flags: list[str] = []
    for argument in arguments:
        is_value = bool(flags) and flags[-1] in FLAGS_WITH_VALUE
        (flags if argument.startswith("-") or is_value else overrides).append(argument)
    return overrides, flags


def _answer(command: str, task: Task, description: str, overrides: list[str], flags: list[str]) -> int:
    config_name, modes = "train" if command == "demo" else command, MODE_KEYS if command == "train" else {}
    is_help = not set(HELP).isdisjoint(flags)
    if not is_help:
        raise_problems(_hints(config_name, overrides, flags, modes), THE_COMMAND)
        overrides = resolve_overrides(overrides)
    typed = {text.partition("=")[0] for text in overrides}
    parents = [key for key in (WARM_START, REBUILD_BUNDLE) if key in typed]
    if command == "train" and parents:
        mode = parents[0]
        overrides = [re.sub(f"^{mode}=", "run=", text) for text in overrides]
        if not is_help:
            check_parent(mode, overrides)
        command, config_name, task, modes = mode, mode, functools.partial(train_from_parent, mode), {}
    elif command == "train" and any(key.lstrip("+").startswith(f"{WARM_START}.") for key in typed):
        raise InputError(f"{WARM_START}: a setting of {WARM_START}=RUN_FOLDER; name the run, too")
    overrides = list(map(quote_verbatim, overrides))
    if is_help:
        groups = [text for text in overrides if "=" not in text]
        texts = [group_text(config_name, group, choices) for group in groups]
        print("\n\n".join(texts or [help_text(config_name, description, choices)]))
        return DONE
    if "choices" in flags:
        print(choices_text(config_name, choices))
        return DONE
    for mode in modes:
        if folders := [text.partition("=")[2] for text in overrides if text.startswith(f"{mode}=")]:
            return _reopen_run(mode, folders, overrides)
    if others := [flag for flag in flags if flag not in MULTIRUN]:
        for text in filter(is_swept, overrides):
            raise InputError(f"{text}: several values, but {others[0]} shows one job; give one value")
        problems, valid_overrides = validate_overrides(overrides)
        raise_problems(problems, NOTHING_DONE)
        if others not in (["--cfg", "job"], ["-c", "job"]):
            raise InputError(f"{others[0]}: expected --cfg job, or --info choices")
        print(OmegaConf.to_yaml(compose_with_defaults(config_name, valid_overrides)), end="")
        load_settings(config_name, overrides)
        return DONE
    return _run(command, config_name, task, overrides, multirun=bool(flags))


def _hints(
    config_name: str, overrides: Sequence[str], flags: Sequence[str], modes: Collection[str]
) -> Iterator[Problem]:
    """Yield suggestions for unknown flags, and for paths without a key."""
    chosen, keys = shape(config_name)
    known = chosen | keys | {*modes, *OVERLAYS}
    for word in flags:
        name, _, value = word.partition("=")
        key = name.lstrip("-").replace("-", "_")
        if not word.startswith("-") or name in FLAGS:
            continue
        if key.partition(".")[0] in known:
            yield Problem(name, f"keys have no dashes; write {key}={value or '...'}")
        else:
            yield Problem(name, f"unknown flag; {nearest(name, FLAGS)}")
    folder_key = next((key for key in ("run", "bundle", "bundles") if key in keys), "resume")
    for word in overrides:
        key, equals, _ = word.partition("=")
        if word[:1] in "+~" or not ("/" in key or (not equals and Path(word).exists())):
            continue
        if folder_key == "resume" and Path(word).is_file():
            yield Problem(word, f"for your own data, run: twotower init {word} --name NAME")
        else:
            yield Problem(word, f"a path needs its key; write {folder_key}={word}")


def _reopen_run(mode: str, folders: list[str], overrides: list[str]) -> int:
    """Resume or rerun a run, with the typed values of `MODE_KEYS`."""
    if len(folders) > 1:
        raise InputError(f"{mode}= is typed {len(folders)} times; name one run")
    if not folders[0]:
        raise InputError(f"{mode}: expected the folder of a run; write {mode}={LATEST} for the newest one")
    folder, keys = Path(folders[0]), MODE_KEYS[mode]
    free = (f"{TRUST}=", *(f"{key}=" for key in keys))
    taken = [text for text in overrides if text.startswith(free)]
    others = [text for text in overrides if not text.startswith((f"{mode}=", *free, "debug="))]
    if others:
        raise InputError(f"{mode}={folders[0]} uses the settings of the run; leave out {', '.join(others)}")
    try:
        require_run(folder)
    except InputError as error:
        raise InputError(f"{mode}={error}") from error
    settings = load_settings("train", taken)
    values = flatten(settings)
    changes = {key: values[key] for key in keys if any(text.startswith(f"{key}=") for text in taken)}
    if mode == "resume":
        from twotower.jobs import train_run

        return train_run.resume(folder, settings[TRUST], changes)
    from twotower.jobs import rerun

    return rerun.rerun(folder, settings[TRUST], changes)


def _run(command: str, config_name: str, task: Task, overrides: list[str], multirun: bool) -> int:
    sweeps = config_name == "train"
    if multirun and command != "train":
        raise InputError("--multirun: only twotower train has sweeps")
    swept: list[str] = []
    if multirun or (sweeps and any(text.startswith(("sweep=", "seeds=")) for text in overrides)):
        swept = [text for text in overrides if is_swept(text) or text.startswith(NOT_VARIED)]
    fixed = [text for text in overrides if text not in swept]
    problems, _ = validate_overrides(swept, sweep=True)
    settings, config = load_settings_and_config(config_name, fixed, problems)
    if swept or settings.get("sweep") or settings.get("seeds", 1) > 1:
        from twotower.commands.run_sweep import run_sweep

        if command != "train":
            raise InputError("sweep, seeds: only twotower train has sweeps")
        if launched_size() > 1:
            raise InputError(
                "a sweep starts the processes of its jobs; type it without torchrun, with trainer.devices, "
                "and with launcher=slurm or launcher=ray for several machines"
            )
        return run_sweep(config_name, fixed, swept, settings)
    if not sweeps:
        return task(settings, overrides)
    remedy = "give a key several values, such as seed=1,2" if multirun else "add -m, sweep= or seeds="
    for text in overrides:
        if text.startswith(("launcher=", "launcher.", "retry_failed=")):
            key = text.partition("=")[0]
            print(f"warning: {key}: no effect on a single run; {remedy}", file=sys.stderr)
    return task(as_run_config(config, settings, overrides), overrides)
