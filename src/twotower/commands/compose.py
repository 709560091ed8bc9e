"""From the command line to plain, checked values."""

import contextlib
import copy
import functools
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from twotower.commands.command_keys import COMMANDS, SWEEP_ONLY
from twotower.commands.conf import (
    LOCAL,
    conf_state,
    groups,
    misplaced,
    places,
    plain_file,
    shape,
)
from twotower.commands.config_source import unknown_keys
from twotower.commands.overrides import first_line, sound_overrides
from twotower.commands.own_files import problems_of_own_files
from twotower.commands.run_settings import (
    OF_THE_DOOR,
    asked_of_the_run,
    check_trust,
    quoted,
    store_run_settings,
)
from twotower.config.component import Config
from twotower.config.errors import InputError
from twotower.config.problems import Problem, nearest, raise_problems
from twotower.config.reading import read
from twotower.config.trust import SETTING as TRUST
from twotower.config.trust import VARIABLE, trusted_by_variable
from twotower.runs.fingerprint import key_of
from twotower.runs.folder_name import problems_of_place

if TYPE_CHECKING:
    from twotower.pipeline.run_config import RunConfig

NOTHING_DONE = "the configuration; nothing was read or written"


def compose(config_name: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Compose `conf/<config_name>.yaml` with overrides into plain resolved values.

    Raises:
        InputError: an override or an interpolation is wrong.
    """
    settings, problems = _composed(config_name, overrides)
    raise_problems(problems)
    return settings


def _composed(config_name: str, overrides: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    config, problems = resolvable(config_name, overrides)
    return plain(config), problems


def resolvable(config_name: str, overrides: Iterable[str]) -> tuple[DictConfig, list[Problem]]:
    """Compose; a value that cannot be resolved becomes None and a problem with its key.

    Raises:
        InputError: Hydra cannot put it together.
    """
    overrides = list(overrides)
    is_trust_typed = any(key_of(text) == TRUST for text in overrides)
    beginning, problems = store_run_settings(plain_file(config_name), overrides)
    try:
        config = _put_together(config_name, beginning, overrides)
        if not is_trust_typed:
            _trust_by_variable(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(first_line(error)) from error
    except YAMLError as error:  # of a file of the user's own
        raise InputError(f"not YAML: {' '.join(str(error).split())}") from error
    while True:
        try:
            plain(config)
            return config, list(problems.values())
        except OmegaConfBaseException as error:
            key = str(error.full_key)
            if not key or key in problems:
                raise InputError(first_line(error)) from error
            name = re.sub(r"\[(\w+)\]", r".\1", key)
            message = f"{first_line(error)}; write the value itself, or a key that is there"
            problems[key] = Problem(name, message)
            OmegaConf.update(config, key, None, force_add=True)


def _put_together(config_name: str, beginning: str, overrides: Sequence[str]) -> DictConfig:
    """Compose with Hydra, which takes a tenth of a second.

    A selection of groups is composed once, as long as no file in `conf/` changes. Plain values are set
    afterwards, as Hydra sets them. Hydra itself handles other overrides and reports errors.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    selectors = groups() | {"experiment", LOCAL.name}
    _, keys = shape(config_name)
    values = [
        each
        for each in parsed
        if each.is_force_add()
        and each.package is None
        and ("." in each.key_or_group or each.key_or_group in keys - selectors)
    ]
    selected = [each for each in parsed if each not in values]
    is_selection = all(
        each.key_or_group in selectors and not isinstance(each.value(), dict | list) for each in selected
    )
    if beginning == OF_THE_DOOR and is_selection:
        texts = tuple(str(each.input_line) for each in selected)
        with contextlib.suppress(HydraException, OmegaConfBaseException):
            config = copy.deepcopy(_selection(config_name, texts, conf_state()))
            for each in values:
                OmegaConf.update(config, each.key_or_group, each.value(), merge=True, force_add=True)
            return config
    return _by_hydra(beginning, overrides)


@functools.lru_cache(maxsize=64)
def _selection(config_name: str, overrides: tuple[str, ...], state: Hashable) -> DictConfig:
    return _by_hydra(OF_THE_DOOR, overrides)


def _by_hydra(beginning: str, overrides: Sequence[str]) -> DictConfig:
    with hydra.initialize_config_dir(str(places()[0]), version_base="1.3"):
        return hydra.compose(beginning, [*overrides, *searchpath()])


def _trust_by_variable(config: DictConfig) -> None:
    """Set the packages that the user trusts, where none is typed; a command may have no such setting.

    Raises:
        InputError: a file in `conf/` names some.
    """
    if TRUST not in config:
        return
    if named := config.get(TRUST):
        raise InputError(
            f"{TRUST}: a file in conf/ sets it to {named}, and no file grants trust; delete it there, and "
            f"type {TRUST}=[...] or set {VARIABLE}"
        )
    OmegaConf.update(config, TRUST, trusted_by_variable(), force_add=True)


def searchpath() -> list[str]:
    """Return the override that lets Hydra look in all folders of choices but the first, its own."""
    rest = ",".join(quoted(f"file://{place}") for place in places()[1:])
    return [f"hydra.searchpath=[{rest}]"] if rest else []


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as resolved plain values, without Hydra's own node."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def checked(config_name: str, overrides: Iterable[str]) -> dict[str, Any]:
    """Compose and check; returns the plain values alone, see `checked_with_config`."""
    return checked_with_config(config_name, overrides)[0]


def checked_with_config(
    config_name: str, overrides: Iterable[str], found_before: Iterable[Problem] = ()
) -> tuple[dict[str, Any], Config]:
    """Compose and check the settings of a command.

    Mistakes in overrides, unknown keys and choices, and wrong plain keys are reported first, before torch is
    imported. If there are none, the values of all choices are checked, each alone and all together.

    Args:
        config_name: the YAML in `conf/` to start from.
        overrides: one value each.
        found_before: mistakes to report together with these.

    Returns:
        The plain values, and the settings that were read from them.

    Raises:
        InputError: lists all mistakes.
    """
    raise_problems(misplaced(), NOTHING_DONE)
    problems, sound = sound_overrides(overrides)
    problems = [*found_before, *problems]
    if config_name == "train" and (own := list(problems_of_own_files(sound))):
        raise_problems([*problems, *own], NOTHING_DONE)
    try:
        settings, unresolved = _composed(config_name, sound)
    except InputError as error:
        raise_problems([*problems, Problem("overrides", str(error))], NOTHING_DONE)
        raise
    told = {problem.key for problem in unresolved}
    asked = asked_of_the_run(plain_file(config_name))
    if asked and "run" not in told:
        check_trust(settings)
    told |= asked if "run" in told else set()
    is_target_typed = any("_target_" in text for text in sound)
    early = [*_of_plain_keys(config_name, settings), *(() if is_target_typed else unknown_keys(settings))]
    raise_problems([*problems, *unresolved, *(each for each in early if each.key not in told)], NOTHING_DONE)
    config, found = read_choices(config_name, settings)
    raise_problems(found, NOTHING_DONE)
    return settings, config


def load_run_config(overrides: Sequence[str]) -> "RunConfig":
    """Return the checked settings of one run of `twotower train`.

    Args:
        overrides: one value each.

    Raises:
        InputError: lists all mistakes; a sweep is one.
    """
    if isinstance(overrides, str):
        raise InputError(f"expected a list of overrides; write [{overrides!r}]")
    overrides = list(overrides)
    settings, config = checked_with_config("train", overrides)
    if settings.get("sweep") or settings.get("seeds", 1) > 1:
        raise InputError("sweep, seeds: several runs, and this is one; write twotower train, or a loop")
    return as_run_config(config, settings, overrides)


def as_run_config(config: Config, settings: Mapping[str, Any], overrides: Sequence[str]) -> "RunConfig":
    """Return the settings of `twotower train` without those of a sweep."""
    from twotower.pipeline.run_config import RunConfig

    assert isinstance(config, RunConfig)
    of_run = {key: value for key, value in settings.items() if key not in SWEEP_ONLY}
    return config.with_origin(of_run, overrides)


def _of_plain_keys(config_name: str, settings: Mapping[str, Any]) -> list[Problem]:
    chosen, keys = shape(config_name)
    known = chosen | keys
    found = [Problem(key, f"unknown key; {nearest(key, known)}") for key in settings if key not in known]
    plain = {key: value for key, value in settings.items() if key in keys}
    return [*found, *read(COMMANDS[config_name].keys, plain)[1], *problems_of_place(plain)]


def read_choices(config_name: str, settings: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """Read a command's settings and find every mistake in them; imports the classes of the choices.

    Args:
        config_name: of the command.
        settings: composed.
    """
    known = frozenset().union(*shape(config_name))
    kind = COMMANDS[config_name].kind()
    config, found = read(kind, {key: value for key, value in settings.items() if key in known})
    if config_name != "train":  # what starts from a run is checked with the rest of its settings
        return config, found
    from twotower.pipeline.run_config import RunConfig  # with torch, which the rest need not wait for

    assert isinstance(config, RunConfig)
    return config, [*found, *config.between()]
