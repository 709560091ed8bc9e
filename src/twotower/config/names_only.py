"""Libraries of which nothing is there but names, so that classes can be looked at without loading them.

A module that says `from torch import nn` and `class Mine(nn.Module)` runs while `names_only` holds, in
milliseconds, and its `Config` is what it always is. Whatever would need more than a name, such as whether a
GPU is there, raises `OnlyAName`: what is concluded nevertheless is what the libraries would have led to.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from abc import ABCMeta
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

ASKED_OF_MODULES = frozenset({"__path__", "__spec__", "__loader__", "__package__"})
"""What importing asks of a module, beside its names."""


class OnlyAName(BaseException):
    """Something was asked that only the library itself could answer; no `Exception`, which others catch."""


def names_only(libraries: Collection[str]) -> None:
    """Let this process import libraries as names from now on. It can never load them afterwards.

    Args:
        libraries: of which no module is loaded yet.
    """
    assert not loaded(libraries)
    sys.meta_path.insert(0, _Finder(libraries))


def loaded(libraries: Collection[str]) -> bool:
    """Tell whether a module of any of the libraries is loaded."""
    return not {name.partition(".")[0] for name in sys.modules}.isdisjoint(libraries)


def _refuse(*_: object, **__: object) -> NoReturn:
    raise OnlyAName


class _Kind(ABCMeta):
    """Of classes that are only names, and so of those that extend them, which are otherwise as always."""

    def __getattr__(cls, name: str) -> Any:  # that it may have, or inherit
        if name.startswith("__"):
            raise AttributeError(name)
        raise OnlyAName

    def __dir__(cls) -> Iterable[str]:
        return _refuse() if _is_name(cls) else super().__dir__()

    def __instancecheck__(cls, instance: Any) -> bool:
        return _refuse() if _is_name(cls) else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return _refuse() if _is_name(cls) else super().__subclasscheck__(subclass)


class _Value:
    """Anything else: may be named, called as a decorator is, and stand in an annotation."""

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
    __instancecheck__ = __subclasscheck__ = _refuse  # else `isinstance` says that this is no class


class _Module(types.ModuleType):
    __dict__ = property(_refuse)  # type: ignore[assignment] # which `vars` would find empty
    __dir__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name in ASKED_OF_MODULES:
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
        """Nothing is run."""


_made: dict[str, Any] = {}


def _is_name(kind: type) -> bool:
    return _made.get(f"{kind.__module__}.{kind.__name__}") is kind


def _named(path: str) -> Any:
    """Return what a dotted name stands for, the same each time: a class where it is written like one."""
    if path not in _made:
        module, _, name = path.rpartition(".")
        members = {
            "__module__": module,
            "__new__": _refuse,
            "__class_getitem__": classmethod(lambda kind, _: kind),
        }
        _made[path] = _Kind(name, (), members) if name[:1].isupper() else _Value(path)
    return _made[path]
