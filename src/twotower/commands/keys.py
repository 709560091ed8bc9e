"""Keys of choices and classes: name, default, allowed values, meaning."""

import contextlib
import importlib
import inspect
import itertools
import pkgutil
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from annotated_types import MinLen

from twotower.commands.main import COMMAND_NAMES
from twotower.config.component import Component, Config
from twotower.config.errors import InputError
from twotower.config.spec import MAX_FLOAT, MAX_INT, TARGET, is_ours, locate

SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
COMMENT = re.compile(r"^(\w+):.*?\s# ?(.+)$", re.MULTILINE)
COMMAND = rf"@package|python scripts/|\btwotower ({'|'.join(COMMAND_NAMES)})\b"
"""Pattern of YAML comments that show a command instead of a description."""


class Key(NamedTuple):
    """A key, its default as YAML writes it (or `required`), allowed values, and meaning (may be empty)."""

    name: str
    default: str
    takes: str
    meaning: str


class Section(NamedTuple):
    """A choice, or a class that an entry of a choice may name: how it is chosen, and what it is."""

    title: str
    text: str
    keys: Sequence[Key] = ()
    target: str = ""


def keys_of_class(
    kind: type[Config], given: Mapping[str, Any] = types.MappingProxyType({}), comments: str = ""
) -> list[Key]:
    """Return the keys of a class of settings.

    Args:
        kind: the class.
        given: values of a YAML, which are the defaults where it is chosen.
        comments: text of that YAML; comments describe keys that the class does not describe.
    """
    meanings, keys = dict(COMMENT.findall(comments)) | kind.documentation(), []
    for name, each in kind.model_fields.items():
        default = "required" if each.is_required() else shown(each.get_default(call_default_factory=True))
        meaning = " ".join(meanings.get(name, "").split())
        takes = allowed_values(each.annotation, each.metadata)
        keys.append(Key(name, shown(given[name]) if name in given else default, takes, meaning))
    return keys


def sections(group: str, files: Mapping[str, Path], annotation: Any) -> Iterator[Section]:
    """Yield a section for each choice of a group, then for each class that entries of its choices may name.

    Args:
        group: its name.
        files: name -> YAML of the choices.
        annotation: type of the group in the settings of `twotower train`.
    """
    for name, path in sorted(files.items()):
        text = path.read_text(encoding="utf-8")
        spec = yaml.safe_load(text) or {}
        target = spec.pop(TARGET, "")
        title, comment = f"{group}={name}", head_comment(text)
        if not target:
            yield Section(title, comment, plain_keys(annotation, spec))
        elif is_ours(target):
            try:
                kind: Any = locate(target)
            except InputError as error:
                yield Section(title, f"cannot be used: {error}")
                continue
            yield Section(title, comment or description(kind), keys_of_class(kind.Config, spec, text), target)
        else:  # its code does not run for a description
            meanings = dict(COMMENT.findall(text))
            keys = [Key(key, shown(value), "", meanings.get(key, "")) for key, value in spec.items()]
            yield Section(title, comment, keys, target)
    bases = list(dict.fromkeys(component_bases(annotation)))
    kinds = [annotation, *typing.get_args(annotation)]
    for base in bases if not any(base.Config in kinds for base in bases) else ():
        for each in _subclasses(base):
            target = f"{each.__module__}.{each.__qualname__}"
            yield Section(f"{group}: {each.__name__}", description(each), keys_of_class(each.Config), target)


def plain_keys(annotation: Any, given: Mapping[str, Any]) -> list[Key]:
    """Return the keys that hold no choice, of a group whose YAML has several choices."""
    is_class = inspect.isclass(annotation) and issubclass(annotation, Config)
    if not is_class or issubclass(annotation, Component.Config):
        return []
    with_choices = {
        name for name, each in annotation.model_fields.items() if [*component_bases(each.annotation)]
    }
    return [key for key in keys_of_class(annotation, given) if key.name not in with_choices]


def allowed_values(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return in words which values an annotation allows."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return allowed_values(arguments[0], [*arguments[1:], *metadata])
    if origin is typing.Literal:
        return ", ".join(map(shown, arguments))
    if origin in (typing.Union, types.UnionType):
        kinds = sorted(arguments, key=lambda each: each is type(None))
        return " or ".join("null" if each is type(None) else allowed_values(each, metadata) for each in kinds)
    if origin in (list, tuple):
        some = "at least one of" if any(isinstance(each, MinLen) for each in metadata) else "list of"
        return f"{some} [{allowed_values(arguments[0])}]"
    if origin is dict:
        return f"name: {allowed_values(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, Component.Config):
        return f"a choice, {annotation.owner.__name__}"
    limits = [
        (sign, getattr(each, name))
        for each in metadata
        for name, sign in SIGNS.items()
        if hasattr(each, name)
    ]
    bounds = [f"{sign} {limit:,}" for sign, limit in limits if limit not in (MAX_INT, MAX_FLOAT, 2**32)]
    kind = KINDS.get(annotation, "values by name" if inspect.isclass(annotation) else "anything")
    return f"{kind} {' and '.join(bounds)}".rstrip()


def shown(value: Any) -> str:
    """Return a value as YAML writes it; of choices by name the names."""
    if isinstance(value, Component.Config):
        return value.owner.__name__
    if isinstance(value, Mapping):
        if value and all(isinstance(each, Mapping | Config) for each in value.values()):
            return ", ".join(value)
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "null", "": '""'}.get(value, str(value))


def head_comment(text: str) -> str:
    """Return the comments at the head of a YAML, without the command."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in lines if not re.search(COMMAND, line))


def description(kind: type) -> str:
    """Return the first paragraph of a class's docstring, in one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def component_bases(annotation: Any) -> Iterator[type[Component]]:
    """Yield the abstract classes of the choices that an annotation allows, at any depth."""
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        if issubclass(annotation, Component.Config) and inspect.isabstract(annotation.owner):
            yield annotation.owner
            return
        for each in annotation.model_fields.values():
            yield from component_bases(each.annotation)
        yield from component_bases(typing.get_type_hints(annotation).get("__pydantic_extra__"))
    for argument in typing.get_args(annotation):
        yield from component_bases(argument)


def _subclasses(base: type[Component]) -> Iterator[type[Component]]:
    """Yield the concrete classes in the package of a base, in the order of their modules."""
    name = base.__module__.rpartition(".")[0]
    package = importlib.import_module(name)
    for module in sorted(each.name for each in pkgutil.walk_packages(package.__path__, f"{name}.")):
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            for each in vars(importlib.import_module(module)).values():
                is_choice = inspect.isclass(each) and issubclass(each, base) and each.__module__ == module
                if is_choice and not inspect.isabstract(each) and not each.__name__.startswith("_"):
                    yield each
