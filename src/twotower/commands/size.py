"""The dial `size`: keys of several groups, set together; experiments and single keys override them."""

import functools
import re
import sys
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from twotower.commands.conf import SIZE, choice_values, choices, keys_of, read_yaml
from twotower.config.errors import InputError
from twotower.config.spec import TARGET, locate
from twotower.experiments.runs.fingerprint import flatten

FACTOR = re.compile(r"x(\d+\.?\d*)")
"""A value of a size that multiplies the value of the choice: `x0.5`."""


def apply_size(config: DictConfig, chosen: Mapping[str, str]) -> None:
    """Replace the factors of the chosen size by values, and remove the keys that the chosen classes lack.

    One line on standard error lists these, and the keys that other settings override.

    Args:
        config: composed with the YAML of the size; changed.
        chosen: group -> name of the choice.

    Raises:
        InputError: the YAML of the size selects choices.
    """
    if (name := chosen.get(SIZE)) is None:
        return
    sets = flatten(read_yaml(choices(SIZE)[name]))
    if "defaults" in sets:
        raise InputError(f"size={name}: a size sets keys and selects no choices; write an experiment instead")
    typed: Any = OmegaConf.to_container(config)
    now, unused = flatten(typed), dict[str, list[str]]()
    for key, value in sets.items():
        group, _, field = key.rpartition(".")
        root, factor = key.partition(".")[0], FACTOR.fullmatch(str(value))
        source = flatten({root: choice_values(root, chosen[root])} if root in chosen else keys_of("train"))
        target, old = OmegaConf.select(config, group) if group else config, source.get(key)
        if now.get(key) != value:
            unused.setdefault("overridden", []).append(key)
        elif isinstance(target, DictConfig) and (root in chosen or not group):  # else it is an unknown key
            with open_dict(config):
                if factor and isinstance(old, int | float):
                    new = old * float(factor[1])
                    target[field] = max(1, int(new)) if isinstance(old, int) else float(f"{new:.6g}")
                elif factor and key in source:
                    target[field] = old
                    unused.setdefault("not a number", []).append(key)
                elif factor or (group and key not in source and not _has_key(target.get(TARGET), field)):
                    del target[field]
                    unused.setdefault("no such key in the chosen class", []).append(key)
    if unused:
        where = " on" if sum(map(len, unused.values())) < len(sets) else ":"
        words = "; ".join(f"{', '.join(keys)} ({why})" for why, keys in unused.items())
        _warn_once(f"size={name}: no effect{where} {words}")


def _has_key(target: Any, field: str) -> bool:
    component: Any = locate(target)
    return field in component.Config.model_fields


@functools.cache  # once for all jobs of a sweep
def _warn_once(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
