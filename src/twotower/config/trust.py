"""Which classes a file may name.

To import a module is to run it. What a user types or keeps in `conf/` is the user's own; a run's
`config.yaml` or a bundle may come from anywhere, so of what these name only what lies in this package is
imported, and what the user trusts. A run may bring a `conf/` along, so no file grants trust: it is typed, or
named by an environment variable.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.spec import OURS, TARGET

SETTING = "trusted_packages"
"""Root key, and argument of whatever opens a run or bundle: packages, modules or classes by name."""

VARIABLE = "TWOTOWER_TRUSTED_PACKAGES"
"""Environment variable: names with commas between them, of a user who does not want to type the setting."""


def trusted_by_variable() -> list[str]:
    """Return the packages that the environment variable names."""
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def check_targets(values: Any, path: Path, trusted_packages: Collection[str]) -> None:
    """Refuse what a file names as a class unless it is ours or trusted; nothing is imported.

    Args:
        values: plain values that were read from the file.
        path: of the file, for the message.
        trusted_packages: names of packages, modules or classes.

    Raises:
        InputError: names the file, the classes, and the setting that would allow them.
    """
    foreign = _foreign_targets(values, trusted_packages)
    if foreign:
        packages = ",".join(_packages(foreign))
        named = ", ".join(f"{each!r:.100}" for each in dict.fromkeys(map(str, foreign)))
        raise InputError(
            f"{path}: names {named:.500} as {TARGET}, and to import that would run code that a file chose; "
            f"if you trust it, {SETTING}=[{packages:.200}]"
        )


def foreign_packages(values: Any) -> list[str]:
    """Return the packages, other than ours, whose classes plain values name, each once."""
    return _packages(_foreign_targets(values))


def targets(values: Any) -> Iterator[Any]:
    """Yield every `_target_` of plain values, however deep."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if TARGET in value:
                yield value[TARGET]
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def _within(target: Any, name: str) -> bool:
    return isinstance(target, str) and (target == name or target.startswith(f"{name}."))


def _foreign_targets(values: Any, trusted_packages: Collection[str] = ()) -> list[Any]:
    trusted = (OURS, *trusted_packages)
    return [each for each in targets(values) if not any(_within(each, name) for name in trusted)]


def _packages(names: list[Any]) -> list[str]:
    return list(dict.fromkeys(str(each).partition(".")[0] for each in names))
