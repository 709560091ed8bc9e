"""Keys of a component's `Config`, read from its source file: no code runs, so torch is not imported."""

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
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
        return _fields(module, f"{name}.Config")
    except (LookupError, OSError, SyntaxError, ValueError):
        return None


@functools.cache
def _fields(module: str, path: str) -> tuple[str, ...]:
    """Return the fields of `Class` or `Class.Config`, under its name in a module, and of its bases."""
    if path == "Component.Config" or module.partition(".")[0] in LIBRARIES:
        return ()
    name, dot, nested = path.partition(".")
    body = ast.parse(_source(module)).body
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            imported = {alias.asname or alias.name: alias.name for alias in node.names}
            if name in imported:
                return _fields(node.module, f"{imported[name]}{dot}{nested}")
    (kind,) = [each for each in body if isinstance(each, ast.ClassDef) and each.name == name]
    own = [each for each in kind.body if isinstance(each, ast.ClassDef) and each.name == nested]
    kind = own[0] if own else kind
    bases = [ast.unparse(base).partition("[")[0] for base in kind.bases]
    if nested and not own:  # inherited; a base with a dot is a class of a library, such as nn.Module
        bases = [f"{base}.{nested}" for base in bases if "." not in base]
    fields = [field for base in bases for field in _fields(module, base)]
    for each in kind.body if own or not nested else ():
        if isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each.annotation):
            fields.append(ast.unparse(each.target))
    return tuple(dict.fromkeys(fields))


def _source(module: str) -> str:
    """Return the text of a module, without importing its packages."""
    stem = module.replace(".", "/")
    files = [Path(folder, f"{stem}{end}") for folder in (*sys.path, ".") for end in (".py", "/__init__.py")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise LookupError(module)
    return file.read_text(encoding="utf-8")
