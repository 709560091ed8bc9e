"""The only module that knows Hydra and OmegaConf: from the command line to plain, checked values.

A door is a script with one verb. `run_door` gives every door the same manners: `--help`, all mistakes of the
configuration at once and before any data is read, one folder a run, and the exit status.
"""

import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twotower.check import ALL_GROUPS, check
from twotower.errors import InputError
from twotower.problems import Problem, nearest, raise_problems

CONF = Path(__file__).parents[2] / "conf"
DONE, FAILED, USER_INPUT, INDEX_REJECTED = 0, 1, 2, 3
"""Exit status of every door."""

Task = Callable[[dict[str, Any], Path], int]


def compose(config_name: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Compose `conf/<config_name>.yaml` with overrides into plain resolved values.

    Raises:
        InputError: an override or an interpolation is wrong.
    """
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose(config_name, list(overrides))
        return plain(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_first_line(error)) from error


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as resolved plain values, without Hydra's own node."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def shape(config_name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the groups and the plain keys that a door's YAML names."""
    config = plain_file(CONF / f"{config_name}.yaml")
    groups = {key for entry in config["defaults"] if isinstance(entry, dict) for key in entry}
    return frozenset(groups & ALL_GROUPS), frozenset(config) - {"defaults", "hydra"}


def checked(config_name: str, overrides: list[str]) -> dict[str, Any]:
    """Compose and check, gathering every mistake: of the overrides, of the values and between the rooms.

    Raises:
        InputError: lists all mistakes.
    """
    problems, sound = [], []
    for text in overrides:
        problem, override = _check_override(text)
        problems += [problem] if problem else []
        sound += [override] if override else []
    settings = compose(config_name, sound)
    raise_problems(
        [*problems, *check(settings, *shape(config_name))], "the configuration; nothing was read or written"
    )
    return settings


def _check_override(text: str) -> tuple[Problem | None, str | None]:
    """Return what is wrong with an override, or the override in a form that composes with any key.

    Hydra stops at the first unknown key and offers no name; forced in with `++`, unknown keys reach our own
    check, which reports them all.
    """
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        return Problem(text, _first_line(error)), None
    key = override.key_or_group
    group = CONF / key
    if override.is_delete() or not group.is_dir():
        forced = (
            override.is_add() or override.is_force_add() or override.is_delete() or key.startswith("hydra")
        )
        return None, text if forced else f"++{text}"
    choices = {path.stem for path in group.glob("*.yaml")}
    value = override.value()
    if value is not None and str(value) not in choices:
        return Problem(key, f"unknown choice {value!r}; {nearest(str(value), choices)}"), None
    return None, text


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
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    flags = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    if {"-h", "--help"} & set(flags):
        print(help_text(config_name, description))
        raise SystemExit(DONE)
    debug = "debug=true" in (override.lower() for override in overrides)

    def guarded() -> int:
        folders = [text.removeprefix("resume=") for text in overrides if text.startswith("resume=")]
        if resume is not None and folders:
            return resume(_only(folders[0], overrides))
        if not flags:
            checked(config_name, overrides)
        return _run_hydra(config_name, task, debug)

    raise SystemExit(exit_status(guarded, debug))


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


def help_text(config_name: str, description: str) -> str:
    """Return what `--help` prints: the door's description, then each group's choices and the plain keys."""
    lines = [description.strip(), "", "Groups (group=choice):"]
    config = plain_file(CONF / f"{config_name}.yaml")
    config.pop("hydra", None)
    for entry in config.pop("defaults"):
        for group, default in entry.items() if isinstance(entry, dict) else ():
            if (CONF / group).is_dir():
                choices = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
                lines.append(f"  {group:<12} {choices}  [{default}]")
    lines += ["", "Keys (key=value; every key of a choice too, e.g. loss.temperature=0.05):"]
    lines += [f"  {key:<14} [{value}]" for key, value in config.items()]
    lines += ["", "--cfg job prints the whole configuration."]
    lines += ["Exit status: 0 done, 1 failed, 2 your input, 3 index rejected."]
    return "\n".join(lines)


def plain_file(path: Path) -> dict[str, Any]:
    """Read one YAML as it stands, interpolations unresolved."""
    values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
