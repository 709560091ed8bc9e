"""`--cfg job`: the whole configuration, or a part of it."""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from twotower.commands.command_keys import settings_class
from twotower.commands.compose import NOTHING_DONE, compose_resolvable, plain
from twotower.commands.conf import plain_file
from twotower.commands.keys import shown
from twotower.commands.run_settings import check_trust, keys_from_run, literal
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
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--cfg", "-c")
    parser.add_argument("--package", "-p")
    parser.add_argument("--resolve", action="store_true")
    asked = parser.parse_known_args(flags)[0]
    if asked.cfg != "job":
        raise InputError(f"{flags[0]}: expected --cfg job, with --package KEY for a part, or --info choices")
    config = whole(config_name, overrides)
    if asked.resolve:
        OmegaConf.resolve(config)
    if asked.package in (None, "_global_"):
        print(OmegaConf.to_yaml(config), end="")
        return
    part = OmegaConf.select(config, asked.package, default=NO_PART)
    if part is NO_PART:
        raise InputError(
            f"--package {asked.package}: no such part; {nearest(asked.package, map(str, config))}"
        )
    if OmegaConf.is_config(part):
        print(f"# @package {asked.package}\n{OmegaConf.to_yaml(part)}", end="")
    else:
        print(shown(part))


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
    settings, _ = read(settings_class(config_name), values)
    OmegaConf.set_struct(config, False)
    # Merged twice, so that the order of keys and the interpolations are those of `config`.
    found: Any = OmegaConf.merge(config, literal(settings.plain()), config)
    return found  # type: ignore[no-any-return]
