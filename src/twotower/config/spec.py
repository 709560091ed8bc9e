"""Choices as YAML writes them (`{"_target_": "module.Class", **settings}`), and ranges of settings."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, TypeGuard, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from twotower.config.errors import InputError
from twotower.config.problems import nearest

TARGET = "_target_"
OURS = "twotower"

MAX_INT = 2**31 - 1  # rows, lengths and counts fit 32 bits
MAX_FLOAT = 1e30  # far within the range of 32-bit floats

PositiveInt = Annotated[int, Gt(0), Le(MAX_INT)]
NonNegativeInt = Annotated[int, Ge(0), Le(MAX_INT)]
PositiveFloat = Annotated[float, Gt(0), Le(MAX_FLOAT)]
NonNegativeFloat = Annotated[float, Ge(0), Le(MAX_FLOAT)]
Fraction = Annotated[float, Ge(0), Le(1)]
PositiveFraction = Annotated[float, Gt(0), Le(1)]
ProperFraction = Annotated[float, Gt(0), Lt(1)]
DropoutRate = Annotated[float, Ge(0), Lt(1)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Width = Annotated[int, Gt(0), Le(4096)]
"""Width of an embedding or a layer; the weights between two layers of the maximum take 67 MB."""
WidthOrZero = Annotated[int, Ge(0), Le(4096)]
Threads = Annotated[int, Gt(0), Le(1024)]
Length = Annotated[int, Gt(0), Le(10_000)]
"""Length of a history, a text or a list of tags of one user or item."""
Days = Annotated[float, Gt(0), Le(1e6)]

Spec = Mapping[str, Any]
T = TypeVar("T")


def locate(target: str) -> type:
    """Import the class that a `_target_` names.

    Importing a module runs it; `trust` checks targets of files from others.

    Raises:
        InputError: the module or class does not exist, or the import fails.
    """
    module_name, _, class_name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise InputError(f"_target_: there is no class {target!r:.200} (write package.module.Class)")
    try:
        module = importlib.import_module(module_name)
        found = getattr(module, class_name, None)
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        is_missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        what = f"there is no class {target!r}" if is_missing else f"importing {module_name} failed"
        raise InputError(f"_target_: {what} ({type(error).__name__}: {error})") from error
    if found is None:
        own = (each for each in vars(module).values() if getattr(each, "__module__", None) == module_name)
        classes = [each.__name__ for each in own if inspect.isclass(each)]
        raise InputError(f"_target_: there is no class {target!r}; {nearest(class_name, classes)}")
    if not inspect.isclass(found):
        raise InputError(f"_target_: {target!r} is not a class")
    if is_ours(module_name) and not is_ours(found.__module__):
        raise InputError(f"_target_: {target!r} is {found.__module__}.{class_name}; name it so")
    return found


def is_ours(target: object) -> TypeGuard[str]:
    """Return whether a `_target_` or a module is in this package, so that importing it runs no other code."""
    return isinstance(target, str) and target.partition(".")[0] == OURS


def locate_class(spec: Spec, base: type[T]) -> type[T]:
    """Return the class that a spec names; raises InputError if there is none or it does not extend `base`."""
    found = locate(spec[TARGET])
    if not issubclass(found, base):
        raise InputError(f"_target_: {spec[TARGET]!r} is not a {base.__name__}")
    return found
