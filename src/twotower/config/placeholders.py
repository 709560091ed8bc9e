"""Placeholders for libraries, so that settings are checked without loading them.

After `use_placeholders`, a module with `from torch import nn` and `class Mine(nn.Module)` is imported in
milliseconds, and its `Config` is complete. An operation that needs the library, such as the number of GPUs,
raises `PlaceholderError`, so that no check has another result than with the library.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from abc import ABCMeta
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

IMPORT_ATTRIBUTES = frozenset({"__path__", "__spec__", "__loader__", "__package__"})
"""Attributes that the import system reads of a module."""


class PlaceholderError(BaseException):
    """An operation needs the library itself; a BaseException, so that `except Exception` does not hide it."""


def use_placeholders(libraries: Collection[str]) -> None:
    """Import libraries, which must not be loaded yet, as placeholders in this process, for good."""
    assert not loaded(libraries)
    sys.meta_path.insert(0, _Finder(libraries))


def loaded(libraries: Collection[str]) -> bool:
    """Return whether a module of any of the libraries is loaded."""
    return not {name.partition(".")[0] for name in sys.modules}.isdisjoint(libraries)


def _refuse(*_: object, **__: object) -> NoReturn:
    raise PlaceholderError


class _Kind(ABCMeta):
    """The metaclass of placeholder classes, and therefore of their subclasses, which behave as usual."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise PlaceholderError

    def __dir__(cls) -> Iterable[str]:
        return _refuse() if _is_placeholder(cls) else super().__dir__()

    def __instancecheck__(cls, instance: Any) -> bool:
        return _refuse() if _is_placeholder(cls) else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return _refuse() if _is_placeholder(cls) else super().__subclasscheck__(subclass)


class _Value:
    """A placeholder for anything else: usable as an attribute, a decorator and an annotation."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(f"{self._name}.{name}")

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        decorated = arguments[0] if len(arguments) == 1 else None
        return decorated if isinstance(decorated, type | types.FunctionType) else _Value(f"{self._name}()")

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__
    __hash__ = object.__hash__
    __bool__ = __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __iter__ = __len__ = _refuse
    __int__ = __float__ = __index__ = __str__ = __format__ = __contains__ = __getitem__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __enter__ = __exit__ = __neg__ = __pow__ = __rpow__ = __dir__ = _refuse
    __instancecheck__ = __subclasscheck__ = _refuse  # else `isinstance` raises a TypeError


class _Module(types.ModuleType):
    __dict__ = property(_refuse)  # type: ignore[assignment] # for `vars`
    __dir__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name in IMPORT_ATTRIBUTES:
            raise AttributeError(name)
        return _refuse() if name.startswith("__") else _named(f"{self.__name__}.{name}")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, libraries: Collection[str]) -> None:
        self.libraries = frozenset(libraries)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        ours = name.partition(".")[0] in self.libraries
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run nothing."""


_placeholders: dict[str, Any] = {}


def _is_placeholder(kind: type) -> bool:
    return _placeholders.get(f"{kind.__module__}.{kind.__name__}") is kind


def _named(path: str) -> Any:
    """Return the placeholder of a dotted name, always the same: a class if its name is capitalized."""
    if path not in _placeholders:
        module, _, name = path.rpartition(".")
        members = {
            "__module__": module,
            "__new__": _refuse,
            "__class_getitem__": classmethod(lambda kind, _: kind),
        }
        _placeholders[path] = _Kind(name, (), members) if name[:1].isupper() else _Value(path)
    return _placeholders[path]
