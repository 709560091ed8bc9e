"""From the command line to plain, validated values."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from twotower.commands.command_keys import SWEEP_ONLY, settings_class
from twotower.commands.conf import (
    LOCAL,
    OVERLAYS,
    choices,
    first_line,
    groups,
    groups_of,
    misplaced,
    nearest_choice,
    places,
    plain_file,
    shape,
)
from twotower.commands.overrides import validate_overrides
from twotower.commands.own_files import problems_of_own_files, setting_file
from twotower.commands.run_settings import (
    COMMAND,
    check_trust,
    keys_from_run,
    literal,
    quoted,
    store_command,
)
from twotower.commands.size import apply_size
from twotower.config.component import Config
from twotower.config.errors import InputError
from twotower.config.problems import Mistakes, Problem, nearest, raise_problems
from twotower.config.reading import read
from twotower.config.trust import SETTING as TRUST
from twotower.config.trust import VARIABLE, trusted_by_variable
from twotower.experiments.runs.benchmark import fixed_settings
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.folder_name import output_folder_problems

if TYPE_CHECKING:
    from twotower.jobs.run_config import RunConfig

NOTHING_DONE = "the configuration; nothing was read or written"
HYDRA_GROUPS = ("env", "help", "hydra_help", "hydra_logging", "job_logging", "launcher", "output", "sweeper")
"""Settings of Hydra's own command line; leaving them out saves a fifth of the time to compose."""


