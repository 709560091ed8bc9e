"""`--cfg job`: the whole configuration."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from twotower.commands.command_keys import settings_class
from twotower.commands.compose import NOTHING_DONE, compose_resolvable, plain
from twotower.commands.conf import plain_file
from twotower.commands.run_settings import check_trust, keys_from_run, literal
from twotower.config.problems import raise_problems
from twotower.config.reading import read


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
