"""The only module that knows Hydra and OmegaConf: from the command line to plain, checked values.

A door is a script with one verb. `run_door` gives every door the same manners: `--help`, all mistakes of the
configuration at once and before any data is read, one folder a run, and the exit status.
"""

import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twotower.check import ALL_GROUPS, check
from twotower.door_help import help_text
from twotower.errors import InputError
from twotower.problems import Problem, nearest, raise_problems

CONF = Path(__file__).parents[2] / "conf"
DONE, FAILED, USER_INPUT, INDEX_REJECTED = 0, 1, 2, 3
"""Exit status of every door."""

NOTHING_DONE = "the configuration; nothing was read or written"
QUOTING = """a value with brackets, commas or = in it needs quotes, as in 'key="value"'"""
FLAGS_WITH_VALUE = ("--cfg", "-c", "--package", "-p")

Task = Callable[[dict[str, Any], Path], int]


def compose(config_name: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Compose `conf/<config_name>.yaml` with overrides into plain resolved values.

    Raises:
        InputError: an override or an interpolation is wrong.
    """
    settings, problems = _composed(config_name, overrides)
    raise_problems(problems)
    return settings


def _composed(config_name: str, overrides: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """Compose; a value that cannot be resolved becomes None and a problem with its key."""
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose(config_name, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_first_line(error)) from error
    problems: dict[str, Problem] = {}
    while True:
        try:
            return plain(config), list(problems.values())
        except OmegaConfBaseException as error:
            key = str(error.full_key)
            if not key or key in problems:
                raise InputError(_first_line(error)) from error
            name = re.sub(r"\[(\w+)\]", r".\1", key)
            problems[key] = Problem(
                name, f"{_first_line(error)}; write the value itself, or a key that is there"
            )
            OmegaConf.update(config, key, None, force_add=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as resolved plain values, without Hydra's own node."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def shape(config_name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the groups and the plain keys that a door's YAML names, itself or in a file it includes."""
    config = plain_file(CONF / f"{config_name}.yaml")
    groups = {key for entry in config["defaults"] if isinstance(entry, dict) for key in entry}
    included = [entry for entry in config["defaults"] if isinstance(entry, str) and entry != "_self_"]
    keys = set(config).union(*(plain_file(CONF / f"{name}.yaml") for name in included))
    return frozenset(groups & ALL_GROUPS), frozenset(keys - {"defaults", "hydra"})


def checked(config_name: str, overrides: Iterable[str]) -> dict[str, Any]:
    """Compose and check, gathering every mistake: of the overrides, of the values and between the rooms.

    Raises:
        InputError: lists all mistakes.
    """
    problems, sound = sound_overrides(overrides)
    try:
        settings, unresolved = _composed(config_name, sound)
    except InputError as error:
        raise_problems([*problems, Problem("overrides", str(error))], NOTHING_DONE)
        raise
    told = {problem.key for problem in unresolved}
    found = [problem for problem in check(settings, *shape(config_name)) if problem.key not in told]
    raise_problems([*problems, *unresolved, *found], NOTHING_DONE)
    return settings


def sound_overrides(texts: Iterable[str], sweep: bool = False) -> tuple[list[Problem], list[str]]:
    """Return what is wrong with overrides, and those that are sound in a form that composes with any key.

    Args:
        texts: as on the command line.
        sweep: whether a key may have several values.
    """
    found = [_check_override(text, sweep) for text in texts]
    problems = [problem for problem, _ in found if problem]
    return problems, [override for _, override in found if override]


def _check_override(text: str, sweep: bool) -> tuple[Problem | None, str | None]:
    """Return what is wrong with an override, or its sound form.

    Hydra stops at the first unknown key and offers no name; forced in with `++`, unknown keys reach our own
    check, which reports them all. Keys that have a default in Python but are not in the YAML need it too.
    """
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        remedy = QUOTING if "=" in text else "write key=value"
        return Problem(text, f"{_first_line(error)}; {remedy}"), None
    key = override.key_or_group
    if override.is_sweep_override() and not sweep:
        return Problem(key, "has several values, which is a sweep: give one, or add --multirun"), None
    group = CONF / key
    if override.is_delete() or not group.is_dir():
        forced = (
            override.is_add() or override.is_force_add() or override.is_delete() or key.startswith("hydra")
        )
        return None, text if forced else f"++{text}"
    choices = {path.stem for path in group.glob("*.yaml")}
    wrong = [value for value in _values(override) if value not in choices]
    if wrong:
        return Problem(key, f"unknown choice {wrong[0]!r}; {nearest(wrong[0], choices)}"), None
    return None, text


def _values(override: Override) -> list[str]:
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return []
    swept = override.is_sweep_override()
    return [str(value) for value in (override.sweep_string_iterator() if swept else [override.value()])]


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def run_door(
    config_name: str,
    task: Task,
    description: str,
    resume: Callable[[Path], int] | None = None,
) -> None:
    """Run a script and leave with its exit status.

    Args:
        config_name: the YAML in `conf/` it starts from.
        task: is given the checked settings and the new run folder; returns the exit status.
        description: printed by `--help`.
        resume: what `resume=FOLDER` calls instead, where the door has it.
    """
    overrides, flags = split_arguments(sys.argv[1:])
    if {"-h", "--help"} & set(flags):
        print(help_text(CONF, config_name, description))
        raise SystemExit(DONE)
    debug = "debug=true" in (override.lower() for override in overrides)

    def guarded() -> int:
        folders = [text.removeprefix("resume=") for text in overrides if text.startswith("resume=")]
        if resume is not None and folders:
            return resume(_only(folders[0], overrides))
        if not flags:
            checked(config_name, overrides)
        problems, sound = sound_overrides(overrides, sweep=True)
        raise_problems(problems, NOTHING_DONE)
        sys.argv[1:] = [*flags, *sound]  # where Hydra looks
        return _run_hydra(config_name, task, debug)

    raise SystemExit(exit_status(guarded, debug))


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of a command line, and Hydra's flags with their values."""
    overrides: list[str] = []
    flags: list[str] = []
    for argument in arguments:
        is_value = bool(flags) and flags[-1] in FLAGS_WITH_VALUE
        (flags if argument.startswith("-") or is_value else overrides).append(argument)
    return overrides, flags


def exit_status(call: Callable[[], int], debug: bool) -> int:
    """Call, and turn what it raises into the exit status and one message on standard error."""
    try:
        return call()
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return USER_INPUT
    except KeyboardInterrupt:
        print("interrupted; go on with resume=<the run folder>", file=sys.stderr)
        return FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"failed: {type(error).__name__}: {error} (debug=true shows where)", file=sys.stderr)
        return FAILED


def _run_hydra(config_name: str, task: Task, debug: bool) -> int:
    worst = DONE

    def job(config: DictConfig) -> None:
        nonlocal worst
        settings = plain(config)

        def one() -> int:
            raise_problems(check(settings, *shape(config_name)))
            return task(settings, Path(HydraConfig.get().runtime.output_dir))

        worst = max(worst, exit_status(one, debug))

    hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(job)()
    return worst


def _only(folder: str, overrides: list[str]) -> Path:
    others = [text for text in overrides if not text.startswith("resume=") and not text.startswith("debug=")]
    if others:
        raise InputError(
            f"resume={folder} goes on with the run as it was configured; leave out {', '.join(others)}"
        )
    return Path(folder)


def plain_file(path: Path) -> dict[str, Any]:
    """Read one YAML as it stands, interpolations unresolved."""
    values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
