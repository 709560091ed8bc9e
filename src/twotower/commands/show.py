"""What `--cfg job` prints: the whole configuration; Hydra's other flags print what Hydra does."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from twotower.commands.command_keys import COMMANDS
from twotower.commands.compose import NOTHING_DONE, plain, resolvable, searchpath
from twotower.commands.conf import misplaced, places, plain_file
from twotower.commands.keys import shown
from twotower.commands.own_files import problems_of_own_files
from twotower.commands.run_settings import asked_of_the_run, check_trust, literal, store_run_settings
from twotower.config.errors import InputError
from twotower.config.problems import nearest, raise_problems
from twotower.config.reading import read

NO_PART = object()


def show(config_name: str, flags: Sequence[str], overrides: Sequence[str]) -> None:
    """Print what flags such as `--cfg job` ask for.

    Args:
        config_name: the YAML in `conf/` to start from.
        flags: as typed, with their values.
        overrides: that can be read, one value each.

    Raises:
        InputError: it cannot be composed, has no such part, or no flag says what to print.
    """
    raise_problems(misplaced(), NOTHING_DONE)
    if config_name == "train":
        raise_problems(problems_of_own_files(overrides), NOTHING_DONE)
    asked = _parser().parse_known_args(flags)[0]
    if asked.cfg is None and not any(flag.startswith(("--info", "-i")) for flag in flags):
        raise InputError(f"{flags[0]}: says how --cfg job prints; add that")
    if asked.cfg == "job":
        config = whole(config_name, overrides)
        print(_yaml(config, asked.package, asked.resolve), end="")
    else:
        _by_hydra(config_name, flags, overrides)


def whole(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose, and add what Python has a default for and no YAML names; interpolations stay as typed.

    Of a choice, or a plain key, that is at fault nothing is added.

    Args:
        config_name: of the command.
        overrides: that can be read, one value each.

    Raises:
        InputError: it cannot be composed, or starts from a run that cannot be read or trusted.
    """
    config, problems = resolvable(config_name, overrides)
    raise_problems([problem for problem in problems if problem.key == "run"], NOTHING_DONE)
    values = plain(config)
    if asked_of_the_run(plain_file(config_name)):
        check_trust(values)
    settings, _ = read(COMMANDS[config_name].kind(), values)
    OmegaConf.set_struct(config, False)
    found: Any = OmegaConf.merge(config, literal(settings.plain()), config)  # as ordered, and as typed
    return found  # type: ignore[no-any-return]


def _yaml(config: DictConfig, package: str | None, resolve: bool) -> str:
    if resolve:
        OmegaConf.resolve(config)
    if package in (None, "_global_"):
        return OmegaConf.to_yaml(config)
    part = OmegaConf.select(config, package, default=NO_PART)
    if part is NO_PART:
        raise InputError(f"--package {package}: there is no such part; {nearest(package, map(str, config))}")
    if not OmegaConf.is_config(part):
        return f"{shown(part)}\n"
    return f"# @package {package}\n{OmegaConf.to_yaml(part)}"


def _parser() -> ArgumentParser:
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--cfg", "-c")
    parser.add_argument("--package", "-p")
    parser.add_argument("--resolve", action="store_true")
    return parser


def _by_hydra(config_name: str, flags: Sequence[str], overrides: Sequence[str]) -> None:
    resolvable(config_name, overrides)  # Hydra itself ends with a traceback where that cannot be done
    beginning, problems = store_run_settings(plain_file(config_name), overrides)
    raise_problems(problems.values(), NOTHING_DONE)
    sys.argv[1:] = [*flags, *overrides, *searchpath()]  # where Hydra looks
    hydra.main(config_path=str(places()[0]), config_name=beginning, version_base="1.3")(lambda _: None)()
