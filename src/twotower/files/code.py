"""Fingerprints of code: a module and everything that it imports.

A file counts by its syntax tree without docstrings, so comments and layout do not matter. Installed libraries
count by version; this package and the user's modules count by code.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from twotower.files.plain_values import fingerprint_values

OWN = __name__.partition(".")[0]
INSTALLED = frozenset({"site-packages", "dist-packages"})
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_digests(modules: Iterable[str], excluded: Collection[str] = ()) -> dict[str, str]:
    """Return module -> digest of its code, and library -> version, for modules and their imports.

    Imports inside functions count; imports by names computed at run time do not. The packages of `modules`
    count by code even if they are installed. `excluded` packages, and what only they import, are left out.
    """
    waiting, prefixes = sorted(set(modules)), tuple(f"{package}." for package in excluded)
    own = {OWN, *(_top(name) for name in waiting)}
    digests: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        top, path = _top(name), _source(name)
        if name in digests or top in sys.stdlib_module_names or f"{name}.".startswith(prefixes):
            continue
        if name == OWN:  # the public API imports everything, and no other module imports it
            continue
        if top in own or (path is not None and not INSTALLED & set(path.parts)):
            if path is not None:
                digests[name], imports = _syntax(name, path)
                waiting += imports
        elif top not in digests:
            digests[top] = _version(top)
    return digests


def code_fingerprint(modules: Iterable[str], excluded: Collection[str] = ()) -> str:
    """Return a SHA-256 over the result of `code_digests`."""
    return fingerprint_values(code_digests(modules, excluded))


def _top(name: str) -> str:
    return name.partition(".")[0]


@functools.cache
def _source(name: str) -> Path | None:
    """Return the file of a module without importing it; None without a Python file."""
    spec = _spec(name)
    origin = getattr(sys.modules.get(name), "__file__", None) if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _spec(name: str) -> ModuleSpec | None:
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a specification, such as __main__
        return None
    folders = list((spec and spec.submodule_search_locations) or ())
    for part in rest:
        top = f"{top}.{part}"
        try:
            spec = PathFinder.find_spec(top, folders)
        except KeyError:  # a namespace package in one that is not loaded
            spec, folders = None, [str(Path(folder, part)) for folder in folders]
        else:
            folders = list((spec and spec.submodule_search_locations) or ())
    return spec


@functools.cache
def _syntax(name: str, path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the digest of a module's syntax and every name that it may import.

    Cached, because a loaded module does not change with its file.
    """
    content = path.read_bytes()
    try:
        tree = ast.parse(content, str(path))
    except SyntaxError:  # for another version of Python
        return hashlib.sha256(content).hexdigest(), ()
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    nodes = list(ast.walk(tree))
    names = tuple(dict.fromkeys(_imports(nodes, package)))
    for node in nodes:
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), names


def _imports(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Yield imported modules and their packages; a name of `from a import name` may be a module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: depth + 1]) for depth in range(len(parts)))


_distributions = functools.cache(importlib.metadata.packages_distributions)  # slow: it reads all of them


@functools.cache
def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(_distributions().get(library, [])))
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
