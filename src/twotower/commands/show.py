"""`--cfg job` prints the whole configuration; Hydra answers its other flags."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from twotower.commands.command_keys import COMMANDS
from twotower.commands.compose import NOTHING_DONE, compose_resolvable, plain, searchpath
from twotower.commands.conf import misplaced, places, plain_file
from twotower.commands.keys import shown
from twotower.commands.own_files import problems_of_own_files
from twotower.commands.run_settings import check_trust, keys_from_run, literal, store_run_settings
from twotower.config.errors import InputError
from twotower.config.problems import nearest, raise_problems
from twotower.config.reading import read

NO_PART = object()


def show(config_name: str, flags: Sequence[str], overrides: Sequence[str]) -> None:
    """Print the configuration, or the part that flags such as `--cfg job --package loss` name.

    Args:
        config_name: the YAML in `conf/` to start from.
        flags: as typed, with their values.
        overrides: valid overrides with one value each.

    Raises:
        InputError: the configuration cannot be composed or has no such part, or no flag selects an output.
    """
    raise_problems(misplaced(), NOTHING_DONE)
    if config_name == "train":
        raise_problems(problems_of_own_files(overrides), NOTHING_DONE)
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--cfg", "-c")
    parser.add_argument("--package", "-p")
    parser.add_argument("--resolve", action="store_true")
    asked = parser.parse_known_args(flags)[0]
    if asked.cfg is None and not any(flag.startswith(("--info", "-i")) for flag in flags):
        raise InputError(f"{flags[0]}: an option of --cfg job; add --cfg job")
    if asked.cfg == "job":
        config = whole(config_name, overrides)
        print(_yaml(config, asked.package, asked.resolve), end="")
        return
    compose_resolvable(config_name, overrides)  # on errors, Hydra itself would print a traceback
    root, problems = store_run_settings(plain_file(config_name), overrides)
    raise_problems(problems.values(), NOTHING_DONE)
    sys.argv[1:] = [*flags, *overrides, *searchpath()]  # where Hydra looks
    hydra.main(config_path=str(places()[0]), config_name=root, version_base="1.3")(lambda _: None)()


def whole(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose, and add the defaults of Python that no YAML sets; interpolations stay as typed.

    Choices and keys with a wrong value get no defaults.

    Raises:
        InputError: the configuration cannot be composed, or its run cannot be read or is not trusted.
    """
    config, problems = compose_resolvable(config_name, overrides)
    raise_problems([problem for problem in problems if problem.key == "run"], NOTHING_DONE)
    values = plain(config)
    if keys_from_run(plain_file(config_name)):
        check_trust(values)
    settings, _ = read(COMMANDS[config_name].kind(), values)
    OmegaConf.set_struct(config, False)
    # Merged twice, so that the order of keys and the interpolations are those of `config`.
    found: Any = OmegaConf.merge(config, literal(settings.plain()), config)
    return found  # type: ignore[no-any-return]


def _yaml(config: DictConfig, package: str | None, resolve: bool) -> str:
    if resolve:
        OmegaConf.resolve(config)
    if package in (None, "_global_"):
        return OmegaConf.to_yaml(config)
    part = OmegaConf.select(config, package, default=NO_PART)
    if part is NO_PART:
        raise InputError(f"--package {package}: no such part; {nearest(package, map(str, config))}")
    if not OmegaConf.is_config(part):
        return f"{shown(part)}\n"
    return f"# @package {package}\n{OmegaConf.to_yaml(part)}"