def compose(config_name: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Compose `conf/<config_name>.yaml` with overrides into plain resolved values.

    Raises:
        InputError: an override or an interpolation is wrong.
    """
    config, chosen, problems = _compose_resolvable(config_name, overrides)
    raise_problems(problems)
    apply_size(config, chosen)
    return plain(config)


def _compose_resolvable(
    config_name: str, overrides: Iterable[str]
) -> tuple[DictConfig, Mapping[str, str], list[Problem]]:
    """Compose without the factors of `size`; a value that cannot be resolved is None and a problem.

    Returns:
        The settings, group -> name of the choice, and the problems.

    Raises:
        InputError: a file of the user is misplaced or wrong, or Hydra cannot compose it.
    """
    overrides = list(overrides)
    raise_problems(misplaced(), NOTHING_DONE)
    if config_name == "train":
        raise_problems(problems_of_own_files(overrides), NOTHING_DONE)
    problems = store_command(plain_file(config_name), overrides)
    try:
        config, chosen = _compose_by_hydra(overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # a defaults list that is none
        if missing := re.search(r"Could not find '(\w+)/([\w-]+)'", str(error)):  # features of data=NAME
            group, name = missing.groups()
            problem = Problem(group, f"unknown choice {name!r}; {nearest_choice(name, group)}")
            raise_problems([problem], NOTHING_DONE)
        raise InputError(first_line(error)) from error
    if (name := OmegaConf.select(config, "benchmark.name", throw_on_resolution_failure=False)) is not None:
        # Only the YAML of a benchmark counts, with the settings that it fixes.
        no_defaults = [f"~{LOCAL.name}"] if "default" in choices(LOCAL.name) else []
        store_command(plain_file("train"), ())
        alone = plain(_compose_by_hydra([f"benchmark={name}", *no_defaults])[0])
        contract = {**alone["benchmark"], "fixed": fixed_settings(alone)}
        OmegaConf.update(config, "benchmark", literal(contract), merge=False, force_add=True)
    if TRUST in config and not any(override_key(text) == TRUST for text in overrides):
        if named := config.get(TRUST):
            raise InputError(
                f"{TRUST}: a file in conf/ sets it to {named}, and no file grants trust; delete it there, "
                f"and type {TRUST}=[...] or set {VARIABLE}"
            )
        OmegaConf.update(config, TRUST, trusted_by_variable(), force_add=True)
    while True:
        try:
            plain(config)
            return config, chosen, list(problems.values())
        except OmegaConfBaseException as error:
            key = str(error.full_key)
            if not key or key in problems:
                raise InputError(first_line(error)) from error
            name = re.sub(r"\[(\w+)\]", r".\1", key)
            message = f"{first_line(error)}; write the value itself, or an existing key"
            problems[key] = Problem(name, message)
            OmegaConf.update(config, key, None, force_add=True)


def _compose_by_hydra(overrides: Sequence[str]) -> tuple[DictConfig, Mapping[str, str]]:
    """Compose the stored command; returns the settings, and group -> name of the choice."""
    first, *others = places()
    rest = ",".join(quoted(f"file://{place}") for place in others)
    own = [f"~hydra/{group}" for group in HYDRA_GROUPS]
    own += [f"hydra.searchpath=[{rest}]"] if others else []
    with hydra.initialize_config_dir(str(first), version_base="1.3"):
        config = hydra.compose(COMMAND, [*overrides, *own], return_hydra_config=True)
    chosen = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return config, chosen


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as resolved plain values."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def load_settings(config_name: str, overrides: Iterable[str]) -> dict[str, Any]:
    """Compose and validate; returns the plain values alone, see `load_settings_and_config`."""
    return load_settings_and_config(config_name, overrides)[0]


def load_settings_and_config(
    config_name: str, overrides: Iterable[str], earlier: Iterable[Problem] = ()
) -> tuple[dict[str, Any], Config]:
    """Compose and validate a command's settings; returns the plain values, and the settings read from them.

    The names of groups, choices and root keys are validated before torch is imported. Wrong names are
    reported at once if no other value is typed. Otherwise they are reported with the mistakes of all keys
    and values: of each choice alone and, if there is no other mistake, between choices.

    Args:
        earlier: mistakes to report together with these.

    Raises:
        InputError: lists all mistakes.
    """
    problems, valid_overrides = validate_overrides(overrides)
    chosen_groups, keys = shape(config_name)
    of_command = {*groups_of(config_name)} | keys
    message = f"unknown key; {nearest('', chosen_groups | keys)}"  # the name of a group is no misspelling
    typed = {override_key(text) for text in valid_overrides}
    foreign = (typed & (groups() | OVERLAYS)) - of_command
    found = [*earlier, *problems, *(Problem(group, message) for group in sorted(foreign))]
    valid_overrides = [text for text in valid_overrides if override_key(text) not in foreign]
    try:
        composed, choices_by_group, unresolved = _compose_resolvable(config_name, valid_overrides)
    except InputError as error:
        own = error.problems if isinstance(error, Mistakes) else [Problem("overrides", str(error))]
        raise_problems([*found, *own], NOTHING_DONE)
        raise
    settings = plain(composed)
    unknown = list(_unknown_root_keys(settings, chosen_groups | keys))
    found += [*unresolved, *unknown]
    wrong = {problem.key for problem in (*unresolved, *unknown)}  # below these keys, no mistake is reported
    if from_run := keys_from_run(plain_file(config_name)):
        if "run" in wrong:
            wrong |= from_run
        else:
            check_trust(settings)
    is_name_in_file = any(problem.key not in typed for problem in unknown)
    if not found or is_name_in_file or not typed <= wrong | groups() | OVERLAYS:
        apply_size(composed, choices_by_group)
        settings = plain(composed)
        config, others = read(settings_class(config_name), settings)
        others += output_folder_problems({key: settings[key] for key in keys & settings.keys()})
        found += [each for each in others if not any(_is_within(each.key, key) for key in wrong)]
        if config_name == "train" and not found:  # others check these settings together with the run
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
    paths = [path for path in _key_paths(settings) if path.partition(".")[0] in known]
    for key in settings.keys() - known:
        near = [key, *difflib.get_close_matches(key, {path.rpartition(".")[2] for path in paths}, 1, 0.7)]
        same = [path for path in paths if path.rpartition(".")[2] in near]
        same = sorted(same, key=lambda path: path.count("."))[:4]
        typed = " or ".join(f"{path}={settings[key]}" for path in same)
        yield Problem(key, f"unknown key; {f'write {typed}' if same else nearest(key, known)}")


def _key_paths(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the composed keys of choices, at any depth."""
    for name, value in settings.items():
        if isinstance(value, dict):
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


def compose_with_defaults(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose for `--cfg job`: with the defaults of Python that no YAML sets; interpolations stay as typed.

    Choices and keys with a wrong value get no defaults.

    Raises:
        InputError: the configuration cannot be composed, or its run cannot be read or is not trusted.
    """
    config, chosen, problems = _compose_resolvable(config_name, overrides)
    raise_problems([problem for problem in problems if problem.key == "run"], NOTHING_DONE)
    if keys_from_run(plain_file(config_name)):
        check_trust(plain(config))
    apply_size(config, chosen)
    settings, _ = read(settings_class(config_name), plain(config))
    OmegaConf.set_struct(config, False)
    # Merged twice, so that the order of keys and the interpolations equal `config`.
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
    """Return the settings of `twotower train` without the settings of a sweep."""
    from twotower.jobs.run_config import RunConfig

    assert isinstance(config, RunConfig)
    of_run = {key: value for key, value in settings.items() if key not in SWEEP_ONLY}
    return config.with_origin(of_run, overrides)
