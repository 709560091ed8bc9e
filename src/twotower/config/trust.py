"""Which classes a file may name.

Importing a module runs its code. The user's command line and `conf/` are trusted. The `config.yaml` of a run
or a bundle may come from others: only classes of this package and of packages that the user trusts are
imported. No file grants trust, because a run may contain a `conf/`: it is a typed setting or an environment
variable.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.spec import OURS, TARGET

SETTING = "trusted_packages"
"""Root key, and argument of functions that open a run or bundle: names of packages, modules or classes."""

VARIABLE = "TWOTOWER_TRUSTED_PACKAGES"
"""Environment variable with the same names, separated by commas."""


def trusted_by_variable() -> list[str]:
    """Return the packages that the environment variable names."""
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def check_targets(values: Any, path: Path, trusted_packages: Collection[str]) -> None:
    """Raise InputError if a file names classes that are neither ours nor trusted; imports nothing.

    Args:
        trusted_packages: names of packages, modules or classes.
    """
    trusted = tuple(f"{name}." for name in (OURS, *trusted_packages))
    if foreign := [str(each) for each in targets(values) if not f"{each}.".startswith(trusted)]:
        named = ", ".join(f"{each!r:.100}" for each in dict.fromkeys(foreign))
        packages = ",".join(dict.fromkeys(name.partition(".")[0] for name in foreign))
        raise InputError(
            f"{path}: names {named:.500} as {TARGET}, and importing it would run code that a file chose; "
            f"if you trust it, {SETTING}=[{packages:.200}]"
        )


def foreign_packages(values: Any) -> list[str]:
    """Return the packages other than ours whose classes plain values name, each once."""
    packages = dict.fromkeys(str(each).partition(".")[0] for each in targets(values))
    return [name for name in packages if name != OURS]


def targets(values: Any) -> Iterator[Any]:
    """Yield every `_target_` of plain values, at any depth."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if TARGET in value:
                yield value[TARGET]
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
