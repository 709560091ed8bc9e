"""From the command line to plain, checked values."""

import copy
import difflib
import functools
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from twotower.commands.command_keys import COMMANDS, SWEEP_ONLY, settings_class
from twotower.commands.conf import (
    LOCAL,
    OVERLAYS,
    SIZE,
    choices,
    conf_state,
    first_line,
    groups,
    groups_of,
    misplaced,
    nearest_choice,
    places,
    plain_file,
    shape,
)
from twotower.commands.config_source import config_keys, unknown_keys
from twotower.commands.overrides import validate_overrides
from twotower.commands.own_files import problems_of_own_files, setting_file
from twotower.commands.run_settings import (
    OF_THE_COMMAND,
    check_trust,
    keys_from_run,
    literal,
    quoted,
    store_run_settings,
)
from twotower.commands.size import apply_size
from twotower.config.component import Config
from twotower.config.errors import InputError
from twotower.config.problems import Mistakes, Problem, nearest, raise_problems
from twotower.config.reading import read
from twotower.config.spec import TARGET
from twotower.config.trust import SETTING as TRUST
from twotower.config.trust import VARIABLE, trusted_by_variable
from twotower.experiments.runs.benchmark import contract_problems, fixed_settings
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.folder_name import output_folder_problems

if TYPE_CHECKING:
    from twotower.jobs.run_config import RunConfig

MEDIUM = "medium"
"""The size that sets nothing."""
NOTHING_DONE = "the configuration; nothing was read or written"
UNUSED = tuple(
    f"~hydra/{group}"
    for group in (
        "env",
        "help",
        "hydra_help",
        "hydra_logging",
        "job_logging",
        "launcher",
        "output",
        "sweeper",
    )
)
"""Overrides that leave out settings of Hydra's own command line, a fifth of the time to compose."""


