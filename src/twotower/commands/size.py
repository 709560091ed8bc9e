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
from twotower.experiments.runs.fingerprint import flatten

FACTOR = re.compile(r"x(\d+\.?\d*)")
"""A value of a size that multiplies the value of the choice: `x0.5`."""


def apply_size(name: str, config: DictConfig, base: DictConfig) -> None:
    """Replace the factors of a size by values, and remove the keys that the chosen classes do not have.

    One line on standard error lists these, and the keys that other settings override.

    Args:
        config: composed with the YAML of the size; changed.
        base: composed without it.

    Raises:
        InputError: the YAML of the size selects choices.
    """
    sets = flatten(read_yaml(choices(SIZE)[name]))
    if "defaults" in sets:
        raise InputError(f"size={name}: a size sets keys and selects no choices; write an experiment instead")
    typed: Any = OmegaConf.to_container(config)
    now, unused = flatten(typed), dict[str, list[str]]()
    for key, value in sets.items():
        group, _, field = key.rpartition(".")
        target, source = (OmegaConf.select(each, group) if group else each for each in (config, base))
        if now.get(key) != value:
            unused.setdefault("overridden", []).append(key)
        elif isinstance(source, DictConfig):  # else it is reported as an unknown key
            factor, old = FACTOR.fullmatch(str(value)), source.get(field)
            is_known = field in source or not group or field in (config_keys(str(source.get(TARGET))) or ())
            with open_dict(config):
                if factor and isinstance(old, int | float):
                    new = old * float(factor[1])
                    target[field] = max(1, int(new)) if isinstance(old, int) else float(f"{new:.6g}")
                elif factor and field in source:
                    target[field] = old
                    unused.setdefault("not a number", []).append(key)
                elif factor or not is_known:
                    del target[field]
                    unused.setdefault("no such key in the chosen class", []).append(key)
    if unused:
        where = " on" if sum(map(len, unused.values())) < len(sets) else ":"
        words = "; ".join(f"{', '.join(keys)} ({why})" for why, keys in unused.items())
        _warn_once(f"size={name}: no effect{where} {words}")


@functools.cache  # once for all jobs of a sweep
def _warn_once(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
