"""Specs, how YAML writes a choice: `{"_target_": "module.Class", **settings}`; the ranges of settings."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Annotated, Any, TypeGuard, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from twotower.config.errors import InputError

TARGET = "_target_"
OURS = "twotower"

MOST = 2**31 - 1
"""What a row, a length or a number of things may be: 32 bits."""
HUGE = 1e30
"""What a number may be: far within the range of 32-bit floats."""

Count = Annotated[int, Ge(0), Le(MOST)]
PositiveInt = Annotated[int, Gt(0), Le(MOST)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Width = Annotated[int, Gt(0), Le(4096)]
"""Of an embedding or a layer; between two layers of the widest lie 67 MB of weights."""
WidthOrNone = Annotated[int, Ge(0), Le(4096)]
Threads = Annotated[int, Gt(0), Le(1024)]
Length = Annotated[int, Gt(0), Le(10_000)]
"""Of what is read whole of every user or item: a history, a text, its tags."""
PositiveFloat = Annotated[float, Gt(0), Le(HUGE)]
NonNegativeFloat = Annotated[float, Ge(0), Le(HUGE)]
Days = Annotated[float, Gt(0), Le(1e6)]
"""A stretch of time; a million days are 2,738 years."""
Fraction = Annotated[float, Ge(0), Le(1)]
ProperFraction = Annotated[float, Gt(0), Lt(1)]
Share = Annotated[float, Gt(0), Le(1)]
"""Of something that is not to be empty."""
DropoutRate = Annotated[float, Ge(0), Lt(1)]

Spec = Mapping[str, Any]
T = TypeVar("T")


def locate(target: str) -> type:
    """Return the class that a `_target_` names. Importing its module runs code; see `config.trust`.

    Raises:
        InputError: there is no such module or class, or importing the module fails.
    """
    module_name, _, class_name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise InputError(f"_target_: there is no class {target!r:.200} (write package.module.Class)")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # whatever a module does while it is imported
        is_missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        what = f"there is no class {target!r}" if is_missing else f"importing {module_name} failed"
        if isinstance(error, AttributeError) and module_name in sys.modules:
            what = f"there is no class {target!r}"
        raise InputError(f"_target_: {what} ({type(error).__name__}: {error})") from error
    if not inspect.isclass(found):
        raise InputError(f"_target_: {target!r} is not a class")
    if is_ours(module_name) and not is_ours(found.__module__):
        raise InputError(f"_target_: {target!r} is {found.__module__}.{class_name}; name it so")
    return found


def is_ours(target: object) -> TypeGuard[str]:
    """Return whether a `_target_` or a module lies in this package: importing it runs no other code."""
    return isinstance(target, str) and target.partition(".")[0] == OURS


def class_of(spec: Spec, base: type[T]) -> type[T]:
    """Return the class that a spec names.

    Raises:
        InputError: the target does not exist or is not a `base`.
    """
    if TARGET not in spec:
        raise InputError(
            f"expected a mapping with {TARGET!r} naming a {base.__name__}, got {dict(spec)!r:.200}"
        )
    found = locate(spec[TARGET])
    if not issubclass(found, base):
        raise InputError(f"_target_: {spec[TARGET]!r} is not a {base.__name__}")
    return found
