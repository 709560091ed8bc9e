"""Keys of a component's `Config`, read from its source file: no code runs, so torch is not imported."""

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from itertools import accumulate
from pathlib import Path
from typing import Any

from twotower.config.problems import Problem, nearest
from twotower.config.spec import TARGET

LIBRARIES = frozenset({"abc", "pydantic", "torch", "typing"})
"""Their classes add no keys."""


def unknown_keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[Problem]:
    """Yield the keys in plain settings that the `Config` of the chosen class does not have, at any depth."""
    keys = config_keys(values[TARGET]) if isinstance(values.get(TARGET), str) else None
    for key, value in values.items():
        if keys is not None and key != TARGET and key not in keys:
            yield Problem(f"{prefix}{key}", f"unknown key; {nearest(key, keys)}")
        elif isinstance(value, Mapping):
            yield from unknown_keys(value, f"{prefix}{key}.")


def config_keys(target: str) -> tuple[str, ...] | None:
    """Return the keys of the `Config` of a class; None if the source files do not tell."""
    module, _, name = target.rpartition(".")
    try:
        return _class_keys(module, f"{name}.Config")
    except (ImportError, LookupError, OSError, SyntaxError, ValueError):
        return None


@functools.cache
def _class_keys(module: str, path: str) -> tuple[str, ...]:
    """Return the fields of `Class` or `Class.Config`, as a module names it, and of its bases."""
    if path == "Component.Config" or module.partition(".")[0] in LIBRARIES:
        return ()
    body = ast.parse(_source(module)).body
    name, _, nested = path.partition(".")
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _class_keys(node.module, path.replace(name, alias.name, 1))
    (outer,) = [each for each in body if isinstance(each, ast.ClassDef) and each.name == name]
    inner = [each for each in outer.body if isinstance(each, ast.ClassDef) and each.name == nested]
    is_inherited = nested and not inner
    kind = (inner or [outer])[0]
    keys: dict[str, None] = {}
    for base in kind.bases:
        text = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        if not (is_inherited and "." in text):  # else a class of a library, such as nn.Module
            keys |= dict.fromkeys(_class_keys(module, f"{text}.{nested}" if is_inherited else text))
    for each in kind.body if not is_inherited else ():
        if isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each.annotation):
            keys[ast.unparse(each.target)] = None
    return tuple(keys)


def _source(module: str) -> str:
    """Return the text of a module, without importing its packages."""
    places: Any = [*sys.path, str(Path.cwd())]
    file = None
    for name in accumulate(module.split("."), "{}.{}".format):
        spec = PathFinder.find_spec(name, places)
        if spec is None:
            raise LookupError(module)
        places, file = spec.submodule_search_locations, spec.origin  # None for a folder without __init__.py
    if file is None:
        raise LookupError(module)
    return Path(file).read_text(encoding="utf-8")
