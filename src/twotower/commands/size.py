"""The dial `size`: keys of several groups, set together; experiments and single keys override them."""

import functools
import re
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from twotower.commands.conf import SIZE, choices, read_yaml
from twotower.commands.config_source import config_keys
from twotower.config.errors import InputError
from twotower.config.spec import TARGET
from twotower.runs.fingerprint import flatten

FACTOR = re.compile(r"x(\d+\.?\d*)")
"""A value of a size that multiplies the value of the choice: `x0.5`."""


def apply_size(name: str, config: DictConfig, base: DictConfig) -> None:
    """Replace the factors of a size by values, and remove the keys that the chosen classes do not have.

    One line on standard error lists these, and the keys that other settings override.

    Args:
        name: the choice of `size`.
        config: composed with the YAML of the size; changed.
        base: composed without it.

    Raises:
        InputError: the YAML of the size selects choices.
    """
    sets = flatten(read_yaml(choices(SIZE)[name]))
    if "defaults" in sets:
        raise InputError(f"size={name}: a size sets keys and selects no choices; write an experiment instead")
    now, before = _flat(config), _flat(base)
    overridden = [key for key, value in sets.items() if now.get(key) != value]
    missing = []
    for key in sorted(sets.keys() - {*overridden}):
        group, _, field = key.rpartition(".")
        factor, old = FACTOR.fullmatch(str(sets[key])), before.get(key)
        if factor and isinstance(old, int | float):
            value = old * float(factor[1])
            OmegaConf.update(config, key, max(1, int(value)) if isinstance(old, int) else float(f"{value:.6g}"))
        elif factor or (group and old is None and field not in _keys_of(base, group)):
            missing.append(key)
            with open_dict(config):
                del config[group][field]
    without = {"no such key in the chosen class": missing, "overridden": overridden}
    words = [f"{', '.join(sorted(keys))} ({why})" for why, keys in without.items() if keys]
    if words:
        where = " on" if len(missing) + len(overridden) < len(sets) else ":"
        _warn_once(f"size={name}: no effect{where} {'; '.join(words)}")


def _flat(config: DictConfig) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(config)
    return flatten(values)


def _keys_of(config: DictConfig, group: str) -> tuple[str, ...]:
    return config_keys(str(OmegaConf.select(config, f"{group}.{TARGET}"))) or ()


@functools.cache  # once for all jobs of a sweep
def _warn_once(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
