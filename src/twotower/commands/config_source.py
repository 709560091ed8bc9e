"""Keys of a component's `Config`, read from its source file: no component is imported, and so no torch."""

import ast
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twotower.config.problems import Problem, nearest
from twotower.config.spec import TARGET

LIBRARIES = frozenset({"abc", "pydantic", "torch", "typing"})
"""Their classes add no keys."""


def unknown_keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[Problem]:
    """Yield the keys in plain settings that the `Config` of the chosen class does not have, at any depth."""
    keys = config_fields(values[TARGET]) if isinstance(values.get(TARGET), str) else None
    for key, value in values.items():
        if keys is not None and key != TARGET and key not in keys:
            yield Problem(f"{prefix}{key}", f"unknown key; {nearest(key, keys)}")
        elif isinstance(value, Mapping):
            yield from unknown_keys(value, f"{prefix}{key}.")


def config_fields(target: str) -> Mapping[str, ast.expr] | None:
    """Return key -> annotation of the `Config` of a class; None if the source files do not tell."""
    module, _, name = target.rpartition(".")
    try:
        return class_fields(module, f"{name}.Config")
    except (ImportError, LookupError, OSError, SyntaxError, ValueError):
        return None


@functools.cache
def class_fields(module: str, path: str) -> Mapping[str, ast.expr]:
    """Return the fields of `Class` or `Class.Config`, as a module names it, and of its bases."""
    if path == "Component.Config" or module.partition(".")[0] in LIBRARIES:
        return {}
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(module)
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    name, _, nested = path.partition(".")
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return class_fields(node.module, path.replace(name, alias.name, 1))
    (outer,) = [each for each in body if isinstance(each, ast.ClassDef) and each.name == name]
    inner = [each for each in outer.body if isinstance(each, ast.ClassDef) and each.name == nested]
    is_inherited = nested and not inner
    kind = (inner or [outer])[0]
    fields: dict[str, ast.expr] = {}
    for base in kind.bases:
        text = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        if not (is_inherited and "." in text):  # else a class of a library, such as nn.Module
            fields |= class_fields(module, f"{text}.{nested}" if is_inherited else text)
    return fields | {
        each.target.id: each.annotation
        for each in ([] if is_inherited else kind.body)
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        if "ClassVar" not in ast.unparse(each.annotation)
    }