def compose(config_name: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Compose `conf/<config_name>.yaml` with overrides into plain resolved values.

    Raises:
        InputError: an override or an interpolation is wrong.
    """
    config, problems = compose_resolvable(config_name, overrides)
    raise_problems(problems)
    return plain(config)


def compose_resolvable(config_name: str, overrides: Iterable[str]) -> tuple[DictConfig, list[Problem]]:
    """Compose; a value that cannot be resolved becomes None and a problem with its key.

    Raises:
        InputError: a file of the user is misplaced or wrong, or Hydra cannot compose it.
    """
    overrides = list(overrides)
    raise_problems(misplaced(), NOTHING_DONE)
    if config_name == "train":
        raise_problems(problems_of_own_files(overrides), NOTHING_DONE)
    root, problems = store_run_settings(plain_file(config_name), overrides)
    try:
        config = _composed(config_name, root, overrides)
        _apply_size(config, overrides)
        _fix_benchmark(config)
    except (HydraException, OmegaConfBaseException) as error:
        if missing := re.search(r"Could not find '(\w+)/([\w-]+)'", str(error)):  # features of data=NAME
            group, name = missing.groups()
            raise_problems(
                [Problem(group, f"unknown choice {name!r}; {nearest_choice(name, group)}")], NOTHING_DONE
            )
        raise InputError(first_line(error)) from error
    if not any(override_key(text) == TRUST for text in overrides):
        _trust_by_variable(config)
    while True:
        try:
            plain(config)
            return config, list(problems.values())
        except OmegaConfBaseException as error:
            key = str(error.full_key)
            if not key or key in problems:
                raise InputError(first_line(error)) from error
            name = re.sub(r"\[(\w+)\]", r".\1", key)
            message = f"{first_line(error)}; write the value itself, or an existing key"
            problems[key] = Problem(name, message)
            OmegaConf.update(config, key, None, force_add=True)


def _composed(config_name: str, root: str, overrides: Sequence[str]) -> DictConfig:
    """Compose with Hydra, which takes a fifth of a second for each selection of choices.

    A selection is composed once while no YAML changes. Values (`++key=value`) are set afterwards, and keys
    (`~key`) deleted, as Hydra does.
    """
    selectors = groups() | OVERLAYS | {LOCAL.name}
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    selected = tuple(str(each.input_line) for each in parsed if each.key_or_group in selectors)
    changes = [each for each in parsed if each.key_or_group not in selectors]
    if root != OF_THE_COMMAND or not all(map(_is_change, changes)):
        return _by_hydra(root, overrides)
    config = copy.deepcopy(_selection(config_name, selected, conf_state()))
    try:
        for each in changes:
            if each.is_delete():
                _delete(config, each.key_or_group)
            else:
                OmegaConf.update(config, each.key_or_group, each.value(), merge=True, force_add=True)
    except OmegaConfBaseException:
        return _by_hydra(root, overrides)  # its error names the override
    return config


def _is_change(override: Override) -> bool:
    """Return whether an override is `++key=value` or `~key`."""
    is_deleted = override.is_delete() and override.value() is None
    return not override.package and (override.is_force_add() or is_deleted)


def _delete(config: DictConfig, key: str) -> None:
    """Delete a key; raises an error of OmegaConf if it does not exist."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig) or node.get(name) is None:
        raise ConfigKeyError(key)
    with open_dict(node):
        del node[name]


@functools.lru_cache(maxsize=64)
def _selection(config_name: str, overrides: tuple[str, ...], state: Hashable) -> DictConfig:
    return _by_hydra(OF_THE_COMMAND, overrides)


def _by_hydra(root: str, overrides: Sequence[str]) -> DictConfig:
    first, *others = places()
    rest = ",".join(quoted(f"file://{place}") for place in others)
    searchpath = [f"hydra.searchpath=[{rest}]"] if others else []
    with hydra.initialize_config_dir(str(first), version_base="1.3"):
        config = hydra.compose(root, [*overrides, *UNUSED, *searchpath], return_hydra_config=True)
    size = config.hydra.runtime.choices.get(SIZE)
    with open_dict(config):
        del config["hydra"]
        if size is not None:
            config[SIZE] = size
    return config


def _apply_size(config: DictConfig, overrides: Sequence[str]) -> None:
    """Remove the name of the chosen size from composed settings, and apply its YAML."""
    if not isinstance(name := config.get(SIZE), str):
        return
    with open_dict(config):
        del config[SIZE]
    if name != MEDIUM:
        others = [text for text in overrides if override_key(text) != SIZE]
        apply_size(name, config, _composed("train", OF_THE_COMMAND, [*others, f"{SIZE}={MEDIUM}"]))


def _fix_benchmark(config: DictConfig) -> None:
    """Replace the benchmark of composed settings by that of its YAML, with the settings that it fixes."""
    if (name := OmegaConf.select(config, "benchmark.name")) is None:
        return
    no_defaults = [f"~{LOCAL.name}"] if "default" in choices(LOCAL.name) else []
    alone = plain(_composed("train", OF_THE_COMMAND, [f"benchmark={name}", *no_defaults]))
    contract = {**alone["benchmark"], "fixed": fixed_settings(alone)}
    OmegaConf.update(config, "benchmark", literal(contract), merge=False, force_add=True)


def _trust_by_variable(config: DictConfig) -> None:
    """Set `trusted_packages` from the environment variable, if the command has this key.

    Raises:
        InputError: a file in `conf/` sets it.
    """
    if TRUST not in config:
        return
    if named := config.get(TRUST):
        raise InputError(
            f"{TRUST}: a file in conf/ sets it to {named}, and no file grants trust; delete it there, and "
            f"type {TRUST}=[...] or set {VARIABLE}"
        )
    OmegaConf.update(config, TRUST, trusted_by_variable(), force_add=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as resolved plain values."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def load_settings(config_name: str, overrides: Iterable[str]) -> dict[str, Any]:
    """Compose and check; returns the plain values alone, see `load_settings_and_config`."""
    return load_settings_and_config(config_name, overrides)[0]


def load_settings_and_config(
    config_name: str, overrides: Iterable[str], found_before: Iterable[Problem] = ()
) -> tuple[dict[str, Any], Config]:
    """Compose and check a command's settings; returns the plain values, and the settings read from them.

    Mistakes in overrides, unknown keys and choices, and wrong plain keys are looked for before torch is
    imported, and reported at once if no other value is set. Otherwise the values of all choices are checked
    too: each alone and, if there is no mistake yet, all together.

    Args:
        found_before: mistakes to report together with these.

    Raises:
        InputError: lists all mistakes.
    """
    problems, valid_overrides = validate_overrides(overrides)
    foreign = foreign_groups(config_name, valid_overrides)
    valid_overrides = [text for text in valid_overrides if override_key(text) not in foreign]
    problems = [*found_before, *problems, *foreign.values()]
    try:
        composed, unresolved = compose_resolvable(config_name, valid_overrides)
        settings = plain(composed)
    except InputError as error:
        own = error.problems if isinstance(error, Mistakes) else [Problem("overrides", str(error))]
        raise_problems([*problems, *own], NOTHING_DONE)
        raise
    reported = {problem.key for problem in unresolved}
    from_run = keys_from_run(plain_file(config_name))
    if from_run and "run" not in reported:
        check_trust(settings)
    reported |= from_run if "run" in reported else set()
    is_target_typed = any(override_key(text).endswith("._target_") for text in valid_overrides)
    chosen, keys = shape(config_name)
    typed = {key: value for key, value in settings.items() if key in keys}
    early = list(_unknown_root_keys(settings, chosen | keys))
    early += [*read(COMMANDS[config_name], typed)[1], *output_folder_problems(typed)]
    early += () if is_target_typed else unknown_keys(settings)
    early += contract_problems(settings)
    found = [*problems, *unresolved, *(each for each in early if each.key not in reported)]
    wrong = {problem.key for problem in found} | reported
    if not found or not {override_key(text) for text in valid_overrides} <= wrong | groups():
        config, others = read(settings_class(config_name), settings)
        found += [each for each in others if not any(_is_within(each.key, key) for key in wrong)]
        if config_name == "train" and not found:  # others check these settings together with those of the run
            from twotower.jobs.run_config import RunConfig

            assert isinstance(config, RunConfig)
            found += config.cross_choice_problems()
    raise_problems(
        _with_hints(found, composed, valid_overrides) if config_name == "train" else found, NOTHING_DONE
    )
    return settings, config


def _is_within(key: str, other: str) -> bool:
    """Return whether one of two keys is the other, or a key below it."""
    return f"{other}.".startswith(f"{key}.") or key.startswith(f"{other}.")


def _unknown_root_keys(settings: Mapping[str, Any], known: Set[str]) -> Iterator[Problem]:
    """Yield the unknown keys of a command, with the keys of its choices that have the same name."""
    paths = list(_key_paths(settings))
    for key, value in settings.items():
        if key in known:
            continue
        near = [key, *difflib.get_close_matches(key, {path.rpartition(".")[2] for path in paths}, 1, 0.7)]
        same = [path for path in paths if path.rpartition(".")[2] in near and path.partition(".")[0] in known]
        same = sorted(same, key=lambda path: path.count("."))[:4]
        typed = " or ".join(f"{path}={value}" for path in same)
        yield Problem(key, f"unknown key; {f'write {typed}' if same else nearest(key, known)}")


def _key_paths(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of choices at any depth, those that only Python has a default for too."""
    target = settings.get(TARGET)
    for name in dict.fromkeys([*settings, *((isinstance(target, str) and config_keys(target)) or ())]):
        if isinstance(value := settings.get(name), dict):
            yield from _key_paths(value, f"{prefix}{name}.")
        elif prefix:
            yield f"{prefix}{name}"


def _with_hints(
    problems: Iterable[Problem], config: DictConfig, overrides: Sequence[str]
) -> Iterator[Problem]:
    """Yield problems of a training with the sweep that several values mean, and the file that sets a key."""
    typed = {override_key(text) for text in overrides}
    for each in problems:
        if not re.fullmatch(r"[\w.]+", each.key):  # a file, or an override that cannot be read
            yield each
            continue
        message, value = each.message, OmegaConf.select(config, each.key)
        several = ",".join(map(str, value)) if isinstance(value, ListConfig) else str(value)
        if re.match("expected a valid (?!list)", message) and "," in several:
            message += f"; to train with each value, write -m {each.key}={several}"
        if each.key not in typed and (file := setting_file(each.key, overrides)):
            message += f"; set in {file}"
        yield Problem(each.key, message)


def foreign_groups(config_name: str, overrides: Iterable[str]) -> dict[str, Problem]:
    """Return group -> problem of the overrides that choose from a group that the command does not have."""
    named = {override_key(text) for text in overrides} & (groups() | OVERLAYS)
    chosen, keys = shape(config_name)
    message = f"unknown key; {nearest('', chosen | keys)}"  # the name of a group is no misspelling
    return {group: Problem(group, message) for group in sorted(named - {*groups_of(config_name)})}


def compose_with_defaults(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose for `--cfg job`: with the defaults of Python that no YAML sets; interpolations stay as typed.

    Choices and keys with a wrong value get no defaults.

    Raises:
        InputError: the configuration cannot be composed, or its run cannot be read or is not trusted.
    """
    config, problems = compose_resolvable(config_name, overrides)
    raise_problems([problem for problem in problems if problem.key == "run"], NOTHING_DONE)
    values = plain(config)
    if keys_from_run(plain_file(config_name)):
        check_trust(values)
    settings, _ = read(settings_class(config_name), values)
    OmegaConf.set_struct(config, False)
    # Merged twice, so that the order of keys and the interpolations are those of `config`.
    found: Any = OmegaConf.merge(config, literal(settings.plain()), config)
    return found  # type: ignore[no-any-return]


def load_run_config(overrides: Sequence[str]) -> "RunConfig":
    """Return the checked settings of one run of `twotower train`.

    Raises:
        InputError: lists all mistakes; a sweep is one.
    """
    if isinstance(overrides, str):
        raise InputError(f"expected a list of overrides; write [{overrides!r}]")
    overrides = list(overrides)
    settings, config = load_settings_and_config("train", overrides)
    if settings.get("sweep") or settings.get("seeds", 1) > 1:
        raise InputError("sweep, seeds: these start several runs; use twotower train, or call this in a loop")
    return as_run_config(config, settings, overrides)


def as_run_config(config: Config, settings: Mapping[str, Any], overrides: Sequence[str]) -> "RunConfig":
    """Return the settings of `twotower train` without those of a sweep."""
    from twotower.jobs.run_config import RunConfig

    assert isinstance(config, RunConfig)
    of_run = {key: value for key, value in settings.items() if key not in SWEEP_ONLY}
    return config.with_origin(of_run, overrides)
