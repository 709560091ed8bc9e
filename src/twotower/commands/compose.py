"""From the command line to plain, checked values; only here and in `of_the_run` is Hydra known."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twotower.commands.of_the_run import asked_of_the_run, check_trust, lend
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest, raise_problems
from twotower.pipeline.check import ALL_GROUPS, OPTIONAL_GROUPS, check
from twotower.sweeps.space import Axis

CONF = Path(__file__).parents[3] / "conf"
LOCAL = CONF / "local"
"""The user's own choices, not under version control."""
NOTHING_DONE = "the configuration; nothing was read or written"
OPTIONAL = OPTIONAL_GROUPS | {"experiment"}
QUOTING = """a value with brackets, commas or = in it needs quotes, as in 'key="value"'"""


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
    overrides = list(overrides)
    beginning, problems = lend(config_name, plain_file(config_name), overrides)
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose(beginning, [*overrides, *_searchpath(overrides)])
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_first_line(error)) from error
    while True:
        try:
            return plain(config), list(problems.values())
        except OmegaConfBaseException as error:
            key = str(error.full_key)
            if not key or key in problems:
                raise InputError(_first_line(error)) from error
            name = re.sub(r"\[(\w+)\]", r".\1", key)
            message = f"{_first_line(error)}; write the value itself, or a key that is there"
            problems[key] = Problem(name, message)
            OmegaConf.update(config, key, None, force_add=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as resolved plain values, without Hydra's own node."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def shape(config_name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the groups and the plain keys that a door's YAML names, itself or in a file it includes."""
    config = plain_file(config_name)
    groups = {key for entry in config["defaults"] if isinstance(entry, dict) for key in entry}
    return frozenset(groups & ALL_GROUPS), frozenset(_keys(config_name) - groups - {"defaults", "hydra"})


def _keys(name: str) -> set[str]:
    config = plain_file(name)
    included = [entry for entry in config.get("defaults", ()) if isinstance(entry, str) and entry != "_self_"]
    return set(config).union(*map(_keys, included))


def checked(
    config_name: str, overrides: Iterable[str], found_before: Iterable[Problem] = ()
) -> dict[str, Any]:
    """Compose and check, gathering every mistake: of the overrides, of the values and between the rooms.

    Args:
        config_name: the YAML in `conf/` to start from.
        overrides: one value each.
        found_before: mistakes to tell with these.

    Raises:
        InputError: lists all mistakes.
    """
    problems, sound = sound_overrides(overrides)
    problems = [*found_before, *problems]
    try:
        settings, unresolved = _composed(config_name, sound)
    except InputError as error:
        raise_problems([*problems, Problem("overrides", str(error))], NOTHING_DONE)
        raise
    unresolved += _misplaced(settings)
    told = {problem.key for problem in unresolved}
    asked = asked_of_the_run(plain_file(config_name))
    if asked and "run" not in told:
        check_trust(settings)
    told |= asked if "run" in told else set()
    found = [problem for problem in check(settings, *shape(config_name)) if problem.key not in told]
    raise_problems([*problems, *unresolved, *found], NOTHING_DONE)
    return settings


def _misplaced(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Find files of the user's own that Hydra takes otherwise than they are meant, without a word."""
    for path in sorted(LOCAL.glob("*/*.yaml")):
        if (CONF / path.relative_to(LOCAL)).is_file():
            message = "conf/ has a file of the same name, which is taken instead; rename yours"
            yield Problem(f"conf/local/{path.relative_to(LOCAL)}", message)
    if LOCAL.name in settings:
        yield Problem(LOCAL.name, "a file in conf/local itself must begin with the line # @package _global_")


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
        text.encode()
        override = OverridesParser.create().parse_override(text)
    except UnicodeEncodeError:
        return Problem(ascii(text), "is not UTF-8 text"), None
    except HydraException as error:
        if text.endswith(",") or ",," in text or "=," in text:
            return Problem(text, "an empty choice between or after the commas; leave it out"), None
        remedy = QUOTING if "=" in text else "write key=value"
        return Problem(text, f"{_first_line(error)}; {remedy}"), None
    key = override.key_or_group
    if override.is_sweep_override() and not sweep:
        return Problem(key, "has several values, which is a sweep: give one, or add --multirun"), None
    if key.startswith("hydra") and key != "hydra.searchpath":
        return Problem(
            key, "runs and sweeps are kept in <output_root>/<name>/; see name, sweep, launcher"
        ), None
    if override.is_delete() and key in ALL_GROUPS - OPTIONAL_GROUPS:
        message = "expected a choice with a _target_, and this takes it away"
        return Problem(key, f"{message}; {nearest('', choices(key))}"), None
    if override.is_delete() or not (CONF / key).is_dir():
        forced = (
            override.is_add() or override.is_force_add() or override.is_delete() or key.startswith("hydra")
        )
        return None, text if forced else f"++{text}"
    valid = choices(key)
    optional = {"null"} if key in OPTIONAL else set()
    wrong = [value for value in _values(override) if value not in valid.keys() | optional]
    if wrong:
        return Problem(key, f"unknown choice {wrong[0]!r}; {nearest(wrong[0], valid)}"), None
    return None, text


def is_swept(text: str) -> bool:
    """Say whether an override has several values; False where it cannot be read, which is told later."""
    try:
        return bool(OverridesParser.create().parse_override(text).is_sweep_override())
    except HydraException:
        return False


def _values(override: Override) -> list[str]:
    """Return an override's value, or all that it varies over, as they stand behind `key=`."""
    value = override.value()
    if isinstance(value, Glob):
        return value.filter(sorted(choices(override.key_or_group)))
    if override.is_sweep_override():
        return [str(each) for each in override.sweep_string_iterator()]
    return [override.get_value_string()]


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def axis_of(key: str, text: str) -> Axis:
    """Read what a key varies over, in the grammar of the command line.

    Args:
        key: a group or a key.
        text: behind `key=`, e.g. `32,64`, `range(1, 5)`, `tag(log, interval(1e-4, 1e-2))`.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException as error:
        raise InputError(f"{key}: {_first_line(error)}; {QUOTING}") from error
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        is_int = isinstance(value.start, int) and isinstance(value.end, int)
        return Axis(key, (), float(value.start), float(value.end), is_int, "log" in value.tags)
    values = tuple(_values(override))
    if not values or any(value in ("", "''", '""') for value in values):
        raise InputError(f"{key}: an empty choice in {text!r}; write values with commas between them")
    return Axis(key, values)


def show(config_name: str, flags: list[str], overrides: list[str]) -> None:
    """Let Hydra print what its own flags ask for, such as `--cfg job`."""
    beginning, problems = lend(config_name, plain_file(config_name), overrides)
    raise_problems(problems.values(), NOTHING_DONE)
    sys.argv[1:] = [*flags, *overrides, *_searchpath(overrides)]  # where Hydra looks
    hydra.main(config_path=str(CONF), config_name=beginning, version_base="1.3")(lambda _: None)()


def choices(group: str) -> dict[str, Path]:
    """Return name -> file of a group's choices, the user's own in `conf/local` among them."""
    places = (CONF / group, LOCAL / group)
    return {path.stem: path for place in places for path in sorted(place.glob("*.yaml"))}


def _searchpath(overrides: Iterable[str]) -> list[str]:
    given = any("hydra.searchpath" in override for override in overrides)
    return [f"hydra.searchpath=[file://{LOCAL}]"] if LOCAL.is_dir() and not given else []


def plain_file(name: str) -> dict[str, Any]:
    """Read `conf/<name>.yaml` as it stands, interpolations unresolved."""
    values = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
